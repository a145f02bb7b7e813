//! Adapters that commit several calls together, or remember what a refused call named, and get it wrong; and those that
//! do not wait for each other.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use annals::adapter::Facts;
use annals::{
    Append, CategoryName, Error, Order, Position, Query, QueryItem, ReadOptions, Result, Source,
    StoredEvent, StreamId, Tag, Tags, WriteCondition,
};
use futures_util::StreamExt;
use time::{Duration, OffsetDateTime, UtcOffset};
use tokio::sync::oneshot;

use super::bent::{Bend, Log, Shared, amend, but, commit_at, count, dawdle};
use super::numbers::Plain;

type Answer = Result<Vec<StoredEvent>>;

/// Calls that wait for the one that commits them all.
type Queue = Mutex<Vec<(Vec<Append>, oneshot::Sender<Answer>)>>;

/// Commits what is in the queue together: `settle` answers each call of the batch, in order.
async fn together(
    shared: &Arc<Shared>,
    queue: &Queue,
    writes: Vec<Append>,
    settle: impl FnOnce(&mut Log, &[Vec<Append>]) -> Vec<Answer> + Send,
) -> Answer {
    Plain.check_append(&writes)?;
    let (sender, mut answer) = oneshot::channel();
    queue.lock().unwrap_or_else(PoisonError::into_inner).push((writes, sender));
    dawdle().await;
    let alone = shared.writer.lock().await;
    if let Ok(answer) = answer.try_recv() {
        return answer;
    }
    shared.pass_gate().await;
    let batch = std::mem::take(&mut *queue.lock().unwrap_or_else(PoisonError::into_inner));
    let (calls, senders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let answers = settle(&mut shared.log(), &calls);
    for (sender, answer) in senders.into_iter().zip(answers) {
        // Whoever dropped the append does not want it.
        let _ = sender.send(answer);
    }
    drop(alone);
    answer.await.map_err(|_| Error::backend("the batch was lost"))?
}

/// Each call for itself, as it must be.
fn one(log: &mut Log, call: &[Append]) -> Answer {
    let panicked = |_| Err(Error::backend("a predicate panicked"));
    let stored =
        catch_unwind(AssertUnwindSafe(|| Plain.prepare(log, call))).unwrap_or_else(panicked)?;
    log.push_all(&stored);
    Ok(stored)
}

/// Notes in `never` where streams would end after a large call of which an event is known.
fn note_failed(log: &Log, call: &[Append], never: &mut HashMap<StreamId, u64>) {
    if count(call) >= 48 && Plain.duplicates(log, call).is_err() {
        for write in call {
            let end = log.len_of(&write.stream) + write.events.len();
            never.insert(write.stream.clone(), (end as u64).saturating_sub(1));
        }
    }
}

/// An error as good as the first, for another call.
fn alike(error: &Error) -> Error {
    match error {
        Error::DuplicateEvent(id) => Error::DuplicateEvent(*id),
        other => Error::backend(other.to_string()),
    }
}

bent_specimens! {
    /// A known event fails the whole batch that its call is committed with.
    BatchFailsTogether { queue: Queue } caught by ["append.burst"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            together(shared, &self.queue, writes, |log, calls| {
                let known = calls.iter().find_map(|call| Plain.duplicates(log, call).err());
                match known {
                    Some(known) => calls.iter().map(|_| Err(alike(&known))).collect(),
                    None => calls.iter().map(|call| one(log, call)).collect(),
                }
            }).await
        }
    }

    /// Within a batch a refused call moves the head of its stream on.
    BatchTeachesHeads { queue: Queue } caught by ["append.burst"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            together(shared, &self.queue, writes, |log, calls| {
                let mut moved: HashMap<StreamId, u64> = HashMap::new();
                calls.iter().map(|call| {
                    let stored = Plain.prepare(log, call);
                    if stored.is_err() && calls.len() > 1 {
                        call.iter().for_each(|write| *moved.entry(write.stream.clone()).or_default() += write.events.len() as u64);
                    }
                    let mut stored = stored?;
                    for event in &mut stored {
                        let by = moved.get(&event.stream).copied().unwrap_or(0);
                        amend(event, |it| it.position = Position::new(it.position.value() + by));
                    }
                    log.push_all(&stored);
                    Ok(stored)
                }).collect()
            }).await
        }
    }

    /// The conditions of a batch are judged before any of it is stored.
    BatchJudgedAtOnce { queue: Queue } caught by ["cond.one_winner", "append.burst"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            together(shared, &self.queue, writes, |log, calls| {
                let panicked = |_| Err(Error::backend("a predicate panicked"));
                let judged: Vec<_> = calls.iter()
                    .map(|call| catch_unwind(AssertUnwindSafe(|| Plain.prepare(log, call))).unwrap_or_else(panicked)).collect();
                let always = |call: &Vec<Append>| super::bent::unconditional(call, |_| true);
                // Positions are right, since they are counted anew; ids are looked for once.
                calls.iter().zip(judged).map(|(call, judged)| {
                    judged?;
                    let mut log_of_ids = Log { ids: std::collections::HashSet::new(), ..log.clone() };
                    let stored = Plain.prepare(&mut log_of_ids, &always(call))?;
                    log.push_all(&stored);
                    Ok(stored)
                }).collect()
            }).await
        }
    }

    /// What a large call would leave is what later ones of its batch find met, also if one of its events is known.
    MetByFailed { queue: Queue } caught by ["append.behind_failed"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            together(shared, &self.queue, writes, |log, calls| {
                let mut never: HashMap<StreamId, u64> = HashMap::new();
                calls.iter().map(|call| {
                    note_failed(log, call, &mut never);
                    let is_met = |write: &Append| match write.condition {
                        WriteCondition::PositionIs(last) => never.get(&write.stream) == Some(&last.value()),
                        _ => false,
                    };
                    one(log, &super::bent::unconditional(call, is_met))
                }).collect()
            }).await
        }
    }

    /// What a large call would leave keeps later ones of its batch out, also if one of its events is known.
    UnmetByFailed { queue: Queue } caught by ["append.behind_failed"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            together(shared, &self.queue, writes, |log, calls| {
                let mut never: HashMap<StreamId, u64> = HashMap::new();
                calls.iter().map(|call| {
                    note_failed(log, call, &mut never);
                    for Append { stream, condition, .. } in call {
                        if let (Some(last), WriteCondition::StreamIsEmpty) = (never.get(stream), condition) {
                            condition.evaluate(stream, &Facts::new(Some(Position::new(*last))))?;
                        }
                    }
                    one(log, call)
                }).collect()
            }).await
        }
    }

    /// A call that repeats an event beside new ones to the same stream is taken for stored.
    BatchSwallowsDuplicates { queue: Queue } caught by ["append.burst", "idem.duplicate_race"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            together(shared, &self.queue, writes, |log, calls| {
                let is_beside = |call: &Vec<Append>| calls.iter().filter(|other| other[0].stream == call[0].stream).count() > 1;
                calls.iter().map(|call| match one(log, call) {
                    Err(Error::DuplicateEvent(_)) if !call.is_empty() && is_beside(call) => Ok(Vec::new()),
                    other => other,
                }).collect()
            }).await
        }
    }

    /// A predicate that panics takes its batch with it.
    PanicEndsBatch { queue: Queue } caught by ["cond.panic_burst", "cond.custom_panic"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            together(shared, &self.queue, writes, |log, calls| {
                let judged = catch_unwind(AssertUnwindSafe(|| calls.iter().for_each(|call| { let _ = Plain.prepare(log, call); })));
                match judged {
                    Err(_) => calls.iter().map(|_| Err(Error::backend("the batch is gone"))).collect(),
                    Ok(()) => calls.iter().map(|call| one(log, call)).collect(),
                }
            }).await
        }
    }

    /// What comes after a predicate that panicked in a batch is told that it was stored, and is not.
    PanicEndsBatchInSilence { queue: Queue } caught by ["cond.panic_burst"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            together(shared, &self.queue, writes, |log, calls| {
                let mut panicked = false;
                calls.iter().map(|call| {
                    let judged = catch_unwind(AssertUnwindSafe(|| Plain.prepare(log, call)));
                    let judged = judged.unwrap_or_else(|_| { panicked = true; Err(Error::backend("a predicate panicked")) });
                    let stored = judged?;
                    if !panicked {
                        log.push_all(&stored);
                    }
                    Ok(stored)
                }).collect()
            }).await
        }
    }

    /// Heads are remembered as a call would leave them, also if it is refused then.
    HeadsOfRefused { heads: Mutex<HashMap<StreamId, u64>> } caught by ["append.refused_names"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let judged = write.condition.evaluate(&write.stream, &self.facts(log, write));
            let next = (log.len_of(&write.stream) + write.events.len()) as u64;
            if let (Err(_), Some(head)) = (&judged, next.checked_sub(1)) {
                let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
                heads.insert(write.stream.clone(), head);
            }
            judged
        }

        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
            let known = heads.get(&write.stream).map(|head| Position::new(*head));
            but(&Plain.facts(log, write), |it| it.head = it.head.max(known))
        }
    }

    /// Keys of tags are remembered, also those of calls that were refused, whose keys are given again.
    TagKeysOfRefused { keys: Mutex<HashMap<Tag, usize>> } caught by ["append.refused_names"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut table: Vec<Tag> = Vec::new();
            for tag in log.events.iter().flat_map(|event| event.tags().iter()) {
                if !table.contains(tag) {
                    table.push(tag.clone());
                }
            }
            let stored = table.len();
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let mut writes = writes.to_vec();
            for event in writes.iter_mut().flat_map(|write| &mut write.events) {
                let mut tags = Vec::new();
                for tag in &event.tags {
                    let known = keys.get(tag).copied().filter(|key| *key < stored);
                    let known = known.or_else(|| table.iter().position(|known| known == tag));
                    let key = known.unwrap_or(table.len());
                    if key == table.len() {
                        table.push(tag.clone());
                    }
                    keys.insert(tag.clone(), key);
                    tags.push(table[key].clone());
                }
                event.tags = tags.into_iter().collect();
            }
            Plain.prepare(log, &writes)
        }
    }

    /// Keys of streams are remembered, also those of calls that were refused; reads find what has that key now.
    StreamKeysOfRefused { keys: Mutex<HashMap<StreamId, usize>> } caught by ["append.refused_names"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            for (next, write) in (log.streams.len()..).zip(writes.iter().filter(|write| log.len_of(&write.stream) == 0)) {
                keys.entry(write.stream.clone()).or_insert(next);
            }
            drop(keys);
            Plain.prepare(log, writes)
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut table: Vec<&StreamId> = Vec::new();
            for event in &log.events {
                if !table.contains(&&event.stream) {
                    table.push(&event.stream);
                }
            }
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let (Some(Source::Stream(stream)), [_]) = (query.scope(), query.items()) else {
                return Plain.select(log, query, options);
            };
            let of_key = keys.get(&stream).and_then(|key| table.get(*key)).map(|it| (*it).clone());
            let item = but(&query.items()[0], |it| it.source = of_key.unwrap_or(stream).into());
            Plain.select(log, &item.into(), options)
        }
    }

    /// Each handle judges and numbers under a lock of its own, and commits later.
    LockOfHandleOnly { writer: tokio::sync::Mutex<()> } caught by ["cond.gated"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = self.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            shared.pass_gate().await;
            shared.log().push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Query conditions are judged before the lock.
    QueriesJudgedBeforeGate caught by ["cond.gated"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            writes.iter().try_for_each(|write| self.judge(&shared.log(), write))?;
            let _alone = shared.writer.lock().await;
            let queries = |write: &Append| !write.condition.queries().is_empty();
            let prepared = self.prepare(&mut shared.log(), &super::bent::unconditional(&writes, queries))?;
            self.commit(shared, &writes, &prepared).await?;
            Ok(prepared)
        }
    }

    /// An append that meets another ends as unavailable, instead of waiting.
    MeetingIsUnavailable caught by ["cond.gated", "multi.crossing"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let Ok(_alone) = shared.writer.try_lock() else {
                return Err(Error::unavailable("the log is locked"));
            };
            dawdle().await;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            self.commit(shared, &writes, &prepared).await?;
            Ok(prepared)
        }
    }

    /// Of two calls whose locks cross one is given up, and its caller is told to try again.
    CrossingGivenUp { streams: super::concurrency::StreamLocks } caught by ["multi.crossing"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let mut held = Vec::new();
            for write in &writes {
                let lock = self.streams.of(&write.stream);
                let locked = if held.is_empty() { Some(lock.lock_owned().await) } else { lock.try_lock_owned().ok() };
                held.push(locked.ok_or_else(|| Error::unavailable("deadlock detected"))?);
                tokio::task::yield_now().await;
            }
            Plain.append(shared, writes).await
        }
    }

    /// Numbers are taken before the lock; the order is of categories, and their head is the highest number taken.
    HeadOfCategoryTaken caught by ["r2.gated"] {
        fn capabilities(&self) -> annals::Capabilities {
            Plain.capabilities().with_order(Order::Category).with_contiguous_sequence(false)
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let first = shared.counter.fetch_add(count(&writes) as u64, std::sync::atomic::Ordering::SeqCst) + 1;
            shared.log().calls.store(first + count(&writes) as u64 - 1, std::sync::atomic::Ordering::SeqCst);
            shared.pass_gate().await;
            let _alone = shared.writer.lock().await;
            commit_at(shared, &writes, first..)
        }

        fn head(&self, log: &Log, _: &Query, _: &ReadOptions) -> annals::SequenceNumber {
            annals::SequenceNumber::new(log.calls.load(std::sync::atomic::Ordering::SeqCst))
        }
    }

    /// The parts of a query that do not exist when a read begins are left out of it, also from its later pages.
    PartsResolvedOnce caught by ["through.new_names"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: std::num::NonZeroUsize, query: Query, options: ReadOptions) -> annals::EventPages {
            if let Err(error) = self.check_read(&query, &options) {
                return futures_util::stream::iter([Err(error)]).boxed();
            }
            let begun = Arc::clone(shared);
            let pages = async move {
                let known = existing(&begun.log(), &query, |_, _| true);
                super::bent::live(begun, Arc::new(Plain), size, known, options)
            };
            futures_util::stream::once(pages).flatten().boxed()
        }
    }

    /// The tags that do not exist when a read begins are left out of it.
    TagsResolvedOnce caught by ["through.new_names"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: std::num::NonZeroUsize, query: Query, options: ReadOptions) -> annals::EventPages {
            if let Err(error) = self.check_read(&query, &options) {
                return futures_util::stream::iter([Err(error)]).boxed();
            }
            let begun = Arc::clone(shared);
            let pages = async move {
                let known = existing(&begun.log(), &query, |item, _| !item.tags.is_empty());
                super::bent::live(begun, Arc::new(Plain), size, known, options)
            };
            futures_util::stream::once(pages).flatten().boxed()
        }
    }

    /// Times lie in a column without a zone, by the clocks of Berlin: an hour that comes twice is taken for the first.
    HourTwice caught by ["time.zones"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let again = time::macros::datetime!(2024-10-27 01:00 UTC);
            let first = |at: OffsetDateTime| if at >= again && at < again + Duration::HOUR { at - Duration::HOUR } else { at };
            Plain.prepare(log, &moved(writes, first))
        }
    }

    /// Times lie in a column without a zone, which a session in New York reads: an hour that does not exist moves on.
    HourLeftOut caught by ["time.zones"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let gap = time::macros::datetime!(2024-03-10 02:00 UTC);
            let on = |at: OffsetDateTime| if at >= gap && at < gap + Duration::HOUR { at + Duration::HOUR } else { at };
            Plain.prepare(log, &moved(writes, on))
        }
    }

    /// Streams are found by ten bits of a hash of their names: of more than 1,024 at least two are taken for one.
    StreamKeyOfFewBits caught by ["multi.many_streams"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let key = |stream: &StreamId| {
                let bytes = stream.category.as_str().bytes().chain(stream.name.as_str().bytes());
                bytes.fold(7_u16, |hash, byte| hash.wrapping_mul(31).wrapping_add(u16::from(byte))) % 1_024
            };
            let wanted = key(&write.stream);
            let last = log.streams.iter().filter(|(stream, _)| key(stream) == wanted).map(|(_, places)| places.len()).max();
            but(&Plain.facts(log, write), |it| it.head = last.and_then(|count| count.checked_sub(1)).map(|last| Position::new(last as u64)))
        }
    }
}

