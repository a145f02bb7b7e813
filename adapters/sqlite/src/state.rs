//! The state store in the file of the log: documents beside events.

mod commit;
#[cfg(feature = "views")]
pub(crate) mod inline;
mod job;
mod read;
#[cfg(feature = "views")]
pub(crate) mod views;
mod within;
#[cfg(feature = "views")]
pub(crate) mod work;

use std::fmt;

use annals::adapter::recording_time;
use annals::{Append, StorageAdapter, StoredEvent};
use annals_sql::documents::{Progress, Source, Turn, pages, state_error};
use annals_sql::oneshot;
use annals_state::{
    Commit, DocumentKey, DocumentPages, Got, Result, Scan, StateCapabilities, StateError,
    StateStore, TogetherError, async_trait,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use time::OffsetDateTime;

pub(crate) use self::commit::look;
pub(crate) use self::job::Job;
use self::read::CAPABILITIES;
pub(crate) use self::read::Read;
use crate::adapter::SqliteAdapter;
use crate::error::NAME;
use crate::place::Place;
use crate::request::Request;

/// A state store in the file of a [`SqliteAdapter`], or in its memory. Clones are handles to the same store.
///
/// Commits and appends share the one writer and its transactions, so that they share syncs to the disk. Nothing of a
/// document is remembered: each commit is judged on what the file holds. Closing it closes the adapter, and the other
/// way round.
///
/// The view `state` shows documents to people, JSON as text.
///
/// ```
/// # use annals::Payload;
/// # use annals_sqlite::SqliteAdapter;
/// # use annals_state::{Commit, DocumentKey, Expected, StateStore, Write};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let state = SqliteAdapter::open_in_memory().await?.state();
/// let key = DocumentKey::new("carts", "c-1")?;
/// let put = Write::put(key.clone(), Payload::json(&["tea"])?, Expected::Absent);
/// let commit = Commit::new([put]);
/// let revision = commit.revision;
/// state.commit(commit).await?;
/// let got = state.get(vec![key]).await?;
/// assert_eq!(got.documents[0].as_ref().map(|cart| cart.revision), Some(revision));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteState {
    adapter: SqliteAdapter,
}

impl SqliteAdapter {
    /// The state store in the same file.
    #[must_use]
    pub fn state(&self) -> SqliteState {
        SqliteState { adapter: self.clone() }
    }

    /// Appends `writes` and makes `commit` in one transaction: both are made, or neither.
    ///
    /// # Errors
    /// [`TogetherError::Append`] as [`StorageAdapter::append`], also if the database fails; [`TogetherError::Commit`]
    /// as [`StateStore::commit`]. An append of events that the log has is always `DuplicateEvent`.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves both made or neither.
    pub async fn append_and_commit(
        &self,
        writes: Vec<Append>,
        commit: Commit,
    ) -> Result<Vec<StoredEvent>, TogetherError> {
        self.capabilities().check_append(NAME, &writes)?;
        self.state().capabilities().check_commit(&commit)?;
        let recorded_at = recording_time(&*self.shared.options.common.clock)?;
        let made =
            job::commit(&self.shared.queue, Request::Commit, commit, writes, recorded_at).await;
        made.map_err(|error| match error {
            TogetherError::Append(error) => error.at(NAME, "append_and_commit").into(),
            TogetherError::Commit(error) => error.at(NAME, "append_and_commit").into(),
            other => other,
        })
    }
}

impl SqliteState {
    async fn ask<T>(&self, read: impl FnOnce(oneshot::Sender<Result<T>>) -> Read) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let asked = self.adapter.reads().and_then(|reads| reads.state(read(reply)));
        asked.map_err(|error| state_error(error, NAME))?;
        answer.await.unwrap_or_else(|_| Err(StateError::closed(NAME)))
    }
}

impl fmt::Debug for SqliteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteState")
            .field("place", &self.adapter.shared.place)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for SqliteState {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> StateCapabilities {
        let in_file = self.adapter.shared.place != Place::Memory;
        CAPABILITIES.with_durable(in_file).with_shared(in_file)
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        if self.adapter.shared.queue.is_closed() {
            return Err(StateError::closed(NAME));
        }
        self.capabilities().check_commit(&commit)?;
        let queue = &self.adapter.shared.queue;
        let made =
            job::commit(queue, Request::Commit, commit, Vec::new(), OffsetDateTime::UNIX_EPOCH)
                .await;
        made.map(drop).map_err(|error| match error {
            TogetherError::Commit(error) => error.at(NAME, "commit"),
            TogetherError::Append(error) => state_error(error, NAME).at(NAME, "commit"),
            other => StateError::backend(other),
        })
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got> {
        self.capabilities().check_get(&keys)?;
        let got = self.ask(|reply| Read::Get(keys, reply)).await;
        got.map_err(|error| error.at(NAME, "get"))
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        if let Err(error) = self.capabilities().check_scan(&scan) {
            return stream::iter([Err(error)]).boxed();
        }
        pages(self.clone(), scan, NAME)
    }

    /// Closes the store and its adapter, for all handles; see [`SqliteAdapter`].
    ///
    /// # Cancel safety
    /// A future that is dropped has closed the store, or done nothing if it was never polled.
    async fn close(&self) {
        self.adapter.close().await;
    }
}

impl Source for SqliteState {
    fn ask(&self, progress: Progress) -> BoxFuture<'static, Turn> {
        let state = self.clone();
        async move { state.ask(|reply| Read::Page(Box::new(progress), reply)).await }.boxed()
    }

    fn closed(&self) -> Option<StateError> {
        self.adapter.shared.queue.is_closed().then(|| StateError::closed(NAME))
    }
}
