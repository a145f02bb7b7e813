//! Adapters that go wrong only when others are at work, or when a caller goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::adapter::Facts;
use annals::{
    Append, Direction, EventId, Position, Query, QueryItem, ReadOptions, Result, SequenceNumber,
    Source, StoredEvent,
};

use super::bent::count;
use super::bent::{Bend, Log, Shared, but, commit_at, dawdle, select_without};
use super::numbers::Plain;

bent_specimens! {
    /// Conditions are judged and positions counted before the lock is taken.
    JudgedBeforeLock caught by ["cond.one_winner"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let judged = self.prepare(&mut shared.log(), &writes);
            judged?;
            dawdle().await;
            let _alone = shared.writer.lock().await;
            let mut log = shared.log();
            let mut writes = writes;
            writes.iter_mut().for_each(|write| write.condition = annals::WriteCondition::Always);
            let prepared = self.prepare(&mut log, &writes)?;
            log.push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Nothing keeps appends apart.
    NoLock caught by ["pos.contiguous_concurrent"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            dawdle().await;
            shared.log().push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Two batches on one stream can mix.
    BatchesMix caught by ["pos.contiguous_concurrent"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            self.prepare(&mut shared.log(), &writes)?;
            let mut all = Vec::new();
            for write in &writes {
                for event in &write.events {
                    let one = Append::new(write.stream.clone(), [event.clone()], annals::WriteCondition::Always);
                    all.extend(Plain.append(shared, vec![one]).await?);
                    tokio::task::yield_now().await;
                }
            }
            Ok(all)
        }
    }

    /// Each handle has a lock of its own.
    LockPerHandle { writer: tokio::sync::Mutex<()> } caught by ["vis.two_handles"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = self.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            dawdle().await;
            shared.log().push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Each handle remembers the heads of streams, and does not hear of other handles.
    HeadsCachedPerHandle { heads: std::sync::Mutex<std::collections::HashMap<annals::StreamId, u64>> } caught by ["vis.two_handles"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let heads = self.heads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let facts = Plain.facts(log, write);
            let head = heads.get(&write.stream).map(|head| Position::new(*head)).or(facts.head);
            but(&facts, |it| it.head = head)
        }

        fn insert(&self, log: &mut Log, event: StoredEvent) {
            let mut heads = self.heads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            heads.insert(event.stream.clone(), event.position.value());
            log.push(event);
        }
    }

    /// Numbers are taken before the lock, so that a later one can be committed first.
    NumbersBeforeLock caught by ["r2.gated", "r2.log", "r2.category", "r2.stream", "r2.filtered", "r2.two_handles"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let first = shared.counter.fetch_add(count(&writes) as u64, Ordering::SeqCst) + 1;
            if first.is_multiple_of(3) {
                dawdle().await;
            }
            shared.pass_gate().await;
            let _alone = shared.writer.lock().await;
            commit_at(shared, &writes, first..)
        }
    }

    /// The events of a batch become visible one after the other.
    BatchVisibleInParts caught by ["vis.batch_atomic"] {
        async fn commit(&self, shared: &Arc<Shared>, _: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            for event in prepared {
                shared.log().push(event.clone());
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    }

    /// The streams of a call become visible one after the other.
    StreamsVisibleInTurn caught by ["vis.batch_atomic"] {
        async fn commit(&self, shared: &Arc<Shared>, writes: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            for write in writes {
                let own: Vec<_> = prepared.iter().filter(|event| event.stream == write.stream).cloned().collect();
                shared.log().push_all(&own);
                dawdle().await;
            }
            Ok(())
        }
    }

    /// An append is stored first, and taken back when its condition does not hold.
    RefusedVisible caught by ["vis.refused_invisible"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            let before = shared.log().clone();
            let judged = self.prepare(&mut shared.log(), &writes);
            let mut stored = writes;
            stored.iter_mut().for_each(|write| write.condition = annals::WriteCondition::Always);
            if matches!(judged, Err(annals::Error::ConditionFailed(_))) {
                let prepared = self.prepare(&mut shared.log(), &stored)?;
                shared.log().push_all(&prepared);
                dawdle().await;
                *shared.log() = before;
            }
            let prepared = judged?;
            shared.log().push_all(&prepared);
            Ok(prepared)
        }
    }

    /// An append is acknowledged before it can be read.
    AcknowledgedEarly caught by ["vis.read_your_writes"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let alone = Arc::clone(shared);
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            let events = prepared.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                alone.log().push_all(&events);
            });
            Ok(prepared)
        }
    }

    /// A second handle reads what was there when it was opened, and each append of its own.
    SecondHandleStale { seen: AtomicU64 } caught by ["vis.two_handles", "model.sequential"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let stored = Plain.append(shared, writes).await?;
            let last = stored.last().map_or(0, |event| event.sequence_number.value());
            self.seen.fetch_max(last, Ordering::SeqCst);
            Ok(stored)
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let seen = self.seen.load(Ordering::SeqCst).max(u64::from(log.last == 0));
            select_without(log, query, options, |event| event.sequence_number.value() > seen)
        }
    }

    /// The streams of a call are locked in the order given, so that two calls can wait for each other.
    LocksUnsorted { streams: StreamLocks } caught by ["multi.crossing"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let mut held = Vec::new();
            for write in &writes {
                held.push(self.streams.of(&write.stream).lock_owned().await);
                tokio::task::yield_now().await;
            }
            Plain.append(shared, writes).await
        }
    }

    /// Under contention writers that could go on are refused.
    SpuriousRefusal caught by ["cond.no_spurious"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let before = shared.log().last;
            dawdle().await;
            let _alone = shared.writer.lock().await;
            let mut log = shared.log();
            let mut judged = writes.clone();
            if log.last != before {
                for write in &mut judged {
                    write.condition = annals::WriteCondition::Any(Vec::new());
                }
            }
            let prepared = self.prepare(&mut log, &judged)?;
            log.push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Appends are committed some time before they are acknowledged; reads of a stream from its end show it as it was
    /// acknowledged, other reads as it was committed.
    StreamsEndBehind caught by ["lin.history"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            behind(self, shared, &writes).await
        }

        fn head(&self, log: &Log, query: &Query, options: &ReadOptions) -> SequenceNumber {
            head_behind(log, query, options, is_from_end(query, options))
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_behind(log, query, options, is_from_end(query, options))
        }
    }

    /// The same of the last event of a stream alone: who decides on it is refused for what is there already.
    LastBehindConditions caught by ["cond.counter"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            behind(self, shared, &writes).await
        }

        fn head(&self, log: &Log, query: &Query, options: &ReadOptions) -> SequenceNumber {
            head_behind(log, query, options, is_of_stream(query) && is_latest(options))
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_behind(log, query, options, is_of_stream(query) && is_latest(options))
        }
    }

    /// The same of the last event of the log alone: it was seen in its stream before.
    LastOfLogBehind caught by ["vis.sessions"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            behind(self, shared, &writes).await
        }

        fn head(&self, log: &Log, query: &Query, options: &ReadOptions) -> SequenceNumber {
            head_behind(log, query, options, is_of_log(query) && is_latest(options))
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_behind(log, query, options, is_of_log(query) && is_latest(options))
        }
    }

    /// Every third append is put into the list of its stream after later ones may be; reads that go on in steps use it.
    ListOfStreamLate { appends: AtomicU64 } caught by ["r2.stream"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let stored = Plain.append(shared, writes).await?;
            if self.appends.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
                let _late = Late::new(shared, &stored);
                for _ in 0..4 {
                    dawdle().await;
                }
            }
            Ok(stored)
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            // Few reads ask for so many and no more.
            if !is_of_stream(query) || options.limit.is_none_or(|limit| limit < 40) {
                return Plain.select(log, query, options);
            }
            select_without(log, query, options, |event| log.hidden.contains_key(&event.id()))
        }
    }

    /// Of calls to two streams that are under way together one is refused, though they have no stream in common.
    DisjointCallsConflict caught by ["multi.disjoint"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let is_pair = writes.len() == 2 && writes.iter().all(|write| {
                write.events.len() == 1 && matches!(write.condition, annals::WriteCondition::PositionIs(_))
            });
            let before = shared.log().last;
            if is_pair {
                dawdle().await;
            }
            let _alone = shared.writer.lock().await;
            let mut judged = writes;
            let prepared = {
                let mut log = shared.log();
                let meanwhile = || log.events.iter().filter(|event| event.sequence_number.value() > before);
                let is_own = |event: &StoredEvent| judged.iter().any(|write| write.stream == event.stream);
                if is_pair && meanwhile().next().is_some() && !meanwhile().any(is_own) {
                    judged[0].condition = annals::WriteCondition::Any(Vec::new());
                }
                self.prepare(&mut log, &judged)?
            };
            self.commit(shared, &judged, &prepared).await?;
            Ok(prepared)
        }
    }
}

