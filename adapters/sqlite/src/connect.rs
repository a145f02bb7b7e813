//! Connections: how they are opened and set up.

use std::path::Path;
use std::time::Duration;

use annals::Error;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Outcome, is_busy};
use crate::options::{SqliteOptions, Synchronous};
use crate::place::Place;
use crate::schema;

/// Statements that stay prepared; more shapes than these are prepared again.
const STATEMENTS: usize = 64;
/// Between two tries of what SQLite does not wait for by itself.
const PAUSE: Duration = Duration::from_millis(5);

/// The connection that writes: it makes or migrates the store.
pub(crate) fn writer(place: &Place, options: &SqliteOptions) -> Outcome<Connection> {
    let mut connection = match place {
        Place::Memory => Connection::open_in_memory()?,
        Place::File(path) => open(path, OpenFlags::SQLITE_OPEN_CREATE, options)?,
    };
    set_up(&connection)?;
    // Before anything is changed: setting the journal mode writes to the file.
    schema::check(&connection)?;
    if let Place::File(_) = place {
        use_wal(&connection, options)?;
    }
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Where a sync does not reach the disk by itself (macOS); elsewhere it changes nothing.
    connection.pragma_update(None, "fullfsync", options.synchronous == Synchronous::Full)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    schema::migrate(&mut connection, options.common.immutable_log)?;
    Ok(connection)
}

/// A connection that only reads, of a store that a writer has opened before.
pub(crate) fn reader(path: &Path, options: &SqliteOptions) -> Outcome<Connection> {
    let connection = open(path, OpenFlags::empty(), options)?;
    set_up(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// A connection that looks at a file and changes nothing.
pub(crate) fn inspector(path: &Path, options: &SqliteOptions) -> Outcome<Connection> {
    check_kind(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(options.common.lock_timeout)?;
    Ok(connection)
}

/// Rejects what is there and is no regular file: SQLite would wait for a pipe, and take a device for an empty store.
fn check_kind(path: &Path) -> Outcome<()> {
    match path.metadata() {
        Ok(found) if !found.is_file() => {
            let kind = if found.is_dir() { "a folder" } else { "no regular file" };
            let text = format!("the path of a store is {kind}: {}", path.display());
            Err(Error::invalid(text).into())
        }
        // SQLite says what is wrong with all else, and makes a file that is not there.
        _ => Ok(()),
    }
}

fn open(path: &Path, more: OpenFlags, options: &SqliteOptions) -> Outcome<Connection> {
    check_kind(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(options.common.lock_timeout)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> Outcome<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans do not depend on bound values: otherwise SQLite prepares a statement again whenever a limit changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// Turns the write-ahead log on; it stays on in the file. To change the mode SQLite needs the file for itself, and
/// gives up at once where two processes want that of a fresh file, so it is tried again until the time is over.
fn use_wal(connection: &Connection, options: &SqliteOptions) -> Outcome<()> {
    let mut tries = options.common.lock_timeout.as_millis() / PAUSE.as_millis();
    connection.busy_timeout(PAUSE)?;
    let mode = loop {
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        match connection.query_row("PRAGMA journal_mode = WAL", [], mode) {
            Err(error) if is_busy(&error) && tries > 0 => {
                tries -= 1;
                std::thread::park_timeout(PAUSE);
            }
            other => break other?,
        }
    };
    connection.busy_timeout(options.common.lock_timeout)?;
    if mode != "wal" {
        let text = "the file system cannot have a write-ahead log";
        return Err(Error::backend(text).into());
    }
    Ok(())
}
