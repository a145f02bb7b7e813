//! One transaction of appends.

use std::num::NonZeroUsize;

use annals::{Append, Error, EventId, Order, Result};
use annals_sql::placing::{Placement, count};
use deadpool_postgres::Object;
use futures_util::future::{join, join3};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::NAME;
use crate::backend::{Backend, Backends};
use crate::draft::Part;
use crate::error::{Failure, Outcome};
use crate::facts::{Ask, Facts, Known, Work, unsigned};
use crate::plan::{Plan, plan};
use crate::session::{Session, Value, if_any};
use crate::store::Store;

/// An append whose commit was on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    /// One of its events.
    pub(crate) id: EventId,
    /// The number that it gets.
    pub(crate) number: u64,
    /// What callers are told if it was committed.
    pub(crate) outcomes: Vec<Result<Placement>>,
    /// Which of them were refused before it was looked up whether their events are known.
    pub(crate) unsure: Vec<usize>,
    /// The process that has it.
    pub(crate) backend: Option<Backend>,
}

impl Sent {
    /// What callers are told after it turned out that it was committed.
    pub(crate) fn into_outcomes(mut self, failure: Failure) -> Vec<Result<Placement>> {
        let fault = failure.into_fault();
        for nth in &self.unsure {
            if let Some(outcome) = self.outcomes.get_mut(*nth) {
                *outcome = Err(fault.error(NAME));
            }
        }
        self.outcomes
    }
}

/// What a transaction works with, and what it leaves behind.
pub(crate) struct Transact<'a> {
    pub(crate) store: &'a Store,
    pub(crate) known: &'a mut Known,
    pub(crate) backends: &'a mut Backends,
    pub(crate) contended: &'a mut bool,
    /// Set before a commit is sent.
    pub(crate) sent: &'a mut Option<Sent>,
}

/// What callers are told; `None`: they were judged on an older log, and nothing was written.
type Made = Option<Vec<Result<Placement>>>;

