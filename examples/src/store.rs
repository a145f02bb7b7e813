//! Opens the store that the command line names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals::{BoxError, Error, EventStore};
use annals_domain::{Adapters, Env};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_postgres::tokio_postgres::Config;
use annals_postgres::tokio_postgres::config::Host;
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_sqlite::{SqliteAdapter, SqliteOptions};
use annals_state::StateStore;

/// Opens the store of this name: `memory`, the path of an SQLite file, or the URL or the connection string
/// (`host=localhost dbname=app`) of a PostgreSQL database. It is made if it is not there. What begins as a connection
/// string does, with a word and `=`, is one: a file of such a name is `./a=b.db`.
///
/// # Errors
/// Names what can be given, if it is something else; which store cannot be opened, and why.
///
/// # Cancel safety
/// If it is dropped before it is done, nothing stays open.
pub async fn open(name: &str) -> Result<EventStore, BoxError> {
    check(name)?;
    of(name).await.map_err(|source| NotOpened { name: shown(name), source }.into())
}

/// What an application can keep its events in, by the name in `PERSISTENCE`: `memory`, `sqlite` and `postgres`. The rest of
/// the environment says how, as the `from_lookup` of each adapter does.
#[must_use]
pub fn adapters() -> Adapters {
    Adapters::default()
        .with(
            "memory",
            |env: Env| async move { Ok(MemoryAdapter::from_lookup(|key| env.get(key))?) },
        )
        .with("sqlite", |env: Env| async move {
            Ok(SqliteAdapter::from_lookup(|key| env.get(key)).await?)
        })
        .with("postgres", |env: Env| async move {
            Ok(PostgresAdapter::from_lookup(|key| env.get(key)).await?)
        })
}

/// Opens the state store of this name, which may be the same as that of a log.
///
/// # Errors
/// As [`open`].
///
/// # Cancel safety
/// As [`open`].
pub async fn open_state(name: &str) -> Result<Arc<dyn StateStore>, BoxError> {
    check(name)?;
    state_of(name).await.map_err(|source| NotOpened { name: shown(name), source }.into())
}

fn check(name: &str) -> Result<(), BoxError> {
    if name.is_empty() || (name.contains("://") && !is_postgres(name)) {
        return Err(format!("there is no store {:?}; give: {CHOICES}", shown(name)).into());
    }
    Ok(())
}

async fn of(name: &str) -> annals::Result<EventStore> {
    Ok(match name {
        "memory" => EventStore::new(MemoryAdapter::new()),
        name if is_postgres(name) => EventStore::new(postgres(name).await?),
        name => EventStore::new(sqlite(name).await?),
    })
}

async fn state_of(name: &str) -> annals::Result<Arc<dyn StateStore>> {
    Ok(match name {
        "memory" => Arc::new(MemoryState::new()),
        name if is_postgres(name) => Arc::new(postgres(name).await?.state()),
        name => Arc::new(sqlite(name).await?.state()),
    })
}

async fn postgres(name: &str) -> annals::Result<PostgresAdapter> {
    let options = PostgresOptions::new(name).map_err(|error| {
        // What a parser does not understand, and so repeats, may be a part of a password.
        if config(name).is_some() { error } else { Error::invalid(UNREADABLE) }
    })?;
    options.migrate().await?;
    options.connect().await
}

async fn sqlite(name: &str) -> annals::Result<SqliteAdapter> {
    // Several programs may be at work on the file: SQLite does not let them take turns.
    SqliteOptions::new().with_lock_timeout(Duration::from_secs(60)).open(name).await
}

const CHOICES: &str = "memory, the path of an SQLite file, or the URL or the connection string of a PostgreSQL database";
const UNREADABLE: &str = "it cannot be read as PostgreSQL's connection strings; what is wrong with it is not shown, as it may hold a password";

/// Names the store of programs that are started without one.
const VARIABLE: &str = "ANNALS_STORE";

/// The store that the command line names, or else the environment variable `ANNALS_STORE`, if it is not empty.
///
/// # Errors
/// The variable holds no text.
pub fn chosen(argument: Option<String>) -> Result<Option<String>, BoxError> {
    if argument.is_some() {
        return Ok(argument);
    }
    let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    name.into_string().map(Some).map_err(|_| format!("{VARIABLE} is no text").into())
}

fn is_postgres(name: &str) -> bool {
    name.starts_with("postgres://") || name.starts_with("postgresql://") || is_key_values(name)
}

/// Whether `name` begins with a word and `=`. Any word: one that is misspelt may still have a password behind it.
fn is_key_values(name: &str) -> bool {
    name.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim();
        // Also `password secret host=db`, and the other ways to get it wrong.
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c.is_whitespace())
    })
}

/// What a connection string says, if it can be read.
fn config(name: &str) -> Option<Config> {
    name.parse().ok()
}

/// Which store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("store {name} cannot be opened")]
struct NotOpened {
    name: String,
    source: annals::Error,
}

/// The name of a store as it may be shown: of a connection string and of a URL the place alone.
#[must_use]
pub fn shown(name: &str) -> String {
    if is_key_values(name) {
        return config(name).map_or_else(|| "postgres://...".to_owned(), |config| place(&config));
    }
    let (name, parameters) = name.split_once('?').unwrap_or((name, ""));
    let Some((scheme, place)) = name.split_once("://") else { return name.to_owned() };
    // An `@` behind a `?`: nothing shows whether a password or a parameter has which of them.
    if parameters.contains('@') {
        return format!("{scheme}://...");
    }
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{scheme}://{place}")
}

/// Where a connection string leads, as a URL.
fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(nth, host)| {
        let host = match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        // One port is for all hosts.
        let ports = config.get_ports();
        ports.get(nth).or(ports.first()).map_or(host.clone(), |port| format!("{host}:{port}"))
    });
    let hosts: Vec<String> = hosts.collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// The file of a program without a store of the caller: beside the program, with the extension `db`. Of a program that
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

/// Removes the SQLite store in `file`, and returns its name to make it afresh.
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
