//! The schema: what is made, and how an older one is brought up to date.

use annals::{Error, Order};
use annals_sql::schema::{Migration, SchemaError, SchemaStatus, pending};
use tokio_postgres::types::Type;

use crate::connection::session::{Session, Value};
use crate::error::{Failure, Outcome};
use crate::options::PostgresOptions;
use crate::schema::tables::{Part, Tables, quote};
use crate::store::Store;

const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("sql/v1.sql") }];
/// The tables of documents have a version of their own: an earlier release that knows the log goes on to use it.
const STATE: &[Migration] = &[Migration { version: 1, sql: include_str!("sql/state_v1.sql") }];
#[cfg(feature = "state")]
pub(crate) const STATE_VERSION: u32 = 1;
const IMMUTABLE: &str = include_str!("sql/immutable.sql");

/// What is there.
#[derive(Debug)]
struct Found {
    version: u32,
    order: Option<String>,
    has_schema: bool,
}

fn name(order: Order) -> &'static str {
    match order {
        Order::Log => "log",
        Order::Category => "category",
        Order::Stream => "stream",
    }
}

/// The statements for a log at version `found`.
pub(crate) fn sql(options: &PostgresOptions, found: u32) -> annals::Result<String> {
    let tables = Tables::new(&options.schema, &options.table)?;
    steps(options, &tables, found, found > 0)
}

fn steps(
    options: &PostgresOptions,
    tables: &Tables,
    found: u32,
    has_schema: bool,
) -> annals::Result<String> {
    let steps = pending(MIGRATIONS, found)?;
    let mut sql = String::new();
    if !has_schema {
        sql.push_str(&tables.fill("CREATE SCHEMA IF NOT EXISTS {schema};\n\n"));
    }
    for step in steps {
        sql.push_str(&tables.fill(&step.sql.replace("{order}", name(options.order))));
        sql.push_str(&tables.fill(&format!("\nUPDATE {{meta}} SET version = {};\n", step.version)));
    }
    if found == 0 && cfg!(feature = "state") {
        sql.push_str(&state_steps(tables, 0)?);
    }
    if options.common.immutable_log {
        sql.push_str(&tables.fill(IMMUTABLE));
    }
    Ok(sql)
}

/// The statements for tables of documents at version `found`.
fn state_steps(tables: &Tables, found: u32) -> annals::Result<String> {
    let mut sql = String::new();
    for step in pending(STATE, found)? {
        sql.push_str(&tables.fill(step.sql));
        let version = format!("\nUPDATE {{state_meta}} SET version = {};\n", step.version);
        sql.push_str(&tables.fill(&version));
    }
    Ok(sql)
}

/// The version of the tables of documents; 0 if there is nothing with one of their names.
async fn found_state(session: Session<'_>, store: &Store) -> Outcome<u32> {
    let (version, there) = state_version(session, store).await?;
    if !there.is_empty() {
        all_there(&store.tables.state_parts(), &there)?;
    }
    Ok(version)
}

/// The same, whether or not all of them are there; and what is.
async fn state_version(
    session: Session<'_>,
    store: &Store,
) -> Outcome<(u32, Vec<(String, String)>)> {
    let parts = store.tables.state_parts();
    let there = named(session, store, &parts).await?;
    let [meta, ..] = &parts;
    if !meta.is_in(&there) {
        return match there.first() {
            None => Ok((0, there)),
            Some((kind, name)) => Err(taken(kind, name)),
        };
    }
    let rows = session.query(&store.tables.fill("SELECT version FROM {state_meta}"), &[]).await;
    let foreign = || taken(meta.kind, &meta.name);
    let rows = rows.map_err(|failure| if failure.is_undefined() { foreign() } else { failure })?;
    let row = rows.first().ok_or_else(foreign)?;
    let version = row.try_get::<_, i32>(0).map_err(|_| foreign())?;
    let version = u32::try_from(version).map_err(|_| foreign())?;
    Ok((version, there))
}

