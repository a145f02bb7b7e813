//! The facade: a store and its handles, for applications.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::adapter::{Append, EventPages, StorageAdapter};
use crate::capability::Capabilities;
use crate::condition::WriteCondition;
use crate::error::Result;
use crate::event::{NewEvent, StoredEvent};
use crate::name::{CategoryName, StreamId};
use crate::projector::{Projection, Projector};
use crate::query::{Query, ReadOptions, Source};
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
    /// A store over `adapter`; an `Arc<dyn StorageAdapter>` will do as well.
    pub fn new(adapter: impl StorageAdapter) -> Self {
        Self { adapter: Arc::new(adapter) }
    }

    /// What its adapters can do.
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

    /// Appends to several streams: all of `writes` or none. Gives the events as stored, in the order given.
    ///
    /// # Errors
    /// See [`Error`](crate::Error): after any but `OutcomeUnknown` nothing was written.
    ///
    /// # Cancel safety
    /// Dropped before it is done, all or nothing is stored, and nothing stays locked. To find out which, look
    /// the event ids up, or append the same events again: `DuplicateEvent` says that they are there.
    pub async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        let adapter = self.adapter.as_ref();
        trace::appending(adapter.name(), &writes);
        let outcome = adapter.append(writes).await;
        trace::append_ended(adapter.name(), &outcome);
        outcome
    }

    /// Reads what `query` matches, event by event.
    pub fn read(&self, query: impl Into<Query>, options: ReadOptions) -> Events {
        Events { pages: Some(self.pages(query, options)), page: VecDeque::new() }
    }

    /// Reads what `query` matches, page by page: the faster form for folds and copies.
    pub fn pages(&self, query: impl Into<Query>, options: ReadOptions) -> EventPages {
        let query = query.into();
        trace::reading(self.adapter.name(), &query, &options);
        self.adapter.read(query, options)
    }

    /// The last event that `query` matches, or `None`.
    ///
    /// # Errors
    /// Those of the adapter's read.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost when it is dropped.
    pub async fn latest(&self, query: impl Into<Query>) -> Result<Option<StoredEvent>> {
        self.read(query, ReadOptions::last(1)).next().await.transpose()
    }
}

/// A handle to one stream.
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

    /// Appends `events`, all or none, if `condition` holds; gives them as stored. Of no events only the
    /// condition is judged.
    ///
    /// # Errors
    /// [`ConditionFailed`](crate::Error::ConditionFailed) tells what was expected and found; see
    /// [`Error`](crate::Error) for the others.
    ///
    /// # Cancel safety
    /// As [`EventStore::append`]: all or nothing is stored, and nothing stays locked.
    pub async fn append(
        &self,
        events: impl IntoIterator<Item = NewEvent>,
        condition: WriteCondition,
    ) -> Result<Vec<StoredEvent>> {
        let write = Append::new(self.id.clone(), events, condition);
        self.store.append(vec![write]).await
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
}

impl EventLog {
    /// What it reads.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::Log
    }
}

macro_rules! reads {
    ($($handle:ident)*) => {$(
        impl $handle {
            /// Reads its events one by one.
            pub fn read(&self, options: ReadOptions) -> Events {
                self.store.read(self.source(), options)
            }

            /// Reads its events page by page: the faster form for folds and copies.
            pub fn pages(&self, options: ReadOptions) -> EventPages {
                self.store.pages(self.source(), options)
            }

            /// Its last event, or `None` when it has none.
            ///
            /// # Errors
            /// Those of the adapter's read.
            ///
            /// # Cancel safety
            /// Reads only: nothing is lost when it is dropped.
            pub async fn latest(&self) -> Result<Option<StoredEvent>> {
                self.store.latest(self.source()).await
            }

            /// Folds all its events with `projector`, from its initial state.
            ///
            /// # Errors
            /// Those of the adapter's read, and [`Projection`](crate::Error::Projection) when the projector
            /// refuses an event. To keep the state up to there, [`resume`](Self::resume) a projection of yours.
            ///
            /// # Cancel safety
            /// Reads only: nothing is lost when it is dropped.
            pub async fn project<P: Projector>(&self, projector: &P) -> Result<Projection<P::State>> {
                let mut projection = Projection::new(projector, self.source());
                self.resume(projector, &mut projection).await?;
                Ok(projection)
            }

            /// Folds the events that `projection` has not seen yet into it.
            ///
            /// # Errors
            /// As [`project`](Self::project); `projection` then stands before the event that failed, and
            /// can be resumed.
            ///
            /// # Cancel safety
            /// `projection` then stands after some whole number of events, and can be resumed.
            pub async fn resume<P: Projector>(
                &self,
                projector: &P,
                projection: &mut Projection<P::State>,
            ) -> Result<()> {
                let after = projection.sequence_number();
                let pages = self.pages(ReadOptions::default().after(after));
                projection.fold(projector, pages).await
            }
        }
    )*};
}

reads!(EventStream EventCategory EventLog);

/// A read, event by event: a [`Stream`] that also has [`next`](Self::next) of its own. Ends at the head of the
/// log, or after its first error.
#[must_use = "a read does nothing until it is polled"]
pub struct Events {
    pages: Option<EventPages>,
    page: VecDeque<StoredEvent>,
}

impl Events {
    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// Those of the adapter's read; the read ends with them.
    ///
    /// # Cancel safety
    /// Dropped before it is done, no event is lost: the next call gives it.
    pub async fn next(&mut self) -> Option<Result<StoredEvent>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// All events that are left, in memory.
    ///
    /// # Errors
    /// The first of the adapter's read.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost when it is dropped.
    pub async fn into_vec(mut self) -> Result<Vec<StoredEvent>> {
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
                Some(Ok(page)) => self.page = page.into(),
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
