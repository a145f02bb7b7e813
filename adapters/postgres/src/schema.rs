//! The schema: what is made, and how an older one is brought up to date.

use annals::{Error, Order};
use annals_sql::schema::{Migration, SchemaError, SchemaStatus, pending};
use tokio_postgres::types::{Kind, Type};

use crate::error::{Failure, Outcome};
use crate::options::PostgresOptions;
use crate::session::Session;
use crate::store::Store;
use crate::tables::{Tables, quote};

const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("sql/v1.sql") }];
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
    if options.immutable_log {
        sql.push_str(&tables.fill(IMMUTABLE));
    }
    Ok(sql)
}

/// Which version the log has. Changes nothing.
pub(crate) async fn status(session: Session<'_>, store: &Store) -> Outcome<SchemaStatus> {
    Ok(SchemaStatus::new(MIGRATIONS, found(session, store).await?.version))
}

/// Refuses a log that this release or these options cannot work with. Changes nothing. Gives the type of a list of rows
/// of events.
pub(crate) async fn check(session: Session<'_>, store: &Store) -> Outcome<Type> {
    let found = found(session, store).await?;
    if !pending(MIGRATIONS, found.version).map_err(Error::from)?.is_empty() {
        let known = SchemaStatus::new(MIGRATIONS, found.version).known;
        return Err(Error::from(SchemaError::Outdated { found: found.version, known }).into());
    }
    same_order(store, &found)?;
    rows_type(session, store).await
}

async fn rows_type(session: Session<'_>, store: &Store) -> Outcome<Type> {
    let sql = "SELECT t.oid, t.typarray FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
               WHERE n.nspname = $1 AND t.typname = $2";
    let (schema, name) = (store.tables.schema(), store.tables.row_type());
    let rows = session.query(sql, &[(&schema, Type::TEXT), (&name, Type::TEXT)]).await?;
    let row = rows.first().ok_or_else(|| Failure::from(Error::from(SchemaError::Foreign)))?;
    let element = Type::new(name.clone(), row.try_get(0)?, Kind::Simple, schema.into());
    Ok(Type::new(name, row.try_get(1)?, Kind::Array(element), schema.into()))
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
    session.execute("BEGIN").await?;
    // One lock for all logs of a schema: it may have to be made.
    let key = Tables::new(store.tables.schema(), "schema")?.lock_key(&["migration"]);
    session.query(&store.sql.lock, &[(&[key].as_slice(), Type::INT8_ARRAY)]).await?;
    let found = found(session, store).await?;
    same_order(store, &found)?;
    let sql = steps(&store.options, &store.tables, found.version, found.has_schema)?;
    session.execute(&sql).await?;
    session.execute("COMMIT").await
}

async fn found(session: Session<'_>, store: &Store) -> Outcome<Found> {
    let sql = "SELECT current_setting('server_encoding'), \
               EXISTS (SELECT FROM pg_namespace WHERE nspname = $1), \
               (SELECT array_agg(c.relname::text) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = ANY($2))";
    let tables = &store.tables;
    let names: Vec<String> = tables.all().into();
    let rows =
        session.query(sql, &[(&tables.schema(), Type::TEXT), (&names, Type::TEXT_ARRAY)]).await?;
    let row = rows.first().ok_or_else(|| Failure::from(Error::Corrupt("no answer".into())))?;
    let encoding: &str = row.try_get(0)?;
    if encoding != "UTF8" {
        let text = format!("the database has the encoding {encoding}, a log needs UTF8");
        return Err(Error::invalid(text).into());
    }
    let has_schema = row.try_get(1)?;
    let there = row.try_get::<_, Option<Vec<String>>>(2)?.unwrap_or_default();
    if there.is_empty() {
        return Ok(Found { version: 0, order: None, has_schema });
    }
    let foreign = || Failure::from(Error::from(SchemaError::Foreign));
    let of_meta = names.last().is_some_and(|meta| there.contains(meta));
    if !of_meta {
        return Err(foreign());
    }
    let rows = session.query(&tables.fill("SELECT version, ordered FROM {meta}"), &[]).await;
    let rows = rows.map_err(|failure| if failure.is_undefined() { foreign() } else { failure })?;
    let row = rows.first().ok_or_else(foreign)?;
    let version = u32::try_from(row.try_get::<_, i32>(0)?).map_err(|_| foreign())?;
    Ok(Found { version, order: Some(row.try_get(1)?), has_schema })
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
         GRANT EXECUTE ON FUNCTION {{seek}}(bigint, bigint), {{to_jsonb}}(bytea) TO {role};\n"
    )))
}
