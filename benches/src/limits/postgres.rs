//! The PostgreSQL driver alone, and `pgbench` where it is installed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use annals::{BoxError, EventStore};
use annals_postgres::tokio_postgres::binary_copy::BinaryCopyInWriter;
use annals_postgres::tokio_postgres::types::{ToSql, Type};
use annals_postgres::tokio_postgres::{self, Client, NoTls, Row, Statement};
use annals_postgres::{PostgresAdapter, PostgresOptions};
use async_trait::async_trait;
use uuid::Uuid;

use crate::annals_store::Annals;
use crate::contestant::{About, Contestant, Load, Missing, Store};
use crate::measure::{Measure, histogram};
use crate::sample::{self, PAYLOAD};

async fn client(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

async fn clients(url: &str, count: usize) -> Result<Vec<Arc<Client>>, tokio_postgres::Error> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Arc::new(client(url).await?));
    }
    Ok(clients)
}

fn version() -> String {
    "tokio-postgres 0.7".into()
}

fn schema(kind: &str) -> String {
    format!("{kind}_{}", annals::EventId::generate().as_uuid().simple())
}

/// One row per commit into a table with a key and no other index; the better of the driver and `pgbench`.
///
/// On one stream it is the loop of the common libraries: lock, read the last position, insert if it is still the one
/// that the caller decided on, commit; else decide again.
#[derive(Debug)]
pub struct Insert(pub String);

#[async_trait]
impl Contestant for Insert {
    fn about(&self) -> About {
        About {
            peer: "limit-insert",
            version: version(),
            backend: "postgres",
            promises: "one bare INSERT per commit by each client (driver or pgbench, the better); \
                       on one stream: lock, read the last, INSERT if it is the expected one, commit",
        }
    }

    async fn open(&self, clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let schema = schema("bare");
        let clients = self::clients(&self.0, clients).await?;
        let admin = client(&self.0).await?;
        admin
            .batch_execute(&format!(
                "CREATE SCHEMA {schema}; CREATE TABLE {schema}.events (
                    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                    stream bigint NOT NULL, position bigint NOT NULL, name text NOT NULL,
                    at timestamptz NOT NULL DEFAULT now(), payload bytea NOT NULL)"
            ))
            .await?;
        Ok(Arc::new(Inserts { url: self.0.clone(), schema, clients, admin }))
    }
}

struct Inserts {
    url: String,
    schema: String,
    clients: Vec<Arc<Client>>,
    admin: Client,
}

#[async_trait]
impl Store for Inserts {
    async fn bare_load(&self, load: Load) -> Option<Result<Measure, Missing>> {
        if load.events > 1 {
            return None;
        }
        Some(self.insert(load).await)
    }

    async fn close(&self) {
        drop(self.admin.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.schema)).await);
    }
}

