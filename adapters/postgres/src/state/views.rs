//! Views in tables of the user's own: made in the transaction of their tracking.

use std::fmt;
use std::sync::Arc;

use annals::{BoxError, EventStore, StoredEvent};
use annals_processing::{Batch, Processor, Sink, SinkError, Timer, async_trait};
use annals_sql::fault::Fault;
use annals_state::{Commit, StateError, Write};
use deadpool_postgres::{Object, Transaction as Pooled};
use tokio_postgres::{IsolationLevel, Transaction};

use super::writer::told;
use crate::adapter::PostgresAdapter;
use crate::error::{Failure, NAME, class_of_server, in_time};

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
        Self::shared(adapter, Arc::new(view))
    }

    pub(super) fn shared(adapter: &PostgresAdapter, view: Arc<V>) -> Self {
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

    /// Applies the events of the batch, and makes its commit, without ending the transaction.
    async fn take_in(
        &self,
        transaction: &Transaction<'_>,
        batch: &Batch<'_>,
    ) -> Result<(), Refusal> {
        apply(&*self.view, transaction, batch.events()).await?;
        let commit = batch.commit([]);
        self.adapter.state().commit_in(transaction, commit).await.map_err(Refusal::State)
    }

    async fn take_all(&self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let mut client = connection(&self.adapter).await?;
        let transaction = begin(&self.adapter, &mut client).await?;
        let taken = self.take_in(&transaction, batch).await;
        end(&self.adapter, transaction, taken.is_ok()).await?;
        taken.map_err(|refusal| match refusal {
            Refusal::State(error) => SinkError::State(error),
            Refusal::View(error) => SinkError::of_batch(batch, error),
        })
    }

    async fn clear_all(&self, guard: &Write) -> Result<(), SinkError> {
        let mut client = connection(&self.adapter).await?;
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
pub(super) enum Refusal {
    View(BoxError),
    State(StateError),
}

/// Applies these events, if there are any.
pub(super) async fn apply(
    view: &impl SqlView,
    transaction: &Transaction<'_>,
    events: &[StoredEvent],
) -> Result<(), Refusal> {
    if events.is_empty() {
        return Ok(());
    }
    let applied = view.apply(transaction, events).await;
    applied.map_err(|error| passing(error).map_or_else(Refusal::View, Refusal::State))
}

pub(super) async fn connection(adapter: &PostgresAdapter) -> Result<Object, StateError> {
    adapter.state().check_open()?;
    let [_, pool] = &adapter.shared.pools;
    pool.get().await.map_err(told)
}

/// The error of the driver that is no fault of an event, or what it was.
fn passing(error: BoxError) -> Result<StateError, BoxError> {
    let error = error.downcast::<tokio_postgres::Error>()?;
    match class_of_server(&error) {
        Some(class) => Ok(Fault::new(class, *error).state_error(NAME)),
        None => Err(error),
    }
}

pub(super) async fn begin<'c>(
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
pub(super) async fn end(
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
