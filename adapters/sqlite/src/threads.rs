//! The threads that work with the file, and what is asked of them. No call of SQLite is made anywhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use annals::{Error, Result};
use annals_sql::queue::{Queue, closed, queue};
use annals_sql::schema::SchemaStatus;
use annals_sql::{Page, Scan, oneshot, watch};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::connect;
use crate::error::Failure;
use crate::options::SqliteOptions;
use crate::place::Place;
use crate::schema;
use crate::session::Session;
use crate::writer::{Request, Writer};

/// How many pages may be asked for at a time, by all reads together.
const PAGES_ASKED_FOR: usize = 65_536;

/// One page of a read, and who waits for it.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    scan: Scan,
    reply: oneshot::Sender<Page>,
    /// Counts requests that no bounded channel counts.
    _token: Option<Arc<()>>,
}

impl ReadRequest {
    pub(crate) fn serve(self, session: &mut Session) {
        let Self { mut scan, reply, _token } = self;
        if !reply.is_closed() {
            let page = session.page(&mut scan).map_err(Error::from);
            // A read that is gone needs no page.
            let _ = reply.send(page.map(|page| (scan, page)));
        }
    }
}

/// Who serves reads.
#[derive(Debug, Clone)]
pub(crate) enum Reads {
    /// Threads with connections of their own.
    Pool(Sender<ReadRequest>),
    /// The writer; each request has a clone of the token.
    Writer(Queue<Request>, Arc<()>),
}

impl Reads {
    pub(crate) fn ask(&self, scan: Scan) -> Result<oneshot::Receiver<Page>> {
        let full = || Error::unavailable("the queue of reads is full");
        let (reply, page) = oneshot::channel();
        match self {
            Self::Writer(queue, token) => {
                if Arc::strong_count(token) > PAGES_ASKED_FOR {
                    return Err(full());
                }
                let token = Some(Arc::clone(token));
                queue.send(Request::Read(ReadRequest { scan, reply, _token: token }))?;
            }
            Self::Pool(pool) => {
                let request = ReadRequest { scan, reply, _token: None };
                pool.try_send(request).map_err(|error| match error {
                    TrySendError::Full(_) => full(),
                    TrySendError::Disconnected(_) => closed(),
                })?;
            }
        }
        Ok(page)
    }
}

/// Each reader has a receiver, which it drops after its connection is closed: whoever waits for that, and however
/// many do, is told by `closed`.
pub(crate) type Readers = watch::Sender<()>;

/// Opens the store and starts its threads. They end when the handles are gone and what is queued is done.
pub(crate) async fn start(
    place: &Place,
    options: &SqliteOptions,
) -> Result<(Queue<Request>, Reads, Readers)> {
    let (queue, intake) = queue(options.queue_bound.get());
    let (ready, opened) = oneshot::channel();
    let (at, with) = (place.clone(), options.clone());
    spawn("writer", move || match connect::writer(&at, &with) {
        Err(failure) => {
            let _ = ready.send(Err(failure));
        }
        Ok(connection) => {
            let at = at.resolved();
            let _ = ready.send(Ok(at.clone()));
            Writer::new(connection, &at, &with).run(intake);
        }
    })?;
    let readers = Readers::new(());
    let serves = match opened.await.map_err(|_| closed())?? {
        Place::Memory => Reads::Writer(queue.clone(), Arc::default()),
        Place::File(path) => Reads::Pool(start_readers(&path, options, &readers)?),
    };
    Ok((queue, serves, readers))
}

fn start_readers(
    path: &Path,
    options: &SqliteOptions,
    readers: &Readers,
) -> Result<Sender<ReadRequest>> {
    let (sender, receiver) = bounded(PAGES_ASKED_FOR);
    for _ in 0..options.readers.get() {
        let (path, options, receiver) = (path.to_owned(), options.clone(), receiver.clone());
        let alive = readers.subscribe();
        spawn("reader", move || {
            read(&path, &options, &receiver);
            drop(alive);
        })?;
    }
    Ok(sender)
}

/// Serves pages. The connection is opened for the first; a failure to open it is the answer to that page only.
fn read(path: &Path, options: &SqliteOptions, requests: &Receiver<ReadRequest>) {
    let mut session = None;
    for request in requests {
        if session.is_none() {
            match connect::reader(path, options) {
                Ok(connection) => session = Some(Session::new(connection, options.cache_bound)),
                Err(failure) => {
                    let _ = request.reply.send(Err(failure.into()));
                    continue;
                }
            }
        }
        if let Some(session) = &mut session {
            request.serve(session);
        }
    }
}

/// The version of the schema at `place`, told by a thread of its own.
pub(crate) async fn status(place: Place, options: SqliteOptions) -> Result<SchemaStatus> {
    let (reply, answer) = oneshot::channel();
    let look = move |path: PathBuf| {
        if path.try_exists().is_ok_and(|exists| !exists) {
            return Ok(schema::empty());
        }
        schema::status(&connect::inspector(&path, &options)?)
    };
    spawn("status", move || {
        let status: Result<_, Failure> = match place {
            Place::Memory => Ok(schema::empty()),
            Place::File(path) => look(path),
        };
        let _ = reply.send(status);
    })?;
    Ok(answer.await.map_err(|_| closed())??)
}

fn spawn(what: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new().name(format!("annals-{what}")).spawn(work).map_err(Error::unavailable)
}