impl Inserts {
    async fn insert(&self, load: Load) -> Result<Measure, Missing> {
        let table = format!("{}.events", self.schema);
        let begin = Instant::now();
        let until = begin + load.time;
        let mut tasks = tokio::task::JoinSet::new();
        for (nth, client) in self.clients.iter().cloned().enumerate() {
            let stream = i64::try_from(if load.contended { 0 } else { nth })?;
            let table = table.clone();
            tasks.spawn(async move {
                let insert = format!(
                    "INSERT INTO {table} (stream, position, name, payload) VALUES ($1, $2, $3, $4)"
                );
                let insert = client.prepare(&insert).await?;
                let last = format!("SELECT number FROM {table} ORDER BY number DESC LIMIT 1");
                let last = client.prepare(&last).await?;
                let name = sample::NAME;
                let name = name.as_str();
                let (mut done, mut known, mut calls) = (0_i64, 0_i64, histogram());
                while Instant::now() < until {
                    let called = Instant::now();
                    let row: [&(dyn ToSql + Sync); 4] =
                        [&stream, &done, &name, &PAYLOAD.as_bytes()];
                    if load.contended {
                        client.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(4711)").await?;
                        let head = client.query_opt(&last, &[]).await?;
                        let head = head.map_or(Ok(0), |row| row.try_get(0))?;
                        if head != known {
                            // Decided on what is no longer true: once more, on what was just read.
                            client.batch_execute("ROLLBACK").await?;
                            known = head;
                            continue;
                        }
                        client.execute(&insert, &row).await?;
                        client.batch_execute("COMMIT").await?;
                        known += 1;
                    } else {
                        client.execute(&insert, &row).await?;
                    }
                    calls.saturating_record(u64::try_from(called.elapsed().as_nanos())?);
                    done += 1;
                }
                Ok::<_, BoxError>((u64::try_from(done)?, calls))
            });
        }
        let (mut done, mut calls) = (0, histogram());
        while let Some(joined) = tasks.join_next().await {
            let (inserted, times) = joined??;
            done += inserted;
            calls.add(times)?;
        }
        let driver = Measure { calls: Some(calls), ..Measure::new(done, begin.elapsed()) };
        if load.contended {
            return Ok(driver);
        }
        let (url, writers) = (self.url.clone(), load.writers);
        let seconds = load.time.as_secs().max(1);
        let bench = tokio::task::spawn_blocking(move || pgbench(&url, &table, writers, seconds));
        match bench.await? {
            Some(bench) if bench.rate() > driver.rate() => Ok(bench),
            _ => Ok(driver),
        }
    }
}

/// What `pgbench` reaches with as many clients, where it is installed.
fn pgbench(url: &str, table: &str, clients: usize, seconds: u64) -> Option<Measure> {
    let script = tempfile::NamedTempFile::new().ok()?;
    // The payload has neither quotes nor backslashes, so that its text is its form as bytes as well.
    let insert = format!(
        "INSERT INTO {table} (stream, position, name, payload) \
         VALUES (:client_id, 0, '{}', '{PAYLOAD}');\n",
        sample::NAME
    );
    std::fs::write(script.path(), insert).ok()?;
    let output = Command::new(program("pgbench")?)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={clients}"))
        .arg(format!("--time={seconds}"))
        .arg("--file")
        .arg(script.path())
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = "))?;
    let rate: f64 = rate.split_whitespace().next()?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
    let done = (rate * 1_000.0) as u64;
    Some(Measure::new(done, std::time::Duration::from_secs(1_000)))
}

/// On the path, or in a folder of Debian's for each version.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    std::env::split_paths(&path)
        .chain(versions)
        .map(|folder| folder.join(name))
        .find(|p| p.exists())
}

/// COPY in large batches into the tables of our adapter with their indexes, and bare SELECT from them.
#[derive(Debug)]
pub struct Bare {
    url: String,
    reads: bool,
}

impl Bare {
    /// COPY of 10,000 rows at a time.
    #[must_use]
    pub fn copy(url: &str) -> Self {
        Self { url: url.into(), reads: false }
    }

    /// Prepared SELECTs by pages of 4,096 rows, decoded to bare tuples.
    #[must_use]
    pub fn select(url: &str) -> Self {
        Self { url: url.into(), reads: true }
    }
}

/// Rows of a COPY.
const BATCH: i64 = 10_000;
/// Rows of a page.
const PAGE: usize = 4_096;

#[async_trait]
impl Contestant for Bare {
    fn about(&self) -> About {
        let (peer, promises) = if self.reads {
            ("limit-select", "bare prepared SELECT, by pages of 4,096 rows, from our tables")
        } else {
            ("limit-copy", "binary COPY of 10,000 rows at a time into our tables")
        };
        About { peer, version: version(), backend: "postgres", promises }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let schema = schema("limit");
        let options = PostgresOptions::new(&self.url)?.with_schema(&schema);
        options.migrate().await?;
        let adapter = options.connect().await?;
        let client = client(&self.url).await?;
        client.batch_execute(&format!("SET search_path TO {schema}")).await?;
        let read = format!(
            "SELECT {COLUMNS} FROM events WHERE stream_id = (SELECT stream_id FROM events_streams WHERE \
             name = $2 AND category_id = (SELECT name_id FROM events_names WHERE name = $1)) ORDER BY position"
        );
        let read = client.prepare(&read).await?;
        Ok(Arc::new(Tables { schema, adapter, client, read, reads: self.reads }))
    }
}

