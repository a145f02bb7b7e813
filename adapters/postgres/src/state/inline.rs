//! Views that are made in the transaction of the append: in tables of the user's own, or as documents.

use std::fmt;
use std::sync::Arc;

use annals::adapter::recording_time;
use annals::{Append, EventStore, Order, StorageAdapter, StoredEvent};
use annals_processing::{
    Inline, InlineDocuments, InlineError, InlineSteps, Placed, ProcessingError, Processor, Timer,
    View, async_trait,
};
use annals_sql::facts::Work;
use annals_state::{Collection, Document, DocumentKey, StateError, Write};
use futures_util::FutureExt;
use tokio_postgres::Transaction;

use super::read;
use super::views::{self, Refusal, SqlView, SqlViewSink, begin, connection, end};
use super::writer::told;
use crate::adapter::PostgresAdapter;
use crate::append::append_in::append_in;
use crate::connection::session::Session;
use crate::error::{Failure, NAME};

/// A view that is made in the transaction of each append: who reads it after the append reads it with what was appended,
/// without waiting.
///
/// The append holds the lock of the log until the view is made, so views like this slow all appends down. An event that the
/// view cannot apply is not appended. Events that others append without the view are applied by its processor before the
/// next append through it.
///
/// ```no_run
/// use annals::{Append, BoxError, NewEvent, StoredEvent, StreamId, WriteCondition};
/// use annals_postgres::{InlineView, PostgresOptions};
/// use annals_processing::{SystemTimer, View};
/// use annals_state::{Collection, DocumentId};
///
/// /// How many events each stream has.
/// struct Counts;
///
/// impl View for Counts {
///     type State = u64;
///
///     fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
///         Ok(vec![DocumentId::new(event.stream.name.as_str())?])
///     }
///
///     fn apply(&self, _: &DocumentId, count: &mut Option<u64>, _: &StoredEvent) -> Result<(), BoxError> {
///         *count.get_or_insert_default() += 1;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let adapter = PostgresOptions::new("postgres://shop@localhost/shop")?.connect().await?;
/// let counts = Collection::new("counts")?;
/// let view = InlineView::documents("counts", &adapter, counts, Counts, SystemTimer::new(), Ok)?;
/// let placed = NewEvent::json("order-placed", &12)?;
/// let order = StreamId::new("orders", "o-1")?;
/// view.append(vec![Append::new(order, [placed], WriteCondition::StreamIsEmpty)]).await?;
/// # Ok(())
/// # }
/// ```
pub struct InlineView {
    adapter: PostgresAdapter,
    made: Arc<dyn Made>,
    steps: InlineSteps,
}

impl InlineView {
    /// A view in tables of its own, with the tracking of a processor of this name. `prepare` may give that a query or a
    /// version. The adapter must order its whole log.
    ///
    /// # Errors
    /// As [`Processor::sink`] and [`Processor::inline`], and those of `prepare`;
    /// [`Misuse`](ProcessingError::Misuse) if the adapter has a weaker order.
    pub fn new(
        name: impl Into<Box<str>>,
        adapter: &PostgresAdapter,
        view: impl SqlView,
        timer: impl Timer,
        prepare: impl FnOnce(Processor) -> annals_processing::Result<Processor>,
    ) -> annals_processing::Result<Self> {
        let view = Arc::new(view);
        let sink = SqlViewSink::shared(adapter, Arc::clone(&view));
        let processor = sink.processor(name, &EventStore::new(adapter.clone()), timer)?;
        Self::with(adapter, Arc::new(InTables(view)), prepare(processor)?)
    }

    /// A view as documents of this collection, in the state store of the adapter, with the tracking of a processor of this
    /// name. All of the collection belongs to it. `prepare` may give the processor a query or a version. The adapter must
    /// order its whole log.
    ///
    /// # Errors
    /// As [`Processor::view`] and [`Processor::inline`], and those of `prepare`;
    /// [`Misuse`](ProcessingError::Misuse) if the adapter has a weaker order.
    pub fn documents<V: View>(
        name: impl Into<Box<str>>,
        adapter: &PostgresAdapter,
        collection: Collection<V::State>,
        view: V,
        timer: impl Timer,
        prepare: impl FnOnce(Processor) -> annals_processing::Result<Processor>,
    ) -> annals_processing::Result<Self> {
        let documents = collection.on(Arc::new(adapter.state()));
        let made = InlineDocuments::new(Arc::new(view), documents);
        let processor = made.processor(name, &EventStore::new(adapter.clone()), timer)?;
        Self::with(adapter, Arc::new(made), prepare(processor)?)
    }

