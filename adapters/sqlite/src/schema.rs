//! The schema: what is made in an empty file, and how an older one is brought up to date.

use std::fmt::Write as _;

use annals_sql::schema::{Migration, SchemaError, SchemaStatus, pending};
#[cfg(feature = "state")]
use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::Outcome;

/// "Anls": marks a file of Annals among those of other applications.
const APPLICATION_ID: i64 = 0x416e_6c73;

const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("sql/v1.sql") }];
/// The tables of documents have a version of their own: an earlier release that knows the log goes on to use it.
#[cfg(feature = "state")]
const STATE: &[Migration] = &[Migration { version: 1, sql: include_str!("sql/state_v1.sql") }];
const IMMUTABLE: &str = include_str!("sql/immutable.sql");

/// Something in a file: its kind as SQLite calls it, and its name.
type Part = (&'static str, &'static str);

/// All that a log has.
const LOG: &[Part] = &[
    ("table", "names"),
    ("table", "streams"),
    ("table", "events"),
    ("table", "event_tags"),
    ("index", "events_stream"),
    ("index", "events_category"),
    ("index", "events_id"),
    ("view", "log"),
];

/// The table that has the version of the documents.
#[cfg(feature = "state")]
const STATE_SCHEMA: Part = ("table", "state_schema");
/// The same of its documents.
#[cfg(feature = "state")]
const DOCUMENTS: &[Part] = &[
    STATE_SCHEMA,
    ("table", "state_documents"),
    ("table", "state_entries"),
    ("index", "state_entries_document"),
    ("view", "state"),
];

/// What has the name of one of these parts, with its kind. One statement: of one moment.
fn named(connection: &Connection, parts: &[Part]) -> Outcome<Vec<(String, String)>> {
    let mut statement = connection.prepare("SELECT type, name FROM sqlite_schema")?;
    let all = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut all: Vec<(String, String)> = all.collect::<Result<_, _>>()?;
    // SQLite compares names so.
    all.retain(|(_, name)| parts.iter().any(|(_, part)| part.eq_ignore_ascii_case(name)));
    Ok(all)
}

fn is_in((kind, name): Part, there: &[(String, String)]) -> bool {
    there.iter().any(|(is, named)| kind == is && named == name)
}

/// Rejects what has not all of these parts.
fn all_there(parts: &[Part], there: &[(String, String)]) -> Outcome<()> {
    let Some((_, name)) = parts.iter().find(|part| !is_in(**part, there)) else { return Ok(()) };
    let taken = there.iter().find(|(_, named)| named.eq_ignore_ascii_case(name));
    Err(annals::Error::from(taken.map_or(SchemaError::Foreign, of_somebody_else)).into())
}

fn of_somebody_else((kind, name): &(String, String)) -> SchemaError {
    SchemaError::Taken { kind: kind.clone(), name: name.clone() }
}

/// Rejects half a log, and documents without their log.
fn log_is_whole(connection: &Connection) -> Outcome<()> {
    let there = named(connection, LOG)?;
    #[cfg(feature = "state")]
    if there.is_empty() && found_state(connection)? > 0 {
        let name = STATE_SCHEMA.1.to_owned();
        return Err(annals::Error::from(SchemaError::WithoutLog { name }).into());
    }
    all_there(LOG, &there)
}

/// All statements for a store at version `found`.
pub(crate) fn sql(found: u32, immutable_log: bool) -> annals::Result<String> {
    let mut sql = String::new();
    for step in pending(MIGRATIONS, found)? {
        sql.push_str(step.sql);
        for (pragma, value) in
            [("user_version", i64::from(step.version)), ("application_id", APPLICATION_ID)]
        {
            // Writing to a string cannot fail.
            let _ = writeln!(sql, "PRAGMA {pragma} = {value};");
        }
    }
    #[cfg(feature = "state")]
    for step in STATE.iter().filter(|_| found == 0) {
        sql.push_str(step.sql);
        let _ = writeln!(sql, "UPDATE state_schema SET version = {};", step.version);
    }
    if immutable_log {
        sql.push_str(IMMUTABLE);
    }
    Ok(sql)
}

/// The version of the tables of documents: 0 if there is nothing with one of their names.
#[cfg(feature = "state")]
fn found_state(connection: &Connection) -> Outcome<u32> {
    let there = named(connection, DOCUMENTS)?;
    if !is_in(STATE_SCHEMA, &there) {
        return match there.first() {
            None => Ok(0),
            Some(other) => Err(annals::Error::from(of_somebody_else(other)).into()),
        };
    }
    let foreign = || {
        let (kind, name) = STATE_SCHEMA;
        let (kind, name) = (kind.to_owned(), name.to_owned());
        annals::Error::from(SchemaError::Taken { kind, name })
    };
    let columns = "SELECT count(*) FROM pragma_table_info('state_schema') WHERE name = 'version'";
    if connection.query_row(columns, [], |row| row.get::<_, i64>(0))? == 0 {
        return Err(foreign().into());
    }
    let sql = "SELECT max(version) FROM state_schema";
    let version: Value = connection.query_row(sql, [], |row| row.get(0))?;
    let Value::Integer(version) = version else { return Err(foreign().into()) };
    let version = u32::try_from(version).map_err(|_| foreign())?;
    all_there(DOCUMENTS, &there)?;
    Ok(version)
}

