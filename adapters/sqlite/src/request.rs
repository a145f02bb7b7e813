//! What the threads are asked for.

use std::sync::Arc;

use annals::{Error, Result};
use annals_sql::queue::Stop;
use annals_sql::{Listed, Scan, Turn, oneshot};

use crate::read::{List, Session};

/// What is read at once, and who waits for it.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A page of a read.
    Page(Box<Scan>, oneshot::Sender<Turn>),
    /// A list of streams or categories.
    List(List, oneshot::Sender<Result<Vec<Listed>>>),
    /// Documents.
    #[cfg(feature = "state")]
    State(crate::state::Read),
}

#[derive(Debug)]
pub(crate) struct ReadRequest {
    asked: Asked,
    /// Counts requests that no bounded channel counts.
    _token: Option<Arc<()>>,
}

impl ReadRequest {
    pub(crate) fn new(asked: Asked, token: Option<Arc<()>>) -> Self {
        Self { asked, _token: token }
    }

    pub(crate) fn serve(self, session: &mut Session) {
        // A caller that is gone needs no answer.
        match self.asked {
            Asked::Page(mut scan, reply) if !reply.is_closed() => {
                let page = session.page(&mut scan).map_err(Error::from);
                let _ = reply.send(page.map(|page| (*scan, page)));
            }
            Asked::List(list, reply) if !reply.is_closed() => {
                let _ = reply.send(list.read(session.connection()).map_err(Error::from));
            }
            #[cfg(feature = "state")]
            Asked::State(read) => read.serve(session.connection()),
            _ => {}
        }
    }

    pub(crate) fn refuse(self, error: Error) {
        match self.asked {
            Asked::Page(_, reply) => drop(reply.send(Err(error))),
            Asked::List(_, reply) => drop(reply.send(Err(error))),
            #[cfg(feature = "state")]
            Asked::State(read) => read.refuse(error),
        }
    }
}

/// What is asked of the writer beside appends.
#[derive(Debug)]
pub(crate) enum Request {
    /// A page, of a store that has this one connection only.
    Read(ReadRequest),
    /// A commit of documents, alone or with an append.
    #[cfg(feature = "state")]
    Commit(Box<crate::state::Job>),
    /// To see whether another connection has appended, for follows that wait.
    Look,
    /// To end, once all before it is done.
    Stop(Stop),
}