    fn with(
        adapter: &PostgresAdapter,
        made: Arc<dyn Made>,
        processor: Processor,
    ) -> annals_processing::Result<Self> {
        if adapter.capabilities().order != Order::Log {
            let text = "an inline view needs a log with one order";
            return Err(ProcessingError::Misuse(text.into()));
        }
        let steps = InlineSteps::new(processor)?;
        Ok(Self { adapter: adapter.clone(), made, steps })
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
        let adapter = &self.adapter;
        adapter.capabilities().check_append(NAME, &writes)?;
        adapter.check_open()?;
        adapter.notify();
        let (engine, writes) = (&adapter.shared.source.engine, &writes);
        let once = |inline: Arc<Inline>| async move {
            let once = async { self.append_once(&inline, writes).await };
            engine.enter(once).await
        };
        self.steps.append(|inline| once(inline).boxed()).await
    }

    /// `None`: the view has not seen all of the log, and nothing was appended.
    async fn append_once(
        &self,
        inline: &Inline,
        writes: &[Append],
    ) -> Result<Option<Vec<StoredEvent>>, InlineError> {
        let (adapter, store) = (&self.adapter, &self.adapter.shared.store);
        let recorded_at = recording_time(&*store.options.common.clock)?;
        let guard = self.made.guard().await?;
        let mut client = connection(adapter).await?;
        let transaction = begin(adapter, &mut client).await?;
        let made = async {
            let session = Session::unprepared(transaction.client());
            let work = Work { writes, recorded_at };
            let placement = append_in(store, session, work, None).await;
            let placement = placement.map_err(annals::Error::from).flatten();
            let placement = placement.map_err(|error| error.at(NAME, "append"))?;
            let stored = placement.events(writes.to_vec(), recorded_at);
            if stored.is_empty() {
                return Ok(Some(stored));
            }
            let found = get(adapter, &transaction, inline.keys()).await?;
            let Placed::Next(inlined) = inline.place(&found, &stored)? else {
                return Ok(None);
            };
            let batch = inlined.batch();
            let effects = self.made.make(adapter, &transaction, batch.events(), guard).await?;
            let commit = batch.commit(effects);
            adapter.state().commit_in(&transaction, commit).await?;
            Ok(Some(stored))
        }
        .await;
        end(adapter, transaction, matches!(made, Ok(Some(_)))).await?;
        match &made {
            Ok(Some(stored)) => store.watch.appended(stored.iter().map(|event| &event.stream)),
            _ => self.made.forget(),
        }
        made
    }
}

impl fmt::Debug for InlineView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineView")
            .field("adapter", &self.adapter)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

/// What an inline view makes in a transaction.
#[async_trait]
trait Made: Send + Sync {
    /// What the commit of its documents is guarded by; it may read the store.
    async fn guard(&self) -> Result<Option<Write>, StateError> {
        Ok(None)
    }

    /// Forgets the guard.
    fn forget(&self) {}

    /// Applies these events; returns the writes that are committed with the tracking.
    async fn make(
        &self,
        adapter: &PostgresAdapter,
        transaction: &Transaction<'_>,
        events: &[StoredEvent],
        guard: Option<Write>,
    ) -> Result<Vec<Write>, InlineError>;
}

struct InTables<V>(Arc<V>);

#[async_trait]
impl<V: SqlView> Made for InTables<V> {
    async fn make(
        &self,
        _: &PostgresAdapter,
        transaction: &Transaction<'_>,
        events: &[StoredEvent],
        _: Option<Write>,
    ) -> Result<Vec<Write>, InlineError> {
        match views::apply(&*self.0, transaction, events).await {
            Ok(()) => Ok(Vec::new()),
            Err(Refusal::View(error)) => Err(InlineError::View(error)),
            Err(Refusal::State(error)) => Err(error.into()),
        }
    }
}

#[async_trait]
impl<V: View> Made for InlineDocuments<V> {
    async fn guard(&self) -> Result<Option<Write>, StateError> {
        Self::guard(self).await.map(Some)
    }

    fn forget(&self) {
        Self::forget(self);
    }

    async fn make(
        &self,
        adapter: &PostgresAdapter,
        transaction: &Transaction<'_>,
        events: &[StoredEvent],
        guard: Option<Write>,
    ) -> Result<Vec<Write>, InlineError> {
        let concerned = self.concerned(events)?;
        let found = get(adapter, transaction, concerned.keys()).await?;
        concerned.writes(found, guard)
    }
}

/// The documents, as the transaction sees them.
async fn get(
    adapter: &PostgresAdapter,
    transaction: &Transaction<'_>,
    mut keys: Vec<DocumentKey>,
) -> Result<Vec<Option<Document>>, StateError> {
    let session = Session::unprepared(transaction.client());
    let mut found = Vec::with_capacity(keys.len());
    while !keys.is_empty() {
        let got: Result<_, Failure> = read::get(session, &adapter.shared.state.sql, &keys).await;
        let got = got.map_err(told)?;
        found.extend(got.documents);
        keys = got.rest;
    }
    Ok(found)
}
