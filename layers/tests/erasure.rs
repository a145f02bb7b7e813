//! Erasure: what is left of a subject in the log, in copies, in the files of databases, and what the report says.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

#[path = "../../adapters/postgres/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::{
    Append, Error, NewEvent, Query, ReadOptions, StorageAdapter, StreamId, WriteCondition,
};
use annals_layers::{
    Erasure, ErasureReport, InvalidNote, Key, KeyId, KeyRing, Personal, Shredding, Signer,
    StoredKeys, Subject, SubjectKeys, Verifier,
};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_state::{
    By, Collection, CollectionName, Documents, Expected, Filter, Find, Paging, Scan, StateError,
    StateStore, Sweep, Swept,
};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

type Outcome = Result<(), annals::BoxError>;

/// What the forgotten are called in these tests. The others are linnets.
const CANARY: &[u8] = b"canary";
const STREAM: StreamId = StreamId::from_static("birds", "all");

/// How many events the canary test appends: 400, or what `ANNALS_CANARY_EVENTS` says.
fn events() -> usize {
    std::env::var("ANNALS_CANARY_EVENTS").map_or(400, |text| text.parse().unwrap())
}

#[derive(Serialize, Deserialize)]
struct Seen {
    name: Personal<String>,
    place: String,
}

/// A document of a view, made from a decrypted event.
#[derive(Serialize, Deserialize)]
struct Bird {
    subject: String,
    name: String,
}

/// A view of birds by name, and how it forgets a subject.
#[derive(Debug)]
struct Birds(Documents<Bird>);

fn birds(state: &Arc<dyn StateStore>) -> Birds {
    let by = [By::ascending("name").unwrap()];
    let of = [By::ascending("subject").unwrap()];
    let birds = Collection::<Bird>::new("birds").unwrap();
    let birds = birds.with_index("by_name", by).unwrap().with_index("by_subject", of).unwrap();
    Birds(birds.on(Arc::clone(state)))
}

#[annals::adapter::async_trait]
impl Sweep for Birds {
    async fn forget(&self, subject: &str) -> annals_state::Result<Swept> {
        let (mut removed, find) = (0, Find::default().filter(Filter::is("subject", subject)?));
        loop {
            let found = self.0.find(&find.clone().paging(Paging::First(100))).await?;
            for bird in &found.documents {
                self.0.delete(bird.id.clone(), Expected::Any).await?;
                removed += 1;
            }
            if found.next.is_none() {
                return Ok(Swept::new(removed, removed));
            }
        }
    }
}

fn signer() -> Signer {
    Signer::from_bytes("example.com/erasures", &[9; 32]).unwrap()
}

fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).filter(|window| *window == wanted).count()
}

/// What a store is asked for by the canary test.
struct Place<A> {
    log: A,
    state: Arc<dyn StateStore>,
}

/// What lies in a database, as its rows and as its files.
trait Bytes {
    /// All rows that can be read now.
    async fn rows(&self) -> Vec<u8>;
    /// The data files, after the database wrote everything into them; if `compact`, after it made its tables anew.
    async fn files(&self, compact: bool) -> Vec<u8>;
}

async fn canary<A: StorageAdapter + Clone>(place: Place<A>, database: &impl Bytes) -> Outcome {
    let master = KeyRing::new(KeyId(1), &Key::from_bytes(&[5; 32]));
    let keys = Arc::new(StoredKeys::new(Arc::clone(&place.state), master));
    let layer = Shredding::new(place.log.clone(), Arc::clone(&keys) as _)?;
    let view = Arc::new(birds(&place.state));
    let total = events();
    for first in (0..total).step_by(100) {
        let (mut seen, mut writes) = (Vec::new(), Vec::new());
        for nth in first..total.min(first + 100) {
            let kind = if nth % 2 == 0 { "canary" } else { "linnet" };
            let name = format!("{kind}-{nth}");
            let event = Seen {
                name: Personal::new(subject(&format!("the-{}", nth % 2)), name.clone()),
                place: format!("tree {nth}"),
            };
            seen.push(NewEvent::json("seen", &event)?);
            let bird = Bird { subject: format!("the-{}", nth % 2), name };
            writes.push(view.0.write(format!("b-{nth}"), &bird, Expected::Absent)?);
        }
        layer.append(vec![Append::new(STREAM, seen, WriteCondition::Always)]).await?;
        view.0.commit(writes).await?;
    }
    // The test would find them: in rows, in files, and the wrapped key.
    let wrapped = wrapped(&*place.state, keys.current(&subject("the-0")).await?.0).await;
    let of_another = self::wrapped(&*place.state, keys.current(&subject("the-1")).await?.0).await;
    for bytes in [database.rows().await, database.files(false).await] {
        assert!(count(&bytes, CANARY) >= total / 2 && count(&bytes, &wrapped) > 0);
    }

    let erasure = Erasure::new(Arc::clone(&keys) as _)
        .with_sweep("birds", Arc::clone(&view) as _)
        .with_remains("backups", time::Duration::days(30));
    let note = erasure.forget(&subject("the-0"), &signer()).await?;
    let report = ErasureReport::open(&note, &signer().verifier())?;
    assert_eq!(report.swept[0].removed, total.div_ceil(2) as u64);

    // At once in what can be read, and in the files once the database has made its tables anew.
    for bytes in [database.rows().await, database.files(true).await] {
        assert_eq!((count(&bytes, CANARY), count(&bytes, &wrapped)), (0, 0));
        assert!(count(&bytes, b"linnet") >= total / 2 && count(&bytes, &of_another) > 0);
    }
    let mut known = 0;
    let mut pages = layer.read(Query::all(), ReadOptions::default());
    while let Some(page) = pages.try_next().await? {
        for event in page.events {
            let seen: Seen = event.payload().to_json()?;
            assert!(seen.name.value().is_none_or(|name| name.starts_with("linnet")));
            known += usize::from(seen.name.value().is_some());
        }
    }
    assert_eq!(known, total / 2);
    Ok(())
}

