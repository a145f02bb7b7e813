//! Views in tables of the user's own: made in the transaction of their tracking.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use annals::adapter::recording_time;
use annals::{BoxError, EventStore, StoredEvent};
use annals_processing::{Batch, Processor, Sink, SinkError, Timer, async_trait};
use annals_state::{Commit, StateError, StateStore, TogetherError, Write};
use rusqlite::{Connection, ErrorCode};

use super::job;
use super::work::{Run, Work};
use crate::adapter::SqliteAdapter;
use crate::error::NAME;
use crate::request::Request;

/// A view in tables of its own, in the file of the log or of the state. Each batch of events is made together with the
/// tracking of the processor: after any kill the tables hold each event once.
///
/// It is called on the thread of the adapter's writer, and holds up what else is written.
///
/// ```no_run
/// use annals::{BoxError, EventStore, StoredEvent};
/// use annals_processing::{Processor, SystemTimer};
/// use annals_sqlite::{SqlView, SqlViewSink, SqliteAdapter, rusqlite::Connection};
///
/// /// How many events each stream has, as `CREATE TABLE counts (stream TEXT PRIMARY KEY, events INTEGER NOT NULL)`.
/// struct Counts;
///
/// impl SqlView for Counts {
///     fn apply(&self, transaction: &Connection, events: &[StoredEvent]) -> Result<(), BoxError> {
///         let sql = "INSERT INTO counts VALUES (?1, 1) ON CONFLICT (stream) DO UPDATE SET events = events + 1";
///         let mut counted = transaction.prepare_cached(sql)?;
///         for event in events {
///             counted.execute([event.stream.name.as_str()])?;
///         }
///         Ok(())
///     }
///
///     fn clear(&self, transaction: &Connection) -> Result<(), BoxError> {
///         transaction.execute("DELETE FROM counts", [])?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let adapter = SqliteAdapter::open("shop.db").await?;
/// let store = EventStore::new(adapter.clone());
/// let processor = SqlViewSink::new(&adapter, Counts).processor("counts", &store, SystemTimer::new())?;
/// processor.run().await?;
/// # Ok(())
/// # }
/// ```
pub trait SqlView: Send + Sync + 'static {
    /// Applies these events, ascending, in the transaction that is open on this connection. It must depend on nothing but the
    /// events and its own tables, and may be called again for the same events. It neither begins nor ends a transaction.
    ///
    /// # Errors
    /// If an event cannot be applied: all is rolled back, and the batch is taken in parts to find which one. Return an error
    /// of SQLite as it is: one that passes by itself, as a full disk, is no fault of an event.
    fn apply(&self, transaction: &Connection, events: &[StoredEvent]) -> Result<(), BoxError>;

    /// Removes all that it ever made, for a reset.
    ///
    /// # Errors
    /// If it cannot.
    fn clear(&self, transaction: &Connection) -> Result<(), BoxError>;
}

/// Where the writer leaves why work was not done, for the caller that waits for it.
pub(super) struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Slot<T> {
    pub(super) fn leave(&self, refusal: T) -> StateError {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        StateError::backend("a view refused")
    }

    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A [`SqlView`] as the sink of a processor whose state is that of the same adapter.
pub struct SqlViewSink<V> {
    adapter: SqliteAdapter,
    view: Arc<V>,
}

impl<V: SqlView> SqlViewSink<V> {
    /// Makes `view` in transactions of this adapter.
    #[must_use]
    pub fn new(adapter: &SqliteAdapter, view: V) -> Self {
        Self::shared(adapter, Arc::new(view))
    }

    pub(super) fn shared(adapter: &SqliteAdapter, view: Arc<V>) -> Self {
        Self { adapter: adapter.clone(), view }
    }

    /// A processor of this name that hands all events of `store` to the view. The log may be any.
    ///
    /// # Errors
    /// As [`Processor::sink`].
    pub fn processor(
        self,
        name: impl Into<Box<str>>,
        store: &EventStore,
        timer: impl Timer,
    ) -> annals_processing::Result<Processor> {
        let state = Arc::new(self.adapter.state());
        Processor::sink(name, store, state, self, timer)
    }

    /// Does this work in a transaction, without an append.
    async fn work(
        &self,
        commit: &Commit,
        slot: Slot<BoxError>,
        run: Box<Run>,
    ) -> Result<(), Refused> {
        let queue = &self.adapter.shared.queue;
        if queue.is_closed() {
            return Err(Refused::State(StateError::closed(NAME)));
        }
        self.adapter.state().capabilities().check_commit(commit).map_err(Refused::State)?;
        let now = recording_time(&*self.adapter.shared.options.common.clock);
        let now =
            now.map_err(|error| Refused::State(annals_sql::documents::state_error(error, NAME)))?;
        let made = job::commit_with(queue, Request::Commit, Work::new(run), Vec::new(), now).await;
        made.map(drop).map_err(|error| match (error, slot.take()) {
            (TogetherError::Commit(_), Some(error)) => Refused::View(error),
            (TogetherError::Commit(error), _) => Refused::State(error.at(NAME, "commit")),
            (TogetherError::Append(error), _) => {
                let error = annals_sql::documents::state_error(error, NAME);
                Refused::State(error.at(NAME, "commit"))
            }
            (error, _) => Refused::State(StateError::backend(error)),
        })
    }
}

enum Refused {
    View(BoxError),
    State(StateError),
}

/// The error of SQLite that passes by itself, or what it was.
pub(super) fn passing(error: BoxError) -> Result<StateError, BoxError> {
    let passes = error.downcast_ref::<rusqlite::Error>().is_some_and(|error| {
        let passing = [
            ErrorCode::DatabaseBusy,
            ErrorCode::DatabaseLocked,
            ErrorCode::DiskFull,
            ErrorCode::OutOfMemory,
            ErrorCode::SystemIoFailure,
            ErrorCode::OperationInterrupted,
        ];
        error.sqlite_error_code().is_some_and(|code| passing.contains(&code))
    });
    if passes { Ok(StateError::unavailable(error)) } else { Err(error) }
}

#[async_trait]
impl<V: SqlView> Sink for SqlViewSink<V> {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let (slot, commit) = (Slot::default(), batch.commit([]));
        let (view, events) = (Arc::clone(&self.view), batch.events().to_vec());
        let (left, made) = (slot.clone(), commit.clone());
        let run = move |connection: &Connection, _: &[StoredEvent]| {
            if !events.is_empty()
                && let Err(error) = view.apply(connection, &events)
            {
                return Ok(Err(passing(error).unwrap_or_else(|error| left.leave(error))));
            }
            Ok(Ok(made.clone()))
        };
        let taken = self.work(&commit, slot, Box::new(run)).await;
        taken.map_err(|refused| match refused {
            Refused::State(error) => SinkError::State(error),
            Refused::View(error) => SinkError::of_batch(batch, error),
        })
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        let (slot, commit) = (Slot::default(), Commit::new([guard.clone()]));
        let (view, left, made) = (Arc::clone(&self.view), slot.clone(), commit.clone());
        let run = move |connection: &Connection, _: &[StoredEvent]| {
            Ok(match view.clear(connection) {
                Ok(()) => Ok(made.clone()),
                Err(error) => Err(passing(error).unwrap_or_else(|error| left.leave(error))),
            })
        };
        self.work(&commit, slot, Box::new(run)).await.map_err(|refused| match refused {
            Refused::State(error) => SinkError::State(error),
            Refused::View(error) => SinkError::State(StateError::backend(error)),
        })
    }
}

impl<V> fmt::Debug for SqlViewSink<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlViewSink").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}
