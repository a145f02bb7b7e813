//! Named `tracing` records, target `annals`. Payloads appear at trace level only.
//!
//! | name | level | fields |
//! |---|---|---|
//! | `annals.appending` | debug | adapter, stream of the first write, streams, events |
//! | `annals.payload` | trace | event id and name, payload as text |
//! | `annals.appended` | debug | adapter, first and last sequence number, events |
//! | `annals.append_refused` | debug | adapter, the condition that failed or the duplicate |
//! | `annals.append_failed` | warn | adapter, error |
//! | `annals.reading` | debug | adapter, query, options |

use tracing::{Level, enabled, event};

use crate::adapter::Append;
use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::query::{Query, ReadOptions};

pub(crate) fn appending(adapter: &str, writes: &[Append]) {
    event!(
        name: "annals.appending",
        target: "annals",
        Level::DEBUG,
        adapter,
        stream = writes.first().map(|write| tracing::field::display(&write.stream)),
        streams = writes.len(),
        events = writes.iter().map(|write| write.events.len()).sum::<usize>(),
    );
    if enabled!(target: "annals", Level::TRACE) {
        for proposed in writes.iter().flat_map(|write| &write.events) {
            event!(
                name: "annals.payload",
                target: "annals",
                Level::TRACE,
                id = %proposed.id,
                event = %proposed.name,
                payload = %String::from_utf8_lossy(proposed.payload.as_bytes()),
            );
        }
    }
}

pub(crate) fn append_ended(adapter: &str, outcome: &Result<Vec<StoredEvent>>) {
    match outcome {
        Ok(stored) => event!(
            name: "annals.appended",
            target: "annals",
            Level::DEBUG,
            adapter,
            first = stored.first().map(|event| event.sequence_number.value()),
            last = stored.last().map(|event| event.sequence_number.value()),
            events = stored.len(),
        ),
        Err(error @ (Error::ConditionFailed(_) | Error::DuplicateEvent(_))) => {
            event!(name: "annals.append_refused", target: "annals", Level::DEBUG, adapter, %error);
        }
        Err(error) => event!(
            name: "annals.append_failed",
            target: "annals",
            Level::WARN,
            adapter,
            error = error as &(dyn std::error::Error + 'static),
        ),
    }
}

pub(crate) fn reading(adapter: &str, query: &Query, options: &ReadOptions) {
    event!(name: "annals.reading", target: "annals", Level::DEBUG, adapter, %query, ?options);
}