async fn wrapped(state: &dyn StateStore, id: annals_layers::DataKeyId) -> Vec<u8> {
    let scan = Scan::along_ids(CollectionName::from_static("annals.subject_keys"));
    let pages: Vec<_> = state.scan(scan).try_collect().await.unwrap();
    let mut documents = pages.into_iter().flatten().map(|scanned| scanned.document);
    let document = documents.find(|document| document.key.id.as_str() == id.to_string()).unwrap();
    document.body.as_bytes()[17..].to_vec()
}

struct File<'a>(&'a Path);

impl File<'_> {
    fn connect(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.0).unwrap()
    }
}

impl Bytes for File<'_> {
    async fn rows(&self) -> Vec<u8> {
        let connection = self.connect();
        let mut bytes = Vec::new();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let mut tables = connection.prepare(tables).unwrap();
        let names: Vec<String> =
            tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for name in names {
            let mut all = connection.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
            let columns = all.column_count();
            let mut rows = all.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                for column in 0..columns {
                    match row.get_ref(column).unwrap() {
                        rusqlite::types::ValueRef::Text(value)
                        | rusqlite::types::ValueRef::Blob(value) => bytes.extend_from_slice(value),
                        _ => {}
                    }
                    bytes.push(b'\n');
                }
            }
        }
        bytes
    }

    async fn files(&self, compact: bool) -> Vec<u8> {
        let connection = self.connect();
        if compact {
            connection.execute_batch("PRAGMA secure_delete = ON; VACUUM;").unwrap();
        }
        let busy: i64 =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0, "nobody reads");
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(self.0.parent().unwrap()).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        bytes
    }
}

#[tokio::test]
async fn no_canary_is_left_in_sqlite() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("log.db");
    let log = annals_sqlite::SqliteAdapter::open(&file).await?;
    let state: Arc<dyn StateStore> = Arc::new(log.state());
    canary(Place { log, state }, &File(&file)).await
}

struct Schema {
    client: annals_postgres::tokio_postgres::Client,
    name: String,
}

