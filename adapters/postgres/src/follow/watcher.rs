//! The task that wakes follows of what others appended, and notifies other processes of what was appended here.
//!
//! Follows of this process are woken at once. For those of others one task with one connection of its own sends merged
//! notifications after the commits, if anybody listens: a session that listens holds a shared advisory lock, which the
//! task looks for at most once a second. The same task looks at the log itself, so that nothing depends on notifications.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use annals::Error;
use annals::adapter::Wake;
use annals_sql::{Numbered, from_column};
use futures_util::future::{Either, select};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use crate::connection::dial::{settings, tls};
use crate::connection::pool::Connections;
use crate::connection::session::{Session, Value};
use crate::error::{Failure, NAME, Outcome, in_time};
use crate::follow::notification::{decode, encode};
use crate::follow::watch::LOOK;
use crate::lookup::history::History;
use crate::store::Store;

/// Between two looks that begin after something happened; each is twice as far from the one before.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// How long an append can stay unseen whose process ended before it sent its notification, if others sent theirs.
const UNTOLD: Duration = Duration::from_secs(5);

/// Starts the task, once. `pool`: a pool that the caller brought, which has no connection that could listen.
pub(crate) fn start(
    store: &Arc<Store>,
    runtime: &tokio::runtime::Handle,
    pool: Option<&Connections>,
) {
    let watch = &store.watch;
    if !watch.runs.load(Ordering::Acquire) {
        let mut task = watch.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !watch.is_closed() && !watch.runs.swap(true, Ordering::AcqRel) {
            *task = Some(runtime.spawn(run(Arc::clone(store), pool.cloned())));
        }
    }
}

async fn run(store: Arc<Store>, pool: Option<Connections>) {
    let watch = &store.watch;
    let mut pause = FIRST_LOOK;
    while !watch.is_closed() {
        let link = match &pool {
            Some(pool) => Ok(Link::Pool(pool.clone())),
            None => in_time(store.options.pool_timeout, Link::open(&store)).await,
        };
        let failure = match link {
            Ok(link) => {
                tracing::debug!(name: "annals.watching", target: "annals", adapter = NAME);
                pause = FIRST_LOOK;
                Watcher { store: &store, link, listens_since: None, seen: None }.work().await
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = failure {
            tracing::debug!(name: "annals.unwatched", target: "annals", adapter = NAME, error = ?failure, "follows poll until the watcher has a connection");
        }
        // What happened meanwhile is unknown, and the server may be another one.
        watch.bell.ring_all(Wake::Unsure);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK);
    }
}

/// The connection of the task.
enum Link {
    /// One of its own; it is closed when the task that drives it ends.
    Own { client: Client, driver: JoinHandle<()> },
    /// One connection at a time of a pool that the caller brought.
    Pool(Connections),
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Self::Own { driver, .. } = self {
            driver.abort();
        }
    }
}

impl Link {
    async fn open(store: &Arc<Store>) -> Outcome<Self> {
        let config = settings(&store.options).await.map_err(Failure::NoPassword)?;
        let (client, driver) = if let Some(tls) = tls(&store.options)? {
            let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
            (client, tokio::spawn(drive(Arc::clone(store), connection)))
        } else {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            (client, tokio::spawn(drive(Arc::clone(store), connection)))
        };
        Ok(Self::Own { client, driver })
    }

    async fn query(&self, store: &Store, sql: &str, values: &[Value<'_>]) -> Outcome<Vec<Row>> {
        let limit = store.options.answer_limit();
        match self {
            Self::Own { client, .. } => {
                in_time(limit, Session::unprepared(client).query(sql, values)).await
            }
            Self::Pool(pool) => {
                let client = pool.get().await?;
                in_time(limit, Session::unprepared(&client).query(sql, values)).await
            }
        }
    }
}

/// Drives a connection, and wakes the follows of what others have appended.
async fn drive<S, T>(store: Arc<Store>, mut connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) =
        std::future::poll_fn(|context| connection.poll_message(context)).await
    {
        if let AsyncMessage::Notification(notification) = message {
            store.watch.told.store(true, Ordering::Release);
            match decode(notification.payload()) {
                Some(streams) => store.watch.bell.ring(&streams),
                None => store.watch.bell.ring_all(Wake::Changed),
            }
        }
    }
    store.watch.woken.notify_one();
}

struct Watcher<'a> {
    store: &'a Arc<Store>,
    link: Link,
    listens_since: Option<Instant>,
    /// What the log was like at the last look.
    seen: Option<Seen>,
}

/// The last event, and what changes with every commit: in the weaker orders the transactions that a statement sees,
/// since commits may come with lower numbers than the last.
#[derive(Debug, PartialEq)]
struct Seen {
    last: Option<Numbered>,
    transactions: String,
    /// The mark of the store.
    mark: i64,
}

