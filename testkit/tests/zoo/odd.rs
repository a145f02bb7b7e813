//! Adapters that look strange and keep the contract: the suite must pass them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use annals::{
    Append, Capabilities, EventName, NewEvent, Order, Payload, Result, SequenceNumber, StoredEvent,
    StreamId,
};
use time::OffsetDateTime;

use super::bent::{Log, Shared, amend, dawdle};
use super::numbers::Plain as Base;

bent_specimens! {
    /// Nothing odd at all.
    Plain caught by [] {}

    /// Leaves numbers out, and does not declare contiguity.
    Gaps caught by [] {
        fn capabilities(&self) -> Capabilities {
            Base.capabilities().with_contiguous_sequence(false)
        }

        fn number(&self, log: &Log, _: &StreamId, _: usize, nth: usize) -> SequenceNumber {
            SequenceNumber::new(log.last + 7 + 3 * nth as u64)
        }
    }

    /// Uses numbers for refused appends, and does not declare contiguity.
    BurnsNumbers caught by [] {
        fn capabilities(&self) -> Capabilities {
            Base.capabilities().with_contiguous_sequence(false)
        }

        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            Base.prepare(log, writes).inspect_err(|_| log.last += 1)
        }
    }

    /// Takes its time for every append.
    Slow caught by [] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Base.append(shared, writes).await
        }
    }

    /// Lets others go first at every step.
    Yielding caught by [] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            dawdle().await;
            let stored = Base.append(shared, writes).await;
            dawdle().await;
            stored
        }
    }

    /// Holds events of somebody else's, more with each append.
    ForeignEvents caught by [] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let stored = Base.append(shared, writes).await?;
            let foreign = NewEvent::new(EventName::from_static("foreign"), Payload::bytes("theirs"));
            let stream = StreamId::from_static("foreign", "foreign");
            let write = Append::new(stream, [foreign], annals::WriteCondition::Always);
            // There may be no number left for it, which is not the caller's concern.
            let _ = Base.append(shared, vec![write]).await;
            Ok(stored)
        }
    }

    /// Gives every event a page of its own.
    PagesOfOne caught by [] {
        fn pages(&self, events: Vec<StoredEvent>, _: usize) -> Vec<Vec<StoredEvent>> {
            Base.pages(events, 1)
        }
    }

    /// Puts empty pages between the others.
    PagesEmpty caught by [] {
        fn pages(&self, events: Vec<StoredEvent>, size: usize) -> Vec<Vec<StoredEvent>> {
            Base.pages(events, size).into_iter().flat_map(|page| [Vec::new(), page, Vec::new()]).collect()
        }
    }

    /// Cuts pages of different sizes.
    PagesUneven caught by [] {
        fn pages(&self, mut events: Vec<StoredEvent>, _: usize) -> Vec<Vec<StoredEvent>> {
            let mut pages = Vec::new();
            while !events.is_empty() {
                let rest = events.split_off(events.len().min(1 + pages.len() * 7 % 20));
                pages.push(std::mem::replace(&mut events, rest));
            }
            pages
        }
    }

    /// Shows in each page of a read what was appended meanwhile.
    LiveReads caught by [] {
        fn is_live(&self) -> bool {
            true
        }
    }

    /// Keeps order within categories only.
    CategoryOrder caught by [] {
        fn capabilities(&self) -> Capabilities {
            Base.capabilities().with_order(Order::Category)
        }
    }

    /// Keeps order within streams only.
    StreamOrder caught by [] {
        fn capabilities(&self) -> Capabilities {
            Base.capabilities().with_order(Order::Stream)
        }
    }

    /// Declares nothing that is not required.
    Minimal caught by [] {
        fn capabilities(&self) -> Capabilities {
            Capabilities::NONE
        }
    }

    /// Declares everything but what touches tags.
    NoTags caught by [] {
        fn capabilities(&self) -> Capabilities {
            Base.capabilities().with_tags(false)
        }
    }

    /// Accepts few events and small payloads.
    Limited caught by [] {
        fn capabilities(&self) -> Capabilities {
            let all = Base.capabilities();
            all.with_max_events_per_append(NonZeroU32::new(20)).with_max_payload_bytes(NonZeroU32::new(2_000))
        }
    }

    /// Accepts light calls and narrow queries.
    Narrow caught by [] {
        fn capabilities(&self) -> Capabilities {
            let all = Base.capabilities().with_max_append_bytes(NonZeroU32::new(2_000_000));
            all.with_max_payload_bytes(NonZeroU32::new(1_000_000)).with_max_query_parts(NonZeroU32::new(2_000))
        }
    }

    /// Takes one event at a time, to several streams or not, and keeps order within categories only.
    OneAtATime caught by [] {
        fn capabilities(&self) -> Capabilities {
            let all = Base.capabilities().with_order(Order::Category).with_contiguous_sequence(false);
            all.with_max_events_per_append(NonZeroU32::new(1))
        }
    }

    /// Takes two events at a time.
    TwoAtATime caught by [] {
        fn capabilities(&self) -> Capabilities {
            Base.capabilities().with_max_events_per_append(NonZeroU32::new(2))
        }
    }

    /// Takes five events at a time, and keeps order within streams only.
    FiveAtATime caught by [] {
        fn capabilities(&self) -> Capabilities {
            let all = Base.capabilities().with_order(Order::Stream).with_contiguous_sequence(false);
            all.with_max_events_per_append(NonZeroU32::new(5))
        }
    }

    /// Keeps what JSON means, and not its bytes.
    JsonValues caught by [] {
        fn capabilities(&self) -> Capabilities {
            Base.capabilities().with_exact_payload_bytes(false)
        }

        fn insert(&self, log: &mut Log, mut event: StoredEvent) {
            let sorted = |bytes: &[u8]| {
                let value = serde_json::from_slice::<serde_json::Value>(bytes).ok()?;
                serde_json::to_vec_pretty(&value).ok()
            };
            if *event.event.payload.encoding() == annals::Encoding::JSON
                && let Some(bytes) = sorted(event.event.payload.as_bytes())
                && let Ok(payload) = Payload::json_bytes(bytes)
            {
                amend(&mut event, |it| it.event.payload = payload);
            }
            log.push(event);
        }
    }

    /// Its clock stands still.
    StoppedClock caught by [] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Base.prepare(log, writes)?;
            for event in &mut prepared {
                amend(event, |it| it.recorded_at = OffsetDateTime::UNIX_EPOCH);
            }
            Ok(prepared)
        }
    }

    /// Its clock runs backwards.
    BackwardClock caught by [] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Base.prepare(log, writes)?;
            for event in &mut prepared {
                let past = Duration::from_secs(event.sequence_number.value().min(1_000_000_000));
                amend(event, |it| it.recorded_at = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000) - past);
            }
            Ok(prepared)
        }
    }

    /// Has numbers far from 1 from the beginning.
    FarNumbers caught by [] {
        fn number(&self, log: &Log, _: &StreamId, _: usize, nth: usize) -> SequenceNumber {
            let last = if log.last == 0 { 1 << 40 } else { log.last };
            SequenceNumber::new(last + 1 + nth as u64)
        }
    }

    /// Copies every event that it gives, so that no two share memory.
    Copies caught by [] {
        fn answer(&self, stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            Ok(stored.iter().map(|event| (**event).clone().into()).collect())
        }
    }
}