struct Tables {
    schema: String,
    adapter: PostgresAdapter,
    client: Client,
    read: Statement,
    reads: bool,
}

const COLUMNS: &str = "sequence_number, stream_id, position, name_id, encoding_id, id, occurred_at, \
                       recorded_at, payload, metadata, tags";

#[async_trait]
impl Store for Tables {
    async fn bare_load(&self, load: Load) -> Option<Result<Measure, Missing>> {
        if self.reads {
            return Some(Err(Missing::NotOffered));
        }
        if load.contended || load.events == 1 {
            return Some(Err(Missing::NotOffered));
        }
        Some(self.copy(load).await)
    }

    async fn fill(&self, streams: usize, events: usize) -> Result<(), Missing> {
        if !self.reads {
            return Err(Missing::NotOffered);
        }
        Annals::new(EventStore::new(self.adapter.clone()), false).fill(streams, events).await
    }

    async fn scan(&self) -> Result<u64, Missing> {
        let page = format!(
            "SELECT {COLUMNS} FROM events WHERE sequence_number > $1 ORDER BY sequence_number LIMIT {PAGE}"
        );
        let page = self.client.prepare(&page).await?;
        let (mut last, mut count) = (0_i64, 0);
        loop {
            let rows = self.client.query(&page, &[&last]).await?;
            for row in &rows {
                last = decode(row)?;
            }
            count += rows.len() as u64;
            if rows.len() < PAGE {
                return Ok(count);
            }
        }
    }

    async fn read(&self, stream: &str) -> Result<u64, Missing> {
        let rows = self.client.query(&self.read, &[&sample::CATEGORY.as_str(), &stream]).await?;
        for row in &rows {
            decode(row)?;
        }
        Ok(rows.len() as u64)
    }

    async fn close(&self) {
        annals::StorageAdapter::close(&self.adapter).await;
        drop(self.client.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.schema)).await);
    }
}

fn decode(row: &Row) -> Result<i64, tokio_postgres::Error> {
    let numbers: [i64; 5] =
        [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?];
    let id: Uuid = row.try_get(5)?;
    let times: [SystemTime; 2] = [row.try_get(6)?, row.try_get(7)?];
    let contents: (Vec<u8>, Option<Vec<u8>>, Option<Vec<i64>>) =
        (row.try_get(8)?, row.try_get(9)?, row.try_get(10)?);
    let [number, ..] = numbers;
    std::hint::black_box((numbers, id, times, contents));
    Ok(number)
}

impl Tables {
    async fn copy(&self, load: Load) -> Result<Measure, Missing> {
        let types = [
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::UUID,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::BYTEA,
        ];
        let head = "SELECT coalesce(max(sequence_number), 0) FROM events";
        let mut number: i64 = self.client.query_one(head, &[]).await?.try_get(0)?;
        let now = SystemTime::now();
        let (mut done, begin) = (0, Instant::now());
        while begin.elapsed() < load.time {
            let sink = self
                .client
                .copy_in(
                    "COPY events (sequence_number, stream_id, position, category_id, name_id, \
                     encoding_id, id, occurred_at, recorded_at, payload) FROM STDIN BINARY",
                )
                .await?;
            let mut writer = Box::pin(BinaryCopyInWriter::new(sink, &types));
            for _ in 0..BATCH {
                number += 1;
                let (stream, position) = (number % 32, number / 32);
                let id = annals::EventId::generate().as_uuid();
                let row: [&(dyn ToSql + Sync); 10] = [
                    &number,
                    &stream,
                    &position,
                    &1_i64,
                    &2_i64,
                    &3_i64,
                    &id,
                    &now,
                    &now,
                    &PAYLOAD.as_bytes(),
                ];
                writer.as_mut().write(&row).await?;
            }
            done += writer.as_mut().finish().await?;
        }
        Ok(Measure::new(done, begin.elapsed()))
    }
}
