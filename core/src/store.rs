//! The facade: a store and its handles, for applications.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::adapter::StorageAdapter;
use crate::append::Append;
use crate::capability::Capabilities;
use crate::condition::WriteCondition;
use crate::error::{Error, Result};
use crate::event::{EventId, NewEvent, StoredEvent};
use crate::name::{CategoryName, StreamId};
use crate::page::EventPages;
use crate::position::{Position, SequenceNumber};
use crate::projector::{Projection, Projector};
use crate::query::{Query, QueryItem, ReadOptions, Source};
use crate::source::EventSource;
use crate::trace;

/// A log of events in some database: the entry point of an application.
///
/// It and its handles do no I/O when made, are cheap to clone, and can be used from many tasks and threads.
///
/// ```
/// # use annals::*;
/// # use annals_memory::MemoryAdapter;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let store = EventStore::new(MemoryAdapter::new());
/// let stream = store.stream(StreamId::new("profiles", "joe.bloggs")?);
/// let event = NewEvent::json("profile-created", &serde_json::json!({ "name": "Joe Bloggs" }))?;
/// stream.append([event], WriteCondition::StreamIsEmpty).await?;
/// assert_eq!(stream.latest().await?.unwrap().position, Position::FIRST);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EventStore {
    adapter: Arc<dyn StorageAdapter>,
}

impl EventStore {
    /// A store over `adapter`, which may also be an `Arc<dyn StorageAdapter>`.
    pub fn new(adapter: impl StorageAdapter) -> Self {
        Self { adapter: Arc::new(adapter) }
    }

    /// The adapter, with all its layers.
    #[must_use]
    pub fn adapter(&self) -> &Arc<dyn StorageAdapter> {
        &self.adapter
    }

    /// What its adapter, with all its layers, can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.adapter.capabilities()
    }

    /// A handle to one stream, which need not exist.
    #[must_use]
    pub fn stream(&self, stream: StreamId) -> EventStream {
        EventStream { store: self.clone(), id: stream }
    }

    /// A handle to one category.
    #[must_use]
    pub fn category(&self, category: CategoryName) -> EventCategory {
        EventCategory { store: self.clone(), name: category }
    }

    /// A handle to the whole log.
    #[must_use]
    pub fn log(&self) -> EventLog {
        EventLog { store: self.clone() }
    }

    /// A handle to the events that `query` matches.
    #[must_use]
    pub fn query(&self, query: impl Into<Query>) -> EventQuery {
        EventQuery { store: self.clone(), query: query.into() }
    }

    /// Appends to several streams: all of `writes` or none.
    ///
    /// # Errors
    /// See [`Error`]: after any but `OutcomeUnknown` nothing was written. [`Error::Invalid`] also if an application
    /// uses what is reserved for Annals: categories that begin with `annals.`, encodings that begin with `annals-`, the
    /// event name `discarded`; or nests conditions so deep that nothing is left for layers.
    ///
    /// # Cancel safety
    /// If it is dropped before it is done, all or nothing is stored, and nothing stays locked. To find out which, look
    /// the events up by [`event`](Self::event), or append them again: `DuplicateEvent` says that they are there.
    pub async fn append(&self, writes: impl IntoIterator<Item = Append>) -> Result<Appended> {
        let writes: Vec<Append> = writes.into_iter().collect();
        writes.iter().try_for_each(Append::check_reserved)?;
        self.append_reserved(writes).await
    }

    /// For crates of Annals: [`append`](Self::append) that also takes what is reserved for them.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    ///
    /// # Cancel safety
    /// As [`append`](Self::append).
    pub async fn append_reserved(&self, writes: Vec<Append>) -> Result<Appended> {
        let adapter = self.adapter.as_ref();
        let begun = trace::appending(adapter.name(), &writes);
        let outcome = adapter.append(writes).await;
        trace::append_ended(adapter.name(), begun, &outcome);
        outcome.map(Appended)
    }

    /// Reads what `query` matches, event by event.
    pub fn read(&self, query: impl Into<Query>, options: ReadOptions) -> Events {
        let pages = Some(self.pages(query, options));
        Events { pages, page: VecDeque::new(), is_unbounded: options.is_unbounded() }
    }

    /// Reads what `query` matches, page by page: the faster form for folds and copies.
    pub fn pages(&self, query: impl Into<Query>, options: ReadOptions) -> EventPages {
        let query = query.into();
        trace::reading(self.adapter.name(), &query, &options);
        trace::watched(&self.adapter, self.adapter.read(query, options))
    }

    /// Reads what `query` matches after `after`, and goes on with what is appended later: rule R6 of
    /// [`StorageAdapter`]. It never ends by itself; each page says how far it has come.
    pub fn follow(&self, query: impl Into<Query>, after: SequenceNumber) -> EventPages {
        self.pages(query, ReadOptions::default().after(after).follow())
    }

    /// The event with this id, or `None` if the log has none: what to ask after [`Error::OutcomeUnknown`].
    ///
    /// # Errors
    /// Those of the adapter's read; [`Error::Unsupported`] if it does not know the ids of all events.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn event(&self, id: EventId) -> Result<Option<StoredEvent>> {
        let query = QueryItem::new(Source::Log).with_ids([id]);
        self.read(query, ReadOptions::default().limit(1)).next().await.transpose()
    }

    /// Closes the adapter: finishes the appends that were taken, and ends every later call and open read with
    /// [`Error::Closed`]. It may be called again.
    ///
    /// # Cancel safety
    /// If it is dropped, the adapter is closed all the same.
    pub async fn close(&self) {
        self.adapter.close().await;
    }

    /// The last event that `query` matches, or `None`.
    ///
    /// # Errors
    /// Those of the adapter's read.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn latest(&self, query: impl Into<Query>) -> Result<Option<StoredEvent>> {
        self.read(query, ReadOptions::last(1)).next().await.transpose()
    }
}

