//! Which appends of a transaction are made, and the rows that they become. No I/O: what is judged on was gathered.

use annals::{
    Append, Error, EventId, NewEvent, Position, Result, SequenceNumber, StoredEvent, StreamId,
};
use hashbrown::HashSet;
use time::OffsetDateTime;

use crate::facts::{Facts, Work, looks_into_log};
use crate::known::{Head, Known, Numbered};
use crate::placing::{Numbers, Placement, count, first_after, judge};
use crate::row::to_column;

/// The rows that a transaction inserts, in the form in which an adapter binds them. They are added in the order in which
/// they refer to each other: a stream and a name before the events that have their numbers.
pub trait Draft {
    /// Adds a new name.
    fn add_name(&mut self, id: i64, name: &str);

    /// Adds a new stream.
    fn add_stream(&mut self, id: i64, category_id: i64, name: &str);

    /// Adds an event. `numbers`: sequence number, stream, position, category, name, encoding.
    fn add_event(
        &mut self,
        numbers: [i64; 6],
        event: &NewEvent,
        recorded_at: OffsetDateTime,
        tags: &[i64],
    );
}

/// What becomes of the appends of one transaction.
#[derive(Debug)]
pub struct Plan<'a, D> {
    /// For each append where it lands, or why it is rejected.
    pub outcomes: Vec<Result<Placement>>,
    /// The rows to insert.
    pub draft: D,
    /// Which of the appends were rejected though none of their events, these, is known to be in the log.
    pub unsure: Vec<(usize, Vec<EventId>)>,
    /// What is true once the rows are committed.
    pub facts: Facts,
    /// The last sequence number then.
    pub head: u64,
    /// The last number of a name then.
    pub last_name: i64,
    /// The first and the last event to insert; `None`: nothing is.
    pub ends: Option<[Numbered; 2]>,
    /// What is to be inserted, where a later append of the transaction is judged on it.
    pending: Option<Vec<StoredEvent>>,
    /// Ids of what is to be inserted, once somebody asked for them.
    ids: Option<HashSet<EventId>>,
    /// Those that were looked up, where they were.
    is_checked: bool,
    accepted: Vec<&'a [Append]>,
}

/// Judges `works` one after the other, each on the log with those before it. `head` and `last_name` are the last numbers of
/// the log and of its names; `is_checked`: `facts` say which of the events the log has.
#[must_use]
pub fn plan<'a, D: Draft + Default>(
    works: &[Work<'a>],
    mut facts: Facts,
    head: u64,
    last_name: i64,
    is_checked: bool,
) -> Plan<'a, D> {
    let looks_back = works.iter().flat_map(|work| work.writes).any(looks_into_log);
    let matches = std::mem::take(&mut facts.matches);
    let lasts = std::mem::take(&mut facts.lasts);
    let mut found = Found { matches: matches.into_iter(), lasts: lasts.into_iter() };
    let mut plan = Plan {
        outcomes: Vec::with_capacity(works.len()),
        draft: D::default(),
        unsure: Vec::new(),
        facts,
        head,
        last_name,
        ends: None,
        pending: looks_back.then(Vec::new),
        ids: None,
        is_checked,
        accepted: Vec::with_capacity(works.len()),
    };
    for work in works {
        let outcome = plan.place(work, &mut found);
        if outcome.is_ok() {
            plan.accepted.push(work.writes);
        }
        plan.outcomes.push(outcome);
    }
    plan
}

/// What was found in the log, in the order of the conditions.
struct Found {
    matches: std::vec::IntoIter<Option<SequenceNumber>>,
    lasts: std::vec::IntoIter<Option<StoredEvent>>,
}

impl<'a, D: Draft> Plan<'a, D> {
    /// Writes into `known` what is true of the log once this is committed. If the commit fails, `known` must forget it.
    pub fn teach(&mut self, known: &mut Known) {
        known.head = Some(self.head);
        known.last = self.ends.map_or(self.facts.last, |[_, last]| Some(last)).or(known.last);
        known.last_name = self.last_name;
        for (stream, head) in self.facts.streams.drain() {
            known.streams.put(stream, head);
        }
    }