/// Rejects documents whose log is gone. `found` is the version of the log.
async fn no_orphans(session: Session<'_>, store: &Store, found: u32) -> Outcome<()> {
    if found > 0 || !cfg!(feature = "state") || state_version(session, store).await?.0 == 0 {
        return Ok(());
    }
    let [meta, ..] = store.tables.state_parts();
    Err(Error::from(SchemaError::WithoutLog { name: meta.name }).into())
}

/// Rejects documents of a later release. Without their tables the log can be used, and its documents not.
async fn check_state(session: Session<'_>, store: &Store) -> Outcome<()> {
    if cfg!(feature = "state") {
        pending(STATE, found_state(session, store).await?).map_err(Error::from)?;
    }
    Ok(())
}

/// Which version the log has. Changes nothing.
pub(crate) async fn status(session: Session<'_>, store: &Store) -> Outcome<SchemaStatus> {
    Ok(SchemaStatus::new(MIGRATIONS, found(session, store).await?.version))
}

/// Refuses a log that this release or these options cannot work with. Changes nothing.
pub(crate) async fn check(session: Session<'_>, store: &Store) -> Outcome<()> {
    let mut found = self::found(session, store).await?;
    if let Err(orphans) = no_orphans(session, store, found.version).await {
        // Another process may have made both between the two looks.
        found = self::found(session, store).await?;
        if found.version == 0 {
            return Err(orphans);
        }
    }
    if !pending(MIGRATIONS, found.version).map_err(Error::from)?.is_empty() {
        let known = SchemaStatus::new(MIGRATIONS, found.version).known;
        return Err(Error::from(SchemaError::Outdated { found: found.version, known }).into());
    }
    same_order(store, &found)?;
    // First: what it hides is not there for all that follows.
    check_row_security(session, store).await?;
    check_state(session, store).await?;
    rows_type(session, store).await
}

/// Whether the type of a row of events is there.
async fn rows_type(session: Session<'_>, store: &Store) -> Outcome<()> {
    let sql = "SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
               WHERE n.nspname = $1 AND t.typname = $2";
    let (schema, name) = (store.tables.schema(), store.tables.row_type());
    let rows = session.query(sql, &[(&schema, Type::TEXT), (&name, Type::TEXT)]).await?;
    rows.first().map(drop).ok_or_else(|| Failure::from(Error::from(SchemaError::Foreign)))
}

fn same_order(store: &Store, found: &Found) -> Outcome<()> {
    let wanted = name(store.order());
    match &found.order {
        Some(order) if order != wanted => {
            let text = format!(
                "the log keeps the order of each {order}, it was opened for the order of each {wanted}"
            );
            Err(Error::invalid(text).into())
        }
        _ => Ok(()),
    }
}

/// Brings the log up to date. Of several processes that do it at once one does the work.
pub(crate) async fn migrate(session: Session<'_>, store: &Store) -> Outcome<()> {
    let migrated = migrate_in_transaction(session, store).await;
    if migrated.as_ref().is_err_and(|failure| !failure.lost_connection()) {
        session.execute("ROLLBACK").await?;
    }
    migrated
}

async fn migrate_in_transaction(session: Session<'_>, store: &Store) -> Outcome<()> {
    // What is found under the lock is as new as the lock, whatever the defaults of the database.
    session.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
    // One lock for all logs of a schema: it may have to be made.
    let key = Tables::new(store.tables.schema(), "schema")?.lock_key(&["migration"]);
    session.query(&store.sql.lock, &[(&[key].as_slice(), Type::INT8_ARRAY)]).await?;
    let found = found(session, store).await?;
    same_order(store, &found)?;
    if store.options.common.immutable_log {
        check_refuse(session, store).await?;
    }
    no_orphans(session, store, found.version).await?;
    let documents = if cfg!(feature = "state") { found_state(session, store).await? } else { 0 };
    let sql = steps(&store.options, &store.tables, found.version, found.has_schema)?;
    session.execute(&sql).await?;
    if cfg!(feature = "state") && found.version > 0 {
        session.execute(&state_steps(&store.tables, documents)?).await?;
    }
    session.execute("COMMIT").await
}

