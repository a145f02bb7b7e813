//! Conditions and event ids that are judged rightly, but not together with the write.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals::{Append, Error, Result, StoredEvent, WriteCondition};

use super::bent::{Bend, Log, Shared, dawdle, retold, unconditional};
use super::concurrency::StreamLocks;
use super::numbers::Plain;

/// An append whose refusal becomes another error if others appended meanwhile.
async fn losers_get(
    shared: &Arc<Shared>,
    writes: Vec<Append>,
    other: impl FnOnce() -> Error,
) -> Result<Vec<StoredEvent>> {
    let before = shared.log().last;
    dawdle().await;
    let outcome = Plain.append(shared, writes).await;
    let raced = shared.log().last != before;
    outcome.map_err(|error| match error {
        Error::ConditionFailed(_) if raced => other(),
        error => error,
    })
}

/// An append of which these writes are judged before the lock is taken, and the rest under it.
async fn judged_before(
    shared: &Arc<Shared>,
    writes: &[Append],
    early: impl Fn(&Append) -> bool,
) -> Result<Vec<StoredEvent>> {
    Plain.check_append(writes)?;
    {
        let log = shared.log();
        Plain.duplicates(&log, writes)?;
        let mut judged = writes.iter().filter(|write| early(write));
        judged.try_for_each(|write| Plain.judge(&log, write))?;
    }
    dawdle().await;
    Plain.append(shared, unconditional(writes, early)).await
}

/// An append whose ids are looked up before the lock is taken, by an adapter that does not look under it.
pub(super) async fn ids_looked_up_before(
    bend: &impl Bend,
    shared: &Arc<Shared>,
    writes: &[Append],
) -> Result<Vec<StoredEvent>> {
    {
        let log = shared.log();
        Plain.duplicates(&log, writes)?;
    }
    dawdle().await;
    let _alone = shared.writer.lock().await;
    let mut log = shared.log();
    let prepared = bend.prepare(&mut log, writes)?;
    log.push_all(&prepared);
    Ok(prepared)
}

