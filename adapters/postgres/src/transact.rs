//! Transactions of several statements, under the lock of the log.

use annals::{Append, Order, Result};
use annals_sql::placing::{Placement, count};
use futures_util::future::{join, join3};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::backend::Backend;
use crate::draft::Part;
use crate::error::{Failure, Outcome};
use crate::facts::{Ask, Facts, History, Known, Work, known_ids};
use crate::flight::Sent;
use crate::plan::plan;
use crate::session::{Session, Value};
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
        let before = self.known.head;
        self.known.forget();
        if self.store.order() != Order::Log {
            let mut names = names_of(works);
            names.retain(|name| !self.known.has_name(name));
            make_names(self.store, session, &names).await?;
        }
        let mut keys = Vec::new();
        for work in works {
            locks(self.store, work.writes, &mut keys);
        }
        in_order(&mut keys);
        let of_lock: [Value<'_>; 1] = [(&keys, Type::INT8_ARRAY)];
        let sql = &self.store.sql;
        // All appends wait for the lock of the log. In the weaker orders a scope that others hold keeps up nobody else.
        let take = if self.store.order() == Order::Log { &sql.lock } else { &sql.try_lock };
        session.prepare(take, &[Type::INT8_ARRAY]).await?;
        let ask = ask_under_lock(self.store, works, checked);
        // What is looked up under the lock is as new as the lock, whatever the default of the database.
        let (begun, locked, facts) = join3(
            session.execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            session.query(take, &of_lock),
            Facts::gather(self.store, session, works, self.known, &ask),
        )
        .await;
        begun?;
        let locked = locked?;
        if self.store.order() != Order::Log && !locked.is_empty() {
            let held: Result<_, tokio_postgres::Error> =
                locked.iter().map(|row| row.try_get(0)).collect();
            return Err(Failure::Held(held?));
        }
        let facts = facts?;
        let (head, last_name) = facts.head.unwrap_or_default();
        *self.contended = self.store.order() == Order::Log && before != Some(head);
        let judged_on =
            History { mark: facts.of_store.as_ref().map(|(mark, _)| *mark), last: facts.last };
        let mut plan = plan(works, facts, head, last_name, checked);
        let parts = std::mem::take(&mut plan.draft).into_parts();
        self.known.learn_log(&mut plan);
        let mut judged = Sent::new(plan, self.backend);
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

fn statement<'s>(store: &'s Store, part: &Part) -> &'s str {
    if part.is_plain() { &store.sql.insert } else { &store.sql.insert_all }
}

/// So that the insert is sent at its first poll, before what follows it.
pub(crate) async fn prepare(
    store: &Store,
    session: Session<'_>,
    part: &Part,
    rows: &Type,
) -> Outcome<()> {
    let begin: [Value<'_>; 4] = [
        (&0_i64, Type::INT8),
        (&None::<i64>, Type::INT8),
        (&None::<Uuid>, Type::UUID),
        (&None::<i64>, Type::INT8),
    ];
    let types: Vec<_> = part.values(begin, rows).into_iter().map(|(_, ty)| ty).collect();
    session.prepare(statement(store, part), &types).await
}

/// Inserts `part`; `false`: the store has another history than what it was judged on, and nothing was inserted.
pub(crate) async fn insert(
    store: &Store,
    session: Session<'_>,
    part: &Part,
    rows: &Type,
    history: History,
) -> Outcome<bool> {
    let lock = store.tables.lock_key(&["log"]);
    let (number, id) = (history.number(), history.id());
    let begin: [Value<'_>; 4] = [
        (&lock, Type::INT8),
        (&number, Type::INT8),
        (&id, Type::UUID),
        (&history.mark, Type::INT8),
    ];
    let inserted = session.insert(statement(store, part), &part.values(begin, rows)).await?;
    Ok(inserted > 0)
}

/// Adds the locks that `writes` need to `keys`.
pub(crate) fn locks(store: &Store, writes: &[Append], keys: &mut Vec<i64>) {
    if store.order() == Order::Log {
        keys.push(store.tables.lock_key(&["log"]));
        return;
    }
    let key = |write: &Append| {
        let category = write.stream.category.as_str();
        match store.order() {
            Order::Stream => {
                store.tables.lock_key(&["stream", category, write.stream.name.as_str()])
            }
            _ => store.tables.lock_key(&["category", category]),
        }
    };
    keys.extend(writes.iter().map(key));
}

/// Puts locks in the one order that keeps transactions from waiting for each other in a circle.
pub(crate) fn in_order(keys: &mut Vec<i64>) {
    keys.sort_unstable();
    keys.dedup();
}

pub(crate) fn ask_under_lock(store: &Store, works: &[Work<'_>], ids: bool) -> Ask {
    if store.order() == Order::Log {
        return Ask { head: true, ids, numbers: None };
    }
    let events = works.iter().map(|work| count(work.writes)).sum::<usize>();
    Ask { head: true, ids, numbers: i64::try_from(events).ok() }
}

/// The names that `works` write, in order.
pub(crate) fn names_of<'a>(works: &[Work<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for write in works.iter().flat_map(|work| work.writes).filter(|write| !write.events.is_empty())
    {
        names.push(write.stream.category.as_str());
        for event in &write.events {
            names.push(event.name.as_str());
            names.push(event.payload.encoding().as_str());
            names.extend(event.tags.iter().map(annals::Tag::as_str));
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Makes those of `names` that are new, in the weaker orders, where transactions do not exclude one another. A name that
/// is then not used does no harm. One that is not committed keeps up all who use it.
pub(crate) async fn make_names(store: &Store, session: Session<'_>, names: &[&str]) -> Outcome<()> {
    if !names.is_empty() {
        session.query(&store.sql.make_names, &[(&names, Type::TEXT_ARRAY)]).await?;
    }
    Ok(())
}