/// What has one of the names of a log, with its kind.
const NAMED: &str = "\
    SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'f' THEN 'table' WHEN 'v' THEN 'view' \
    WHEN 'm' THEN 'view' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' ELSE 'index' END, c.relname::text \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = ANY($2) \
    UNION ALL SELECT 'type', t.typname::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
    WHERE n.nspname = $1 AND t.typname = ANY($2) AND t.typrelid = 0 AND t.typcategory <> 'A' \
    UNION ALL SELECT 'function', f.named FROM (SELECT p.pronamespace, \
    p.proname || '(' || oidvectortypes(p.proargtypes) || ')' AS named FROM pg_proc p) f \
    JOIN pg_namespace n ON n.oid = f.pronamespace WHERE n.nspname = $1 AND f.named = ANY($2)";

async fn found(session: Session<'_>, store: &Store) -> Outcome<Found> {
    let sql = "SELECT current_setting('server_encoding'), \
               EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
    let tables = &store.tables;
    let rows = session.query(sql, &[(&tables.schema(), Type::TEXT)]).await?;
    let row = rows.first().ok_or_else(|| Failure::from(Error::corrupt("no answer")))?;
    let encoding: &str = row.try_get(0)?;
    if encoding != "UTF8" {
        let text = format!("the database has the encoding {encoding}, a log needs UTF8");
        return Err(Error::invalid(text).into());
    }
    let has_schema = row.try_get(1)?;
    let parts = tables.parts();
    let there = named(session, store, &parts).await?;
    let [meta, ..] = &parts;
    if !meta.is_in(&there) {
        return match there.first() {
            None => Ok(Found { version: 0, order: None, has_schema }),
            Some((kind, name)) => Err(taken(kind, name)),
        };
    }
    let rows = session.query(&tables.fill("SELECT version, ordered FROM {meta}"), &[]).await;
    let rows =
        rows.map_err(
            |failure| {
                if failure.is_undefined() { taken(meta.kind, &meta.name) } else { failure }
            },
        )?;
    // A table of that name and with these columns, but of other types, is not ours either.
    let foreign = || taken(meta.kind, &meta.name);
    let row = rows.first().ok_or_else(foreign)?;
    let version = row.try_get::<_, i32>(0).map_err(|_| foreign())?;
    let version = u32::try_from(version).map_err(|_| foreign())?;
    let order = row.try_get(1).map_err(|_| foreign())?;
    all_there(&parts, &there)?;
    Ok(Found { version, order: Some(order), has_schema })
}

