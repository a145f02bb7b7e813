//! The size of the write-ahead log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

/// The log is emptied when it is larger, in bytes.
const BOUND: u64 = 64 << 20;
/// How long readers are waited for, each time; no append is made meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// Keeps the write-ahead log from growing without end.
///
/// SQLite itself moves the log into the file every thousand pages, and begins it again from its start when no
/// reader needs it. Where one page of a read follows the other there is no such moment. Then the log is emptied
/// here: readers that come meanwhile find all in the file, so only the pages under way are waited for. Another
/// program may keep a reader open for longer; then it is tried again when the log has grown by as much again.
#[derive(Debug)]
pub(crate) struct Wal {
    file: PathBuf,
    bound: u64,
}

impl Wal {
    pub(crate) fn of(store: &Path) -> Self {
        let mut file = store.as_os_str().to_owned();
        file.push("-wal");
        Self { file: file.into(), bound: BOUND }
    }

    /// To be called between transactions. `lock_timeout`: what the connection has otherwise.
    pub(crate) fn keep_bounded(&mut self, connection: &Connection, lock_timeout: Duration) {
        if self.size() <= self.bound {
            return;
        }
        // A failure changes nothing of what is stored; whatever is behind it, the next commit meets it and reports it.
        let _ = connection.busy_timeout(PATIENCE);
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let _ = connection.busy_timeout(lock_timeout);
        self.bound = self.size() + BOUND;
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |file| file.len())
    }
}
