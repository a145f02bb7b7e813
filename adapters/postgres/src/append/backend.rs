//! What became of an append whose connection was lost.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use annals::Error;
use annals_sql::{Cache, Numbered, to_column};
use deadpool_postgres::Object;
use tokio_postgres::types::Type;

use crate::connection::pool::Connections;
use crate::connection::session::{Session, Value};
use crate::error::{Failure, Outcome};
use crate::lookup::values::Micros;
use crate::store::Store;

/// How many connections are told apart; a writer has one, a caller's pool several.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);
/// Between two looks at a server that is away, or at a process that ends.
const PAUSE: Duration = Duration::from_millis(50);

const IDENTIFY: &str =
    "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE pid = $1 AND backend_start = $2";

/// The process of the server behind a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backend {
    pid: i32,
    start: Micros,
}

/// The processes behind the connections that were used lately.
#[derive(Debug)]
pub(crate) struct Backends(Cache<Instant, Backend>);

impl Default for Backends {
    fn default() -> Self {
        Self(Cache::new(CONNECTIONS))
    }
}

impl Backends {
    /// The process behind `client`; `None` where it is another one with each transaction.
    pub(crate) async fn of(
        &mut self,
        store: &Store,
        client: &Object,
        session: Session<'_>,
    ) -> Outcome<Option<Backend>> {
        if !store.options.prepares() {
            return Ok(None);
        }
        let created = Object::metrics(client).created;
        if let Some(backend) = self.0.get(&created) {
            return Ok(Some(*backend));
        }
        let rows = session.query(IDENTIFY, &[]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let backend = Backend { pid: row.try_get(0)?, start: row.try_get(1)? };
        self.0.put(created, backend);
        Ok(Some(backend))
    }

    /// Whether what `backend` was sent is in the log, by its first and last event, once that process has ended, so that
    /// nothing more can come of it.
    pub(crate) async fn resolve(
        &self,
        store: &Store,
        pool: &Connections,
        backend: Option<Backend>,
        ends: Option<[Numbered; 2]>,
    ) -> Outcome<bool> {
        loop {
            match look(store, pool, backend, ends).await {
                Err(failure) if failure.is_unreachable() || failure.lost_connection() => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }
}

async fn look(
    store: &Store,
    pool: &Connections,
    backend: Option<Backend>,
    ends: Option<[Numbered; 2]>,
) -> Outcome<bool> {
    let client = pool.get().await?;
    let session = Session::new(&client, store.options.prepares());
    let looked = look_on(store, session, backend, ends).await;
    if looked.as_ref().is_err_and(Failure::lost_connection) {
        drop(Object::take(client));
    }
    looked
}

async fn look_on(
    store: &Store,
    session: Session<'_>,
    backend: Option<Backend>,
    ends: Option<[Numbered; 2]>,
) -> Outcome<bool> {
    if let Some(Backend { pid, start }) = &backend {
        let process: [Value<'_>; 2] = [(pid, Type::INT4), (start, Type::TIMESTAMPTZ)];
        while !session.query(END, &process).await?.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let Some(ends) = ends else { return Ok(false) };
    // Under another number an event was there before, and of one alone somebody else may have made a retry.
    let numbers = ends.map(|(_, number)| to_column(number));
    let ids = ends.map(|(id, _)| id.as_uuid());
    let (numbers, ids) = (&numbers[..], &ids[..]);
    let values: [Value<'_>; 2] = [(&numbers, Type::INT8_ARRAY), (&ids, Type::UUID_ARRAY)];
    let rows = session.query(&store.sql.has_all, &values).await?;
    let is_there = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    if !is_there && backend.is_none() {
        // Behind a pooler it may still be on its way.
        return Err(Error::unavailable("the append may still be on its way").into());
    }
    Ok(is_there)
}
