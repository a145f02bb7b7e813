//! Appends inside a transaction that somebody else began and ends.

use std::num::NonZeroUsize;

use annals::{Error, Order, Result};
use annals_sql::facts::{Work, names_of};
use annals_sql::placing::Placement;
use annals_sql::plan::plan;
use hashbrown::HashSet;
use tokio_postgres::types::Type;

use crate::append::draft::Draft;
use crate::append::insert::insert;
use crate::append::locks::locks;
use crate::append::names::make_names;
use crate::append::transact::ask_under_lock;
use crate::connection::pool::Connections;
use crate::connection::session::Session;
use crate::error::Outcome;
use crate::follow::notification::encode;
use crate::lookup::facts::Found;
use crate::lookup::history::History;
use crate::lookup::known::Known;
use crate::store::Store;

/// Whether each statement sees what was committed before it, and how long a lock was waited for until now.
const ENTER: &str = "SELECT s.*, set_config('lock_timeout', $1, true) FROM \
    (SELECT current_setting('transaction_isolation') IN ('read committed', 'read uncommitted'), \
    current_setting('lock_timeout') OFFSET 0) s";
const LEAVE: &str = "SELECT set_config('lock_timeout', $1, true)";

/// It is sent when the transaction commits.
const NOTIFY_IN: &str = "SELECT pg_notify($1, $2)";

/// Judges and inserts one append. The settings of the transaction are as they were if it goes on. `beside`: connections
/// that nobody holds who waits here; without them a new name of a weaker order is made in the transaction.
pub(crate) async fn append_in(
    store: &Store,
    session: Session<'_>,
    work: Work<'_>,
    beside: Option<&Connections>,
) -> Outcome<Result<Placement>> {
    let limit = store.options.common.lock_timeout.as_millis().to_string();
    let rows = session.query(ENTER, &[(&limit, Type::TEXT)]).await?;
    let row = rows.first().ok_or_else(|| Error::corrupt("settings have no value"))?;
    let (sees_commits, before): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
    let made = append(store, session, work, beside, sees_commits).await?;
    if made.is_ok() && work.writes.iter().any(|write| !write.events.is_empty()) {
        let written = work.writes.iter().filter(|write| !write.events.is_empty());
        let payload = encode(written.map(|write| &write.stream), false);
        let channel = store.tables.channel();
        session.query(NOTIFY_IN, &[(&channel, Type::TEXT), (&payload, Type::TEXT)]).await?;
    }
    session.query(LEAVE, &[(&before, Type::TEXT)]).await?;
    Ok(made)
}

/// Without `sees_commits` the transaction keeps a view that may be older than the lock: only numbers that follow the
/// end of the whole log tell whether that was seen.
async fn append(
    store: &Store,
    session: Session<'_>,
    work: Work<'_>,
    beside: Option<&Connections>,
    sees_commits: bool,
) -> Outcome<Result<Placement>> {
    let works = [work];
    let mut known = Known::new(NonZeroUsize::MIN);
    if store.order() != Order::Log {
        if !sees_commits {
            return Ok(Err(needs_read_committed()));
        }
        let mut names = names_of(&works);
        let made = session.query(&store.sql.names, &[(&names, Type::TEXT_ARRAY)]).await?;
        let made: Result<HashSet<String>, tokio_postgres::Error> =
            made.iter().map(|row| row.try_get(1)).collect();
        let made = made?;
        names.retain(|name| !made.contains(*name));
        match beside {
            // Committed at once: nobody waits for the end of this transaction to use the same names.
            Some(beside) if !names.is_empty() => {
                let made = async |session: Session<'_>| make_names(store, session, &names).await;
                beside.run(store, made).await?;
            }
            _ => make_names(store, session, &names).await?,
        }
    }
    let keys = locks(store, work.writes);
    session.query(&store.sql.lock, &[(&keys, Type::INT8_ARRAY)]).await?;
    let ask = ask_under_lock(store, &works, true);
    let Found { facts, of_store } = Found::gather(store, session, &works, &mut known, &ask).await?;
    let (head, last_name) = facts.head.unwrap_or_default();
    let plan = plan::<Draft>(&works, facts, head, last_name, true);
    let is_guard = plan.ends.is_none() && plan.outcomes.iter().all(Result::is_ok);
    if is_guard && !sees_commits {
        return Ok(Err(needs_read_committed()));
    }
    let rows = of_store.map_or(Type::RECORD_ARRAY, |(_, rows)| rows);
    for part in plan.draft.into_parts() {
        let inserted = insert(store, session, &part, &rows, History::default()).await;
        inserted.map_err(|failure| match failure.broken_constraint() {
            // What it was judged on is older than the lock.
            Some(_) => Error::unavailable("the transaction does not see the end of the log").into(),
            None => failure,
        })?;
    }
    let outcome = plan.outcomes.into_iter().next();
    Ok(outcome.unwrap_or_else(|| Err(Error::invalid("no append"))))
}

fn needs_read_committed() -> Error {
    Error::invalid("the transaction may not see the end of the log: it needs READ COMMITTED")
}