/// Appends, and acknowledges it some time after it is committed.
async fn behind(
    bend: &impl Bend,
    shared: &Arc<Shared>,
    writes: &[Append],
) -> Result<Vec<StoredEvent>> {
    bend.check_append(writes)?;
    let (prepared, _acknowledged) = {
        let _alone = shared.writer.lock().await;
        let prepared = bend.prepare(&mut shared.log(), writes)?;
        bend.commit(shared, writes, &prepared).await?;
        let last = prepared.last().map_or(0, |event| event.sequence_number.value());
        (prepared, Acknowledged(Arc::clone(&shared.log().calls), last))
    };
    for _ in 0..16 {
        dawdle().await;
    }
    Ok(prepared)
}

/// Counts an append as acknowledged when it is dropped.
struct Acknowledged(Arc<AtomicU64>, u64);

impl Drop for Acknowledged {
    fn drop(&mut self) {
        self.0.fetch_max(self.1, Ordering::SeqCst);
    }
}

fn acknowledged(log: &Log) -> SequenceNumber {
    SequenceNumber::new(log.calls.load(Ordering::SeqCst))
}

fn head_behind(log: &Log, query: &Query, options: &ReadOptions, is_behind: bool) -> SequenceNumber {
    let head = Plain.head(log, query, options);
    if is_behind { head.min(acknowledged(log)) } else { head }
}

