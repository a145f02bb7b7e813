//! The threads that work with the file, and what is asked of them. No call of SQLite is made anywhere else.

use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use annals::adapter::Bell;
use annals::{Error, Result};
use annals_sql::queue::{Queue, queue};
use annals_sql::schema::SchemaStatus;
use annals_sql::{Listed, Scan, Turn, oneshot, watch};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::connect;
use crate::error::{NAME, Outcome};
use crate::options::SqliteOptions;
use crate::place::Place;
use crate::read::{History, List, Session};
use crate::request::{Asked, ReadRequest, Request};
use crate::schema;
use crate::write::Writer;

/// How many pages may be asked for at a time, by all reads together.
const PAGES_ASKED_FOR: usize = 65_536;

/// Who serves reads.
#[derive(Debug, Clone)]
pub(crate) enum Reads {
    /// Threads with connections of their own.
    Pool(Sender<ReadRequest>),
    /// The writer; each request has a clone of the token.
    Writer(Queue<Request>, Arc<()>),
}

impl Reads {
    pub(crate) fn ask(&self, scan: Scan) -> Result<oneshot::Receiver<Turn>> {
        let (reply, page) = oneshot::channel();
        self.send(Asked::Page(Box::new(scan), reply))?;
        Ok(page)
    }

    pub(crate) fn list(&self, list: List) -> Result<oneshot::Receiver<Result<Vec<Listed>>>> {
        let (reply, listed) = oneshot::channel();
        self.send(Asked::List(list, reply))?;
        Ok(listed)
    }

    #[cfg(feature = "state")]
    pub(crate) fn state(&self, read: crate::state::Read) -> Result<()> {
        self.send(Asked::State(read))
    }

    fn send(&self, asked: Asked) -> Result<()> {
        let full = || Error::unavailable("the queue of reads is full");
        match self {
            Self::Writer(queue, token) => {
                if Arc::strong_count(token) > PAGES_ASKED_FOR {
                    return Err(full());
                }
                let token = Some(Arc::clone(token));
                queue.send(Request::Read(ReadRequest::new(asked, token)))
            }
            Self::Pool(pool) => {
                let request = ReadRequest::new(asked, None);
                pool.try_send(request).map_err(|error| match error {
                    TrySendError::Full(_) => full(),
                    TrySendError::Disconnected(_) => Error::closed(NAME),
                })
            }
        }
    }
}

/// Each reader has a receiver, which it drops after its connection is closed: a task that waits for that, and however
/// many do, learns of it by `closed`.
pub(crate) type Readers = watch::Sender<()>;

/// Opens the store and starts its threads. They end when the handles are gone and what is queued is done.
pub(crate) async fn start(
    place: &Place,
    options: &SqliteOptions,
    bell: Bell,
    history: Arc<History>,
) -> Result<(Queue<Request>, Reads, Readers)> {
    let (queue, intake) = queue(NAME, options.common.queue_bound.get());
    let (ready, opened) = oneshot::channel();
    let (at, with) = (place.clone(), options.clone());
    let of_writer = Arc::clone(&history);
    spawn("writer", move || match connect::writer(&at, &with) {
        Err(failure) => {
            let _ = ready.send(Err(failure));
        }
        Ok(connection) => {
            let at = at.resolved();
            let _ = ready.send(Ok(at.clone()));
            Writer::new(connection, &at, &with, bell, of_writer).run(intake);
        }
    })?;
    let readers = Readers::new(());
    let serves = match opened.await.map_err(|_| Error::closed(NAME))?? {
        Place::Memory => Reads::Writer(queue.clone(), Arc::default()),
        Place::File(path) => Reads::Pool(start_readers(&path, options, &readers, &history)?),
    };
    Ok((queue, serves, readers))
}

fn start_readers(
    path: &Path,
    options: &SqliteOptions,
    readers: &Readers,
    history: &Arc<History>,
) -> Result<Sender<ReadRequest>> {
    let (sender, receiver) = bounded(PAGES_ASKED_FOR);
    for _ in 0..options.readers.get() {
        let (path, options, receiver) = (path.to_owned(), options.clone(), receiver.clone());
        let (alive, history) = (readers.subscribe(), Arc::clone(history));
        spawn("reader", move || {
            read(&path, &options, &receiver, &history);
            drop(alive);
        })?;
    }
    Ok(sender)
}

/// Serves pages. The connection is opened for the first; a failure to open it is the answer to that page only.
fn read(
    path: &Path,
    options: &SqliteOptions,
    requests: &Receiver<ReadRequest>,
    history: &Arc<History>,
) {
    let mut session = None;
    for request in requests {
        if session.is_none() {
            match connect::reader(path, options) {
                Ok(connection) => {
                    let history = Arc::clone(history);
                    session = Some(Session::new(connection, options.common.cache_bound, history));
                }
                Err(failure) => {
                    request.refuse(failure.into());
                    continue;
                }
            }
        }
        if let Some(session) = &mut session {
            request.serve(session);
        }
    }
}

/// The version of the schema at `place`.
pub(crate) async fn status(place: Place, options: SqliteOptions) -> Result<SchemaStatus> {
    let look = move || match place {
        Place::File(path) if path.try_exists().unwrap_or(true) => {
            schema::status(&connect::inspector(&path, &options)?)
        }
        _ => Ok(schema::empty()),
    };
    once("status", look).await
}

/// Makes or migrates the store at `place`.
pub(crate) async fn migrate(place: Place, options: SqliteOptions) -> Result<()> {
    once("migration", move || connect::writer(&place, &options).map(drop)).await
}

/// Has a thread of its own do `work`.
async fn once<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    spawn(what, move || drop(reply.send(work())))?;
    Ok(answer.await.map_err(|_| Error::closed(NAME))??)
}

pub(crate) fn spawn(what: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new().name(format!("annals-{what}")).spawn(work).map_err(Error::unavailable)
}