/// The steps that the tables of documents need.
#[cfg(feature = "state")]
fn state_steps(connection: &Connection) -> Outcome<&'static [Migration]> {
    Ok(pending(STATE, found_state(connection)?).map_err(annals::Error::from)?)
}

#[cfg(not(feature = "state"))]
#[expect(clippy::unnecessary_wraps, reason = "with documents it looks")]
fn state_steps(_connection: &Connection) -> Outcome<&'static [Migration]> {
    Ok(&[])
}

/// Which version the store has. Changes nothing.
pub(crate) fn status(connection: &Connection) -> Outcome<SchemaStatus> {
    Ok(SchemaStatus::new(MIGRATIONS, found(connection)?))
}

/// The status where there is nothing yet.
pub(crate) fn empty() -> SchemaStatus {
    SchemaStatus::new(MIGRATIONS, 0)
}

/// Refuses a store that this release cannot work with. Changes nothing.
pub(crate) fn check(connection: &Connection) -> Outcome<()> {
    let found = found(connection)?;
    pending(MIGRATIONS, found).map_err(annals::Error::from)?;
    if found > 0 {
        log_is_whole(connection)?;
    }
    state_steps(connection)?;
    Ok(())
}

/// Brings the store up to date. Of several processes that do it at once one does the work.
pub(crate) fn migrate(connection: &mut Connection, immutable_log: bool) -> Outcome<()> {
    apply(connection, MIGRATIONS, immutable_log)
}

fn apply(connection: &mut Connection, migrations: &[Migration], immutable: bool) -> Outcome<()> {
    let steps = pending(migrations, found(connection)?).map_err(annals::Error::from)?;
    if steps.is_empty() && state_steps(connection)?.is_empty() && !immutable {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it before the lock was there.
    let steps = pending(migrations, found(&transaction)?).map_err(annals::Error::from)?;
    for step in steps {
        transaction.execute_batch(step.sql)?;
        transaction.pragma_update(None, "user_version", step.version)?;
    }
    if !steps.is_empty() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    for step in state_steps(&transaction)? {
        transaction.execute_batch(step.sql)?;
        transaction.execute("UPDATE state_schema SET version = ?1", [step.version])?;
    }
    if immutable {
        transaction.execute_batch(IMMUTABLE)?;
    }
    Ok(transaction.commit()?)
}

/// The version of the schema: 0 of an empty database.
fn found(connection: &Connection) -> Outcome<u32> {
    // One statement, so that all three are of one moment.
    let sql = "SELECT (SELECT application_id FROM pragma_application_id), \
               (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let (application, version, objects): (i64, i64, i64) = connection.query_row(sql, [], row)?;
    match (application, u32::try_from(version)) {
        (APPLICATION_ID, Ok(version)) => Ok(version),
        (0, Ok(0)) if objects == 0 => Ok(0),
        _ => Err(annals::Error::from(SchemaError::Foreign).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: &[Migration] = &[
        Migration { version: 1, sql: include_str!("sql/v1.sql") },
        Migration { version: 2, sql: "CREATE TABLE later (x INTEGER) STRICT;" },
        Migration { version: 3, sql: "CREATE TABLE latest (x INTEGER) STRICT;" },
    ];

    #[test]
    fn an_older_schema_is_migrated_and_a_newer_one_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, false).unwrap();
        assert_eq!(found(&connection).unwrap(), 1);
        apply(&mut connection, NEXT, false).unwrap();
        assert_eq!(found(&connection).unwrap(), 3);
        connection.execute("INSERT INTO later SELECT x FROM latest", []).unwrap();
        let refusal = annals::Error::from(migrate(&mut connection, false).unwrap_err());
        let text = "the schema has version 3, this release knows versions up to 1";
        assert!(refusal.to_string().contains(text), "{refusal}");
    }

    #[test]
    fn a_step_that_fails_leaves_the_schema_as_it_was() {
        let broken = [NEXT[0], NEXT[1], Migration { version: 3, sql: "CREATE TABLE later (x);" }];
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, false).unwrap();
        apply(&mut connection, &broken, false).unwrap_err();
        assert_eq!(found(&connection).unwrap(), 1);
        connection.execute("INSERT INTO later VALUES (1)", []).unwrap_err();
    }
}