impl Watcher<'_> {
    /// Works until the adapter is closed or the connection is lost.
    async fn work(mut self) -> Outcome<()> {
        let watch = &self.store.watch;
        let mut pause = FIRST_LOOK;
        let mut next = Instant::now();
        // Since when there are changes of which follows may have been woken, but perhaps not of all.
        let mut owed = None;
        while !watch.is_closed() {
            if let Link::Own { client, .. } = &self.link
                && client.is_closed()
            {
                return Err(Failure::Timeout);
            }
            self.tell().await?;
            if watch.bell.has_waiters() {
                if self.listens_since.is_none() {
                    self.listen().await?;
                }
                if Instant::now() >= next {
                    let was = self.seen.take();
                    let told = watch.told.swap(false, Ordering::AcqRel);
                    let (is, goes_on) = self.look(was.as_ref()).await?;
                    let has_changed = was.as_ref().is_some_and(|was| *was != is);
                    if has_changed {
                        owed.get_or_insert_with(Instant::now);
                    }
                    let is_due = owed.is_some_and(|since: Instant| since.elapsed() >= UNTOLD);
                    if was.is_none() || !goes_on {
                        // Before the first look of a connection anything may have happened, also to what has begun to
                        // wait since the last one was lost.
                        watch.bell.ring_all(Wake::Unsure);
                        owed = None;
                    } else if is_due || (has_changed && !(told && self.hears())) {
                        watch.bell.ring_all(Wake::Changed);
                        owed = None;
                    }
                    self.seen = Some(is);
                    pause = if has_changed { FIRST_LOOK } else { (pause * 2).min(LOOK) };
                    if self.hears() {
                        pause = LOOK;
                    }
                    next = Instant::now() + pause;
                }
                self.sleep_until(next).await;
            } else {
                // What was seen is kept: who begins to wait may have read before the next look.
                watch.woken.notified().await;
                next = Instant::now();
                pause = FIRST_LOOK;
            }
        }
        Ok(())
    }

    async fn sleep_until(&self, next: Instant) {
        let woken = std::pin::pin!(self.store.watch.woken.notified());
        let sleep = std::pin::pin!(tokio::time::sleep_until(next));
        match select(woken, sleep).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    /// Whether all others have had the time to see that somebody listens.
    fn hears(&self) -> bool {
        self.listens_since.is_some_and(|since| since.elapsed() >= 2 * LOOK)
    }

    /// Begins to listen, where a connection has a session.
    async fn listen(&mut self) -> Outcome<()> {
        let Link::Own { client, .. } = &self.link else { return Ok(()) };
        if !self.store.options.prepares() {
            return Ok(());
        }
        let channel = self.store.tables.channel();
        let key = self.store.tables.lock_key(&["listeners"]);
        let listen = format!("LISTEN \"{channel}\"; SELECT pg_advisory_lock_shared({key})");
        let limit = self.store.options.answer_limit();
        in_time(limit, Session::unprepared(client).execute(&listen)).await?;
        self.listens_since = Some(Instant::now());
        Ok(())
    }

    /// What the log is like, and whether it has gone on from what it was like before.
    async fn look(&self, was: Option<&Seen>) -> Outcome<(Seen, bool)> {
        let store = self.store;
        let history =
            was.map_or(History::default(), |was| History { mark: Some(was.mark), last: was.last });
        let (number, id) = (history.number(), history.id());
        let values: [Value<'_>; 2] = [(&number, Type::INT8), (&id, Type::UUID)];
        let rows = self.link.query(store, &store.sql.seen, &values).await?;
        let row = rows.first().ok_or_else(|| Error::corrupt("no answer"))?;
        let (number, mark) = (from_column(row.try_get(0)?)?, row.try_get(3)?);
        let last = row.try_get::<_, Option<Uuid>>(1)?.map(|id| (id.into(), number));
        let goes_on = history.check(mark, row.try_get(4)?).is_ok();
        Ok((Seen { last, transactions: row.try_get(2)?, mark }, goes_on))
    }

    /// Notifies other processes of what was appended, if any of them listens.
    async fn tell(&self) -> Outcome<()> {
        let (store, watch) = (self.store, &self.store.watch);
        let (payload, looked) = {
            let mut news = watch.news();
            if news.streams.is_empty() && !news.everywhere {
                return Ok(());
            }
            let streams = std::mem::take(&mut news.streams);
            (encode(&streams, std::mem::take(&mut news.everywhere)), news.looked)
        };
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            let key = store.tables.lock_key(&["listeners"]);
            let values: [Value<'_>; 1] = [(&key, Type::INT8)];
            let rows = self.link.query(store, HAS_LISTENERS, &values).await?;
            let heard = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(true);
            watch.unheard.store(!heard, Ordering::Release);
            watch.news().looked = Some(Instant::now());
        }
        if !watch.unheard.load(Ordering::Acquire) {
            let channel = store.tables.channel();
            let values: [Value<'_>; 2] = [(&channel, Type::TEXT), (&payload, Type::TEXT)];
            self.link.query(store, NOTIFY, &values).await?;
        }
        Ok(())
    }
}

/// Whether any other session holds the lock of those who listen.
const HAS_LISTENERS: &str = "SELECT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' \
    AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) \
    AND l.classid = (($1::bigint >> 32) & 4294967295)::oid AND l.objid = ($1::bigint & 4294967295)::oid \
    AND l.objsubid = 1 AND l.granted AND l.pid <> pg_backend_pid())";

/// Notifications need not survive a crash of the server: nobody listens after it.
const NOTIFY: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";
