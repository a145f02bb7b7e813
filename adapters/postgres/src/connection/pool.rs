//! Pools of connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annals::{Error, Result};
use deadpool_postgres::{Object, Pool, PoolError, Runtime, TimeoutType};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tracing::Level;

use crate::connection::dial::{SESSION_MARK, check, manager};
use crate::connection::passwords::with_password;
use crate::connection::runtime::Engine;
use crate::connection::session::Session;
use crate::error::{Failure, NAME, Outcome, in_time, micros_since, needs_pooler_option};
use crate::options::PostgresOptions;
use crate::store::Store;

/// How often a connection is made that is lost at once.
const TRIES: usize = 5;
/// Between two of these tries.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at a pool whose connections are all in use.
const LOOK: Duration = Duration::from_millis(2);
/// After so many looks a server that had no connection left is asked again.
const LOOKS: usize = 50;

/// Connections of one pool.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    pool: Pool,
    /// The adapter's other connections; an idle one makes room on the server for the first of these.
    other: Option<Pool>,
    /// How long one is waited for, also if the caller's pool has no limit.
    limit: Duration,
    crowd: Arc<Crowd>,
}

/// Who waits because the server has no connection left for this program.
#[derive(Debug, Default)]
struct Crowd {
    waiting: AtomicUsize,
    turn: Mutex<()>,
}

/// One of a crowd, until dropped.
struct Waiting<'a>(&'a Crowd);

impl<'a> Waiting<'a> {
    fn among(crowd: &'a Crowd) -> Self {
        crowd.waiting.fetch_add(1, Ordering::Relaxed);
        Self(crowd)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    /// Those of a pool that is there.
    pub(crate) fn of(pool: Pool, options: &PostgresOptions) -> Self {
        Self { pool, other: None, limit: options.pool_timeout, crowd: Arc::default() }
    }

    fn own(options: &PostgresOptions, size: usize) -> Result<Self> {
        let limit = Some(options.pool_timeout);
        let pool = Pool::builder(manager(options)?)
            .max_size(size)
            .wait_timeout(limit)
            .create_timeout(limit)
            .recycle_timeout(limit)
            .runtime(Runtime::Tokio1);
        Ok(Self::of(pool.build().map_err(Error::invalid)?, options))
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }

    /// A connection, within the limit. Where the server has none left, those that want one wait in line for one of the
    /// pool's own, or for the server to have one again; callers that come later do not overtake them.
    pub(crate) async fn get(&self) -> Outcome<Object> {
        let mut refused = Failure::Pool(PoolError::Timeout(TimeoutType::Wait));
        let begun = Instant::now();
        let got = tokio::time::timeout(self.limit, self.wait(&mut refused)).await;
        let micros = micros_since(begun);
        tracing::event!(name: "annals.connection", target: "annals", Level::TRACE, adapter = NAME, micros);
        got.unwrap_or(Err(refused))
    }

    /// What `work` makes of a connection, within the time that an answer may take. A connection that is lost meanwhile is
    /// not used again.
    pub(crate) async fn run<T>(
        &self,
        store: &Store,
        work: impl AsyncFnOnce(Session<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let client = self.get().await?;
        let session = Session::new(&client, store.options.prepares());
        let done = in_time(store.options.answer_limit(), work(session)).await;
        if done.as_ref().is_err_and(Failure::lost_connection) {
            drop(Object::take(client));
        }
        done
    }

    async fn wait(&self, refused: &mut Failure) -> Outcome<Object> {
        if self.crowd.waiting.load(Ordering::Relaxed) == 0 {
            match take(&self.pool).await {
                Err(failure) if failure.is_crowded() => *refused = failure,
                other => return other,
            }
        }
        let _waiting = Waiting::among(&self.crowd);
        let _turn = self.crowd.turn.lock().await;
        loop {
            match take(&self.pool).await {
                Err(failure) if failure.is_crowded() => *refused = failure,
                other => return other,
            }
            for _ in 0..LOOKS {
                if self.pool.status().available > 0 || self.makes_room() {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Whether an idle connection of the other pool was closed, since this one has none.
    fn makes_room(&self) -> bool {
        let Some(other) = self.other.as_ref().filter(|_| self.pool.status().size == 0) else {
            return false;
        };
        let mut closed = false;
        other.retain(|_, _| std::mem::replace(&mut closed, true));
        closed
    }
}

/// The connections that appends use and those that reads use: the same, where there is one only.
pub(crate) fn pools(options: &PostgresOptions) -> Result<(Connections, Connections)> {
    match options.pool_size.get() - 1 {
        0 => {
            let one = Connections::own(options, 1)?;
            Ok((one.clone(), one))
        }
        readers => {
            let mut writing = Connections::own(options, 1)?;
            let mut reading = Connections::own(options, readers)?;
            writing.other = Some(reading.pool.clone());
            reading.other = Some(writing.pool.clone());
            Ok((writing, reading))
        }
    }
}

/// A connection of the pool. One that is lost while it is made is made again: its server may just have ended it.
async fn take(pool: &Pool) -> Outcome<Object> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let (taken, no_password) = with_password(pool.get()).await;
        match taken {
            Ok(object) => return Ok(object),
            Err(_) if let Some(reason) = no_password => return Err(Failure::NoPassword(reason)),
            Err(PoolError::Backend(error)) if tries > 0 && is_passing(&error) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a connection was made and then lost; not that there is nobody to connect to.
fn is_passing(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(db) => *db.code() == SqlState::ADMIN_SHUTDOWN,
        None => error.is_closed() || is_reset(error),
    }
}

fn is_reset(error: &tokio_postgres::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|io| {
        matches!(
            io.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    })
}

/// Rejects a session that did not get its settings: without them nothing bounds how long it waits for locks.
pub(crate) async fn check_session(session: Session<'_>) -> Outcome<()> {
    let sql = "SELECT current_setting($1, true) IS NOT DISTINCT FROM 'on'";
    let rows = session.query(sql, &[(&SESSION_MARK, Type::TEXT)]).await?;
    let is_marked = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    if is_marked { Ok(()) } else { Err(needs_pooler_option().into()) }
}

/// Runs `work` on a connection for it alone, from any executor.
pub(crate) async fn once<T>(
    options: &PostgresOptions,
    work: impl AsyncFnOnce(Session<'_>, &Store) -> Outcome<T>,
) -> Result<T> {
    check(options)?;
    let engine = Engine::own(1)?;
    let store = Store::new(options.clone(), options.prepares())?;
    let connections = Connections::own(options, 1)?;
    let done = engine.enter(async {
        let client = connections.get().await?;
        let session = Session::new(&client, options.prepares());
        if options.prepares() {
            check_session(session).await?;
        }
        work(session, &store).await
    });
    done.await.map_err(|failure: Failure| failure.into())
}