    fn place(&mut self, work: &Work<'a>, found: &mut Found) -> Result<Placement> {
        // All conditions take their answers, also after one that does not hold.
        let facts: Vec<_> = work.writes.iter().map(|write| self.facts_of(write, found)).collect();
        let ids = || work.writes.iter().flat_map(|write| &write.events).map(|event| event.id);
        if self.is_checked
            && let Some(known) = ids().find(|id| self.has(*id))
        {
            return Err(Error::DuplicateEvent(known));
        }
        let mut judged = work.writes.iter().zip(&facts);
        let judged = judged.try_for_each(|(write, facts)| judge(write, facts));
        let numbers = match judged.and_then(|()| self.take_numbers(count(work.writes))) {
            Ok(numbers) => numbers,
            Err(refusal) => {
                // A repeated append is reported as one, whatever else rejects it.
                if let Some(known) = ids().find(|id| self.has(*id)) {
                    return Err(Error::DuplicateEvent(known));
                }
                if !self.is_checked && ids().next().is_some() {
                    self.unsure.push((self.outcomes.len(), ids().collect()));
                }
                return Err(refusal);
            }
        };
        let mut each = numbers.iter();
        let mut positions = Vec::with_capacity(work.writes.len());
        for write in work.writes {
            let head = self.head_of(&write.stream);
            positions.push(Position::new(head.map_or(0, |head| head.last + 1)));
            self.insert(write, head, &mut each, work);
        }
        drop(each);
        Ok(Placement { numbers, positions })
    }

    /// The numbers of the next events, in order: those drawn for it, or those that follow the head.
    fn take_numbers(&mut self, count: usize) -> Result<Numbers> {
        let drawn = &mut self.facts.numbers;
        if !drawn.is_empty() {
            return Ok(Numbers::Drawn(drawn.drain(..count.min(drawn.len())).collect()));
        }
        Ok(Numbers::From(first_after(self.head, count)?))
    }

    fn insert(
        &mut self,
        write: &'a Append,
        head: Option<Head>,
        numbers: &mut impl Iterator<Item = SequenceNumber>,
        work: &Work<'_>,
    ) {
        if write.events.is_empty() {
            return;
        }
        let category_id = self.intern(write.stream.category.as_str());
        let mut stream_id = head.map(|head| head.stream_id);
        let mut position = head.map_or(0, |head| head.last + 1);
        for (event, number) in write.events.iter().zip(numbers.map(SequenceNumber::value)) {
            let last = (event.id, number);
            self.ends = Some([self.ends.map_or(last, |[first, _]| first), last]);
            let stream_id = *stream_id.get_or_insert_with(|| {
                let stream_id = to_column(number);
                self.draft.add_stream(stream_id, category_id, write.stream.name.as_str());
                stream_id
            });
            let name_id = self.intern(event.name.as_str());
            let encoding_id = self.intern(event.payload.encoding().as_str());
            let tags: Vec<_> = event.tags.iter().map(|tag| self.intern(tag.as_str())).collect();
            let ids = [
                to_column(number),
                stream_id,
                to_column(position),
                category_id,
                name_id,
                encoding_id,
            ];
            self.draft.add_event(ids, event, work.recorded_at, &tags);
            if let Some(ids) = &mut self.ids {
                ids.insert(event.id);
            }
            if let Some(pending) = &mut self.pending {
                pending.push(StoredEvent::new(
                    event.clone(),
                    write.stream.clone(),
                    Position::new(position),
                    SequenceNumber::new(number),
                    work.recorded_at,
                ));
            }
            self.head = number;
            position += 1;
        }
        if let Some(stream_id) = stream_id
            && let Some(event) = write.events.last()
        {
            let head = Head { stream_id, last: position - 1, last_id: event.id };
            self.facts.streams.insert(write.stream.clone(), Some(head));
        }
    }

    /// The number of a name, which is made when it is new.
    fn intern(&mut self, name: &'a str) -> i64 {
        if let Some(id) = self.facts.names.get(name).copied().flatten() {
            return id;
        }
        self.last_name += 1;
        self.facts.names.insert(name.into(), Some(self.last_name));
        self.draft.add_name(self.last_name, name);
        self.last_name
    }

    fn head_of(&self, stream: &StreamId) -> Option<Head> {
        self.facts.streams.get(stream).copied().flatten()
    }

    fn facts_of(&self, write: &Append, found: &mut Found) -> annals::adapter::Facts {
        let head = self.head_of(&write.stream);
        let pending = self.pending.as_deref().unwrap_or_default();
        let queries = write.condition.queries().into_iter();
        let matches = queries.map(|(query, after)| {
            let stored = found.matches.next().flatten();
            let new = || {
                let mut later = pending.iter().filter(|event| event.sequence_number > after);
                later.find(|event| query.matches(event)).map(|event| event.sequence_number)
            };
            stored.or_else(new)
        });
        let matches = matches.collect();
        let last = write.condition.needs_last_event().then(|| {
            let stored = found.lasts.next().flatten();
            let new = pending.iter().rev().find(|event| event.stream == write.stream);
            new.cloned().or(stored)
        });
        let facts = annals::adapter::Facts::new(head.map(|head| Position::new(head.last)))
            .with_matches(matches);
        match last {
            Some(last) => facts.with_last(last),
            None => facts.with_last_id(head.map(|head| head.last_id)),
        }
    }

