//! evento, on PostgreSQL and on SQLite.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use annals::BoxError;
use annals_benches::contestant::{About, Appended, Contestant, Missing, Store, last_of};
use annals_benches::sample::PAYLOAD;
use async_trait::async_trait;
use bincode::{Decode, Encode};
use evento::cursor::Args;
use evento::migrator::{Migrate, Plan};
use evento::{AggregatorName, EventDetails, Executor, RoutingKey, SaveBuilder, WriteError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tempfile::TempDir;

use crate::schema::Schema;
use crate::version;

const PROMISES: &str = "numbers events within a stream only; a scan goes by the clocks of the writers, so that a \
                        reader who resumes may skip; conditions on the stream's last number; each append writes \
                        a snapshot as well";

fn about(backend: &'static str) -> About {
    About { peer: "evento", version: version::of("evento"), backend, promises: PROMISES }
}

/// evento on PostgreSQL.
pub(crate) struct Postgres(pub(crate) String);

#[async_trait]
impl Contestant for Postgres {
    fn about(&self) -> About {
        about("postgres")
    }

    async fn open(&self, clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let schema = Schema::create(&self.0, "evento", clients).await?;
        let mut connection = schema.pool.acquire().await?;
        evento::sql_migrator::new::<sqlx::Postgres>()?
            .run(&mut *connection, &Plan::apply_all())
            .await?;
        drop(connection);
        Ok(Arc::new(Events {
            executor: evento::Postgres::from(schema.pool.clone()),
            place: Place::Postgres(schema),
        }))
    }
}

/// evento on SQLite: a file in this folder, as durable as that of our adapter, one connection for writes.
pub(crate) struct Sqlite(pub(crate) PathBuf);

#[async_trait]
impl Contestant for Sqlite {
    fn about(&self) -> About {
        about("sqlite")
    }

    async fn open(&self, clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let folder = TempDir::new_in(&self.0)?;
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("evento.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let writes = SqlitePoolOptions::new().max_connections(1);
        let writes = writes.connect_with(options.clone()).await?;
        let mut connection = writes.acquire().await?;
        evento::sql_migrator::new::<sqlx::Sqlite>()?
            .run(&mut *connection, &Plan::apply_all())
            .await?;
        drop(connection);
        let reads = SqlitePoolOptions::new().max_connections(u32::try_from(clients.clamp(1, 32))?);
        let reads = reads.connect_with(options.read_only(true)).await?;
        Ok(Arc::new(Events {
            executor: evento::sql::RwSqlite::from((reads.clone(), writes.clone())),
            place: Place::Sqlite { pools: [reads, writes], _folder: folder },
        }))
    }
}

/// What is given back at the end.
enum Place {
    Postgres(Schema),
    Sqlite { pools: [sqlx::SqlitePool; 2], _folder: TempDir },
}

struct Events<E> {
    executor: E,
    place: Place,
}

/// The event, with the payload as its only field: evento encodes events as bincode.
#[derive(AggregatorName, Encode, Decode)]
struct LineAdded {
    json: String,
}

/// An order, of which nothing is kept.
#[derive(Debug, Default, Clone, Encode, Decode)]
struct Order {
    lines: u32,
}

#[expect(clippy::unused_async, reason = "the macro wants it")]
#[evento::aggregator]
impl Order {
    async fn line_added(&mut self, _event: EventDetails<LineAdded>) -> anyhow::Result<()> {
        self.lines += 1;
        Ok(())
    }
}

/// Events of a page: as many as it reads when it loads an aggregate.
const PAGE: u16 = 1_000;

impl<E: Executor> Events<E> {
    /// How many events a stream has, or all of them.
    async fn count(&self, stream: Option<&str>) -> Result<u64, Missing> {
        let (mut count, mut after) = (0, None);
        loop {
            let (name, args) = (Order::name().to_owned(), Args::forward(PAGE, after));
            let page = match stream {
                None => self.executor.read(HashSet::from([name]), RoutingKey::All, args).await?,
                Some(stream) => {
                    self.executor.read_by_aggregator(name, stream.to_owned(), args).await?
                }
            };
            for event in &page.edges {
                std::hint::black_box(event.node.to_details::<LineAdded, bool>()?);
            }
            count += page.edges.len() as u64;
            if !page.page_info.has_next_page {
                return Ok(count);
            }
            after = page.page_info.end_cursor;
        }
    }
}

#[async_trait]
impl<E: Executor> Store for Events<E> {
    async fn append(
        &self,
        stream: &str,
        last: Option<u64>,
        events: usize,
    ) -> Result<Appended, Missing> {
        let event = LineAdded { json: PAYLOAD.into() };
        // As `save_with` does with what `load` gave; it counts from 1.
        let known = u16::try_from(last.map_or(0, |last| last + 1))?;
        let order = Order { lines: known.into() };
        let mut save = SaveBuilder::new(Some(order), stream).original_version(known);
        for _ in 0..events {
            save = save.data(&event)?;
        }
        match save.metadata(&true)?.commit(&self.executor).await {
            Ok(_) => Ok(Appended::Stored(last_of(last, events))),
            Err(WriteError::InvalidOriginalVersion) => Ok(Appended::Refused(None)),
            Err(error) => Err(error.into()),
        }
    }

    async fn scan(&self) -> Result<u64, Missing> {
        self.count(None).await
    }

    async fn read(&self, stream: &str) -> Result<u64, Missing> {
        self.count(Some(stream)).await
    }

    async fn close(&self) {
        match &self.place {
            Place::Postgres(schema) => schema.drop().await,
            Place::Sqlite { pools, .. } => {
                for pool in pools {
                    pool.close().await;
                }
            }
        }
    }
}
