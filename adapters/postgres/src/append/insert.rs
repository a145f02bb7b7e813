//! The statement that inserts events.

use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::append::draft::Part;
use crate::connection::session::{Session, Value};
use crate::error::Outcome;
use crate::lookup::history::History;
use crate::store::Store;

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
