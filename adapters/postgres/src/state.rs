//! The state store in the database of the log: documents beside events.

mod call;
mod direct;
#[cfg(feature = "views")]
pub(crate) mod inline;
pub(crate) mod part;
mod read;
mod statements;
mod together;
#[cfg(feature = "views")]
pub(crate) mod views;
mod writer;

use std::fmt;
use std::sync::Arc;

use annals::StorageAdapter as _;
use annals_sql::documents::{Progress, Source, Turn, pages, state_error};
use annals_state::{
    Commit, DocumentKey, DocumentPages, Got, Result, Scan, Scanned, StateCapabilities, StateError,
    StateStore, async_trait,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use crate::adapter::PostgresAdapter;
use crate::error::NAME;
use crate::error::{Failure, Outcome};
use crate::state::statements::CAPABILITIES;

/// How often a page or a get is tried whose connection is lost.
const TRIES: usize = 5;

/// A state store in the database of a [`PostgresAdapter`]. Clones are handles to the same store.
///
/// A commit is one round trip and its own transaction; commits that are made at the same time share both, each judged on
/// its own. Documents are locked in the order of their keys, shared by guards. Nothing of a document is remembered: each
/// commit is judged on what the database holds. It works behind a pooler of transactions. Closing it closes the adapter,
/// and the other way round.
///
/// The view `events_state` (behind the name of the log's table) shows documents to people, JSON as `jsonb`. Logs that
/// were made before there were documents get their tables from [`Schema::migrate`](crate::Schema::migrate); until then
/// every call is `Invalid`.
#[derive(Clone)]
pub struct PostgresState {
    adapter: PostgresAdapter,
}

impl PostgresAdapter {
    /// The state store in the same database.
    #[must_use]
    pub fn state(&self) -> PostgresState {
        PostgresState { adapter: self.clone() }
    }
}

fn told(failure: Failure) -> StateError {
    if failure.is_undefined() {
        let (found, known) = (0, crate::schema::steps::STATE_VERSION);
        return StateError::invalid(crate::SchemaError::Outdated { found, known });
    }
    failure.into_fault().state_error(NAME)
}

impl PostgresState {
    /// Makes `commit` inside the caller's transaction. Its documents stay locked until that ends. If it is
    /// rejected, nothing of it is made and the transaction goes on.
    ///
    /// # Errors
    /// As [`StateStore::commit`]. Above the isolation level `READ COMMITTED` a document that changed after the
    /// transaction began is `Unavailable`.
    ///
    /// # Cancel safety
    /// After a future was dropped, roll the transaction back.
    pub async fn commit_in(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        commit: Commit,
    ) -> Result<()> {
        self.check_open()?;
        CAPABILITIES.check_commit(&commit)?;
        self.adapter.commit_in(transaction, &commit).await
    }

    fn check_open(&self) -> Result<()> {
        self.adapter.check_open().map_err(|error| state_error(error, NAME))
    }

    /// Reads on any connection, and on another one if that is lost.
    async fn read(&self, asked: Asked) -> Result<Answer> {
        let shared = &self.adapter.shared;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match self.read_once(&asked).await {
                Err(failure) if tries > 0 && failure.is_worth_another_try() => {}
                // Its connections may have been closed meanwhile.
                Err(_) if shared.queue.is_closed() => return Err(StateError::closed(NAME)),
                Err(failure) => return Err(told(failure)),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    async fn read_once(&self, asked: &Asked) -> Outcome<Answer> {
        let shared = &self.adapter.shared;
        let [_, pool] = &shared.pools;
        let sql = &shared.state.sql;
        let read = pool.run(&shared.store, async |session| match asked {
            Asked::Get(keys) => read::get(session, sql, keys).await.map(Answer::Got),
            Asked::Page(progress) => {
                let page = read::page(session, sql, (**progress).clone()).await;
                page.map(|(progress, found)| Answer::Page(Box::new(progress), found))
            }
        });
        read.await
    }
}

/// What is read at once.
#[derive(Debug)]
enum Asked {
    Get(Vec<DocumentKey>),
    Page(Box<Progress>),
}

#[derive(Debug)]
enum Answer {
    Got(Got),
    Page(Box<Progress>, Vec<Scanned>),
}

impl fmt::Debug for PostgresState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresState")
            .field("options", &self.adapter.shared.store.options)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for PostgresState {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> StateCapabilities {
        CAPABILITIES
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.check_open()?;
        CAPABILITIES.check_commit(&commit)?;
        let made = writer::commit(&self.adapter.shared.state.queue, commit).await;
        made.map_err(|error| error.at(NAME, "commit"))
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got> {
        self.check_open()?;
        CAPABILITIES.check_get(&keys)?;
        if keys.is_empty() {
            return Ok(Got::default());
        }
        let getting = self.read(Asked::Get(keys));
        match self.adapter.shared.source.engine.enter(getting).await {
            Ok(Answer::Got(got)) => Ok(got),
            Ok(Answer::Page(..)) => Ok(Got::default()),
            Err(error) => Err(error.at(NAME, "get")),
        }
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        if let Err(error) = CAPABILITIES.check_scan(&scan) {
            return stream::iter([Err(error)]).boxed();
        }
        pages(self.clone(), scan, NAME)
    }

    /// Closes the store and its adapter, for all handles; see [`PostgresAdapter`].
    ///
    /// # Cancel safety
    /// A future that is dropped has closed the store, or done nothing if it was never polled.
    async fn close(&self) {
        self.adapter.close().await;
    }
}

impl Source for PostgresState {
    fn ask(&self, progress: Progress) -> BoxFuture<'static, Turn> {
        let state = self.clone();
        let engine = Arc::clone(&self.adapter.shared.source.engine);
        let asking = async move {
            match state.read(Asked::Page(Box::new(progress.clone()))).await? {
                Answer::Page(progress, found) => Ok((*progress, found)),
                Answer::Got(_) => Ok((progress, Vec::new())),
            }
        };
        engine.enter(asking).boxed()
    }

    fn closed(&self) -> Option<StateError> {
        self.check_open().err()
    }
}