impl Transact<'_> {
    pub(crate) async fn run(
        mut self,
        client: &Object,
        works: &[Work<'_>],
        checked: bool,
    ) -> Outcome<Made> {
        let session = Session::new(client, self.store.options.prepares());
        let backend = self.backends.of(self.store, client, session).await?;
        if self.store.order() == Order::Log
            && !*self.contended
            && let Some(made) = self.at_once(session, backend, works, checked).await?
        {
            return Ok(made);
        }
        let made = Box::pin(self.locked(session, backend, works, checked)).await;
        if made.as_ref().is_err_and(|failure| !failure.lost_connection()) {
            session.execute("ROLLBACK").await?;
        }
        made.map(Some)
    }

    /// Judges `works` on what is remembered of the log, and has one statement take the lock, insert and commit.
    /// If others have appended meanwhile, the numbers that it inserts are taken, and nothing is written.
    /// `None`: it takes more than one statement.
    async fn at_once(
        &mut self,
        session: Session<'_>,
        backend: Option<Backend>,
        works: &[Work<'_>],
        checked: bool,
    ) -> Outcome<Option<Made>> {
        let ask = Ask { head: self.known.head.is_none(), ids: checked, numbers: None };
        let facts = Facts::gather(self.store, session, works, self.known, &ask).await?;
        let (head, last_name) =
            facts.head.unwrap_or((self.known.head.unwrap_or(0), self.known.last_name));
        let mut plan = plan(works, facts, head, last_name, checked);
        let draft = std::mem::take(&mut plan.draft);
        let ids = unsure(&plan, works);
        let sql = &self.store.sql;
        let of_ids: [Value<'_>; 1] = [(&ids, Type::UUID_ARRAY)];
        let look = if_any((!ids.is_empty()).then(|| session.query(&sql.ids, &of_ids)));
        let known = match draft.parts() {
            [] => {
                // What was found is true if the log is still the same.
                let (now, known) = join(session.query(&sql.last, &[]), look).await;
                let now: Option<i64> = now?.first().map(|row| row.try_get(0)).transpose()?;
                if unsigned(now.unwrap_or(0))? != head {
                    return Ok(Some(None));
                }
                known?
            }
            [part] => {
                prepare(self.store, session, part).await?;
                self.send(&mut plan, backend);
                let (inserted, known) = join(insert(self.store, session, part), look).await;
                inserted?;
                known?
            }
            _ => return Ok(None),
        };
        Ok(Some(Some(self.finish(plan, works, &known)?)))
    }

    /// Judges `works` on the log under its lock.
    async fn locked(
        &mut self,
        session: Session<'_>,
        backend: Option<Backend>,
        works: &[Work<'_>],
        checked: bool,
    ) -> Outcome<Vec<Result<Placement>>> {
        let before = self.known.head;
        self.known.forget();
        if self.store.order() != Order::Log {
            make_names(self.store, session, works, self.known).await?;
        }
        let keys = locks(self.store, works);
        let of_lock: [Value<'_>; 1] = [(&keys, Type::INT8_ARRAY)];
        let sql = &self.store.sql;
        session.prepare(&sql.lock, &[Type::INT8_ARRAY]).await?;
        let ask = ask_under_lock(self.store, works, checked);
        let (begun, locked, facts) = join3(
            session.execute("BEGIN"),
            session.query(&sql.lock, &of_lock),
            Facts::gather(self.store, session, works, self.known, &ask),
        )
        .await;
        begun?;
        locked?;
        let facts = facts?;
        let (head, last_name) = facts.head.unwrap_or_default();
        *self.contended = self.store.order() == Order::Log && before != Some(head);
        let mut plan = plan(works, facts, head, last_name, checked);
        let draft = std::mem::take(&mut plan.draft);
        let ids = unsure(&plan, works);
        let of_ids: [Value<'_>; 1] = [(&ids, Type::UUID_ARRAY)];
        let look = if_any((!ids.is_empty()).then(|| session.query(&sql.ids, &of_ids)));
        let known = match draft.parts() {
            [] => {
                let (known, ended) = join(look, session.execute("ROLLBACK")).await;
                ended?;
                known?
            }
            [first @ .., last] => {
                for part in first {
                    insert(self.store, session, part).await?;
                }
                prepare(self.store, session, last).await?;
                self.send(&mut plan, backend);
                let insert = insert(self.store, session, last);
                let (inserted, known, committed) =
                    join3(insert, look, session.execute("COMMIT")).await;
                // After an insert that failed, COMMIT rolls back.
                inserted?;
                let known = known?;
                committed?;
                known
            }
        };
        self.finish(plan, works, &known)
    }

    /// From here on the appends may be committed.
    fn send(&mut self, plan: &mut Plan<'_>, backend: Option<Backend>) {
        if let Some((id, number)) = plan.first {
            let outcomes = std::mem::take(&mut plan.outcomes);
            *self.sent = Some(Sent { id, number, outcomes, unsure: plan.unsure.clone(), backend });
        }
    }

    /// After the commit: what callers are told, and what is remembered. `known`: ids of refused appends that the log
    /// has.
    fn finish(
        &mut self,
        plan: Plan<'_>,
        works: &[Work<'_>],
        known: &[Row],
    ) -> Outcome<Vec<Result<Placement>>> {
        let mut outcomes = self.sent.take().map_or(plan.outcomes, |sent| sent.outcomes);
        for row in known {
            let id = EventId::from_uuid(row.try_get(0)?);
            for nth in &plan.unsure {
                let has_it =
                    works.get(*nth).is_some_and(|work| events(work).any(|event| event == id));
                if let Some(outcome) = outcomes.get_mut(*nth).filter(|_| has_it) {
                    // A repeated append is told that it is one, whatever its condition.
                    *outcome = Err(Error::DuplicateEvent(id));
                }
            }
        }
        self.known.learn(plan.facts, plan.head, plan.last_name);
        Ok(outcomes)
    }
}

/// Judges and inserts one append in a transaction that somebody else ends.
pub(crate) async fn append_in(
    store: &Store,
    session: Session<'_>,
    work: Work<'_>,
) -> Outcome<Result<Placement>> {
    let works = [work];
    let mut known = Known::new(NonZeroUsize::MIN);
    if store.order() != Order::Log {
        make_names(store, session, &works, &mut known).await?;
    }
    let keys = locks(store, &works);
    session.query(&store.sql.lock, &[(&keys, Type::INT8_ARRAY)]).await?;
    let ask = ask_under_lock(store, &works, true);
    let facts = Facts::gather(store, session, &works, &mut known, &ask).await?;
    let (head, last_name) = facts.head.unwrap_or_default();
    let plan = plan(&works, facts, head, last_name, true);
    for part in plan.draft.parts() {
        let inserted = insert(store, session, part).await;
        inserted.map_err(|failure| match failure.broken_constraint() {
            // What it was judged on is older than the lock.
            Some(_) => Error::unavailable("the transaction does not see the end of the log").into(),
            None => failure,
        })?;
    }
    let outcome = plan.outcomes.into_iter().next();
    Ok(outcome.unwrap_or_else(|| Err(Error::invalid("no append"))))
}

fn events(work: &Work<'_>) -> impl Iterator<Item = EventId> {
    work.writes.iter().flat_map(|write| &write.events).map(|event| event.id)
}

/// The ids of appends that were refused without knowing whether the log has them.
fn unsure(plan: &Plan<'_>, works: &[Work<'_>]) -> Vec<Uuid> {
    let works = plan.unsure.iter().filter_map(|nth| works.get(*nth));
    works.flat_map(events).map(|id| id.as_uuid()).collect()
}

fn statement<'s>(store: &'s Store, part: &Part<'_>) -> &'s str {
    if part.is_plain() { &store.sql.insert } else { &store.sql.insert_all }
}

/// So that the insert is sent at its first poll, before what follows it.
async fn prepare(store: &Store, session: Session<'_>, part: &Part<'_>) -> Outcome<()> {
    let types: Vec<_> = part.values(&0).into_iter().map(|(_, ty)| ty).collect();
    session.prepare(statement(store, part), &types).await
}

pub(crate) async fn insert(store: &Store, session: Session<'_>, part: &Part<'_>) -> Outcome<()> {
    let lock = store.tables.lock_key(&["log"]);
    session.query(statement(store, part), &part.values(&lock)).await?;
    Ok(())
}

/// The locks that `works` need, in the one order that keeps transactions from waiting for each other in a circle.
pub(crate) fn locks(store: &Store, works: &[Work<'_>]) -> Vec<i64> {
    if store.order() == Order::Log {
        return vec![store.tables.lock_key(&["log"])];
    }
    let writes = works.iter().flat_map(|work| work.writes);
    let key = |write: &Append| {
        let category = write.stream.category.as_str();
        match store.order() {
            Order::Stream => {
                store.tables.lock_key(&["stream", category, write.stream.name.as_str()])
            }
            _ => store.tables.lock_key(&["category", category]),
        }
    };
    let mut keys: Vec<_> = writes.map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

pub(crate) fn ask_under_lock(store: &Store, works: &[Work<'_>], ids: bool) -> Ask {
    if store.order() == Order::Log {
        return Ask { head: true, ids, numbers: None };
    }
    let events = works.iter().map(|work| count(work.writes)).sum::<usize>();
    Ask { head: false, ids, numbers: i64::try_from(events).ok() }
}

/// Makes the names that `works` write, where transactions do not exclude one another. A name that is then not used
/// does no harm.
pub(crate) async fn make_names(
    store: &Store,
    session: Session<'_>,
    works: &[Work<'_>],
    known: &mut Known,
) -> Outcome<()> {
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
    names.retain(|name| !known.has_name(name));
    if !names.is_empty() {
        session.query(&store.sql.make_names, &[(&names, Type::TEXT_ARRAY)]).await?;
    }
    Ok(())
}
