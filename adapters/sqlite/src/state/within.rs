//! Appends and commits inside a transaction on the caller's own connection.

use annals::adapter::recording_time;
use annals::{Append, Error, StorageAdapter, StoredEvent};
use annals_sql::documents::state_error;
use annals_state::{Commit, Result, StateError, StateStore, TogetherError};
use rusqlite::{Connection, Transaction};
use time::OffsetDateTime;

use crate::adapter::SqliteAdapter;
use crate::error::{Failure, NAME, Outcome};
use crate::place::Place;
use crate::state::SqliteState;
use crate::state::job::Job;
use crate::write::{Log, Made, Refused, Task};

impl SqliteState {
    /// Makes `commit` inside the caller's transaction, which is on the caller's own connection to the same file: with
    /// rows of their own tables, both are made or neither. If it is rejected, nothing of it is made and the transaction
    /// goes on.
    ///
    /// Begin the transaction with `TransactionBehavior::Immediate`. While it is open, the adapter appends and commits
    /// nothing, and waits as long as [`SqliteOptions::lock_timeout`](crate::SqliteOptions::lock_timeout) says. How
    /// durable it is depends on the `synchronous` of that connection. The call blocks as those of rusqlite do.
    ///
    /// ```
    /// # use annals::Payload;
    /// # use annals_sqlite::SqliteAdapter;
    /// # use annals_state::{Commit, DocumentKey, Expected, Write};
    /// # use rusqlite::{Connection, TransactionBehavior};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("shop.db");
    /// let state = SqliteAdapter::open(&path).await?.state();
    /// let mut connection = Connection::open(&path)?;
    /// connection.execute_batch("CREATE TABLE sums (cart TEXT PRIMARY KEY, cents INTEGER NOT NULL)")?;
    ///
    /// let key = DocumentKey::new("carts", "c-1")?;
    /// let put = Write::put(key, Payload::json(&["tea"])?, Expected::Absent);
    /// let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    /// transaction.execute("INSERT INTO sums VALUES ('c-1', 350)", [])?;
    /// state.commit_in(&transaction, Commit::new([put]))?;
    /// transaction.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`StateStore::commit`], but never `OutcomeUnknown`. [`StateError::Invalid`] if the transaction is of another
    /// file, and of every store in memory. [`StateError::Unavailable`] if the transaction was not begun `Immediate`
    /// and another connection has written since.
    pub fn commit_in(&self, transaction: &Transaction<'_>, commit: Commit) -> Result<()> {
        let adapter = &self.adapter;
        let made = adapter.make_in(transaction, Vec::new(), commit, OffsetDateTime::UNIX_EPOCH);
        made.map(drop).map_err(|error| match error {
            TogetherError::Commit(error) => error.at(NAME, "commit_in"),
            TogetherError::Append(error) => state_error(error, NAME).at(NAME, "commit_in"),
            other => StateError::backend(other).at(NAME, "commit_in"),
        })
    }
}

impl SqliteAdapter {
    /// Appends `writes` and makes `commit` inside the caller's transaction; see [`SqliteState::commit_in`]. If either is
    /// rejected, neither is made and the transaction goes on. Follows of this adapter see the events once it looks for
    /// those of other connections.
    ///
    /// # Errors
    /// As [`append_and_commit`](Self::append_and_commit), and as [`SqliteState::commit_in`].
    pub fn append_and_commit_in(
        &self,
        transaction: &Transaction<'_>,
        writes: Vec<Append>,
        commit: Commit,
    ) -> Result<Vec<StoredEvent>, TogetherError> {
        self.capabilities().check_append(NAME, &writes)?;
        let recorded_at = recording_time(&*self.shared.options.common.clock)?;
        let made = self.make_in(transaction, writes, commit, recorded_at);
        made.map_err(|error| match error {
            TogetherError::Append(error) => error.at(NAME, "append_and_commit_in").into(),
            TogetherError::Commit(error) => error.at(NAME, "append_and_commit_in").into(),
            other => other,
        })
    }

    fn make_in(
        &self,
        transaction: &Transaction<'_>,
        writes: Vec<Append>,
        commit: Commit,
        recorded_at: OffsetDateTime,
    ) -> Result<Vec<StoredEvent>, TogetherError> {
        if self.shared.queue.is_closed() {
            return Err(Error::closed(NAME).into());
        }
        self.state().capabilities().check_commit(&commit)?;
        self.check_file(transaction)?;
        let job = Task::Commit(Box::new(Job::at_once(commit, writes, recorded_at)));
        match self.in_savepoint(transaction, &job) {
            Ok(Ok(placement)) => Ok(placement.events(job.writes().to_vec(), recorded_at)),
            Ok(Err(Refused::Append(error))) => Err(error.into()),
            Ok(Err(Refused::Commit(error))) => Err(error.into()),
            Err(failure) => Err(Error::from(failure).into()),
        }
    }

    /// Rejects a transaction of another database.
    fn check_file(&self, connection: &Connection) -> annals::Result<()> {
        let Place::File(path) = self.shared.place.clone().resolved() else {
            return Err(Error::invalid("a store in memory has no transactions of its callers"));
        };
        let given = connection.path().map(|given| Place::File(given.into()).resolved());
        if given != Some(Place::File(path)) {
            return Err(Error::invalid("the transaction is of another file than the store"));
        }
        Ok(())
    }

    fn in_savepoint(&self, connection: &Connection, job: &Task) -> Outcome<Made> {
        connection.execute_batch("SAVEPOINT annals_together")?;
        let made =
            Log::within(connection, &self.shared.options).and_then(|mut log| log.place(job, true));
        if !matches!(made, Ok(Ok(_))) && !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK TO annals_together")?;
        }
        if connection.is_autocommit() {
            // SQLite has rolled back all of it, as when a disk is full.
            return made.and_then(|_| Err(Failure::from(Error::unavailable("it was rolled back"))));
        }
        connection.execute_batch("RELEASE annals_together")?;
        made
    }
}
