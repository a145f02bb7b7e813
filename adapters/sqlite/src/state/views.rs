//! Views in tables of the user's own: made in the transaction of their tracking, or of the append.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use annals::adapter::recording_time;
use annals::{Append, BoxError, Error, EventStore, StorageAdapter, StoredEvent};
use annals_processing::{
    Batch, Inline, InlineError, Placed, ProcessingError, Processor, Sink, SinkError, Timer,
    async_trait,
};
use annals_state::{Commit, StateError, StateStore, TogetherError, Write};
use futures_util::lock::Mutex as Turn;
use rusqlite::{Connection, ErrorCode};

use super::work::{Run, Work};
use super::{job, read};
use crate::adapter::SqliteAdapter;
use crate::error::NAME;
use crate::request::Request;

/// How often an inline view catches up before an append, while others append without it.
const TRIES: usize = 8;

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

/// Why work was not done, for the caller that waits for it.
enum Refusal {
    View(BoxError),
    Processor(ProcessingError),
    Behind,
}

/// Where the writer leaves a refusal.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Refusal>>>);

impl Slot {
    fn leave(&self, refusal: Refusal) -> StateError {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        StateError::backend("a view refused")
    }

    fn take(&self) -> Option<Refusal> {
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
        Self { adapter: adapter.clone(), view: Arc::new(view) }
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
    async fn work(&self, commit: &Commit, slot: Slot, run: Box<Run>) -> Result<(), Refused> {
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
            (TogetherError::Commit(_), Some(Refusal::View(error))) => Refused::View(error),
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

/// What the view says, as an error of the store if it is one of SQLite that passes by itself.
fn told(error: BoxError, slot: &Slot) -> StateError {
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
    if passes { StateError::unavailable(error) } else { slot.leave(Refusal::View(error)) }
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
                return Ok(Err(told(error, &left)));
            }
            Ok(Ok(made.clone()))
        };
        let taken = self.work(&commit, slot, Box::new(run)).await;
        taken.map_err(|refused| match (refused, batch.events()) {
            (Refused::State(error), _) => SinkError::State(error),
            (Refused::View(error), [event]) => SinkError::handler(event, error),
            // It is one of them: which one is found by taking fewer.
            (Refused::View(_), _) => SinkError::TooLarge,
        })
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        let (slot, commit) = (Slot::default(), Commit::new([guard.clone()]));
        let (view, left, made) = (Arc::clone(&self.view), slot.clone(), commit.clone());
        let run = move |connection: &Connection, _: &[StoredEvent]| {
            Ok(match view.clear(connection) {
                Ok(()) => Ok(made.clone()),
                Err(error) => Err(told(error, &left)),
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

/// A view that is made in the transaction of each append: who reads its tables after the append reads them with it, without
/// waiting.
///
/// An event that the view cannot apply is not appended. Events that others append without the view are applied by its
/// processor before the next append through it.
pub struct InlineView<V> {
    sink: SqlViewSink<V>,
    inline: Arc<Inline>,
    processor: Turn<Processor>,
}

impl<V: SqlView> InlineView<V> {
    /// A view of this name, with the tracking of a processor of this name. `prepare` may give that a query or a version.
    ///
    /// # Errors
    /// As [`Processor::sink`] and [`Processor::inline`], and those of `prepare`.
    pub fn new(
        name: impl Into<Box<str>>,
        adapter: &SqliteAdapter,
        view: V,
        timer: impl Timer,
        prepare: impl FnOnce(Processor) -> annals_processing::Result<Processor>,
    ) -> annals_processing::Result<Self> {
        let sink = SqlViewSink::new(adapter, view);
        let store = EventStore::new(adapter.clone());
        let of_processor = SqlViewSink { adapter: adapter.clone(), view: Arc::clone(&sink.view) };
        let processor = prepare(of_processor.processor(name, &store, timer)?)?;
        let inline = Arc::new(processor.inline()?);
        Ok(Self { sink, inline, processor: Turn::new(processor) })
    }

    /// Appends `writes` and applies them to the view, in one transaction.
    ///
    /// # Errors
    /// [`Append`](InlineError::Append) as [`StorageAdapter::append`]; [`View`](InlineError::View) if the view cannot apply
    /// what is appended; those of its processor and of the state store. Nothing was appended, unless the outcome is unknown.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves all made or nothing.
    pub async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>, InlineError> {
        self.sink.adapter.capabilities().check_append(NAME, &writes)?;
        for _ in 0..TRIES {
            if let Some(stored) = self.append_once(&writes).await? {
                return Ok(stored);
            }
            // Others have appended without the view.
            self.processor.lock().await.settle().await?;
        }
        Err(Error::unavailable("others append all the time without the inline view").into())
    }

    /// `None`: the view has not seen all of the log, and nothing was appended.
    async fn append_once(
        &self,
        writes: &[Append],
    ) -> Result<Option<Vec<StoredEvent>>, InlineError> {
        let shared = &self.sink.adapter.shared;
        let recorded_at = recording_time(&*shared.options.common.clock)?;
        let slot = Slot::default();
        let (view, inline, left) =
            (Arc::clone(&self.sink.view), Arc::clone(&self.inline), slot.clone());
        let run = move |connection: &Connection, stored: &[StoredEvent]| {
            if stored.is_empty() {
                return Ok(Ok(Commit::new([])));
            }
            let found = read::look(connection, inline.keys())?;
            let inlined = match inline.place(&found.documents, stored) {
                Ok(Placed::Next(inlined)) => inlined,
                Ok(Placed::Behind) => return Ok(Err(left.leave(Refusal::Behind))),
                Err(error) => return Ok(Err(left.leave(Refusal::Processor(error)))),
            };
            let batch = inlined.batch();
            if !batch.events().is_empty()
                && let Err(error) = view.apply(connection, batch.events())
            {
                return Ok(Err(told(error, &left)));
            }
            Ok(Ok(batch.commit([])))
        };
        let work = Work::new(Box::new(run));
        let made =
            job::commit_with(&shared.queue, Request::Commit, work, writes.to_vec(), recorded_at)
                .await;
        match (made, slot.take()) {
            (Ok(stored), _) => Ok(Some(stored)),
            (Err(TogetherError::Commit(_)), Some(Refusal::Behind)) => Ok(None),
            (Err(TogetherError::Commit(_)), Some(Refusal::View(error))) => {
                Err(InlineError::View(error))
            }
            (Err(TogetherError::Commit(_)), Some(Refusal::Processor(error))) => Err(error.into()),
            (Err(TogetherError::Append(error)), _) => Err(error.at(NAME, "append").into()),
            (Err(TogetherError::Commit(error)), None) => Err(error.at(NAME, "append").into()),
            (Err(error), _) => Err(Error::backend(error).into()),
        }
    }
}

impl<V> fmt::Debug for InlineView<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineView")
            .field("adapter", &self.sink.adapter)
            .field("inline", &self.inline)
            .finish_non_exhaustive()
    }
}
