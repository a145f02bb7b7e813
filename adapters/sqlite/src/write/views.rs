//! Tasks that do more than append and commit documents.

use std::borrow::Borrow;

use annals::Error;
use rusqlite::Connection;

use super::log::Log;
use super::made::{Made, Refused};
use super::task::Task;
use crate::error::Outcome;
use crate::state::look;
use crate::state::work::Work;

impl<C: Borrow<Connection>> Log<C> {
    /// As [`place`](Self::place). What else is done may fail after something was written: it is undone then, and what was
    /// remembered of it is forgotten.
    pub(super) fn place_with(&mut self, job: &Task, work: &Work, checked: bool) -> Outcome<Made> {
        let wrote = self.wrote;
        self.session.execute("SAVEPOINT annals_view")?;
        let made = self.place_and_work(job, work, checked)?;
        if self.session.connection().is_autocommit() {
            return Err(Error::backend("the transaction ended while a view was made").into());
        }
        if made.is_err() {
            self.session.execute("ROLLBACK TO annals_view")?;
            self.session.forget();
            self.streams.clear();
            self.head = Some(self.session.head()?);
            self.wrote = wrote;
        }
        self.session.execute("RELEASE annals_view")?;
        Ok(made)
    }

    fn place_and_work(&mut self, job: &Task, work: &Work, checked: bool) -> Outcome<Made> {
        let (heads, first) = match self.judge_append(job, checked)? {
            Ok(judged) => judged,
            Err(refusal) => return Ok(Err(Refused::Append(refusal))),
        };
        let placement = self.write_append(job, heads, first)?;
        let stored = placement.clone().events(job.writes().to_vec(), job.recorded_at());
        let connection = self.session.connection();
        let commit = match work.run(connection, &stored)? {
            Ok(commit) => commit,
            Err(refusal) => return Ok(Err(Refused::Commit(refusal))),
        };
        if !connection.is_autocommit() && !commit.writes.is_empty() {
            match look(connection, &commit)? {
                Ok(judged) => drop(judged.write(connection)?),
                Err(refusal) => return Ok(Err(Refused::Commit(refusal))),
            }
        }
        self.wrote = true;
        Ok(Ok(placement))
    }
}