/// The events of an append as they were stored, in the order given.
///
/// ```
/// # use annals::*;
/// # use annals_memory::MemoryAdapter;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let stream = EventStore::new(MemoryAdapter::new()).stream(StreamId::from_static("orders", "o-1"));
/// let placed = stream.append([NewEvent::json("order-placed", &12)?], WriteCondition::StreamIsEmpty).await?;
/// let paid = NewEvent::json("order-paid", &12)?;
/// stream.append([paid], placed.is_last()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended(Vec<StoredEvent>);

impl Appended {
    /// The position of the last event; `None` if nothing was appended.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.last().map(|event| event.position)
    }

    /// The condition that the last event of this append is still the last one of its stream:
    /// [`WriteCondition::PositionIs`], or [`WriteCondition::StreamIsEmpty`] if nothing was appended.
    #[must_use]
    pub fn is_last(&self) -> WriteCondition {
        self.position().map_or(WriteCondition::StreamIsEmpty, WriteCondition::PositionIs)
    }

    /// The events, moved out.
    #[must_use]
    pub fn into_vec(self) -> Vec<StoredEvent> {
        self.0
    }
}

impl Deref for Appended {
    type Target = [StoredEvent];

    fn deref(&self) -> &[StoredEvent] {
        &self.0
    }
}

impl IntoIterator for Appended {
    type Item = StoredEvent;
    type IntoIter = std::vec::IntoIter<StoredEvent>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A handle to one stream. It is no `futures::Stream`; [`read`](Self::read) returns one.
#[derive(Debug, Clone)]
pub struct EventStream {
    store: EventStore,
    id: StreamId,
}

/// A handle to one category.
#[derive(Debug, Clone)]
pub struct EventCategory {
    store: EventStore,
    name: CategoryName,
}

/// A handle to the whole log.
#[derive(Debug, Clone)]
pub struct EventLog {
    store: EventStore,
}

/// A handle to the events that a query matches.
#[derive(Debug, Clone)]
pub struct EventQuery {
    store: EventStore,
    query: Query,
}

impl EventQuery {
    /// What it asks for.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The narrowest source that holds all that it can match.
    #[must_use]
    pub fn source(&self) -> Source {
        self.query.scope().unwrap_or(Source::Log)
    }

    fn to_query(&self) -> Query {
        self.query.clone()
    }
}

impl EventStream {
    /// Which stream it is.
    #[must_use]
    pub fn id(&self) -> &StreamId {
        &self.id
    }

    /// What it reads.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::Stream(self.id.clone())
    }

    /// Appends `events`, all or none, if `condition` holds, and returns the stored events. With no events, only the
    /// condition is checked.
    ///
    /// # Errors
    /// [`ConditionFailed`](Error::ConditionFailed) says what was expected and found; see [`Error`] and
    /// [`EventStore::append`] for the others.
    ///
    /// # Cancel safety
    /// As [`EventStore::append`]: all or nothing is stored, and nothing stays locked.
    pub async fn append(
        &self,
        events: impl IntoIterator<Item = NewEvent>,
        condition: WriteCondition,
    ) -> Result<Appended> {
        self.store.append([Append::new(self.id.clone(), events, condition)]).await
    }

