//! The SQLite driver alone, on the schema of our adapter.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use annals::{BoxError, EventStore};
use annals_sqlite::SqliteAdapter;
use async_trait::async_trait;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::annals_store::Annals;
use crate::contestant::{About, Contestant, Load, Missing, Store};
use crate::measure::{Measure, histogram};
use crate::sample::{self, PAYLOAD};

/// One connection with prepared statements, `synchronous` as our adapter has it.
#[derive(Debug)]
pub struct Rusqlite(pub PathBuf);

/// Rows of one transaction where appends have more than one event.
const BATCH: usize = 1_000;

#[async_trait]
impl Contestant for Rusqlite {
    fn about(&self) -> About {
        About {
            peer: "limit-rusqlite",
            version: rusqlite::version().into(),
            backend: "sqlite",
            promises: "bare INSERT, one a transaction, or 1,000 where appends have several events; bare SELECT",
        }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let folder = TempDir::new_in(&self.0)?;
        let file = folder.path().join("limit.db");
        EventStore::new(SqliteAdapter::open(&file).await?).close().await;
        let connection = Connection::open(&file)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        Ok(Arc::new(Bare { connection: Mutex::new(connection), file, _folder: folder }))
    }
}

struct Bare {
    connection: Mutex<Connection>,
    file: PathBuf,
    _folder: TempDir,
}

#[async_trait]
impl Store for Bare {
    async fn bare_load(&self, load: Load) -> Option<Result<Measure, Missing>> {
        if load.contended {
            return None;
        }
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        Some(insert(&mut connection, load))
    }

    async fn fill(&self, streams: usize, events: usize) -> Result<(), Missing> {
        let store = EventStore::new(SqliteAdapter::open(&self.file).await?);
        Annals::new(store.clone(), false).fill(streams, events).await?;
        store.close().await;
        Ok(())
    }

    async fn scan(&self) -> Result<u64, Missing> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(SCAN)?;
        Ok(count(statement.query([])?)?)
    }

    async fn read(&self, stream: &str) -> Result<u64, Missing> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(READ)?;
        Ok(count(statement.query(params![sample::CATEGORY.as_str(), stream])?)?)
    }
}

const SCAN: &str = "SELECT sequence_number, stream_id, position, name_id, encoding_id, id, \
    occurred_at, recorded_at, payload, metadata, tags FROM events ORDER BY sequence_number";

const READ: &str = "SELECT sequence_number, stream_id, position, name_id, encoding_id, id, \
    occurred_at, recorded_at, payload, metadata, tags FROM events WHERE stream_id = \
    (SELECT stream_id FROM streams WHERE name = ?2 AND category_id = \
    (SELECT name_id FROM names WHERE name = ?1)) ORDER BY sequence_number";

type Bytes = Vec<u8>;

fn count(mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<u64> {
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let numbers: [i64; 5] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
        let id: [u8; 16] = row.get(5)?;
        let times: [i64; 2] = [row.get(6)?, row.get(7)?];
        let contents: (Bytes, Option<Bytes>, Option<String>) =
            (row.get(8)?, row.get(9)?, row.get(10)?);
        std::hint::black_box((numbers, id, times, contents));
        count += 1;
    }
    Ok(count)
}

fn insert(connection: &mut Connection, load: Load) -> Result<Measure, Missing> {
    const INSERT: &str =
        "INSERT INTO events VALUES (?1, ?2, ?3, 1, 2, 3, ?4, ?5, ?5, NULL, NULL, ?6)";
    let rows = if load.events == 1 { 1 } else { BATCH };
    let (mut done, mut calls) = (0_u64, histogram());
    let mut number: i64 = connection.query_row(
        "SELECT coalesce(max(sequence_number), 0) FROM events",
        [],
        |row| row.get(0),
    )?;
    let begin = Instant::now();
    while begin.elapsed() < load.time {
        let called = Instant::now();
        let transaction = connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached(INSERT)?;
            for _ in 0..rows {
                number += 1;
                let id = annals::EventId::generate().as_uuid();
                let stream = number % 32;
                let row =
                    params![number, stream, number / 32, id.as_bytes(), number, PAYLOAD.as_bytes()];
                statement.execute(row)?;
            }
        }
        transaction.commit()?;
        calls.saturating_record(u64::try_from(called.elapsed().as_nanos()).unwrap_or(u64::MAX));
        done += rows as u64;
    }
    Ok(Measure { calls: Some(calls), ..Measure::new(done, begin.elapsed()) })
}
