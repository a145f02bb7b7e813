//! Views that are made again by the listeners of others: the same counts of the same events, on the same server.

#![allow(clippy::disallowed_methods, reason = "measuring reads the clock")]

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use annals::BoxError;
use annals_benches::sample::PAYLOAD;
use annals_benches::views::Rebuilt;
use annals_servers::PostgresServer;
use async_trait::async_trait;
use disintegrate::serde::json::Json;
use disintegrate::{EventListener, EventStore, PersistedEvent, StreamQuery, query};
use disintegrate_postgres::{PgEventId, PgEventListener, PgEventListenerConfig, PgEventStore};
use serde::Deserialize;
use sqlx::{Executor, PgPool, Row};

use crate::disintegrate::{BEFORE_16, OrderEvent, event};
use crate::schema::Schema;
use crate::version;

/// How many streams the events are of, and how many of them follow one another.
const STREAMS: usize = 1_000;
const IN_A_ROW: usize = 20;
/// How many events one batch has.
const BATCH: usize = 500;
/// Who takes much longer gets so much less: a rate does not depend on it, or is the better for it.
const LESS: usize = 10;

/// All, in so many rounds of up to so many events.
pub(crate) async fn all(events: usize, rounds: usize) -> Result<Vec<Rebuilt>, BoxError> {
    let url = PostgresServer::shared_url()?;
    let name = format!("disintegrate {}", version::of("disintegrate-postgres"));
    let who = |how: &str| Rebuilt { who: format!("{name}, {how}"), rates: Vec::new() };
    let mut rebuilt = vec![who("all in one transaction"), who("500 a transaction")];
    let mut python = None;
    for _ in 0..rounds {
        for (rebuilt, (events, batch)) in
            rebuilt.iter_mut().zip([(events, usize::MAX), (events / LESS, BATCH)])
        {
            rebuilt.rates.push(listener(&url, events, batch).await?);
        }
        if let Some(ran) = projection_runner(url.clone(), events / LESS).await? {
            let who = format!("eventsourcing {} for Python, ProjectionRunner", ran.version);
            let rebuilt = python.get_or_insert(Rebuilt { who, rates: Vec::new() });
            rebuilt.rates.push(ran.rate);
        }
    }
    rebuilt.extend(python);
    Ok(rebuilt)
}

/// Counts the events of each order. Its place is kept in a transaction that it does not see, so it counts with a statement of
/// its own.
struct Counting {
    query: StreamQuery<PgEventId, OrderEvent>,
    pool: PgPool,
}

#[async_trait]
impl EventListener<PgEventId, OrderEvent> for Counting {
    type Error = sqlx::Error;

    fn id(&self) -> &'static str {
        "counts"
    }

    fn query(&self) -> &StreamQuery<PgEventId, OrderEvent> {
        &self.query
    }

    async fn handle(
        &self,
        event: PersistedEvent<PgEventId, OrderEvent>,
    ) -> Result<(), sqlx::Error> {
        let OrderEvent::LineAdded { order_id, .. } = event.into_inner();
        let sql = "INSERT INTO counts VALUES ($1, 1) \
                   ON CONFLICT (stream) DO UPDATE SET events = counts.events + 1";
        sqlx::query(sql).bind(order_id).execute(&self.pool).await?;
        Ok(())
    }
}

/// Events a second of a listener that takes so many events in one transaction.
async fn listener(url: &str, events: usize, batch: usize) -> Result<f64, BoxError> {
    let schema = Schema::create(url, "listener", 8).await?;
    let pool = schema.pool.clone();
    let store = PgEventStore::try_new(pool.clone(), Json::<OrderEvent>::default()).await?;
    pool.execute(BEFORE_16).await?;
    pool.execute("CREATE TABLE counts (stream text PRIMARY KEY, events bigint NOT NULL)").await?;
    let mut left =
        (0..events).map(|nth| event(&format!("o-{}", nth / IN_A_ROW % STREAMS))).peekable();
    while left.peek().is_some() {
        store.append_without_validation(left.by_ref().take(1_000).collect()).await?;
    }
    let counting = Counting { query: query!(OrderEvent), pool: pool.clone() };
    let config = PgEventListenerConfig::poller(Duration::from_millis(1)).fetch_size(batch);
    let (done, stopped) = tokio::sync::oneshot::channel::<Infallible>();
    let begun = Instant::now();
    let listening = PgEventListener::builder(store)
        .register_listener(counting, config)
        .start_with_shutdown(async move {
            // The sender is dropped.
            let _ = stopped.await;
        });
    let listening = tokio::spawn(listening);
    let wanted = i64::try_from(events)?;
    let took = loop {
        let sum = pool.fetch_one("SELECT coalesce(sum(events), 0)::bigint FROM counts").await?;
        let sum: i64 = sum.try_get(0)?;
        if sum >= wanted {
            assert_eq!(sum, wanted, "each is counted once");
            break begun.elapsed();
        }
        if listening.is_finished() {
            return Err(format!("the listener ended after {sum} events").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    drop(done);
    listening.await??;
    schema.drop().await;
    Ok(rate(events, took))
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no 16 digits")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// What the program in Python says.
#[derive(Debug, Deserialize)]
struct Ran {
    version: String,
    rate: f64,
}

/// Runs the program in Python; `None` if its library is not there.
async fn projection_runner(url: String, events: usize) -> Result<Option<Ran>, BoxError> {
    let ran = tokio::task::spawn_blocking(move || {
        let has = Command::new("python3").args(["-c", "import eventsourcing, psycopg"]).output();
        if !has.is_ok_and(|output| output.status.success()) {
            eprintln!("left out: python3 has no eventsourcing[postgres]");
            return Ok(None);
        }
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("projection_runner.py");
        let ran = Command::new("python3")
            .arg(program)
            .args([url, events.to_string(), PAYLOAD.to_owned()])
            .output()?;
        if !ran.status.success() {
            return Err(String::from_utf8_lossy(&ran.stderr).into_owned().into());
        }
        Ok::<_, BoxError>(Some(serde_json::from_slice(&ran.stdout)?))
    });
    ran.await?
}
