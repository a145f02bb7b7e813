//! The conformance suite over SQLite files.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use annals::{BoxError, SequenceNumber, StorageAdapter as _};
use annals_sqlite::{SqliteAdapter, SqliteOptions};
use annals_testkit::{Disturbance, Harness, Hook, Opened, Variant, async_trait, scratch};
use rusqlite::Connection;

/// A file for each namespace.
pub(crate) struct Files;

impl Files {
    async fn open_with(namespace: &str, options: SqliteOptions) -> Opened {
        Ok(Arc::new(options.open(path(namespace)?).await?))
    }
}

fn path(namespace: &str) -> std::io::Result<PathBuf> {
    // As the system tells it of open files.
    Ok(scratch()?.canonicalize()?.join(format!("{namespace}.db")))
}

fn kept(namespace: &str) -> std::io::Result<PathBuf> {
    Ok(scratch()?.canonicalize()?.join(format!("{namespace}-kept.db")))
}

fn options() -> SqliteOptions {
    SqliteOptions::new().with_lock_timeout(Duration::from_secs(3))
}

/// Leaves a fresh file whose only event, of nobody's namespace, has this number.
async fn seed(path: &Path, last: SequenceNumber) -> Result<(), BoxError> {
    SqliteAdapter::open(path).await?.close().await;
    if last > SequenceNumber::START {
        Connection::open(path)?.execute_batch(&format!(
            "BEGIN;
             INSERT INTO names VALUES (1, 'seed');
             INSERT INTO streams VALUES ({last}, 1, 'seed');
             INSERT INTO events VALUES ({last}, {last}, 0, 1, 1, 1, zeroblob(16), 0, 0, NULL, NULL, x'');
             COMMIT",
        ))?;
    }
    Ok(())
}

#[async_trait]
impl Harness for Files {
    async fn open(&self, namespace: &str) -> Opened {
        Self::open_with(namespace, options()).await
    }

    /// No server to cut off or to restart, and no gate: numbers are taken and committed under one lock of the
    /// file, which no other append can pass. What holds that lock for longer is a disturbance.
    fn hooks(&self) -> &[Hook] {
        &[
            Hook::PageSize,
            Hook::StartAfter,
            Hook::PoolOfOne,
            Hook::TakeBack,
            Hook::Disturb(Disturbance::HoldLock),
            Hook::Files,
            #[cfg(target_os = "linux")]
            Hook::Usage,
        ]
    }

    async fn open_as(&self, namespace: &str, variant: Variant) -> Opened {
        let options = options();
        let options = match variant {
            Variant::PageSize(events) => options.with_page_size(events),
            Variant::PoolOfOne => options.with_readers(std::num::NonZeroUsize::MIN),
            Variant::StartAfter(last) => {
                seed(&path(namespace)?, last).await?;
                options
            }
            other => return Err(format!("no {other:?} of a file").into()),
        };
        Self::open_with(namespace, options).await
    }

    async fn disturb(
        &self,
        namespace: &str,
        disturbance: Disturbance,
    ) -> Result<Box<dyn Any + Send>, BoxError> {
        if disturbance != Disturbance::HoldLock {
            return Err(format!("no {disturbance:?} of a file").into());
        }
        let other = Connection::open(path(namespace)?)?;
        other.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Box::new(other))
    }

    /// The file's tables are copied into a file beside it.
    async fn remember(&self, namespace: &str) -> Result<(), BoxError> {
        let kept = kept(namespace)?;
        if kept.exists() {
            std::fs::remove_file(&kept)?;
        }
        let kept = kept.to_str().ok_or("a path that is no text")?;
        Connection::open(path(namespace)?)?.execute("VACUUM INTO ?1", [kept])?;
        Ok(())
    }

    /// Another connection puts the copied rows in place of the file's, in one transaction.
    async fn take_back(&self, namespace: &str) -> Result<(), BoxError> {
        let connection = Connection::open(path(namespace)?)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        let kept = kept(namespace)?;
        connection
            .execute("ATTACH ?1 AS kept", [kept.to_str().ok_or("a path that is no text")?])?;
        let tables = ["events", "names", "streams", "event_tags"].map(|table| {
            format!(
                "DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM kept.{table};"
            )
        });
        let sql = format!("BEGIN IMMEDIATE; {} COMMIT", tables.concat());
        Ok(connection.execute_batch(&sql)?)
    }

    async fn files(&self, namespace: &str) -> Result<Vec<PathBuf>, BoxError> {
        let file = path(namespace)?;
        let [log, index] = ["db-wal", "db-shm"].map(|ending| file.with_extension(ending));
        Ok(vec![file, log, index])
    }

    /// How often this process has the file, or one beside it, open.
    async fn usage(&self, namespace: &str) -> Result<BTreeMap<String, u64>, BoxError> {
        let path = path(namespace)?;
        let path = path.to_str().ok_or("a path that is no text")?;
        let mut open = 0;
        for descriptor in std::fs::read_dir("/proc/self/fd")? {
            // The one that lists the others is gone by now.
            let target = std::fs::read_link(descriptor?.path()).unwrap_or_default();
            open += u64::from(target.to_string_lossy().starts_with(path));
        }
        Ok(BTreeMap::from([("open files".to_owned(), open)]))
    }
}

fn main() -> ExitCode {
    annals_testkit::main("annals-sqlite", Files)
}