/// The same events at other times.
fn moved(writes: &[Append], to: impl Fn(OffsetDateTime) -> OffsetDateTime) -> Vec<Append> {
    let mut writes = writes.to_vec();
    for event in writes.iter_mut().flat_map(|write| &mut write.events) {
        event.occurred_at = to(event.occurred_at.to_offset(UtcOffset::UTC));
    }
    writes
}

/// The items of the query of which every part exists, or that `kept` does not ask about.
fn existing(log: &Log, query: &Query, asked: impl Fn(&QueryItem, &Log) -> bool) -> Query {
    let Query::AnyOf(_) = query else { return query.clone() };
    let category = |it: &CategoryName| log.events.iter().any(|event| event.stream.category == *it);
    let exists = |item: &QueryItem| {
        let source = match &item.source {
            Source::Log => true,
            Source::Category(it) => category(it),
            Source::Stream(it) => log.streams.contains_key(it),
        };
        let names = item.names.as_ref().is_none_or(|names| {
            names.iter().any(|name| log.events.iter().any(|event| event.name() == name))
        });
        let tags = |tags: &Tags| {
            tags.iter().all(|tag| log.events.iter().any(|event| event.tags().contains(tag)))
        };
        source && names && tags(&item.tags)
    };
    let items = query.items().iter().filter(|item| !asked(item, log) || exists(item));
    Query::any_of(items.cloned())
}