impl Schema {
    async fn tables(&self) -> Vec<String> {
        let tables = "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname = $1";
        let rows = self.client.query(tables, &[&self.name]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Bytes for Schema {
    async fn rows(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for table in self.tables().await {
            // As text, bytes are hexadecimal: as they are, too.
            let columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = $1 AND quote_ident(table_schema) || '.' || quote_ident(table_name) = $2";
            for column in self.client.query(columns, &[&self.name, &table]).await.unwrap() {
                let (name, kind): (String, String) = (column.get(0), column.get(1));
                let value = match kind.as_str() {
                    "bytea" => format!("\"{name}\""),
                    _ => format!("convert_to(\"{name}\"::text, 'UTF8')"),
                };
                let all = format!("SELECT {value} FROM {table}");
                for row in self.client.query(&all, &[]).await.unwrap() {
                    bytes.extend(row.get::<_, Option<Vec<u8>>>(0).unwrap_or_default());
                    bytes.push(b'\n');
                }
            }
        }
        bytes
    }

    async fn files(&self, compact: bool) -> Vec<u8> {
        if compact {
            for table in self.tables().await {
                self.client.batch_execute(&format!("VACUUM FULL {table}")).await.unwrap();
            }
        }
        self.client.batch_execute("CHECKPOINT").await.unwrap();
        // Tables, their indexes, and where long values are.
        let files = "SELECT pg_read_binary_file(pg_relation_filepath(c.oid)) FROM pg_class c \
            WHERE c.relkind IN ('r', 'i', 't') AND (c.relnamespace = $1::text::regnamespace OR c.oid IN \
            (SELECT reltoastrelid FROM pg_class t WHERE t.relnamespace = $1::text::regnamespace))";
        let rows = self.client.query(files, &[&self.name]).await.unwrap();
        rows.iter().flat_map(|row| row.get::<_, Vec<u8>>(0)).collect()
    }
}

#[tokio::test]
async fn no_canary_is_left_in_postgres() -> Outcome {
    let Some(url) = common::server().await else { return Ok(()) };
    let name = common::fresh();
    let log = common::open(common::options(&url, &name)?).await;
    let state: Arc<dyn StateStore> = Arc::new(log.state());
    let client = common::admin(&url).await?;
    canary(Place { log, state }, &Schema { client, name }).await
}

/// A sweep that fails until it is repaired.
#[derive(Debug, Default)]
struct Broken(AtomicBool);

#[annals::adapter::async_trait]
impl Sweep for Broken {
    async fn forget(&self, _: &str) -> annals_state::Result<Swept> {
        if self.0.load(Ordering::SeqCst) {
            return Ok(Swept::new(3, 2));
        }
        Err(StateError::unavailable("the disk is away"))
    }
}

#[tokio::test]
async fn a_sweep_that_fails_is_named_and_the_others_are_made_all_the_same() -> Outcome {
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::new());
    let master = KeyRing::new(KeyId(1), &Key::generate()?);
    let keys = Arc::new(StoredKeys::new(Arc::clone(&state), master));
    let view = birds(&state);
    let bird = Bird { subject: "ada".to_owned(), name: "canary".to_owned() };
    view.0.put("b-1", &bird, Expected::Absent).await?;
    let broken = Arc::new(Broken::default());
    let erasure = Erasure::new(Arc::clone(&keys) as _)
        .with_sweep("snapshots", Arc::clone(&broken) as _)
        .with_sweep("birds", Arc::new(birds(&state)));
    let failed = erasure.forget(&subject("ada"), &signer()).await.unwrap_err();
    assert!(
        matches!(&failed, Error::Unavailable(failure) if failure.source.to_string().contains("snapshots")),
        "{failed:?}"
    );
    assert!(view.0.get("b-1").await?.is_none(), "the other sweep was made");
    assert!(keys.current(&subject("ada")).await.is_err(), "the key is destroyed first");
    broken.0.store(true, Ordering::SeqCst);
    let note = erasure.forget(&subject("ada"), &signer()).await?;
    let report = ErasureReport::open(&note, &signer().verifier())?;
    let swept: Vec<_> =
        report.swept.iter().map(|it| (it.name.as_str(), it.looked_at, it.removed)).collect();
    assert_eq!(swept, [("snapshots", 3, 2), ("birds", 0, 0)]);
    Ok(())
}

#[derive(Debug)]
struct At(time::OffsetDateTime);

impl annals::Clock for At {
    fn now(&self) -> time::OffsetDateTime {
        self.0
    }
}

#[tokio::test]
async fn a_report_is_signed_and_says_what_remains() -> Outcome {
    let now = time::macros::datetime!(2026-02-03 04:05:06 UTC);
    let master = KeyRing::new(KeyId(1), &Key::generate()?);
    let keys = StoredKeys::new(Arc::new(MemoryState::new()), master).with_clock(At(now));
    let keys = Arc::new(keys);
    let layer = Shredding::new(MemoryAdapter::new(), Arc::clone(&keys) as _)?;
    let seen = Seen { name: Personal::new(subject("ada"), "x".to_owned()), place: String::new() };
    let seen = [NewEvent::json("seen", &seen)?];
    layer.append(vec![Append::new(STREAM, seen, WriteCondition::Always)]).await?;
    let (id, _) = keys.current(&subject("ada")).await?;
    let erasure = Erasure::new(keys)
        .with_clock(At(now))
        .with_remains("write-ahead log", time::Duration::days(7));
    let note = erasure.forget(&subject("ada"), &signer()).await?;
    let report = ErasureReport::open(&note, &signer().verifier())?;
    assert_eq!((report.forgotten.key, report.forgotten.at), (Some(id), now));
    assert_eq!(report.remains[0].what, "write-ahead log");
    assert_eq!(report.remains[0].until, now + time::Duration::days(7));
    assert_eq!(report.swept_at, now);
    // No byte of it can be changed, and nobody else has signed it.
    let text = signer().verifier().to_string();
    assert_eq!(text.parse::<Verifier>()?, signer().verifier());
    for at in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(changed) = String::from_utf8(bytes) {
            assert!(ErasureReport::open(&changed, &signer().verifier()).is_err(), "{at}");
        }
    }
    let other = Signer::from_bytes("example.com/erasures", &[8; 32])?;
    let unsigned = ErasureReport::open(&note, &other.verifier());
    assert_eq!(unsigned, Err(InvalidNote::NotSigned));
    let another = signer().sign("a note about something else\n")?;
    assert!(ErasureReport::open(&another, &signer().verifier()).is_err());
    assert!(!format!("{:?}", signer()).contains('9'), "no secret is shown");
    Ok(())
}
