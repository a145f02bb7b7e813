//! What can be read: one trait for the log, categories, streams, queries and events in memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::page::{EventPages, Page};
use crate::position::SequenceNumber;
use crate::query::{Direction, ReadOptions, Source};

/// Events to read: [`EventStream`](crate::EventStream), [`EventCategory`](crate::EventCategory),
/// [`EventLog`](crate::EventLog), [`EventQuery`](crate::EventQuery), and events in memory (`Vec<StoredEvent>`, ascending).
///
/// Functions that fold or copy take any of them:
///
/// ```
/// # use annals::*;
/// async fn count(source: &impl EventSource) -> Result<u64> {
///     let counter = Handlers::new("count", 0).on_missing(|count, _| Ok(*count += 1));
///     let mut projection = Projection::new(&counter, source.source());
///     projection.fold(&counter, source, ReadOptions::default()).await?;
///     Ok(projection.state)
/// }
/// ```
pub trait EventSource: Send + Sync {
    /// The narrowest source that holds all that it reads.
    fn source(&self) -> Source;

    /// Reads its events, page by page. Lazy: nothing happens before the first poll.
    fn pages(&self, options: ReadOptions) -> EventPages;
}

/// Events in memory, in ascending order of their sequence numbers; the head is the last one. A follow is `Invalid`.
impl EventSource for Vec<StoredEvent> {
    fn source(&self) -> Source {
        let sources = self.iter().map(|event| Source::Stream(event.stream.clone()));
        sources.reduce(|all, next| all.join(&next)).unwrap_or(Source::Log)
    }

    fn pages(&self, options: ReadOptions) -> EventPages {
        Box::pin(Once(Some(in_memory(self, &options))))
    }
}

fn in_memory(events: &[StoredEvent], options: &ReadOptions) -> Result<Page> {
    if options.follow {
        return Err(Error::invalid("events in memory cannot be followed"));
    }
    let head = events.last().map_or(SequenceNumber::START, |last| last.sequence_number);
    let bounded = |event: &&StoredEvent| {
        event.sequence_number > options.after
            && options.until.is_none_or(|until| event.sequence_number <= until)
            && options.allows_position(event.position)
    };
    let mut found: Vec<StoredEvent> = events.iter().filter(bounded).cloned().collect();
    if options.direction == Direction::Backward {
        found.reverse();
    }
    match options.limit.and_then(|limit| usize::try_from(limit).ok()) {
        Some(limit) if limit <= found.len() => {
            found.truncate(limit);
            let through = found.last().map_or(options.begin(head), |last| last.sequence_number);
            Ok(Page::new(found, through))
        }
        _ => Ok(Page::new(found, options.end(head)).at_head()),
    }
}

/// A stream of one page.
struct Once(Option<Result<Page>>);

impl Stream for Once {
    type Item = Result<Page>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take())
    }
}
