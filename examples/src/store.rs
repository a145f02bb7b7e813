//! Opens the store that the command line names.

use std::path::{Path, PathBuf};

use annals::{BoxError, EventStore};
use annals_memory::MemoryAdapter;
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_sqlite::SqliteAdapter;

/// A store, and its adapter to close it with.
#[derive(Debug)]
pub enum Store {
    /// In the memory of this program.
    Memory(MemoryAdapter),
    /// In an SQLite file.
    Sqlite(SqliteAdapter),
    /// In the schema `annals` of a PostgreSQL database.
    Postgres(PostgresAdapter),
}

impl Store {
    /// Opens the store of this name: `memory`, the path of an SQLite file, or the URL of a PostgreSQL database. It is
    /// made if it is not there.
    ///
    /// # Errors
    /// Names what can be given, when it is something else; which store cannot be opened, and why.
    ///
    /// # Cancel safety
    /// Dropped before it is done, nothing stays open.
    pub async fn open(name: &str) -> Result<Self, BoxError> {
        if name.is_empty() || (name.contains("://") && !is_postgres(name)) {
            return Err(format!("there is no store {:?}; give: {CHOICES}", shown(name)).into());
        }
        Self::of(name).await.map_err(|source| NotOpened { name: shown(name), source }.into())
    }

    async fn of(name: &str) -> annals::Result<Self> {
        if name == "memory" {
            return Ok(Self::Memory(MemoryAdapter::new()));
        }
        if is_postgres(name) {
            let options = PostgresOptions::new(name)?;
            options.migrate().await?;
            return Ok(Self::Postgres(options.connect().await?));
        }
        Ok(Self::Sqlite(SqliteAdapter::open(name).await?))
    }

    /// The event store.
    #[must_use]
    pub fn events(&self) -> EventStore {
        match self {
            Self::Memory(adapter) => EventStore::new(adapter.clone()),
            Self::Sqlite(adapter) => EventStore::new(adapter.clone()),
            Self::Postgres(adapter) => EventStore::new(adapter.clone()),
        }
    }

    /// Waits until all is in its place: of an SQLite store one file, without those beside it.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the store closes by itself.
    pub async fn close(self) {
        match self {
            Self::Memory(_) => {}
            Self::Sqlite(adapter) => adapter.close().await,
            Self::Postgres(adapter) => adapter.close().await,
        }
    }
}

const CHOICES: &str = "memory, the path of an SQLite file, or the URL of a PostgreSQL database";

fn is_postgres(name: &str) -> bool {
    name.starts_with("postgres://") || name.starts_with("postgresql://")
}

/// Which store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("store {name} cannot be opened")]
struct NotOpened {
    name: String,
    source: annals::Error,
}

/// The name of a store as it may be shown: without the password of a URL.
#[must_use]
pub fn shown(name: &str) -> String {
    let (name, parameters) = name.split_once('?').unwrap_or((name, ""));
    let Some((scheme, place)) = name.split_once("://") else { return name.to_owned() };
    // An `@` behind a `?`: nothing tells whether a password or a parameter has which of them.
    if parameters.contains('@') {
        return format!("{scheme}://...");
    }
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{scheme}://{place}")
}

/// The file of a program that is told no store: beside the program, with the extension `db`. Of a program that
/// cargo built that is in the target folder.
///
/// # Errors
/// The program has no path, or one that is no text.
pub fn default_file() -> Result<String, BoxError> {
    let file = std::env::current_exe()?.with_extension("db");
    // As short as it can be told.
    let short = std::env::current_dir().ok().and_then(|here| {
        Some(file.strip_prefix(here).ok()?.to_owned()).filter(|rest| rest != Path::new(""))
    });
    let file: PathBuf = short.unwrap_or(file);
    file.into_os_string()
        .into_string()
        .map_err(|path| format!("{} is no text", path.display()).into())
}

/// Removes the SQLite store in `file`, and gives its name back to make it afresh.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn afresh(file: String) -> std::io::Result<String> {
    for suffix in ["-wal", "-shm", ""] {
        match std::fs::remove_file(format!("{file}{suffix}")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(file)
}