/// What has the name of one of these parts, with its kind.
async fn named(
    session: Session<'_>,
    store: &Store,
    parts: &[Part],
) -> Outcome<Vec<(String, String)>> {
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let values: [Value<'_>; 2] = [(&store.tables.schema(), Type::TEXT), (&names, Type::TEXT_ARRAY)];
    let rows = session.query(NAMED, &values).await?;
    let mut there = Vec::with_capacity(rows.len());
    for row in &rows {
        there.push((row.try_get::<_, &str>(0)?.to_owned(), row.try_get::<_, &str>(1)?.to_owned()));
    }
    Ok(there)
}

impl Part {
    fn is_in(&self, there: &[(String, String)]) -> bool {
        there.iter().any(|(kind, name)| *kind == self.kind && *name == self.name)
    }
}

/// Rejects what has one of these parts but not the others.
fn all_there(parts: &[Part], there: &[(String, String)]) -> Outcome<()> {
    // What rejects changes is made later, or never.
    let mut others = parts.iter().filter(|part| !part.name.ends_with("_refuse()"));
    match others.find(|part| !part.is_in(there)) {
        None => Ok(()),
        Some(part) => Err(match there.iter().find(|(_, name)| *name == part.name) {
            Some((kind, name)) => taken(kind, name),
            None => Error::from(SchemaError::Foreign).into(),
        }),
    }
}

fn taken(kind: &str, name: &str) -> Failure {
    let (kind, name) = (kind.to_owned(), name.to_owned());
    Error::from(SchemaError::Taken { kind, name }).into()
}

/// Rejects a foreign function that has the name of ours that rejects changes of the log.
async fn check_refuse(session: Session<'_>, store: &Store) -> Outcome<()> {
    let sql = "SELECT p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
               WHERE n.nspname = $1 AND p.proname || '()' = $2 AND p.pronargs = 0";
    let parts = store.tables.parts();
    let [.., refuse] = &parts;
    let values: [Value<'_>; 2] = [(&store.tables.schema(), Type::TEXT), (&refuse.name, Type::TEXT)];
    let rows = session.query(sql, &values).await?;
    match rows.first().map(|row| row.try_get::<_, &str>(0)).transpose()? {
        Some(body) if !IMMUTABLE.contains(body.trim()) => Err(taken(refuse.kind, &refuse.name)),
        _ => Ok(()),
    }
}

/// Rejects a log whose rows a policy hides from this role without an error: it would have holes, and a condition could
/// hold that does not. The same of its documents: an expectation would hold of one that is hidden. Sessions of our own also set `row_security`, so that a policy made later is an error.
async fn check_row_security(session: Session<'_>, store: &Store) -> Outcome<()> {
    let sql = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = ANY($2) AND c.relkind IN ('r', 'p') \
               AND row_security_active(c.oid)";
    let mut parts = store.tables.parts().to_vec();
    if cfg!(feature = "state") {
        parts.extend(store.tables.state_parts());
    }
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let values: [Value<'_>; 2] = [(&store.tables.schema(), Type::TEXT), (&names, Type::TEXT_ARRAY)];
    let rows = session.query(sql, &values).await?;
    match rows.first().map(|row| row.try_get::<_, &str>(0)).transpose()? {
        None => Ok(()),
        Some(table) => {
            let text = format!("row-level security of the table {table} hides rows from this role");
            Err(Error::invalid(text).into())
        }
    }
}

/// Grants what a role needs that appends and reads, but may neither change nor remove anything.
pub(crate) fn grants(options: &PostgresOptions, role: &str) -> annals::Result<String> {
    let tables = Tables::new(&options.schema, &options.table)?;
    let role = quote(role);
    Ok(tables.fill(&format!(
        "GRANT USAGE ON SCHEMA {{schema}} TO {role};\n\
         GRANT SELECT, INSERT ON {{names}}, {{streams}}, {{events}}, {{event_tags}} TO {role};\n\
         GRANT SELECT ON {{meta}}, {{log}} TO {role};\n\
         GRANT USAGE ON SEQUENCE {{numbers}} TO {role};\n\
         GRANT USAGE ON TYPE {{row}} TO {role};\n\
         GRANT EXECUTE ON FUNCTION {{seek}}(bigint, bigint), {{to_jsonb}}(bytea) TO {role};\n{}",
        if cfg!(feature = "state") { state_grants(&role) } else { String::new() }
    )))
}

/// Grants what a role needs for documents, which it changes and removes.
fn state_grants(role: &str) -> String {
    let (texts, uuids, numbers, flags) = ("text[]", "uuid[]", "integer[]", "smallint[]");
    format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {{documents}}, {{entries}} TO {role};\n\
         GRANT SELECT ON {{state_meta}}, {{state}} TO {role};\n\
         GRANT EXECUTE ON FUNCTION {{commit}}({texts}, {texts}, {flags}, {numbers}, {flags}, {uuids}, {uuids}, \
         {texts}, bytea[], boolean[], {numbers}, {numbers}, {texts}, {texts}, {texts}, bytea[], text) TO {role};\n"
    )
}