bent_specimens! {
    /// Conditions are judged under the lock, which is let go for a moment before the events are stored.
    LockTakenTwice caught by ["cond.one_winner"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            std::thread::yield_now();
            shared.log().push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Conditions are judged on a copy, and only positions and ids once the lock is held.
    JudgedOnCopy caught by ["cond.judged_inside"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let mut copy = shared.log().clone();
            self.prepare(&mut copy, &writes)?;
            let mut log = shared.log();
            let prepared = self.prepare(&mut log, &unconditional(&writes, |_| true))?;
            log.push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Writers that meet on a store are all refused.
    AllLose caught by ["cond.progress"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            shared.counter.fetch_add(1, Ordering::SeqCst);
            dawdle().await;
            let met = shared.counter.load(Ordering::SeqCst) > 1;
            dawdle().await;
            shared.counter.fetch_sub(1, Ordering::SeqCst);
            let mut writes = writes;
            for write in writes.iter_mut().filter(|_| met) {
                write.condition = WriteCondition::Any(Vec::new());
            }
            Plain.append(shared, writes).await
        }
    }

    /// What queries find is looked up before the lock is taken; the rest is judged under it.
    QueriesBeforeLock caught by ["cond.no_match_race"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            judged_before(shared, &writes, |write| !write.condition.queries().is_empty()).await
        }
    }

    /// Guards are judged before the lock is taken; what is written is judged under it.
    GuardsBeforeLock caught by ["cond.guard_race"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            judged_before(shared, &writes, |write| write.events.is_empty()).await
        }
    }

    /// What guards ask of queries is looked up before the lock is taken; the rest is judged under it.
    GuardQueriesBeforeLock caught by ["cond.guard_race"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let asks = |write: &Append| write.events.is_empty() && !write.condition.queries().is_empty();
            judged_before(shared, &writes, asks).await
        }
    }

    /// Only the streams that a call writes to are locked, whatever its conditions look at.
    LockPerStream { streams: StreamLocks } caught by ["cond.judged_inside"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let mut written: Vec<_> = writes.iter().filter(|write| !write.events.is_empty()).collect();
            written.sort_by(|a, b| a.stream.cmp(&b.stream));
            let mut held = Vec::new();
            for write in written {
                held.push(self.streams.of(&write.stream).lock_owned().await);
            }
            let copy = shared.log().clone();
            writes.iter().try_for_each(|write| self.judge(&copy, write))?;
            let mut log = shared.log();
            let prepared = self.prepare(&mut log, &unconditional(&writes, |_| true))?;
            log.push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Event ids are looked up before the lock is taken.
    IdsBeforeLock caught by ["idem.duplicate_race"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            ids_looked_up_before(self, shared, &writes).await
        }

        fn duplicates(&self, _: &Log, _: &[Append]) -> Result<()> {
            Ok(())
        }
    }

    /// An event id that somebody else stores at the same time is an error of the driver.
    RacedIdIsBackendError caught by ["idem.duplicate_race"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            {
                let log = shared.log();
                Plain.duplicates(&log, &writes)?;
            }
            dawdle().await;
            Plain.append(shared, writes).await.map_err(|error| match error {
                Error::DuplicateEvent(_) => Error::backend("unique violation"),
                other => other,
            })
        }
    }

    /// Losers of a race are told to try again later.
    LosersAreBusy caught by ["cond.loser_error"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            losers_get(shared, writes, || Error::unavailable("could not serialize access")).await
        }
    }

    /// Losers of a race get an error of the driver.
    LosersGetBackendError caught by ["cond.loser_error"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            losers_get(shared, writes, || Error::backend("duplicate key value violates unique constraint"))
            .await
        }
    }

    /// Losers of a race are told the state that they began with.
    LosersToldOldState caught by ["cond.loser_error"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let before = shared.log().clone();
            dawdle().await;
            retold(Plain.append(shared, writes).await, |unmet| {
                unmet.actual = before.last_of(&unmet.stream).map(|last| last.position);
            })
        }
    }

    /// A stream that others write to at the same time is refused, though its condition is that it exists.
    AnyChangeRefuses caught by ["cond.no_spurious"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let lengths = |log: &Log| writes.iter().map(|write| log.len_of(&write.stream)).collect::<Vec<_>>();
            let before = lengths(&shared.log());
            dawdle().await;
            let changed = lengths(&shared.log()) != before;
            let mut writes = writes;
            for write in writes.iter_mut().filter(|write| changed && !matches!(write.condition, WriteCondition::Always)) {
                write.condition = WriteCondition::Any(Vec::new());
            }
            Plain.append(shared, writes).await
        }
    }

    /// Of many appends that are made at once, one that is refused takes the next with it.
    RefusalSpoilsNeighbour caught by ["cond.crowd"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let met = shared.counter.fetch_add(2, Ordering::SeqCst) / 2;
            dawdle().await;
            let spoiled = met > 40 && shared.counter.fetch_and(!1, Ordering::SeqCst) % 2 == 1;
            let mut writes = writes;
            for write in writes.iter_mut().filter(|_| spoiled) {
                write.condition = WriteCondition::Any(Vec::new());
            }
            let outcome = Plain.append(shared, writes).await;
            if outcome.is_err() && !spoiled {
                shared.counter.fetch_or(1, Ordering::SeqCst);
            }
            shared.counter.fetch_sub(2, Ordering::SeqCst);
            outcome
        }
    }

    /// Of many appends that are made at once, the last ones are told that they were made, and are not.
    CrowdOverflows caught by ["cond.crowd"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let met = shared.counter.fetch_add(1, Ordering::SeqCst);
            dawdle().await;
            let outcome = if met < 100 {
                Plain.append(shared, writes).await
            } else {
                self.check_append(&writes).and_then(|()| self.prepare(&mut shared.log(), &writes))
            };
            shared.counter.fetch_sub(1, Ordering::SeqCst);
            outcome
        }
    }
}
