//! Named `tracing` records; the documentation of the crate lists them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use tracing::{Level, enabled, event};

use crate::adapter::StorageAdapter;
use crate::append::Append;
use crate::clock;
use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::page::{EventPages, Page};
use crate::query::{Query, ReadOptions};

/// When an append began; `None` if no record of it asks how long it took.
pub(crate) type Begun = Option<Instant>;

pub(crate) fn appending(adapter: &str, writes: &[Append]) -> Begun {
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
    enabled!(target: "annals", Level::WARN).then(clock::instant)
}

pub(crate) fn append_ended(adapter: &str, begun: Begun, outcome: &Result<Vec<StoredEvent>>) {
    let micros = begun.map(|begun| u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    match outcome {
        Ok(stored) => event!(
            name: "annals.appended",
            target: "annals",
            Level::DEBUG,
            adapter,
            first = stored.first().map(|event| event.sequence_number.value()),
            last = stored.last().map(|event| event.sequence_number.value()),
            events = stored.len(),
            micros,
        ),
        Err(error @ (Error::ConditionFailed(_) | Error::DuplicateEvent(_))) => {
            event!(name: "annals.append_rejected", target: "annals", Level::DEBUG, adapter, micros, %error);
        }
        Err(error) => event!(
            name: "annals.append_failed",
            target: "annals",
            Level::WARN,
            adapter,
            micros,
            error = error as &(dyn std::error::Error + 'static),
        ),
    }
}

pub(crate) fn reading(adapter: &str, query: &Query, options: &ReadOptions) {
    event!(name: "annals.reading", target: "annals", Level::DEBUG, adapter, %query, ?options);
}

/// The same pages, with a record if the read fails.
pub(crate) fn watched(adapter: &Arc<dyn StorageAdapter>, pages: EventPages) -> EventPages {
    if enabled!(target: "annals", Level::WARN) {
        return Box::pin(Watched { adapter: Arc::clone(adapter), pages });
    }
    pages
}

struct Watched {
    adapter: Arc<dyn StorageAdapter>,
    pages: EventPages,
}

impl Stream for Watched {
    type Item = Result<Page>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let page = ready!(self.pages.as_mut().poll_next(context));
        if let Some(Err(error)) = &page {
            event!(
                name: "annals.read_failed",
                target: "annals",
                Level::WARN,
                adapter = self.adapter.name(),
                error = error as &(dyn std::error::Error + 'static),
            );
        }
        Poll::Ready(page)
    }
}
