//! Views in tables of the user's own: made in the transaction of their tracking, or of the append.

use std::fmt;
use std::sync::Arc;

use annals::adapter::recording_time;
use annals::{Append, BoxError, Error, EventStore, StorageAdapter, StoredEvent};
use annals_processing::{
    Batch, Inline, InlineError, Placed, Processor, Sink, SinkError, Timer, async_trait,
};
use annals_sql::fault::Fault;
use annals_state::{Commit, StateError, Write};
use deadpool_postgres::{Object, Transaction as Pooled};
use futures_util::lock::Mutex;
use tokio_postgres::{IsolationLevel, Transaction};

use super::read;
use super::writer::told;
use crate::adapter::PostgresAdapter;
use crate::append::append_in::append_in;
use crate::connection::session::Session;
use crate::error::{Failure, NAME, class_of_server, in_time};
use crate::lookup::facts::Work;

/// How often an inline view catches up before an append, while others append without it.
const TRIES: usize = 8;

/// A view in tables of its own, in the database of the log or of the state. Each batch of events is one transaction, with
/// the tracking of the processor in it: after any kill the tables hold each event once.
///
/// ```no_run
/// use annals::{BoxError, EventStore, StoredEvent};
/// use annals_postgres::{PostgresOptions, SqlView, SqlViewSink, tokio_postgres::Transaction};
/// use annals_processing::{Processor, SystemTimer, async_trait};
///
/// /// How many events each stream has, as `CREATE TABLE counts (stream text PRIMARY KEY, events bigint NOT NULL)`.
/// struct Counts;
///
/// #[async_trait]
/// impl SqlView for Counts {
///     async fn apply(&self, transaction: &Transaction<'_>, events: &[StoredEvent]) -> Result<(), BoxError> {
///         let streams: Vec<&str> = events.iter().map(|event| event.stream.name.as_str()).collect();
///         let sql = "INSERT INTO counts SELECT stream, count(*) FROM unnest($1::text[]) AS stream GROUP BY stream \
///                    ON CONFLICT (stream) DO UPDATE SET events = counts.events + excluded.events";
///         transaction.execute(sql, &[&streams]).await?;
///         Ok(())
///     }
///
///     async fn clear(&self, transaction: &Transaction<'_>) -> Result<(), BoxError> {
///         transaction.execute("TRUNCATE counts", &[]).await?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let adapter = PostgresOptions::new("postgres://shop@localhost/shop")?.connect().await?;
/// let store = EventStore::new(adapter.clone());
/// let processor = SqlViewSink::new(&adapter, Counts).processor("counts", &store, SystemTimer::new())?;
/// processor.run().await?;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait SqlView: Send + Sync + 'static {
    /// Applies these events, ascending, in this transaction. It must depend on nothing but the events and its own tables. It
    /// neither ends the transaction nor changes its isolation level, which is `READ COMMITTED`.
    ///
    /// # Errors
    /// If an event cannot be applied: all is rolled back, and the batch is taken in parts to find which one. Return an error
    /// of the driver as it is: one that passes by itself, as a deadlock or a lost connection, is no fault of an event.
    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[StoredEvent],
    ) -> Result<(), BoxError>;

    /// Removes all that it ever made, in this transaction, for a reset.
    ///
    /// # Errors
    /// If it cannot.
    async fn clear(&self, transaction: &Transaction<'_>) -> Result<(), BoxError>;
}

/// A [`SqlView`] as the sink of a processor whose state is that of the same adapter.
pub struct SqlViewSink<V> {
    adapter: PostgresAdapter,
    view: Arc<V>,
}

impl<V: SqlView> SqlViewSink<V> {
    /// Makes `view` in transactions of this adapter.
    #[must_use]
    pub fn new(adapter: &PostgresAdapter, view: V) -> Self {
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

    async fn connection(&self) -> Result<Object, StateError> {
        self.adapter.state().check_open()?;
        let [_, pool] = &self.adapter.shared.pools;
        pool.get().await.map_err(told)
    }

    /// Applies the events of the batch, and makes its commit, without ending the transaction.
    async fn take_in(
        &self,
        transaction: &Transaction<'_>,
        batch: &Batch<'_>,
    ) -> Result<(), Refusal> {
        if !batch.events().is_empty() {
            let applied = self.view.apply(transaction, batch.events()).await;
            applied.map_err(|error| passing(error).map_or_else(Refusal::View, Refusal::State))?;
        }
        let commit = batch.commit([]);
        self.adapter.state().commit_in(transaction, commit).await.map_err(Refusal::State)
    }

    async fn take_all(&self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let mut client = self.connection().await?;
        let transaction = begin(&self.adapter, &mut client).await?;
        let taken = self.take_in(&transaction, batch).await;
        end(&self.adapter, transaction, taken.is_ok()).await?;
        taken.map_err(|refusal| match (refusal, batch.events()) {
            (Refusal::State(error), _) => SinkError::State(error),
            (Refusal::View(error), [event]) => SinkError::handler(event, error),
            // It is one of them: which one is found by taking fewer.
            (Refusal::View(_), _) => SinkError::TooLarge,
        })
    }

    async fn clear_all(&self, guard: &Write) -> Result<(), SinkError> {
        let mut client = self.connection().await?;
        let transaction = begin(&self.adapter, &mut client).await?;
        let cleared = async {
            let cleared = self.view.clear(&transaction).await;
            cleared.map_err(|error| match passing(error) {
                Ok(error) => error,
                Err(error) => StateError::backend(error),
            })?;
            let guard = Commit::new([guard.clone()]);
            self.adapter.state().commit_in(&transaction, guard).await
        }
        .await;
        end(&self.adapter, transaction, cleared.is_ok()).await?;
        Ok(cleared?)
    }
}

/// Why a batch was not made.
enum Refusal {
    View(BoxError),
    State(StateError),
}

/// The error of the driver that is no fault of an event, or what it was.
fn passing(error: BoxError) -> Result<StateError, BoxError> {
    let error = error.downcast::<tokio_postgres::Error>()?;
    match class_of_server(&error) {
        Some(class) => Ok(Fault::new(class, *error).state_error(NAME)),
        None => Err(error),
    }
}

async fn begin<'c>(
    adapter: &PostgresAdapter,
    client: &'c mut Object,
) -> Result<Pooled<'c>, StateError> {
    let begun = async {
        let level = IsolationLevel::ReadCommitted;
        Ok(client.build_transaction().isolation_level(level).read_only(false).start().await?)
    };
    in_time(adapter.shared.store.options.answer_limit(), begun).await.map_err(told)
}

