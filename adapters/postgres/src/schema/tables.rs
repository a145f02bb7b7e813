//! The names of a log's tables, quoted.

use annals::{Error, Result};
use annals_sql::Dialect;
use tokio_postgres::types::{Kind, Type};
use uuid::Uuid;

/// The longest identifier of PostgreSQL, in bytes; longer ones are cut, silently.
const LONGEST_NAME: usize = 63;
/// The longest ending that is put behind the name of a table.
const LONGEST_ENDING: usize = "_event_tags".len();

/// The tables of one log. All names are qualified and quoted, so that neither the search path nor any character
/// of a name matters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    schema: String,
    table: String,
    events: String,
    event_tags: String,
    seek: String,
}

/// Something in the schema of a log; functions are named with the types of their arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl Tables {
    pub(crate) fn new(schema: &str, table: &str) -> Result<Self> {
        check("schema", schema, LONGEST_NAME)?;
        check("table", table, LONGEST_NAME - LONGEST_ENDING)?;
        if schema.starts_with("pg_") || schema == "information_schema" {
            return Err(Error::invalid(format!("the schema {schema:?} is PostgreSQL's own")));
        }
        let (schema, table) = (schema.to_owned(), table.to_owned());
        let mut tables = Self { schema, table, ..Self::default() };
        tables.events = tables.name("events");
        tables.event_tags = tables.name("event_tags");
        tables.seek = tables.name("seek");
        Ok(tables)
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// `template` with the names of this log for those in braces. In one pass: a name may have braces, too.
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut parts = template.split('{');
        let mut sql = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap_or((part, ""));
            sql.push_str(&self.name(name));
            sql.push_str(rest);
        }
        sql
    }

    fn name(&self, of: &str) -> String {
        let ending = match of {
            "events" => "",
            "names" => "_names",
            "streams" => "_streams",
            "event_tags" => "_event_tags",
            "meta" => "_schema",
            "numbers" => "_numbers",
            "row" => "_row",
            "seek" => "_seek",
            "to_jsonb" => "_jsonb",
            "refuse" => "_refuse",
            "log" => "_log",
            "documents" => "_documents",
            "entries" => "_entries",
            "state_meta" => "_state_meta",
            "state" => "_state",
            "commit" => "_commit",
            "schema" => return quote(&self.schema),
            // As text, for functions that take the name of a relation or type.
            text if text.ends_with("_text") => {
                let name = self.name(text.trim_end_matches("_text"));
                return format!("'{}'", name.replace('\'', "''"));
            }
            "events_id" => return quote(&self.id_constraint()),
            other => unreachable!("no table is called {other}"),
        };
        format!("{}.{}", quote(&self.schema), quote(&format!("{}{ending}", self.table)))
    }

    /// All that a log has in its schema, unquoted: tables first, of which the first has the version.
    pub(crate) fn parts(&self) -> [Part; 12] {
        [
            ("table", "_schema"),
            ("table", ""),
            ("table", "_names"),
            ("table", "_streams"),
            ("table", "_event_tags"),
            ("sequence", "_numbers"),
            ("type", "_row"),
            ("view", "_log"),
            ("index", "_id_unique"),
            ("function", "_seek(bigint, bigint)"),
            ("function", "_jsonb(bytea)"),
            ("function", "_refuse()"),
        ]
        .map(|(kind, ending)| Part { kind, name: format!("{}{ending}", self.table) })
    }

    /// The same of its documents.
    pub(crate) fn state_parts(&self) -> [Part; 5] {
        [
            ("table", "_state_meta"),
            ("table", "_documents"),
            ("table", "_entries"),
            ("view", "_state"),
            (
                "function",
                "_commit(text[], text[], smallint[], integer[], smallint[], uuid[], uuid[], text[], bytea[], \
                 boolean[], integer[], integer[], text[], text[], text[], bytea[], text)",
            ),
        ]
        .map(|(kind, ending)| Part { kind, name: format!("{}{ending}", self.table) })
    }

    /// The type of a row of events, without its schema and unquoted.
    pub(crate) fn row_type(&self) -> String {
        format!("{}_row", self.table)
    }

    /// The type of a list of rows of events, by the numbers of the element and of the list.
    pub(crate) fn rows(&self, element: u32, list: u32) -> Type {
        let (name, schema) = (self.row_type(), self.schema.clone());
        let element = Type::new(name.clone(), element, Kind::Simple, schema.clone());
        Type::new(name, list, Kind::Array(element), schema)
    }

    /// The constraint that a known event breaks.
    pub(crate) fn id_constraint(&self) -> String {
        format!("{}_id_unique", self.table)
    }

    /// The channel of notifications of this log: a hash, as the names of channels are short.
    pub(crate) fn channel(&self) -> String {
        format!("annals_{:016x}", self.lock_key(&["channel"]))
    }

    /// How queries are written for this log.
    pub(crate) fn dialect(&self) -> Dialect<'_> {
        Dialect {
            parameter: "$",
            member: (" = ANY(", ")"),
            id_member: (" = ANY(", ")"),
            unindexed: "",
            events: &self.events,
            event_tags: &self.event_tags,
            seek: Some(&self.seek),
        }
    }

    /// The advisory lock of something of this log. Locks of PostgreSQL are of one database; in it the key is a
    /// hash of schema, table and what is locked, in the space of one 64-bit key.
    pub(crate) fn lock_key(&self, what: &[&str]) -> i64 {
        // Names have no NUL, so the parts cannot run into one another.
        let text = [&["annals", &self.schema, &self.table], what].concat().join("\0");
        let (high, _) = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).as_u64_pair();
        high.cast_signed()
    }
}

fn check(what: &str, name: &str, most: usize) -> Result<()> {
    // The second is the quote around the bodies of functions.
    if name.is_empty() || name.len() > most || name.contains('\0') || name.contains("$annals$") {
        let text = format!(
            "the name of a {what} has 1 to {most} bytes, no NUL and no $annals$, got {name:?}"
        );
        return Err(Error::invalid(text));
    }
    Ok(())
}

pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_bounded() {
        let tables = Tables::new("my \"own\"", "Ev'ents;--").unwrap();
        assert_eq!(tables.events, "\"my \"\"own\"\"\".\"Ev'ents;--\"");
        assert!(Tables::new("", "events").is_err());
        assert!(Tables::new("s", &"t".repeat(53)).is_err());
        assert!(Tables::new(&"s".repeat(63), &"t".repeat(52)).is_ok());
        assert!(Tables::new("s", "a\0b").is_err());
        for own in ["pg_catalog", "pg_mine", "pg_", "information_schema"] {
            assert!(Tables::new(own, "events").is_err(), "{own}");
        }
        assert!(Tables::new("pgs", "pg_events").is_ok());
    }

    #[test]
    fn a_name_is_filled_in_once() {
        let tables = Tables::new("{names}", "{events}").unwrap();
        assert_eq!(tables.fill("SELECT {names};"), "SELECT \"{names}\".\"{events}_names\";");
    }

    #[test]
    fn every_log_has_locks_of_its_own() {
        let key = |schema, table| Tables::new(schema, table).unwrap().lock_key(&["log"]);
        assert_ne!(key("a", "b"), key("a", "c"));
        assert_ne!(key("a", "b"), key("b", "b"));
        assert_eq!(key("a", "b"), key("a", "b"));
    }
}
