//! How conditions are judged: one pure function for all adapters.

use crate::condition::{MAX_CONDITION_DEPTH, Unmet, WriteCondition};
use crate::error::{Error, Result};
use crate::event::{EventId, StoredEvent};
use crate::name::StreamId;
use crate::position::{Position, SequenceNumber};

/// What an adapter looks up, inside its transaction, to have a condition judged.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Facts {
    /// The position of the stream's last event; `None` if the stream is empty.
    pub head: Option<Position>,
    /// The id of the stream's last event; needed only if [`WriteCondition::needs_last_id`] says so.
    pub last_id: Option<EventId>,
    /// The stream's last event; needed only if [`WriteCondition::needs_last_event`] says so.
    pub last: Option<StoredEvent>,
    /// For each of [`WriteCondition::queries`], in that order, an event that matches (any one will do).
    pub matches: Vec<Option<SequenceNumber>>,
}

impl Facts {
    /// A stream whose last event is at `head`; `None`: an empty stream.
    #[must_use]
    pub fn new(head: Option<Position>) -> Self {
        Self { head, ..Self::default() }
    }

    /// Adds [`last_id`](Self::last_id).
    #[must_use]
    pub fn with_last_id(mut self, id: Option<EventId>) -> Self {
        self.last_id = id;
        self
    }

    /// Adds [`last`](Self::last), and its id.
    #[must_use]
    pub fn with_last(mut self, last: Option<StoredEvent>) -> Self {
        self.last_id = last.as_ref().map(StoredEvent::id);
        self.last = last;
        self
    }

    /// Adds [`matches`](Self::matches).
    #[must_use]
    pub fn with_matches(mut self, matches: Vec<Option<SequenceNumber>>) -> Self {
        self.matches = matches;
        self
    }
}

impl WriteCondition {
    /// For layers: the same condition with each part that has no parts of its own replaced by what `leaf` makes of it.
    /// A layer that stores events in another form rewrites queries and predicates so, without knowing every variant.
    ///
    /// # Errors
    /// The first error of `leaf`, and [`Error::Invalid`] if the condition nests deeper than [`MAX_CONDITION_DEPTH`].
    pub fn map_leaves(self, mut leaf: impl FnMut(Self) -> Result<Self>) -> Result<Self> {
        self.check_depth(MAX_CONDITION_DEPTH)?;
        self.map_parts(&mut leaf)
    }

    /// Recurses no deeper than [`MAX_CONDITION_DEPTH`], which the caller has checked.
    fn map_parts(self, leaf: &mut impl FnMut(Self) -> Result<Self>) -> Result<Self> {
        let mut map = |parts: Vec<Self>| -> Result<Vec<Self>> {
            parts.into_iter().map(|part| part.map_parts(leaf)).collect()
        };
        match self {
            Self::All(parts) => Ok(Self::All(map(parts)?)),
            Self::Any(parts) => Ok(Self::Any(map(parts)?)),
            one => leaf(one),
        }
    }

    /// Rejects a condition that nests deeper than `most`.
    pub(crate) fn check_depth(&self, most: usize) -> Result<()> {
        if self.is_deeper_than(most) {
            return Err(Error::invalid(format!("a condition nests at most {most} deep")));
        }
        Ok(())
    }

    /// Judges the condition on the facts: the one definition that every adapter shares.
    ///
    /// # Errors
    /// [`Error::ConditionFailed`] when it does not hold; [`Error::Invalid`] when `facts` do not answer all
    /// [`queries`](Self::queries), which is a bug of the adapter.
    pub fn evaluate(&self, stream: &StreamId, facts: &Facts) -> Result<()> {
        let mut judge = Judge { stream, facts, answers: facts.matches.iter() };
        judge.judge(self)?.map_err(|unmet| Error::ConditionFailed(Box::new(unmet)))
    }
}

struct Judge<'a> {
    stream: &'a StreamId,
    facts: &'a Facts,
    answers: std::slice::Iter<'a, Option<SequenceNumber>>,
}

impl Judge<'_> {
    /// Visits every leaf, also where the outcome is known, so that answers and queries stay in step.
    fn judge(&mut self, condition: &WriteCondition) -> Result<Result<(), Unmet>> {
        let head = self.facts.head;
        let mut matched = None;
        let holds = match condition {
            WriteCondition::Always => true,
            WriteCondition::StreamIsEmpty => head.is_none(),
            WriteCondition::StreamExists => head.is_some(),
            WriteCondition::PositionIs(position) => head == Some(*position),
            WriteCondition::LastEventIs(id) => self.facts.last_id == Some(*id),
            WriteCondition::Custom(predicate) => predicate.holds(self.facts.last.as_ref()),
            WriteCondition::NoMatch { .. } => {
                let answer = self.answers.next();
                matched =
                    *answer.ok_or_else(|| Error::invalid("facts do not answer all queries"))?;
                matched.is_none()
            }
            WriteCondition::All(parts) => return self.all(parts),
            WriteCondition::Any(parts) => return self.any(parts),
        };
        Ok(if holds { Ok(()) } else { Err(self.unmet(condition.clone(), matched)) })
    }

    fn all(&mut self, parts: &[WriteCondition]) -> Result<Result<(), Unmet>> {
        let mut outcome = Ok(());
        for part in parts {
            let judged = self.judge(part)?;
            outcome = outcome.and(judged);
        }
        Ok(outcome)
    }

    fn any(&mut self, parts: &[WriteCondition]) -> Result<Result<(), Unmet>> {
        let mut holds = false;
        let mut failed = WriteCondition::Any(Vec::new());
        let mut matched = None;
        for part in parts {
            match self.judge(part)? {
                Ok(()) => holds = true,
                Err(unmet) => {
                    matched = matched.or(unmet.matched);
                    failed = failed | unmet.failed;
                }
            }
        }
        if let WriteCondition::Any(leaves) = &mut failed
            && leaves.len() == 1
            && let Some(only) = leaves.pop()
        {
            failed = only;
        }
        Ok(if holds { Ok(()) } else { Err(self.unmet(failed, matched)) })
    }

    fn unmet(&self, failed: WriteCondition, matched: Option<SequenceNumber>) -> Unmet {
        Unmet { stream: self.stream.clone(), failed, actual: self.facts.head, matched }
    }
}
