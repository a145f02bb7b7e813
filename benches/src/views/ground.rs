//! What the figures of views share: stores, a view that counts, and lines of a table.

use std::sync::Arc;
use std::time::Duration;

use annals::{BoxError, EventStore, StoredEvent, StreamId};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_processing::View;
use annals_sqlite::SqliteAdapter;
use annals_state::{Collection, DocumentId, Documents, StateStore};
use tempfile::TempDir;

use crate::measure::Spread;
use crate::sample;

/// How many streams the events of a rebuild are of: one document each.
pub(super) const STREAMS: usize = 1_000;

/// How thorough a run is.
#[derive(Debug, Clone, Copy)]
pub struct Thorough {
    /// How many events a rebuild reads.
    pub events: usize,
    /// How often each figure is measured.
    pub rounds: usize,
    /// How large the largest view is that is committed to.
    pub documents: usize,
    /// How many events are waited for, one after the other.
    pub waits: usize,
    /// For how long idle processors are looked at, at first and then again.
    pub idle: Duration,
}

impl Thorough {
    /// Some seconds in all: whether it works.
    pub const QUICK: Self = Self {
        events: 10_000,
        rounds: 1,
        documents: 10_000,
        waits: 50,
        idle: Duration::from_secs(5),
    };
    /// The default.
    pub const FULL: Self = Self {
        events: 200_000,
        rounds: 5,
        documents: 100_000,
        waits: 1_000,
        idle: Duration::from_secs(20),
    };
    /// With the largest view, which takes some minutes to make.
    pub const LARGE: Self = Self { documents: 1_000_000, ..Self::FULL };
}

/// A log and a state store of one adapter.
pub struct Stores {
    pub(crate) log: EventStore,
    pub(crate) state: Arc<dyn StateStore>,
    /// With the URL and the schema.
    pub(super) postgres: Option<(PostgresAdapter, String, String)>,
    pub(super) folder: Option<TempDir>,
}

impl Stores {
    /// In memory.
    #[must_use]
    pub fn memory() -> Self {
        let (log, state) = (EventStore::new(MemoryAdapter::new()), Arc::new(MemoryState::new()));
        Self { log, state, postgres: None, folder: None }
    }

    /// In a new file in this folder.
    ///
    /// # Errors
    /// The adapter's.
    pub async fn sqlite(folder: &std::path::Path) -> Result<Self, BoxError> {
        let folder = TempDir::new_in(folder)?;
        let adapter = SqliteAdapter::open(folder.path().join("views.db")).await?;
        let state = Arc::new(adapter.state());
        let log = EventStore::new(adapter);
        Ok(Self { log, state, postgres: None, folder: Some(folder) })
    }

    /// On the server at this URL.
    ///
    /// # Errors
    /// The adapter's.
    pub async fn postgres(url: &str) -> Result<Self, BoxError> {
        let schema = format!("views_{}", annals::EventId::generate().as_uuid().simple());
        let options = PostgresOptions::new(url)?.with_schema(&schema);
        options.migrate().await?;
        let adapter = options.connect().await?;
        let state = Arc::new(adapter.state());
        let log = EventStore::new(adapter.clone());
        Ok(Self { log, state, postgres: Some((adapter, url.to_owned(), schema)), folder: None })
    }

    pub(crate) async fn close(self) {
        self.log.close().await;
        self.state.close().await;
    }
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("state", &self.state).finish_non_exhaustive()
    }
}

/// How many events each stream has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts;

impl View for Counts {
    type State = u64;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::new(event.stream.name.as_str())?])
    }

    fn apply(
        &self,
        _: &DocumentId,
        count: &mut Option<u64>,
        _: &StoredEvent,
    ) -> Result<(), BoxError> {
        *count.get_or_insert_default() += 1;
        Ok(())
    }
}

pub(super) fn counts(state: &Arc<dyn StateStore>, name: &str) -> Result<Documents<u64>, BoxError> {
    Ok(Collection::new(name)?.on(Arc::clone(state)))
}

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no 16 digits")]
pub(super) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

pub(super) fn stream(nth: usize) -> Result<StreamId, BoxError> {
    Ok(StreamId::new(sample::CATEGORY, format!("o-{nth}"))?)
}

/// A line of the table.
pub(super) fn line(ground: &str, what: &str, unit: &str, figures: Vec<f64>) -> String {
    let Some(Spread { median, min, max }) = Spread::of(figures) else { return String::new() };
    format!("| {ground} | {what} | {unit} | {median:.3} | {min:.3}–{max:.3} |")
}