    /// Whether an event is known to be in the log, or comes before in this transaction.
    fn has(&mut self, id: EventId) -> bool {
        let ids = self.ids.get_or_insert_with(|| {
            let writes = self.accepted.iter().copied().flatten();
            writes.flat_map(|write| &write.events).map(|event| event.id).collect()
        });
        ids.contains(&id) || self.facts.known_ids.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use annals::{Query, QueryItem, Source, WriteCondition};

    use super::*;

    /// What was added, as text.
    #[derive(Debug, Default)]
    struct Lines(Vec<String>);

    impl Draft for Lines {
        fn add_name(&mut self, id: i64, name: &str) {
            self.0.push(format!("name {id} {name}"));
        }

        fn add_stream(&mut self, id: i64, category_id: i64, name: &str) {
            self.0.push(format!("stream {id} {category_id} {name}"));
        }

        fn add_event(&mut self, numbers: [i64; 6], _: &NewEvent, _: OffsetDateTime, tags: &[i64]) {
            self.0.push(format!("event {numbers:?} {tags:?}"));
        }
    }

    fn event(name: &'static str) -> NewEvent {
        NewEvent::json(name, &1).unwrap()
    }

    fn append(stream: &str, events: Vec<NewEvent>, condition: WriteCondition) -> Vec<Append> {
        vec![Append::new(StreamId::new("c", stream).unwrap(), events, condition)]
    }

    /// Plans on a log of ten events in which nothing of what is asked for is known.
    fn planned(writes: &[Vec<Append>], is_checked: bool) -> Plan<'_, Lines> {
        let recorded_at = OffsetDateTime::UNIX_EPOCH;
        let works: Vec<_> = writes.iter().map(|writes| Work { writes, recorded_at }).collect();
        let mut known = Known::new(NonZeroUsize::MIN);
        let mut facts = Facts::default();
        for work in &works {
            facts.list(work.writes);
        }
        assert!(!facts.recall(&mut known).is_empty());
        let queries = works.iter().flat_map(|work| work.writes);
        let queries = queries.map(|write| write.condition.queries().len()).sum();
        facts.matches = vec![None; queries];
        plan(&works, facts, 10, 3, is_checked)
    }

    #[test]
    fn rows_come_in_the_order_in_which_they_refer_to_each_other() {
        let writes = [append("s", vec![event("a"), event("b")], WriteCondition::StreamIsEmpty)];
        let mut plan = planned(&writes, true);
        let rows = [
            "name 4 c",
            "stream 11 4 s",
            "name 5 a",
            "name 6 json",
            "event [11, 11, 0, 4, 5, 6] []",
            "name 7 b",
            "event [12, 11, 1, 4, 7, 6] []",
        ];
        assert_eq!(plan.draft.0, rows);
        let mut known = Known::new(NonZeroUsize::MIN.saturating_add(9));
        plan.teach(&mut known);
        assert_eq!((known.head, known.last_name), (Some(12), 7));
        assert!(!known.has_name("a"), "a name holds once it is committed");
        let generation = known.generation();
        known.learn_names(generation, plan.facts.names.clone());
        assert!(known.has_name("a"));
        known.forget_all();
        known.learn_names(generation, plan.facts.names);
        assert!(!known.has_name("a"), "it may be of a history that is gone");
    }

    #[test]
    fn each_append_is_judged_on_those_before_it_and_a_rejected_one_leaves_nothing() {
        let item = QueryItem::new(Source::Log).with_names(["a"]).unwrap();
        let no_a = WriteCondition::no_match(Query::from(item), SequenceNumber::START);
        let writes = [
            append("s", vec![event("a")], WriteCondition::StreamIsEmpty),
            append("s", vec![event("late")], WriteCondition::StreamIsEmpty),
            append("t", vec![event("late")], no_a),
            append("s", vec![event("b")], WriteCondition::PositionIs(Position::new(0))),
        ];
        let plan = planned(&writes, true);
        let made: Vec<_> = plan.outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(made, [true, false, false, true]);
        assert!(plan.draft.0.iter().all(|row| !row.contains("late")), "{:?}", plan.draft.0);
        assert_eq!(plan.head, 12);
        let [first, last] = plan.ends.unwrap().map(|(_, number)| number);
        assert_eq!((first, last), (11, 12));
    }

    #[test]
    fn an_event_of_the_same_transaction_is_known_and_one_of_the_log_may_be() {
        let [once, other] = [event("a"), event("a")];
        let writes = [
            append("s", vec![once.clone()], WriteCondition::Always),
            append("t", vec![once.clone()], WriteCondition::StreamExists),
            append("t", vec![other.clone()], WriteCondition::StreamExists),
        ];
        let plan = planned(&writes, false);
        let again = plan.outcomes.get(1);
        assert!(
            matches!(again, Some(Err(Error::DuplicateEvent(id))) if *id == once.id),
            "{again:?}"
        );
        assert!(matches!(plan.outcomes.get(2), Some(Err(Error::ConditionFailed(_)))));
        assert_eq!(plan.unsure, [(2, vec![other.id])], "only the log can tell");
    }
}