    fn to_query(&self) -> Query {
        self.source().into()
    }
}

impl EventCategory {
    /// Which category it is.
    #[must_use]
    pub fn name(&self) -> &CategoryName {
        &self.name
    }

    /// What it reads.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::Category(self.name.clone())
    }

    fn to_query(&self) -> Query {
        self.source().into()
    }
}

impl EventLog {
    /// What it reads.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::Log
    }

    #[expect(clippy::unused_self, reason = "the other handles need it")]
    fn to_query(&self) -> Query {
        Query::All
    }
}

macro_rules! reads {
    ($($handle:ident)*) => {$(
        impl $handle {
            /// Reads its events one by one.
            pub fn read(&self, options: ReadOptions) -> Events {
                self.store.read(self.to_query(), options)
            }

            /// Reads its events page by page: the faster form for folds and copies.
            pub fn pages(&self, options: ReadOptions) -> EventPages {
                self.store.pages(self.to_query(), options)
            }

            /// Reads its events after `after`, and goes on with what is appended later; see [`EventStore::follow`].
            pub fn follow(&self, after: SequenceNumber) -> EventPages {
                self.store.follow(self.to_query(), after)
            }

            /// Its last event, or `None` if it has none.
            ///
            /// # Errors
            /// Those of the adapter's read.
            ///
            /// # Cancel safety
            /// Reads only: nothing is lost if it is dropped.
            pub async fn latest(&self) -> Result<Option<StoredEvent>> {
                self.store.latest(self.to_query()).await
            }

            /// Folds all its events with `projector`, from its initial state.
            ///
            /// # Errors
            /// Those of the adapter's read, and [`Projection`](crate::Error::Projection) if the projector
            /// rejects an event. To keep the state up to there, [`resume`](Self::resume) a projection of yours.
            ///
            /// # Cancel safety
            /// Reads only: nothing is lost if it is dropped.
            pub async fn project<P: Projector>(&self, projector: &P) -> Result<Projection<P::State>> {
                let mut projection = Projection::new(projector, self.source());
                self.resume(projector, &mut projection).await?;
                Ok(projection)
            }

            /// Folds the events that `projection` has not seen yet into it.
            ///
            /// # Errors
            /// As [`project`](Self::project); `projection` is then as it was before the event that failed, and
            /// can be resumed.
            ///
            /// # Cancel safety
            /// `projection` is then after some whole number of events, and can be resumed.
            pub async fn resume<P: Projector>(
                &self,
                projector: &P,
                projection: &mut Projection<P::State>,
            ) -> Result<()> {
                projection.fold(projector, self, ReadOptions::default()).await
            }
        }

        impl EventSource for $handle {
            fn source(&self) -> Source {
                self.source()
            }

            fn pages(&self, options: ReadOptions) -> EventPages {
                self.pages(options)
            }
        }
    )*};
}

reads!(EventStream EventCategory EventLog EventQuery);

/// A read, event by event: a [`Stream`] that also has [`next`](Self::next) of its own. It ends at the head of what it
/// reads, or after its first error; a follow goes on.
#[must_use = "a read does nothing until it is polled"]
pub struct Events {
    pages: Option<EventPages>,
    page: VecDeque<StoredEvent>,
    is_unbounded: bool,
}

impl Events {
    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// Those of the adapter's read; the read ends with them.
    ///
    /// # Cancel safety
    /// If it is dropped before it is done, no event is lost: the next call returns it.
    pub async fn next(&mut self) -> Option<Result<StoredEvent>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// All events that are left, in memory.
    ///
    /// # Errors
    /// The first of the adapter's read. [`Error::Invalid`] for a follow without a bound, which never ends.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn into_vec(mut self) -> Result<Vec<StoredEvent>> {
        if self.is_unbounded {
            return Err(Error::invalid(
                "an unbounded follow never ends: take its events one by one",
            ));
        }
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event?);
        }
        Ok(events)
    }
}

impl Stream for Events {
    type Item = Result<StoredEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(pages) = &mut self.pages else { return Poll::Ready(None) };
            match ready!(pages.as_mut().poll_next(context)) {
                Some(Ok(page)) => self.page = page.events.into(),
                Some(Err(error)) => {
                    self.pages = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.pages = None,
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("ended", &self.pages.is_none()).finish_non_exhaustive()
    }
}
