//! Views that are made with the append.

use std::fmt;
use std::sync::Arc;

use annals::adapter::recording_time;
use annals::{Append, EventStore, StorageAdapter, StoredEvent};
use annals_processing::{
    Inline, InlineDocuments, InlineError, InlineSteps, Placed, Processor, Timer, View,
};
use annals_state::{Collection, Write};
use futures_util::FutureExt;

use crate::state::CAPABILITIES;
use crate::{MemoryAdapter, MemoryState, NAME};

/// A view as documents that is made with each append: who reads it after the append reads it with what was appended,
/// without waiting.
///
/// The append holds the lock of the log, and for the view that of the state, until both are made: nobody sees one without the
/// other. An event that the view cannot apply is not appended. Events that others append without the view are applied by its
/// processor before the next append through it.
///
/// ```
/// use std::sync::Arc;
///
/// use annals::{Append, BoxError, NewEvent, StoredEvent, StreamId, WriteCondition};
/// use annals_memory::{InlineView, MemoryAdapter, MemoryState};
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
/// let (log, state) = (MemoryAdapter::new(), MemoryState::new());
/// let counts = Collection::new("counts")?;
/// let timer = SystemTimer::new();
/// let view = InlineView::new("counts", &log, &state, counts.clone(), Counts, timer, Ok)?;
/// let placed = NewEvent::json("order-placed", &12)?;
/// let order = StreamId::new("orders", "o-1")?;
/// view.append(vec![Append::new(order, [placed], WriteCondition::StreamIsEmpty)]).await?;
/// let counts = counts.on(Arc::new(state));
/// assert_eq!(counts.get("o-1").await?.map(|found| found.value), Some(1));
/// # Ok(())
/// # }
/// ```
pub struct InlineView<V: View> {
    log: MemoryAdapter,
    state: MemoryState,
    made: InlineDocuments<V>,
    steps: InlineSteps,
}

impl<V: View> InlineView<V> {
    /// A view as documents of this collection in `state`, with the tracking of a processor of this name. All of the
    /// collection belongs to it. `prepare` may give the processor a query or a version.
    ///
    /// # Errors
    /// As [`Processor::view`] and [`Processor::inline`], and those of `prepare`.
    pub fn new(
        name: impl Into<Box<str>>,
        log: &MemoryAdapter,
        state: &MemoryState,
        collection: Collection<V::State>,
        view: V,
        timer: impl Timer,
        prepare: impl FnOnce(Processor) -> annals_processing::Result<Processor>,
    ) -> annals_processing::Result<Self> {
        let documents = collection.on(Arc::new(state.clone()));
        let made = InlineDocuments::new(Arc::new(view), documents);
        let processor = made.processor(name, &EventStore::new(log.clone()), timer)?;
        let steps = InlineSteps::new(prepare(processor)?)?;
        Ok(Self { log: log.clone(), state: state.clone(), made, steps })
    }

    /// Appends `writes` and applies them to the view: both, or neither.
    ///
    /// # Errors
    /// [`Append`](InlineError::Append) as [`StorageAdapter::append`]; [`View`](InlineError::View) if the view cannot apply
    /// what is appended; those of its processor and of the state store. Nothing was appended.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves all made or nothing.
    pub async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>, InlineError> {
        self.log.capabilities().check_append(NAME, &writes)?;
        let writes = &writes;
        let once = |inline: Arc<Inline>| async move {
            let guard = self.made.guard().await?;
            let made = self.append_once(&inline, writes.clone(), guard);
            if !matches!(made, Ok(Some(_))) {
                self.made.forget();
            }
            made
        };
        self.steps.append(|inline| once(inline).boxed()).await
    }

    /// `None`: the view has not seen all of the log, and nothing was appended.
    fn append_once(
        &self,
        inline: &Inline,
        mut writes: Vec<Append>,
        guard: Write,
    ) -> Result<Option<Vec<StoredEvent>>, InlineError> {
        let recorded_at = recording_time(&*self.log.clock)?;
        let stored = {
            // Always in this order: first the log, then the state.
            let mut log = self.log.exclusive();
            log.judge(&writes)?;
            let drafted = log.draft(&writes, recorded_at);
            if !drafted.is_empty() && !self.make(inline, &drafted, guard)? {
                return Ok(None);
            }
            // Nothing can fail any more, and nobody reads the log before it is done.
            log.insert_all(&mut writes, recorded_at)
        };
        self.log.ring(&stored);
        Ok(Some(stored))
    }

    /// Makes the view of these events, unless it has not seen all of the log before them.
    fn make(
        &self,
        inline: &Inline,
        events: &[StoredEvent],
        guard: Write,
    ) -> Result<bool, InlineError> {
        let mut shelves = self.state.exclusive();
        let Placed::Next(inlined) = inline.place(&shelves.look(inline.keys()), events)? else {
            return Ok(false);
        };
        let batch = inlined.batch();
        let concerned = self.made.concerned(batch.events())?;
        let found = shelves.look(concerned.keys());
        let effects = concerned.writes(found, Some(guard))?;
        let commit = batch.commit(effects);
        CAPABILITIES.check_commit(&commit)?;
        shelves.commit(commit)?;
        Ok(true)
    }
}

impl<V: View> fmt::Debug for InlineView<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineView")
            .field("log", &self.log)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}
