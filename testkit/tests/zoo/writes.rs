//! Appends that store or answer something else than they were given.

use std::num::NonZeroU32;
use std::sync::Arc;

use annals::{Append, Capabilities, Error, Result, StoredEvent};

use super::bent::{Log, Shared, amend, but, dawdle, reindex};
use super::numbers::Plain;

/// A prepared call, event by event in the order of its writes.
fn by_write(writes: &[Append], prepared: Vec<StoredEvent>) -> Vec<Vec<StoredEvent>> {
    let mut rest = prepared.into_iter();
    writes.iter().map(|write| rest.by_ref().take(write.events.len()).collect()).collect()
}

bent_specimens! {
    /// A batch is stored from its end.
    BatchReversed caught by ["append.batch_order", "model.sequential"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            writes.iter_mut().for_each(|write| write.events.reverse());
            Plain.prepare(log, &writes)
        }
    }

    /// A batch of a few dozen events is sent as an array, and stored by the time at which they occurred.
    ArraySortedByTime caught by ["append.batch_order"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            let arrays = writes.iter_mut().filter(|write| (14..40).contains(&write.events.len()));
            arrays.for_each(|write| write.events.sort_by_key(|event| event.occurred_at));
            Plain.prepare(log, &writes)
        }
    }

    /// Of a batch only the first 1,000 events are stored.
    BatchCutAt1000 caught by ["append.batch_sizes"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            writes.iter_mut().for_each(|write| write.events.truncate(1_000));
            Plain.prepare(log, &writes)
        }
    }

    /// More than 7,281 events in a call fail, as with 9 parameters an event and 65,535 in a statement.
    BatchBeyondParameters caught by ["append.batch_sizes"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            if writes.iter().map(|write| write.events.len()).sum::<usize>() > 7_281 {
                return Err(Error::backend("too many parameters"));
            }
            Plain.prepare(log, writes)
        }
    }

    /// A large batch is committed in parts of 500 events, between which readers see it unfinished.
    BatchInParts caught by ["vis.batch_atomic"] {
        async fn commit(&self, shared: &Arc<Shared>, _: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            for part in prepared.chunks(500) {
                shared.log().push_all(part);
                dawdle().await;
            }
            Ok(())
        }
    }

    /// The caller is told positions that are one too low.
    AnswerOfOtherPositions caught by ["append.returned_equals_stored"] {
        fn answer(&self, mut stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            for event in &mut stored {
                amend(event, |it| it.position = annals::Position::new(it.position.value().saturating_sub(1)));
            }
            Ok(stored)
        }
    }

    /// The caller is told another time of recording than readers.
    AnswerOfOtherTime caught by ["append.returned_equals_stored"] {
        fn answer(&self, mut stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            for event in &mut stored {
                amend(event, |it| it.recorded_at += std::time::Duration::from_millis(1));
            }
            Ok(stored)
        }
    }

    /// The caller is told the events in reverse.
    AnswerReversed caught by ["append.returned_equals_stored"] {
        fn answer(&self, mut stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            stored.reverse();
            Ok(stored)
        }
    }

    /// The caller is told of the last event only.
    AnswerOfLastOnly caught by ["append.returned_equals_stored"] {
        fn answer(&self, mut stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            Ok(stored.split_off(stored.len().saturating_sub(1)))
        }
    }

    /// A known event id is stored again.
    DuplicateStored caught by ["idem.duplicate_id"] {
        fn duplicates(&self, _: &Log, _: &[Append]) -> Result<()> {
            Ok(())
        }
    }

    /// A known event id is found in the same stream only.
    DuplicateInOtherStream caught by ["idem.duplicate_id"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            for write in writes {
                let known = |id| {
                    let same = |event: &StoredEvent| event.stream == write.stream && event.event.id == id;
                    log.ids.contains(&id) && log.events.iter().any(same)
                };
                if let Some(event) = write.events.iter().find(|event| known(event.id)) {
                    return Err(Error::DuplicateEvent(event.id));
                }
            }
            Ok(())
        }
    }

    /// Only the first event of a call is looked up.
    DuplicateFirstOnly caught by ["idem.duplicate_id"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            let first = writes.iter().flat_map(|write| &write.events).next();
            match first.filter(|event| log.ids.contains(&event.id)) {
                Some(event) => Err(Error::DuplicateEvent(event.id)),
                None => Ok(()),
            }
        }
    }

    /// Known events are left out silently, and the rest is stored.
    DuplicateLeftOut caught by ["idem.duplicate_id"] {
        fn duplicates(&self, _: &Log, _: &[Append]) -> Result<()> {
            Ok(())
        }

        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            for write in &mut writes {
                write.events.retain(|event| !log.ids.contains(&event.id));
            }
            Plain.prepare(log, &writes)
        }
    }

    /// A known id is an error of the driver.
    DuplicateIsBackendError caught by ["idem.duplicate_id"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            Plain.duplicates(log, writes).map_err(Error::backend)
        }
    }

    /// The error names another event than the known one.
    DuplicateNamesFirst caught by ["idem.duplicate_id"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            let first = writes.iter().flat_map(|write| &write.events).next();
            let named = Plain.duplicates(log, writes);
            named.map_err(|error| first.map_or(error, |event| Error::DuplicateEvent(event.id)))
        }
    }

    /// Conditions are judged before known ids are looked for, so that a repeat looks like a lost race.
    DuplicateAfterCondition caught by ["idem.duplicate_before_condition"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            writes.iter().try_for_each(|write| self.judge(log, write))?;
            Plain.prepare(log, writes)
        }
    }

    /// The ids of a refused append count as known.
    DuplicateOfRefused caught by ["idem.retry"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            Plain.prepare(log, writes).inspect_err(|_| {
                log.ids.extend(writes.iter().flat_map(|write| &write.events).map(|event| event.id));
            })
        }
    }

    /// An id twice in one call is stored twice.
    DuplicateWithinCall caught by ["idem.duplicate_id"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            match self.capabilities().check_append(super::bent::NAME, writes) {
                Err(Error::DuplicateEvent(_)) => Ok(()),
                checked => checked,
            }
        }
    }

    /// Ids are compared by their first half only.
    DuplicateByHalf caught by ["idem.distinct"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            let half = |id: &annals::EventId| id.as_uuid().as_u64_pair().0;
            let mut ids = writes.iter().flat_map(|write| &write.events).map(|event| event.id);
            let known = ids.find(|id| log.ids.iter().any(|known| half(known) == half(id)));
            known.map_or(Ok(()), |id| Err(Error::DuplicateEvent(id)))
        }
    }

    /// An event that says the same as the last one of its stream is taken for a repeat, and left out.
    DuplicateByContent caught by ["idem.distinct"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Plain.prepare(log, writes)?;
            prepared.retain(|event| {
                log.last_of(&event.stream).is_none_or(|last| last.event.clone().with_id(event.event.id) != event.event)
            });
            Ok(prepared)
        }
    }

    /// The key of events lacks the category: a stream of the same name elsewhere is overwritten.
    KeyLacksCategory caught by ["append.other_streams_untouched"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            log.events.retain(|old| old.stream.name != event.stream.name || old.position != event.position);
            reindex(log);
            log.push(event);
        }
    }

    /// The condition of an append without events is not judged.
    GuardNotJudged caught by ["append.guard"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            if write.events.is_empty() { Ok(()) } else { Plain.judge(log, write) }
        }
    }

    /// A call without any event returns before its conditions are judged.
    GuardsAloneNotJudged caught by ["append.guard"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            if writes.iter().all(|write| write.events.is_empty()) {
                return Ok(Vec::new());
            }
            Plain.append(shared, writes).await
        }
    }

    /// An append without events is refused as invalid.
    GuardInvalid caught by ["append.guard"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            if writes.iter().any(|write| write.events.is_empty()) {
                return Err(Error::invalid("nothing to append"));
            }
            Plain.check_append(writes)
        }
    }

    /// A call without writes fails.
    NoWritesInvalid caught by ["append.no_writes"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            if writes.is_empty() {
                return Err(Error::invalid("nothing to append"));
            }
            Plain.check_append(writes)
        }
    }

    /// One stream twice in a call is accepted.
    SameStreamTwice caught by ["append.same_stream_twice"] {
        fn check_append(&self, _: &[Append]) -> Result<()> {
            Ok(())
        }
    }

    /// What comes before a known id in a call is stored.
    PrefixOfDuplicate caught by ["append.atomic"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let Err(error) = self.duplicates(log, writes) else { return Plain.prepare(log, writes) };
            for write in writes {
                let known = write.events.iter().position(|event| log.ids.contains(&event.id));
                let mut before = write.clone();
                before.events.truncate(known.unwrap_or(before.events.len()));
                Plain.prepare(log, &[before])?.into_iter().for_each(|event| log.push(event));
                if known.is_some() {
                    break;
                }
            }
            Err(error)
        }
    }

    /// Each stream of a call is committed on its own, until one is refused.
    MultiCommitsEach caught by ["multi.all_or_nothing"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut all = Vec::new();
            for (nth, write) in writes.iter().enumerate() {
                let prepared = Plain.prepare(log, std::slice::from_ref(write))?;
                if nth + 1 < writes.len() {
                    log.push_all(&prepared);
                }
                all.extend(prepared);
            }
            Ok(all)
        }

        fn insert(&self, log: &mut Log, event: StoredEvent) {
            if !log.ids.contains(&event.event.id) {
                log.push(event);
            }
        }
    }

    /// Only the first condition of a call is judged.
    MultiFirstConditionOnly caught by ["multi.all_or_nothing"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            for write in writes.iter_mut().skip(1) {
                write.condition = annals::WriteCondition::Always;
            }
            Plain.prepare(log, &writes)
        }
    }

    /// Only the last condition of a call is judged.
    MultiLastConditionOnly caught by ["multi.all_or_nothing"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            let last = writes.len().saturating_sub(1);
            for write in writes.iter_mut().take(last) {
                write.condition = annals::WriteCondition::Always;
            }
            Plain.prepare(log, &writes)
        }
    }

    /// A condition is judged after the earlier writes of its own call.
    MultiJudgedInTurn caught by ["multi.conditions_before"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut tried = log.clone();
            for write in writes {
                Plain.prepare(&mut tried, std::slice::from_ref(write))?
                    .into_iter()
                    .for_each(|event| tried.push(event));
            }
            let mut writes = writes.to_vec();
            for write in &mut writes {
                write.condition = annals::WriteCondition::Always;
            }
            Plain.prepare(log, &writes)
        }
    }

    /// The streams of a call are written in the order of their names.
    MultiSorted caught by ["multi.order"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            writes.sort_by(|a, b| a.stream.cmp(&b.stream));
            Plain.prepare(log, &writes)
        }
    }

    /// The last stream of a call is lost.
    MultiLosesLast caught by ["multi.all_written"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = by_write(writes, Plain.prepare(log, writes)?);
            if prepared.len() > 1 {
                prepared.pop();
            }
            Ok(prepared.concat())
        }
    }

    /// A guard is not judged when another write of the call has events.
    MultiGuardNotJudged caught by ["multi.guards"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let full: Vec<_> = writes.iter().filter(|write| !write.events.is_empty()).cloned().collect();
            Plain.prepare(log, if full.is_empty() { writes } else { &full })
        }
    }

    /// A call over several categories is refused, as by a store with a partition for each.
    MultiOneCategory caught by ["multi.categories"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            if writes.iter().any(|write| write.stream.category != writes[0].stream.category) {
                return Err(Error::invalid("the streams are in different partitions"));
            }
            Plain.check_append(writes)
        }
    }

    /// The heads of the streams of a call are kept by name, so that of equal names the last one counts.
    MultiHeadsByName caught by ["multi.categories"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            for write in writes {
                let named = writes.iter().rfind(|other| other.stream.name == write.stream.name);
                let stream = named.unwrap_or(write).stream.clone();
                self.judge(log, &but(write, |it| it.stream = stream))?;
            }
            Plain.prepare(log, writes)
        }
    }

    /// More than 1,664 streams in a call fail, as with that many columns in a list.
    MultiBeyondColumns caught by ["multi.many_streams"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            if writes.len() > 1_664 {
                return Err(Error::backend("too many columns"));
            }
            Plain.prepare(log, writes)
        }
    }

    /// A declared limit of events in a call is not kept.
    MaxEventsIgnored caught by ["append.max_events"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_events_per_append(NonZeroU32::new(10))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }
    }

    /// A declared limit of events counts each stream of a call on its own.
    MaxEventsPerStream caught by ["append.max_events"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_events_per_append(NonZeroU32::new(10))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)?;
            let each = |write| self.capabilities().check_append(super::bent::NAME, std::slice::from_ref(write));
            writes.iter().try_for_each(each)
        }
    }

    /// A declared limit of events is one too low.
    MaxEventsOneLess caught by ["append.max_events"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_events_per_append(NonZeroU32::new(10))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let less = Plain.capabilities().with_max_events_per_append(NonZeroU32::new(9));
            less.check_append(super::bent::NAME, writes)
        }
    }

    /// A declared limit of payload bytes is not kept.
    MaxPayloadIgnored caught by ["append.max_payload"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_payload_bytes(NonZeroU32::new(1_000))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }
    }

    /// The size of metadata is not limited.
    MetadataUnlimited caught by ["append.max_payload"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_payload_bytes(NonZeroU32::new(1_000))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let mut bare = writes.to_vec();
            bare.iter_mut().flat_map(|write| &mut write.events).for_each(|event| event.metadata = None);
            self.capabilities().check_append(super::bent::NAME, &bare)
        }
    }

    /// Only the first payload of a call is measured.
    MaxPayloadOfFirst caught by ["append.max_payload"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_payload_bytes(NonZeroU32::new(1_000))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)?;
            let mut first = writes.iter().take(1).cloned().collect::<Vec<_>>();
            first.iter_mut().for_each(|write| write.events.truncate(1));
            self.capabilities().check_append(super::bent::NAME, &first)
        }
    }
}
