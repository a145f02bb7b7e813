//! Conditions on a fork, as ones that the overlay can judge. What the base decides never changes.

use std::sync::Arc;

use annals::{
    Position, Predicate, ReadOptions, Result, SequenceNumber, StorageAdapter, StoredEvent,
    StreamId, Unmet, WriteCondition,
};

use super::{Parts, length, one};

/// A leaf of the caller, and what the overlay judges in its place.
struct Leaf {
    own: WriteCondition,
    inside: WriteCondition,
    /// The event of the base that matches, of a query that the base decides.
    matched: Option<SequenceNumber>,
}

/// What became of a condition.
pub(super) struct Leaves {
    leaves: Vec<Leaf>,
    end: Option<StoredEvent>,
}

/// A predicate of the caller, which sees events as the fork has them.
#[derive(Debug)]
struct Placed {
    own: Arc<dyn Predicate>,
    end: Option<StoredEvent>,
    at: SequenceNumber,
}

impl Predicate for Placed {
    fn expectation(&self) -> String {
        self.own.expectation()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        let Some(last) = last else { return self.own.holds(self.end.as_ref()) };
        let mut record = last.clone().into_record();
        record.position =
            Position::new(record.position.value().saturating_add(length(self.end.as_ref())));
        let number = record.sequence_number.value().saturating_add(self.at.value());
        record.sequence_number = SequenceNumber::new(number);
        self.own.holds(Some(&record.into()))
    }
}

/// A condition that never holds, one for each leaf: no store assigns such a position.
fn never(nth: usize) -> WriteCondition {
    WriteCondition::PositionIs(Position::new(u64::MAX - nth as u64))
}

pub(super) async fn translate<B: StorageAdapter, O: StorageAdapter>(
    parts: &Parts<B, O>,
    stream: &StreamId,
    condition: WriteCondition,
) -> Result<(WriteCondition, Leaves)> {
    let end = parts.end(stream).await?;
    let mut of_base = Vec::new();
    for (query, after) in condition.queries() {
        let options = ReadOptions::default().after(after).until(parts.at()).limit(1);
        let found =
            if after < parts.at() { one(&parts.base, query.clone(), options).await? } else { None };
        of_base.push(found.map(|event| event.sequence_number));
    }
    let mut of_base = of_base.into_iter();
    let mut leaves: Vec<Leaf> = Vec::new();
    let length = length(end.as_ref());
    let condition = condition.map_leaves(|own| {
        let nth = leaves.len();
        let mut matched = None;
        let inside = match &own {
            WriteCondition::StreamIsEmpty if length > 0 => never(nth),
            WriteCondition::StreamExists if length > 0 => WriteCondition::Always,
            WriteCondition::PositionIs(at) if at.value() < length => {
                // The base ends there, so nothing may be in the overlay.
                if at.value() + 1 == length { WriteCondition::StreamIsEmpty } else { never(nth) }
            }
            // Beyond what a store assigns, it is asked for as it is.
            WriteCondition::PositionIs(at) if *at > Position::MAX => never(nth),
            WriteCondition::PositionIs(at) => {
                WriteCondition::PositionIs(Position::new(at.value() - length))
            }
            WriteCondition::LastEventIs(id) if end.as_ref().map(StoredEvent::id) == Some(*id) => {
                WriteCondition::StreamIsEmpty
            }
            WriteCondition::NoMatch { query, after } => {
                matched = of_base.next().flatten();
                match matched {
                    Some(_) => never(nth),
                    None => {
                        WriteCondition::NoMatch { query: query.clone(), after: parts.below(*after) }
                    }
                }
            }
            WriteCondition::Custom(predicate) => WriteCondition::custom(Placed {
                own: Arc::clone(predicate),
                end: end.clone(),
                at: parts.at(),
            }),
            other => other.clone(),
        };
        leaves.push(Leaf { own, inside: inside.clone(), matched });
        Ok(inside)
    })?;
    Ok((condition, Leaves { leaves, end }))
}

impl Leaves {
    /// The refusal in the caller's terms.
    pub(super) fn restore(mut self, at: SequenceNumber, mut unmet: Unmet) -> Unmet {
        let length = length(self.end.as_ref());
        unmet.actual = match unmet.actual {
            Some(position) => Some(Position::new(position.value().saturating_add(length))),
            None => self.end.as_ref().map(|end| end.position),
        };
        let of_overlay = unmet
            .matched
            .map(|number| SequenceNumber::new(number.value().saturating_add(at.value())));
        let mut matched = None;
        let own = unmet.failed.clone().map_leaves(|inside| {
            // Of leaves that became the same one, those that failed are restored in their order.
            let found = self.leaves.iter().position(|leaf| leaf.inside == inside);
            let Some(found) = found else { return Ok(inside) };
            let leaf = self.leaves.remove(found);
            if matches!(leaf.own, WriteCondition::NoMatch { .. }) {
                matched = matched.or(leaf.matched).or(of_overlay);
            }
            Ok(leaf.own)
        });
        unmet.failed = own.unwrap_or(unmet.failed);
        unmet.matched = matched;
        unmet
    }
}
