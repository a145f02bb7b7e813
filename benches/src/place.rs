//! Where the events of one store of ours lie, which any number of handles open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use annals::{BoxError, EventStore};
use annals_memory::MemoryAdapter;
use annals_postgres::PostgresOptions;
use annals_sqlite::SqliteAdapter;
use tempfile::TempDir;

/// A new, empty place. Files go with it.
#[derive(Debug)]
pub enum Place {
    /// In the memory of the process: all handles are the same.
    Memory(EventStore),
    /// In a file.
    Sqlite(TempDir),
    /// In a schema of its own on a server.
    Postgres(Box<PostgresOptions>),
}

impl Place {
    /// In memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::Memory(EventStore::new(MemoryAdapter::new()))
    }

    /// In a file in this folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn sqlite(folder: &Path) -> Result<Self, BoxError> {
        Ok(Self::Sqlite(TempDir::new_in(folder)?))
    }

    /// On the server at this URL.
    ///
    /// # Errors
    /// The adapter's.
    pub async fn postgres(url: &str) -> Result<Self, BoxError> {
        let schema = format!("annals_{}", annals::EventId::generate().as_uuid().simple());
        let options = PostgresOptions::new(url)?.with_schema(&schema);
        options.migrate().await?;
        Ok(Self::Postgres(Box::new(options)))
    }

    /// A handle.
    ///
    /// # Errors
    /// The adapter's.
    pub async fn open(&self) -> Result<EventStore, BoxError> {
        Ok(match self {
            Self::Memory(store) => store.clone(),
            Self::Sqlite(folder) => open_file(&file(folder)).await?,
            Self::Postgres(options) => {
                EventStore::new(PostgresOptions::clone(options).connect().await?)
            }
        })
    }

    /// How long it takes until a handle hears of the appends of others instead of looking for them.
    #[must_use]
    pub fn settles(&self) -> Duration {
        if let Self::Postgres(_) = self { Duration::from_secs(3) } else { Duration::ZERO }
    }

    /// The file of the events, if another process can open it.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        if let Self::Sqlite(folder) = self { Some(file(folder)) } else { None }
    }
}

/// A handle to a file.
///
/// # Errors
/// The adapter's.
pub async fn open_file(file: &Path) -> Result<EventStore, BoxError> {
    Ok(EventStore::new(SqliteAdapter::open(file).await?))
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("annals.db")
}
