//! Conditions with what they come to, and the calls that bring them before a store.

use annals::{Append, Position, SequenceNumber, StoredEvent, StreamId, WriteCondition};

use crate::checks::support::ledger::{Ledger, always, light, most};
use crate::engine::Outcome;
use crate::subject::Subject;

pub(crate) fn at(position: u64) -> WriteCondition {
    WriteCondition::PositionIs(Position::new(position))
}

/// A condition, and whether it holds in the state that it was made for. What a composition comes to follows from
/// its parts, not from the judgement of the core.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) condition: WriteCondition,
    pub(crate) holds: bool,
}

impl Judged {
    pub(crate) fn new(condition: WriteCondition, holds: bool) -> Self {
        Self { condition, holds }
    }

    pub(crate) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<Self> = parts.into_iter().collect();
        let holds = parts.iter().all(|part| part.holds);
        Self::new(WriteCondition::All(conditions(parts)), holds)
    }

    pub(crate) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<Self> = parts.into_iter().collect();
        let holds = parts.iter().any(|part| part.holds);
        Self::new(WriteCondition::Any(conditions(parts)), holds)
    }
}

fn conditions(parts: Vec<Judged>) -> Vec<WriteCondition> {
    parts.into_iter().map(|part| part.condition).collect()
}

/// The call that a condition is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With so many events.
    Append(usize),
    /// Alone, without events.
    Guard,
    /// Before a write to another stream.
    First,
    /// After a write to another stream.
    Last,
    /// As a guard of a write to another stream.
    GuardOfAnother,
}

impl Form {
    /// Those that the store can be called in.
    pub(crate) fn all(store: &Subject) -> Vec<Self> {
        let mut forms = vec![Self::Append(1), Self::Guard];
        if most(store) >= 3 {
            forms.push(Self::Append(3));
        }
        if store.capabilities.multi_stream_append && most(store) >= 2 {
            forms.extend([Self::First, Self::Last, Self::GuardOfAnother]);
        }
        forms
    }

    pub(crate) fn call(
        self,
        store: &Subject,
        stream: &StreamId,
        condition: WriteCondition,
    ) -> Vec<Append> {
        let write = |count| Append::new(stream.clone(), light(count), condition);
        let another = || always(&store.stream("beside", "another"), light(1));
        match self {
            Self::Append(count) => vec![write(count)],
            Self::Guard => vec![write(0)],
            Self::First => vec![write(1), another()],
            Self::Last => vec![another(), write(1)],
            Self::GuardOfAnother => vec![write(0), another()],
        }
    }
}

impl Ledger {
    /// Appends under the condition, which must be done or refused as the condition comes to; returns what was stored.
    pub(crate) async fn judge(
        &mut self,
        stream: &StreamId,
        case: &Judged,
        form: Form,
    ) -> Outcome<Vec<StoredEvent>> {
        let call = form.call(&self.store, stream, case.condition.clone());
        if case.holds {
            return self.append(call).await;
        }
        self.unmet(call, "its condition does not hold").await.map(|()| Vec::new())
    }

    /// The same with each of some cases in each form. The cases follow from the stream as it is then, and `stream`
    /// names one for each of them: the same, or a new one.
    pub(crate) async fn judge_all(
        &mut self,
        mut stream: impl FnMut() -> StreamId,
        cases: impl Fn(&Self, &StreamId) -> Vec<Judged>,
    ) -> Outcome {
        for form in Form::all(&self.store) {
            for nth in 0.. {
                let stream = stream();
                let Some(case) = cases(self, &stream).into_iter().nth(nth) else { break };
                self.judge(&stream, &case, form).await?;
            }
        }
        Ok(())
    }

    /// A stream with this many events.
    pub(crate) async fn filled(&mut self, name: &str, count: usize) -> Outcome<StreamId> {
        let stream = self.store.stream("orders", name);
        let room = most(&self.store);
        while self.stream(&stream).len() < count {
            let missing = count - self.stream(&stream).len();
            self.one(&stream, light(missing.min(room)), WriteCondition::Always).await?;
        }
        Ok(stream)
    }

    /// Leaves that come to `holds` for `stream`, of every kind.
    pub(crate) fn leaves(&self, stream: &StreamId, holds: bool) -> Vec<WriteCondition> {
        let length = self.stream(stream).len() as u64;
        let mut all = match (length, holds) {
            (0, true) => vec![WriteCondition::StreamIsEmpty],
            (0, false) => vec![WriteCondition::StreamExists, at(0), at(u64::MAX)],
            (_, true) => vec![at(length - 1), WriteCondition::StreamExists],
            (1, false) => vec![at(1), WriteCondition::StreamIsEmpty],
            (_, false) => vec![at(length), WriteCondition::StreamIsEmpty, at(length - 2)],
        };
        if holds {
            all.push(WriteCondition::Always);
        }
        if self.store.capabilities.query_conditions {
            let last = self.stream(stream).last().map_or(0, |last| last.sequence_number.value());
            let none = |after| WriteCondition::no_match(stream.clone(), SequenceNumber::new(after));
            if holds {
                all.push(none(last));
            } else if length > 0 {
                all.push(none(last - 1));
            }
        }
        all
    }

    /// Names a new stream of the category at each call.
    pub(crate) fn fresh(&self, category: &str) -> impl FnMut() -> StreamId + use<> {
        let (store, category) = (self.store.clone(), category.to_owned());
        let mut count = 0;
        move || {
            count += 1;
            store.stream(&category, &format!("new-{count}"))
        }
    }
}
