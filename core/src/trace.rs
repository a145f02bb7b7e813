//! Named `tracing` records; the documentation of the crate lists them.

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
