//! Views that are made in the transaction of the append: in tables of the user's own, or as documents.

use std::fmt;
use std::sync::Arc;

use annals::adapter::recording_time;
use annals::{Append, Error, EventStore, StorageAdapter, StoredEvent};
use annals_processing::{
    Inline, InlineDocuments, InlineError, InlineSteps, Placed, Processor, Timer, View, async_trait,
};
use annals_state::{
    Collection, Commit, Document, DocumentKey, StateError, StateStore, TogetherError, Write,
};
use futures_util::FutureExt;
use rusqlite::Connection;

use super::views::{Slot, SqlView, SqlViewSink, passing};
use super::work::Work;
use super::{job, read};
use crate::adapter::SqliteAdapter;
use crate::error::{NAME, Outcome};
use crate::request::Request;

/// A view that is made in the transaction of each append: who reads it after the append reads it with what was appended,
/// without waiting.
///
/// It is made on the thread of the adapter's writer, and holds up what else is written. An event that the view cannot apply
/// is not appended. Events that others append without the view are applied by its processor before the next append through
/// it.
///
/// ```no_run
/// use annals::{Append, BoxError, NewEvent, StoredEvent, StreamId, WriteCondition};
/// use annals_processing::{SystemTimer, View};
/// use annals_sqlite::{InlineView, SqliteAdapter};
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
/// let adapter = SqliteAdapter::open("shop.db").await?;
/// let counts = Collection::new("counts")?;
/// let view = InlineView::documents("counts", &adapter, counts, Counts, SystemTimer::new(), Ok)?;
/// let placed = NewEvent::json("order-placed", &12)?;
/// let order = StreamId::new("orders", "o-1")?;
/// view.append(vec![Append::new(order, [placed], WriteCondition::StreamIsEmpty)]).await?;
/// # Ok(())
/// # }
/// ```
pub struct InlineView {
    adapter: SqliteAdapter,
    made: Arc<dyn Made>,
    steps: InlineSteps,
}

impl InlineView {
    /// A view in tables of its own, with the tracking of a processor of this name. `prepare` may give that a query or a
    /// version.
    ///
    /// # Errors
    /// As [`Processor::sink`] and [`Processor::inline`], and those of `prepare`.
    pub fn new(
        name: impl Into<Box<str>>,
        adapter: &SqliteAdapter,
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
    /// name. All of the collection belongs to it. `prepare` may give the processor a query or a version.
    ///
    /// # Errors
    /// As [`Processor::view`] and [`Processor::inline`], and those of `prepare`.
    pub fn documents<V: View>(
        name: impl Into<Box<str>>,
        adapter: &SqliteAdapter,
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
        adapter: &SqliteAdapter,
        made: Arc<dyn Made>,
        processor: Processor,
    ) -> annals_processing::Result<Self> {
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
        self.adapter.capabilities().check_append(NAME, &writes)?;
        let writes = &writes;
        let once = |inline| async move {
            let made = self.append_once(inline, writes).await;
            if !matches!(made, Ok(Some(_))) {
                self.made.forget();
            }
            made
        };
        self.steps.append(|inline| once(inline).boxed()).await
    }

    /// `None`: the view has not seen all of the log, and nothing was appended.
    async fn append_once(
        &self,
        inline: Arc<Inline>,
        writes: &[Append],
    ) -> Result<Option<Vec<StoredEvent>>, InlineError> {
        let shared = &self.adapter.shared;
        let recorded_at = recording_time(&*shared.options.common.clock)?;
        let guard = self.made.guard().await?;
        let bounds = self.adapter.state().capabilities();
        // Why it was not made, if that is no error of the state store; none: the view is behind.
        let slot = Slot::<Option<InlineError>>::default();
        let (made, left) = (Arc::clone(&self.made), slot.clone());
        let run = move |connection: &Connection, stored: &[StoredEvent]| {
            if stored.is_empty() {
                return Ok(Ok(Commit::new([])));
            }
            let found = get(connection, inline.keys())?;
            let inlined = match inline.place(&found, stored) {
                Ok(Placed::Next(inlined)) => inlined,
                Ok(Placed::Behind) => return Ok(Err(left.leave(None))),
                Err(error) => return Ok(Err(left.leave(Some(error.into())))),
            };
            let batch = inlined.batch();
            let effects = match made.make(connection, batch.events(), guard.as_ref())? {
                Ok(effects) => effects,
                Err(InlineError::State(error)) => return Ok(Err(error)),
                Err(error) => return Ok(Err(left.leave(Some(error)))),
            };
            let commit = batch.commit(effects);
            Ok(bounds.check_commit(&commit).map(|()| commit))
        };
        let work = Work::new(Box::new(run));
        let made =
            job::commit_with(&shared.queue, Request::Commit, work, writes.to_vec(), recorded_at)
                .await;
        match (made, slot.take()) {
            (Ok(stored), _) => Ok(Some(stored)),
            (Err(TogetherError::Commit(_)), Some(refused)) => refused.map_or(Ok(None), Err),
            (Err(TogetherError::Append(error)), _) => Err(error.at(NAME, "append").into()),
            (Err(TogetherError::Commit(error)), None) => Err(error.at(NAME, "append").into()),
            (Err(error), _) => Err(Error::backend(error).into()),
        }
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
    fn make(
        &self,
        connection: &Connection,
        events: &[StoredEvent],
        guard: Option<&Write>,
    ) -> Outcome<Result<Vec<Write>, InlineError>>;
}

struct InTables<V>(Arc<V>);

#[async_trait]
impl<V: SqlView> Made for InTables<V> {
    fn make(
        &self,
        connection: &Connection,
        events: &[StoredEvent],
        _: Option<&Write>,
    ) -> Outcome<Result<Vec<Write>, InlineError>> {
        if events.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let applied = self.0.apply(connection, events);
        let refused = |error| passing(error).map_or_else(InlineError::View, InlineError::State);
        Ok(applied.map(|()| Vec::new()).map_err(refused))
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

    fn make(
        &self,
        connection: &Connection,
        events: &[StoredEvent],
        guard: Option<&Write>,
    ) -> Outcome<Result<Vec<Write>, InlineError>> {
        let concerned = match self.concerned(events) {
            Ok(concerned) => concerned,
            Err(error) => return Ok(Err(error)),
        };
        let found = get(connection, concerned.keys())?;
        Ok(concerned.writes(found, guard.cloned()))
    }
}

/// The documents, as the transaction sees them.
fn get(connection: &Connection, mut keys: Vec<DocumentKey>) -> Outcome<Vec<Option<Document>>> {
    let mut found = Vec::with_capacity(keys.len());
    while !keys.is_empty() {
        let got = read::look(connection, keys)?;
        found.extend(got.documents);
        keys = got.rest;
    }
    Ok(found)
}