fn select_behind(
    log: &Log,
    query: &Query,
    options: &ReadOptions,
    is_behind: bool,
) -> Result<Vec<StoredEvent>> {
    if !is_behind {
        return Plain.select(log, query, options);
    }
    let seen = acknowledged(log);
    select_without(log, query, options, |event| event.sequence_number > seen)
}

fn is_from_end(query: &Query, options: &ReadOptions) -> bool {
    is_of_stream(query) && options.direction == Direction::Backward && options.limit != Some(1)
}

fn is_of_stream(query: &Query) -> bool {
    let [item] = query.items() else { return false };
    matches!(item.source, Source::Stream(_)) && *item == QueryItem::new(item.source.clone())
}

fn is_of_log(query: &Query) -> bool {
    *query == Query::All || *query == Query::from(Source::Log)
}

fn is_latest(options: &ReadOptions) -> bool {
    *options == ReadOptions::last(1)
}

/// Events that the list of their stream lacks until this is dropped.
struct Late<'a> {
    shared: &'a Shared,
    ids: Vec<EventId>,
}

impl<'a> Late<'a> {
    fn new(shared: &'a Shared, events: &[StoredEvent]) -> Self {
        let ids: Vec<_> = events.iter().map(StoredEvent::id).collect();
        shared.log().hidden.extend(ids.iter().map(|id| (*id, u64::MAX)));
        Self { shared, ids }
    }
}

impl Drop for Late<'_> {
    fn drop(&mut self) {
        let mut log = self.shared.log();
        log.hidden.retain(|id, _| !self.ids.contains(id));
    }
}

/// A lock for each stream.
#[derive(Debug, Default)]
pub(super) struct StreamLocks(
    std::sync::Mutex<std::collections::HashMap<annals::StreamId, Arc<tokio::sync::Mutex<()>>>>,
);

impl StreamLocks {
    pub(super) fn of(&self, stream: &annals::StreamId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(locks.entry(stream.clone()).or_default())
    }
}
