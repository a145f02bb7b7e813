//! Conditions that are judged wrongly, and refusals that are told or undone wrongly.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use annals::adapter::Facts;
use annals::{Append, Error, Position, Result, StoredEvent, StreamId, WriteCondition};

use super::bent::{Bend, Log, Shared, but, retold};
use super::numbers::Plain;

/// Judges `condition` in the place of the write's own.
fn judge_as(log: &Log, write: &Append, condition: WriteCondition) -> Result<()> {
    Plain.judge(log, &but(write, |it| it.condition = condition))
}

/// Whether one leaf of the condition holds, by the right definition.
fn leaf_holds(log: &Log, write: &Append, leaf: &WriteCondition) -> bool {
    judge_as(log, write, leaf.clone()).is_ok()
}

bent_specimens! {
    /// Conditions are not judged.
    ConditionIgnored caught by ["cond.position_is", "model.sequential"] {
        fn judge(&self, _: &Log, _: &Append) -> Result<()> {
            Ok(())
        }
    }

    /// A position below the actual one is accepted.
    StalePositionAccepted caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match (&write.condition, log.last_of(&write.stream)) {
                (WriteCondition::PositionIs(expected), Some(last)) if *expected < last.position => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A position above the actual one is accepted.
    FuturePositionAccepted caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match (&write.condition, log.last_of(&write.stream)) {
                (WriteCondition::PositionIs(expected), Some(last)) if *expected > last.position => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Any position is accepted on an empty stream.
    PositionOnEmptyAccepted caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::PositionIs(_) if log.len_of(&write.stream) == 0 => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Position 0 is taken for an empty stream.
    PositionZeroIsEmpty caught by ["cond.position_is"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let facts = Plain.facts(log, write);
            let empty = write.condition == WriteCondition::PositionIs(Position::FIRST);
            but(&facts, |it| it.head = facts.head.or(empty.then_some(Position::FIRST)))
        }
    }

    /// The number of events is taken for the position.
    PositionIsCount caught by ["cond.position_is"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let count = log.len_of(&write.stream) as u64;
            but(&Plain.facts(log, write), |it| it.head = (count > 0).then(|| Position::new(count)))
        }
    }

    /// Positions are compared in 32 bits.
    PositionIn32Bits caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::PositionIs(position) => {
                    let cut = Position::new(position.value() & 0xFFFF_FFFF);
                    judge_as(log, write, WriteCondition::PositionIs(cut))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A stream counts as empty only when its category is.
    EmptyLooksAtCategory caught by ["cond.scope"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let same = |event: &&StoredEvent| event.stream.category == write.stream.category;
            let head = log.events.iter().filter(same).map(|event| event.position).next_back();
            but(&Plain.facts(log, write), |it| it.head = head)
        }
    }

    /// A stream counts as empty only when the log is.
    EmptyLooksAtLog caught by ["cond.scope"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let head = log.events.last().map(|event| event.position);
            but(&Plain.facts(log, write), |it| it.head = head)
        }
    }

    /// Streams of the same name in other categories count.
    EmptyLooksAtName caught by ["cond.scope"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let same = |event: &&StoredEvent| event.stream.name == write.stream.name;
            let head = log.events.iter().filter(same).map(|event| event.position).next_back();
            but(&Plain.facts(log, write), |it| it.head = head)
        }
    }

    /// A stream exists always.
    ExistsAlways caught by ["cond.stream_exists"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match write.condition {
                WriteCondition::StreamExists => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Of `All`, one part is enough.
    AllIsAny caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::All(parts) if !parts.is_empty() => {
                    judge_as(log, write, WriteCondition::Any(parts.clone()))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Of `Any`, all parts are needed.
    AnyIsAll caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::Any(parts) if !parts.is_empty() => {
                    judge_as(log, write, WriteCondition::All(parts.clone()))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Composed conditions are not judged.
    CompositionIgnored caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::All(_) | WriteCondition::Any(_) => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// The empty `Any` holds.
    EmptyAnyHolds caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::Any(parts) if parts.is_empty() => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Compositions inside compositions count as held.
    NestingIgnored caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let held = |part: &WriteCondition| match part {
                WriteCondition::All(_) | WriteCondition::Any(_) => true,
                leaf => leaf_holds(log, write, leaf),
            };
            match &write.condition {
                WriteCondition::All(parts) if parts.iter().all(held) => Ok(()),
                WriteCondition::Any(parts) if parts.iter().any(held) => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Of `All`, only the first two parts are judged.
    AllOfFirstTwo caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::All(parts) => {
                    let some = parts.iter().take(2).cloned().collect();
                    judge_as(log, write, WriteCondition::All(some))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A refusal is told as success with no events.
    RefusalIsOk caught by ["cond.position_is"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            match Plain.append(shared, writes).await {
                Err(Error::ConditionFailed(_)) => Ok(Vec::new()),
                outcome => outcome,
            }
        }
    }

    /// A refusal is told as an error of the driver.
    RefusalIsBackendError caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            Plain.judge(log, write).map_err(Error::backend)
        }
    }

    /// A refused append is stored all the same.
    RefusalStores caught by ["cond.unmet_stores_nothing"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let outcome = Plain.prepare(log, writes);
            if let Err(Error::ConditionFailed(_)) = &outcome {
                let mut writes = writes.to_vec();
                writes.iter_mut().for_each(|write| write.condition = WriteCondition::Always);
                Plain.prepare(log, &writes)?.into_iter().for_each(|event| log.push(event));
            }
            outcome
        }
    }

    /// A refusal keeps the lock for ever.
    RefusalKeepsLock caught by ["cond.fail_releases"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let alone = shared.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes);
            let prepared = match prepared {
                Ok(prepared) => prepared,
                Err(error) => {
                    std::mem::forget(alone);
                    return Err(error);
                }
            };
            prepared.iter().for_each(|event| shared.log().push(event.clone()));
            Ok(prepared)
        }
    }

    /// Refusals take connections of a pool of eight and give none back.
    RefusalLeaksConnection caught by ["cond.fail_releases"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            while shared.counter.load(Ordering::SeqCst) >= 8 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Plain.append(shared, writes).await.inspect_err(|_| {
                shared.counter.fetch_add(1, Ordering::SeqCst);
            })
        }
    }

    /// The error tells the expected position as the actual one.
    ErrorSwapsPositions caught by ["cond.error_detail"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            retold(Plain.judge(log, write), |unmet| {
                if let WriteCondition::PositionIs(expected) = unmet.failed {
                    unmet.actual = Some(expected);
                }
            })
        }
    }

    /// The error tells the number of events instead of the position of the last.
    ErrorCountsEvents caught by ["cond.error_detail"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let next = |position: Position| Position::new(position.value() + 1);
            retold(Plain.judge(log, write), |unmet| unmet.actual = unmet.actual.map(next))
        }
    }

    /// The error names the whole condition instead of the leaf that failed.
    ErrorNamesWhole caught by ["cond.error_detail"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            retold(Plain.judge(log, write), |unmet| unmet.failed = write.condition.clone())
        }
    }

    /// In a call over several streams the error names the first, whichever was refused.
    ErrorNamesFirstStream caught by ["cond.error_detail"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            retold(Plain.prepare(log, writes), |unmet| unmet.stream = writes[0].stream.clone())
        }
    }

    /// An append without a condition needs a stream that exists.
    AlwaysNeedsStream caught by ["cond.always"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::Always => judge_as(log, write, WriteCondition::StreamExists),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A batch is judged event by event, each after those before it.
    JudgedEventByEvent caught by ["cond.stream_is_empty", "cond.position_is"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut tried = log.clone();
            for write in writes {
                for event in &write.events {
                    let one = Append::new(write.stream.clone(), [event.clone()], write.condition.clone());
                    Plain.prepare(&mut tried, &[one])?.into_iter().for_each(|event| tried.push(event));
                }
            }
            Plain.prepare(log, writes)
        }
    }

    /// Whether a stream is empty is looked up among its last 1,024 positions.
    LongStreamsEmpty caught by ["cond.stream_is_empty"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::StreamIsEmpty if log.len_of(&write.stream) > 1_024 => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A stream exists once an append to it was tried.
    ExistsOnceTried { tried: Mutex<HashSet<StreamId>> } caught by ["cond.stream_exists"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            let known = !tried.insert(write.stream.clone());
            match &write.condition {
                WriteCondition::StreamExists if known => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A guard is judged on the log as a whole.
    GuardLooksAtLog caught by ["cond.scope"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let facts = Plain.facts(log, write);
            let last = log.events.last().map(|event| event.position);
            but(&facts, |it| it.head = if write.events.is_empty() { last } else { it.head })
        }
    }

    /// Of a composition inside a composition inside a composition only the first part is judged.
    DeepPartsCut caught by ["cond.composite", "model.sequential"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            judge_as(log, write, cut(&write.condition, 2))
        }
    }

    /// The same one composition deeper, where no query is asked.
    DeeperPartsCut caught by ["model.sequential"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            if !write.condition.queries().is_empty() {
                return Plain.judge(log, write);
            }
            judge_as(log, write, cut(&write.condition, 3))
        }
    }

    /// Of alternatives only the first three count.
    AnyOfFirstThree caught by ["cond.composite", "cond.depth"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::Any(parts) => {
                    judge_as(log, write, WriteCondition::Any(parts.iter().take(3).cloned().collect()))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Conditions of any depth are accepted.
    DepthUnlimited caught by ["cond.depth"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let mut writes = writes.to_vec();
            writes.iter_mut().for_each(|write| write.condition = WriteCondition::Always);
            Plain.check_append(&writes)
        }
    }

    /// Conditions may be nested 32 deep only.
    DepthHalved caught by ["cond.depth"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let deeper = |inner: &Append| {
                let wrap = |inner, _| WriteCondition::All(vec![inner]);
                but(inner, |it| it.condition = (0..32).fold(inner.condition.clone(), wrap))
            };
            Plain.check_append(&writes.iter().map(deeper).collect::<Vec<_>>())
        }
    }

    /// What a refused append was to store is stored with the next one that is done.
    RefusedStoredLater { kept: Mutex<Vec<Append>> } caught by ["cond.unmet_stores_nothing"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let prepared = Plain.prepare(log, writes).inspect_err(|_| {
                kept.extend(writes.iter().map(|write| but(write, |it| it.condition = WriteCondition::Always)));
            })?;
            for write in kept.drain(..).filter(|write| !writes.iter().any(|other| other.stream == write.stream)) {
                let late = Plain.prepare(log, &[write]).unwrap_or_default();
                late.into_iter().for_each(|event| log.push(event));
            }
            Plain.prepare(log, writes).or(Ok(prepared))
        }
    }

    /// The refusal of one of several alternatives names the first of them only.
    ErrorNamesFirstAlternative caught by ["cond.error_detail"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            retold(Plain.judge(log, write), |unmet| {
                if let WriteCondition::Any(parts) = &unmet.failed
                    && let Some(first) = parts.first()
                {
                    unmet.failed = first.clone();
                }
            })
        }
    }

    /// A refusal does not tell the event that matches.
    ErrorWithoutMatch caught by ["cond.error_detail"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            retold(Plain.judge(log, write), |unmet| unmet.matched = None)
        }
    }

    /// The numbers of a refused append stay used, though contiguity is declared.
    RefusalUsesNumbers caught by ["cond.unmet_stores_nothing", "err.nothing_written"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            Plain.prepare(log, writes).inspect_err(|error| {
                if error.is_condition_failed() {
                    log.last += 1;
                }
            })
        }
    }
}

/// The condition without all but the first part of what is so deep in compositions.
fn cut(condition: &WriteCondition, whole: usize) -> WriteCondition {
    let parts = |parts: &[WriteCondition]| -> Vec<WriteCondition> {
        let count = if whole == 0 { 1 } else { parts.len() };
        parts.iter().take(count).map(|part| cut(part, whole.saturating_sub(1))).collect()
    };
    match condition {
        WriteCondition::All(all) => WriteCondition::All(parts(all)),
        WriteCondition::Any(any) => WriteCondition::Any(parts(any)),
        leaf => leaf.clone(),
    }
}
