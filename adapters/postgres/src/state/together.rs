//! Appends and commits in one transaction, the adapter's own or the caller's.

use annals::adapter::recording_time;
use annals::{Append, Error, Order, StorageAdapter, StoredEvent};
use annals_sql::facts::{Work, names_of};
use annals_sql::placing::Placement;
use annals_state::{Commit, Result, StateError, StateStore, TogetherError};
use deadpool_postgres::Object;
use tokio_postgres::Transaction;

use crate::adapter::PostgresAdapter;
use crate::append::append_in;
use crate::append::names::make_names;
use crate::connection::pool::Connections;
use crate::connection::session::Session;
use crate::error::NAME;
use crate::error::{Failure, in_time};
use crate::state::call;
use crate::state::writer::told;

/// How often a commit is tried again that met another at the same document.
const TRIES: usize = 5;

enum Refused {
    Append(Error),
    Commit(StateError),
    Failed(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl PostgresAdapter {
    /// Appends `writes` and makes `commit` in one transaction: both are made, or neither.
    ///
    /// # Errors
    /// [`TogetherError::Append`] as [`StorageAdapter::append`], also if the database fails; [`TogetherError::Commit`]
    /// as [`StateStore::commit`].
    ///
    /// # Cancel safety
    /// A future that is dropped leaves both made or neither.
    pub async fn append_and_commit(
        &self,
        writes: Vec<Append>,
        commit: Commit,
    ) -> Result<Vec<StoredEvent>, TogetherError> {
        self.check_together(&writes, &commit)?;
        let recorded_at = recording_time(&*self.shared.store.options.common.clock)?;
        self.notify();
        let adapter = self.clone();
        // A task of its own: the transaction is ended, whatever becomes of the caller.
        let making = self.shared.source.engine.handle().spawn(async move {
            let work = Work { writes: &writes, recorded_at };
            let placement = adapter.in_own_transaction(work, &commit).await?;
            let written = writes.iter().filter(|write| !write.events.is_empty());
            adapter.shared.store.watch.appended(written.map(|write| &write.stream));
            Ok(placement.events(writes, recorded_at))
        });
        let made: Result<_, TogetherError> = making
            .await
            .unwrap_or_else(|_| Err(Error::outcome_unknown("the task that commits ended").into()));
        made.map_err(|error| match error {
            TogetherError::Append(error) => error.at(NAME, "append_and_commit").into(),
            TogetherError::Commit(error) => error.at(NAME, "append_and_commit").into(),
            other => other,
        })
    }

    /// The same inside the caller's transaction, which needs `READ COMMITTED`. If either is rejected, neither is made and
    /// the transaction goes on. It takes the lock of the log and those of the documents, and holds
    /// them until it ends: do it last.
    ///
    /// # Errors
    /// As [`append_and_commit`](Self::append_and_commit), and as [`append_in`](Self::append_in).
    ///
    /// # Cancel safety
    /// After a future was dropped, roll the transaction back.
    pub async fn append_and_commit_in(
        &self,
        transaction: &Transaction<'_>,
        writes: Vec<Append>,
        commit: Commit,
    ) -> Result<Vec<StoredEvent>, TogetherError> {
        self.check_together(&writes, &commit)?;
        let recorded_at = recording_time(&*self.shared.store.options.common.clock)?;
        let session = Session::unprepared(transaction.client());
        let work = Work { writes: &writes, recorded_at };
        let made = self.in_savepoint(session, Some(work), self.beside(), &commit).await;
        let placement = made.map_err(|refused| match refused {
            Refused::Append(error) => TogetherError::Append(error.at(NAME, "append_and_commit_in")),
            Refused::Commit(error) => TogetherError::Commit(error.at(NAME, "append_and_commit_in")),
            Refused::Failed(failure) => {
                TogetherError::Append(Error::from(failure).at(NAME, "append_and_commit_in"))
            }
        })?;
        Ok(placement.map(|placement| placement.events(writes, recorded_at)).unwrap_or_default())
    }

    pub(super) async fn commit_in(
        &self,
        transaction: &Transaction<'_>,
        commit: &Commit,
    ) -> Result<()> {
        let session = Session::unprepared(transaction.client());
        let made = self.in_savepoint(session, None, None, commit).await;
        made.map(drop).map_err(|refused| match refused {
            Refused::Commit(error) => error.at(NAME, "commit_in"),
            Refused::Append(error) => {
                annals_sql::documents::state_error(error, NAME).at(NAME, "commit_in")
            }
            Refused::Failed(failure) => {
                failure.into_fault().state_error(NAME).at(NAME, "commit_in")
            }
        })
    }

    fn check_together(&self, writes: &[Append], commit: &Commit) -> Result<(), TogetherError> {
        self.capabilities().check_append(NAME, writes)?;
        self.state().capabilities().check_commit(commit)?;
        self.check_open()?;
        Ok(())
    }

    async fn in_own_transaction(
        &self,
        work: Work<'_>,
        commit: &Commit,
    ) -> Result<Placement, TogetherError> {
        let store = &self.shared.store;
        let [_, pool] = &self.shared.pools;
        let client = pool.get().await.map_err(Error::from)?;
        let session = Session::new(&client, store.options.prepares());
        let mut committing = false;
        let made = in_time(store.options.answer_limit(), async {
            if store.order() != Order::Log {
                make_names(store, session, &names_of(&[work])).await?;
            }
            session.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
            match self.in_savepoint(session, Some(work), None, commit).await {
                Ok(placement) => {
                    committing = true;
                    session.execute("COMMIT").await?;
                    Ok(Ok(placement))
                }
                Err(Refused::Failed(failure)) => Err(failure),
                Err(refused) => Ok(Err(refused)),
            }
        })
        .await;
        let ended = match &made {
            Ok(Ok(_)) => true,
            Ok(Err(_)) => session.execute("ROLLBACK").await.is_ok(),
            Err(failure) => !failure.lost_connection() && session.execute("ROLLBACK").await.is_ok(),
        };
        if !ended {
            drop(Object::take(client));
        }
        match made {
            Ok(Ok(Some(placement))) => Ok(placement),
            Ok(Ok(None)) => Err(Error::invalid("no append").into()),
            Ok(Err(Refused::Append(error))) => Err(error.into()),
            Ok(Err(Refused::Commit(error))) => Err(error.into()),
            Ok(Err(Refused::Failed(failure))) => Err(Error::from(failure).into()),
            Err(failure) => {
                let is_open = committing && failure.lost_connection();
                let fault = failure.into_fault();
                Err(if is_open { fault.of_commit(false) } else { fault }.error(NAME).into())
            }
        }
    }

    /// The append first, then the documents in the order of their keys: no two transactions wait in a circle.
    async fn in_savepoint(
        &self,
        session: Session<'_>,
        work: Option<Work<'_>>,
        beside: Option<&Connections>,
        commit: &Commit,
    ) -> Result<Option<Placement>, Refused> {
        let store = &self.shared.store;
        session.execute("SAVEPOINT annals_together").await?;
        let made = async {
            let placement = match work {
                None => None,
                Some(work) => match append_in::append_in(store, session, work, beside).await? {
                    Ok(placement) => Some(placement),
                    Err(refusal) => return Err(Refused::Append(refusal)),
                },
            };
            let patience = store.options.common.lock_timeout;
            let mut tries = TRIES;
            loop {
                tries -= 1;
                session.execute("SAVEPOINT annals_commit").await?;
                match call::commit(session, &self.shared.state.sql, &[commit], patience).await {
                    Ok(outcomes) => {
                        let outcome = outcomes.into_iter().next().unwrap_or(Ok(()));
                        return outcome.map(|()| placement).map_err(Refused::Commit);
                    }
                    Err(failure) if failure.met_another() && tries > 0 => {
                        session.execute("ROLLBACK TO SAVEPOINT annals_commit").await?;
                    }
                    Err(failure) if failure.met_another() => {
                        return Err(Refused::Commit(told(failure)));
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
        }
        .await;
        match &made {
            Ok(_) => session.execute("RELEASE SAVEPOINT annals_together").await?,
            Err(Refused::Failed(failure)) if failure.lost_connection() => {}
            Err(_) => {
                session.execute("ROLLBACK TO SAVEPOINT annals_together").await?;
                session.execute("RELEASE SAVEPOINT annals_together").await?;
            }
        }
        made
    }
}
