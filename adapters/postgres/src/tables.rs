//! The names of a log's tables, quoted.

use annals::{Error, Result};
use annals_sql::Dialect;
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

impl Tables {
    pub(crate) fn new(schema: &str, table: &str) -> Result<Self> {
        check("schema", schema, LONGEST_NAME)?;
        check("table", table, LONGEST_NAME - LONGEST_ENDING)?;
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
            "schema" => return quote(&self.schema),
            "numbers_text" => return format!("'{}'", self.name("numbers").replace('\'', "''")),
            "events_id" => return quote(&self.id_constraint()),
            other => unreachable!("no table is called {other}"),
        };
        format!("{}.{}", quote(&self.schema), quote(&format!("{}{ending}", self.table)))
    }

    /// All tables, without their schema and unquoted; the one that tells the version is the last.
    pub(crate) fn all(&self) -> [String; 5] {
        ["", "_names", "_streams", "_event_tags", "_schema"]
            .map(|end| format!("{}{end}", self.table))
    }

    /// The type of a row of events, without its schema and unquoted.
    pub(crate) fn row_type(&self) -> String {
        format!("{}_row", self.table)
    }

    /// The constraint that a known event breaks.
    pub(crate) fn id_constraint(&self) -> String {
        format!("{}_id_unique", self.table)
    }

    /// How queries are written for this log.
    pub(crate) fn dialect(&self) -> Dialect<'_> {
        Dialect {
            parameter: "$",
            member: (" = ANY(", ")"),
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