/// Commits, or rolls back. Where the answer to the commit is lost, its outcome is unknown.
async fn end(
    adapter: &PostgresAdapter,
    transaction: Pooled<'_>,
    commits: bool,
) -> Result<(), StateError> {
    let limit = adapter.shared.store.options.answer_limit();
    if !commits {
        // If this fails, the connection is lost, and the transaction with it.
        let _rolled_back = in_time(limit, async { Ok(transaction.rollback().await?) }).await;
        return Ok(());
    }
    let committed = in_time(limit, async { Ok(transaction.commit().await?) }).await;
    committed.map_err(|failure: Failure| {
        if failure.lost_connection() {
            return failure.into_fault().of_commit(false).state_error(NAME);
        }
        told(failure)
    })
}

#[async_trait]
impl<V: SqlView> Sink for SqlViewSink<V> {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        self.adapter.shared.source.engine.enter(self.take_all(batch)).await
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        self.adapter.shared.source.engine.enter(self.clear_all(guard)).await
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
/// The append holds the lock of the log until the view is made, so views like this slow all appends down. An event that the
/// view cannot apply is not appended. Events that others append without the view are applied by its processor before the
/// next append through it.
pub struct InlineView<V> {
    sink: SqlViewSink<V>,
    inline: Inline,
    processor: Mutex<Processor>,
}

impl<V: SqlView> InlineView<V> {
    /// A view of this name, with the tracking of a processor of this name. `prepare` may give that a query or a version.
    /// The adapter must order its whole log.
    ///
    /// # Errors
    /// As [`Processor::sink`] and [`Processor::inline`], and those of `prepare`;
    /// [`Misuse`](annals_processing::ProcessingError::Misuse) if the adapter has a weaker order.
    pub fn new(
        name: impl Into<Box<str>>,
        adapter: &PostgresAdapter,
        view: V,
        timer: impl Timer,
        prepare: impl FnOnce(Processor) -> annals_processing::Result<Processor>,
    ) -> annals_processing::Result<Self> {
        if adapter.capabilities().order != annals::Order::Log {
            let text = "an inline view needs a log with one order";
            return Err(annals_processing::ProcessingError::Misuse(text.into()));
        }
        let sink = SqlViewSink::new(adapter, view);
        let store = EventStore::new(adapter.clone());
        let of_processor = SqlViewSink { adapter: adapter.clone(), view: Arc::clone(&sink.view) };
        let processor = prepare(of_processor.processor(name, &store, timer)?)?;
        Ok(Self { sink, inline: processor.inline()?, processor: Mutex::new(processor) })
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
        let adapter = &self.sink.adapter;
        adapter.capabilities().check_append(NAME, &writes)?;
        adapter.check_open()?;
        adapter.notify();
        for _ in 0..TRIES {
            let trying = self.append_once(&writes);
            match adapter.shared.source.engine.enter(trying).await {
                Ok(Some(stored)) => return Ok(stored),
                // Its processor has moved between.
                Err(InlineError::State(StateError::Conflict(_))) => continue,
                // Others have appended without the view.
                Ok(None) => {}
                Err(error) => return Err(error),
            }
            self.processor.lock().await.settle().await?;
        }
        Err(Error::unavailable("others append all the time without the inline view").into())
    }

    /// `None`: the view has not seen all of the log, and nothing was appended.
    async fn append_once(
        &self,
        writes: &[Append],
    ) -> Result<Option<Vec<StoredEvent>>, InlineError> {
        let adapter = &self.sink.adapter;
        let store = &adapter.shared.store;
        let recorded_at = recording_time(&*store.options.common.clock)?;
        let mut client = self.sink.connection().await?;
        let transaction = begin(adapter, &mut client).await?;
        let made = async {
            let session = Session::unprepared(transaction.client());
            let work = Work { writes, recorded_at };
            let placement = append_in(store, session, work, None).await;
            let placement = placement.map_err(Error::from).flatten();
            let placement = placement.map_err(|error| error.at(NAME, "append"))?;
            let stored = placement.events(writes.to_vec(), recorded_at);
            if stored.is_empty() {
                return Ok(Some(stored));
            }
            let keys = self.inline.keys();
            let found = read::get(session, &adapter.shared.state.sql, &keys).await.map_err(told)?;
            let Placed::Next(inlined) = self.inline.place(&found.documents, &stored)? else {
                return Ok(None);
            };
            let batch = inlined.batch();
            self.sink.take_in(&transaction, &batch).await.map_err(|refusal| match refusal {
                Refusal::View(error) => InlineError::View(error),
                Refusal::State(error) => InlineError::State(error),
            })?;
            Ok(Some(stored))
        }
        .await;
        end(adapter, transaction, matches!(made, Ok(Some(_)))).await?;
        if let Ok(Some(stored)) = &made {
            store.watch.appended(stored.iter().map(|event| &event.stream));
        }
        made
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
