//! Positions and sequence numbers that are wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals::{
    Append, Clock, Error, Position, Result, SequenceNumber, StoredEvent, StreamId, SystemClock,
};

use super::bent::count;
use super::bent::{Bend, Log, Shared, amend};

bent_specimens! {
    /// Positions begin at 1.
    PositionFromOne caught by ["pos.zero_based"] {
        fn position(&self, log: &Log, stream: &StreamId, nth: usize) -> Position {
            Position::new((log.len_of(stream) + nth + 1) as u64)
        }
    }

    /// Positions begin again in each batch.
    PositionRestartsInBatch caught by ["pos.contiguous"] {
        fn position(&self, _: &Log, _: &StreamId, nth: usize) -> Position {
            Position::new(nth as u64)
        }
    }

    /// Positions count the events of the category.
    PositionPerCategory caught by ["pos.per_stream"] {
        fn position(&self, log: &Log, stream: &StreamId, nth: usize) -> Position {
            let in_category = |event: &&StoredEvent| event.stream.category == stream.category;
            Position::new((log.events.iter().filter(in_category).count() + nth) as u64)
        }
    }

    /// Positions count the events of the log.
    PositionPerLog caught by ["pos.per_stream"] {
        fn position(&self, log: &Log, _: &StreamId, nth: usize) -> Position {
            Position::new((log.events.len() + nth) as u64)
        }
    }

    /// Streams of the same name in different categories share their positions.
    PositionPerName caught by ["pos.per_stream"] {
        fn position(&self, log: &Log, stream: &StreamId, nth: usize) -> Position {
            let same = |event: &&StoredEvent| event.stream.name == stream.name;
            Position::new((log.events.iter().filter(same).count() + nth) as u64)
        }
    }

    /// A position is left out before each batch but the first.
    PositionGapBetweenBatches caught by ["pos.contiguous"] {
        fn position(&self, log: &Log, stream: &StreamId, nth: usize) -> Position {
            let next = log.last_of(stream).map_or(0, |last| last.position.value() + 2);
            Position::new(next + nth as u64)
        }
    }

    /// All events of a batch get one position.
    PositionPerBatch caught by ["pos.contiguous"] {
        fn position(&self, log: &Log, stream: &StreamId, _: usize) -> Position {
            Position::new(log.last_of(stream).map_or(0, |last| last.position.value() + 1))
        }
    }

    /// A refused append leaves a hole in the positions of whatever comes next.
    PositionBurnedByRefusal caught by ["pos.after_refusal"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            let burned = shared.counter.swap(0, Ordering::SeqCst);
            let prepared = self.prepare(&mut shared.log(), &writes);
            let mut prepared = prepared.inspect_err(|_| {
                shared.counter.store(burned + 1, Ordering::SeqCst);
            })?;
            for event in &mut prepared {
                amend(event, |it| it.position = Position::new(it.position.value() + burned));
                shared.log().push(event.clone());
            }
            Ok(prepared)
        }
    }

    /// Sequence numbers count the events of the stream.
    NumberPerStream caught by ["seq.across_streams"] {
        fn number(&self, log: &Log, stream: &StreamId, nth: usize, _: usize) -> SequenceNumber {
            SequenceNumber::new((log.len_of(stream) + nth + 1) as u64)
        }
    }

    /// Sequence numbers count the events of the category.
    NumberPerCategory caught by ["seq.across_streams"] {
        fn number(&self, log: &Log, stream: &StreamId, nth: usize, _: usize) -> SequenceNumber {
            let in_category = |event: &&StoredEvent| event.stream.category == stream.category;
            SequenceNumber::new((log.events.iter().filter(in_category).count() + nth + 1) as u64)
        }
    }

    /// Sequence numbers fall inside a batch.
    NumberFallsInBatch caught by ["seq.in_call"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Plain.prepare(log, writes)?;
            let numbers: Vec<_> = prepared.iter().map(|event| event.sequence_number).collect();
            for (event, number) in prepared.iter_mut().zip(numbers.into_iter().rev()) {
                amend(event, |it| it.sequence_number = number);
            }
            Ok(prepared)
        }
    }

    /// Sequence numbers are times, in milliseconds.
    NumberIsTime caught by ["seq.increasing"] {
        fn number(&self, _: &Log, _: &StreamId, nth: usize, _: usize) -> SequenceNumber {
            let millis = SystemClock.now().unix_timestamp_nanos() / 1_000_000;
            SequenceNumber::new(u64::try_from(millis).unwrap_or_default() + nth as u64)
        }
    }

    /// All events of a call get one sequence number.
    NumberPerCall caught by ["seq.in_call"] {
        fn number(&self, log: &Log, _: &StreamId, _: usize, _: usize) -> SequenceNumber {
            SequenceNumber::new(log.last + 1)
        }
    }

    /// In a call over several streams each stream's numbers begin at the same one.
    NumberRestartsInEachWrite caught by ["seq.in_call"] {
        fn number(&self, log: &Log, _: &StreamId, nth: usize, _: usize) -> SequenceNumber {
            SequenceNumber::new(log.last + 1 + nth as u64)
        }
    }

    /// The first sequence number is 0.
    NumberFromZero caught by ["seq.from_one"] {
        fn number(&self, log: &Log, _: &StreamId, _: usize, nth: usize) -> SequenceNumber {
            let first = if log.events.is_empty() { log.last } else { log.last + 1 };
            SequenceNumber::new(first + nth as u64)
        }
    }

    /// A refused append uses a number, though contiguity is declared.
    NumberBurnedByRefusal caught by ["seq.refusal_burns_none"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            Plain.prepare(log, writes).inspect_err(|_| log.last += 1)
        }
    }

    /// A duplicate uses a number, as a database's sequence would.
    NumberBurnedByDuplicate caught by ["seq.refusal_burns_none"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            Plain.duplicates(log, writes)
        }

        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            self.duplicates(log, writes).inspect_err(|_| log.last += 1)?;
            Plain.prepare(log, writes)
        }
    }

    /// A guard uses a number.
    NumberBurnedByGuard caught by ["append.guard"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let prepared = Plain.prepare(log, writes)?;
            log.last += writes.iter().filter(|write| write.events.is_empty()).count() as u64;
            Ok(prepared)
        }
    }

    /// Each call leaves a number out, though contiguity is declared.
    NumberGapBetweenCalls caught by ["seq.contiguous"] {
        fn number(&self, log: &Log, _: &StreamId, _: usize, nth: usize) -> SequenceNumber {
            SequenceNumber::new(log.last + 2 + nth as u64)
        }
    }

    /// Sequence numbers are kept in 32 bits.
    NumberIn32Bits caught by ["seq.large_numbers"] {
        fn number(&self, log: &Log, _: &StreamId, _: usize, nth: usize) -> SequenceNumber {
            SequenceNumber::new((log.last + 1 + nth as u64) & 0xFFFF_FFFF)
        }
    }

    /// A log without numbers left does not look whether an append is a retry.
    RetryNeedsNumbers caught by ["seq.large_numbers"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            if count(writes) as u64 > SequenceNumber::MAX.value().saturating_sub(log.last) {
                return Err(Error::invalid("the log has no sequence numbers left"));
            }
            Plain.prepare(log, writes)
        }
    }

    /// Sequence numbers pass through a double, as they do in some JSON.
    NumberAsDouble caught by ["seq.large_numbers"] {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "that is the bug"
        )]
        fn number(&self, log: &Log, _: &StreamId, _: usize, nth: usize) -> SequenceNumber {
            SequenceNumber::new((log.last + 1 + nth as u64) as f64 as u64)
        }
    }
}

/// The steps as they should be.
#[derive(Debug, Default)]
pub(super) struct Plain;

impl Bend for Plain {}
