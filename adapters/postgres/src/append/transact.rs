//! Transactions of several statements, under the lock of the log.

use annals::{Order, Result};
use annals_sql::facts::{Work, names_of};
use annals_sql::placing::{Placement, count};
use annals_sql::plan::plan;
use futures_util::future::{join, join3};
use tokio_postgres::types::Type;

use crate::append::backend::Backend;
use crate::append::draft::Draft;
use crate::append::insert::{insert, prepare};
use crate::append::locks::locks;
use crate::append::names::make_names;
use crate::append::sent::Sent;
use crate::connection::session::{Session, Value};
use crate::error::{Failure, Outcome};
use crate::lookup::facts::{Ask, Found, known_ids};
use crate::lookup::history::History;
use crate::lookup::known::Known;
use crate::store::Store;

/// What a transaction of several statements works with, and what it leaves behind.
pub(crate) struct Transact<'a> {
    pub(crate) store: &'a Store,
    pub(crate) known: &'a mut Known,
    pub(crate) backend: Option<Backend>,
    pub(crate) contended: &'a mut bool,
    /// Set before a commit is sent.
    pub(crate) sent: &'a mut Option<Sent>,
}

impl Transact<'_> {
    /// Judges `works` on the log under its lock.
    pub(crate) async fn locked(
        self,
        session: Session<'_>,
        works: &[Work<'_>],
        checked: bool,
    ) -> Outcome<Vec<Result<Placement>>> {
        let made = self.transact(session, works, checked).await;
        if made.as_ref().is_err_and(|failure| !failure.lost_connection()) {
            session.execute("ROLLBACK").await?;
        }
        made
    }

    async fn transact(
        self,
        session: Session<'_>,
        works: &[Work<'_>],
        checked: bool,
    ) -> Outcome<Vec<Result<Placement>>> {
        let before = self.known.log.head;
        self.known.forget();
        if self.store.order() != Order::Log {
            let mut names = names_of(works);
            names.retain(|name| !self.known.log.has_name(name));
            make_names(self.store, session, &names).await?;
        }
        let keys = locks(self.store, works.iter().flat_map(|work| work.writes));
        let of_lock: [Value<'_>; 1] = [(&keys, Type::INT8_ARRAY)];
        let sql = &self.store.sql;
        // All appends wait for the lock of the log. In the weaker orders a scope that others hold keeps up nobody else.
        let take = if self.store.order() == Order::Log { &sql.lock } else { &sql.try_lock };
        session.prepare(take, &[Type::INT8_ARRAY]).await?;
        let ask = ask_under_lock(self.store, works, checked);
        // What is looked up under the lock is as new as the lock, whatever the default of the database.
        let (begun, locked, found) = join3(
            session.execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            session.query(take, &of_lock),
            Found::gather(self.store, session, works, self.known, &ask),
        )
        .await;
        begun?;
        let locked = locked?;
        if self.store.order() != Order::Log && !locked.is_empty() {
            let held: Result<_, tokio_postgres::Error> =
                locked.iter().map(|row| row.try_get(0)).collect();
            return Err(Failure::Held(held?));
        }
        let Found { facts, of_store } = found?;
        let (head, last_name) = facts.head.unwrap_or_default();
        *self.contended = self.store.order() == Order::Log && before != Some(head);
        let judged_on =
            History { mark: of_store.as_ref().map(|(mark, _)| *mark), last: facts.last };
        let mut plan = plan::<Draft>(works, facts, head, last_name, checked);
        let parts = std::mem::take(&mut plan.draft).into_parts();
        plan.teach(&mut self.known.log);
        self.known.learn_store(of_store);
        let mut judged = Sent::new(plan, self.known, self.backend);
        let ids = judged.unsure_ids();
        let look = known_ids(self.store, session, &ids);
        let [first @ .., last] = &*parts else {
            let (found, ended) = join(look, session.execute("ROLLBACK")).await;
            ended?;
            return judged.finish(&found?, self.known);
        };
        let rows = self.known.rows.clone().unwrap_or(Type::RECORD_ARRAY);
        // The lock keeps other adapters out, not a program that deletes: what it was judged on is looked for once more,
        // by the first of the statements, after which there is no other history in this transaction.
        let mut history = judged_on;
        for part in first {
            if !insert(self.store, session, part, &rows, std::mem::take(&mut history)).await? {
                return Err(Failure::Outdated);
            }
        }
        prepare(self.store, session, last, &rows).await?;
        if !ids.is_empty() {
            // It is looked up before the commit: where that fails, nothing is written.
            session.prepare(&sql.ids, &[Type::UUID_ARRAY]).await?;
        }
        let sent = self.sent.insert(judged);
        let insert = insert(self.store, session, last, &rows, history);
        let (inserted, found, committed) = join3(insert, look, session.execute("COMMIT")).await;
        // After an insert that failed, COMMIT rolls back.
        let inserted = inserted?;
        let found = found?;
        committed?;
        if !inserted {
            return Err(Failure::Outdated);
        }
        sent.finish(&found, self.known)
    }
}

pub(crate) fn ask_under_lock(store: &Store, works: &[Work<'_>], ids: bool) -> Ask {
    if store.order() == Order::Log {
        return Ask { head: true, ids, numbers: None };
    }
    let events = works.iter().map(|work| count(work.writes)).sum::<usize>();
    Ask { head: true, ids, numbers: i64::try_from(events).ok() }
}
