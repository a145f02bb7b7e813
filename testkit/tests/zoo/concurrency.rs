//! Adapters that go wrong only when others are at work, or when a caller goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::adapter::Facts;
use annals::{Append, Position, Query, ReadOptions, Result, StoredEvent};

use super::bent::count;
use super::bent::{Log, Shared, but, commit_at, dawdle, select_without};
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
    SecondHandleStale { seen: AtomicU64 } caught by ["vis.two_handles", "model.two_handles"] {
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
