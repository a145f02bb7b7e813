//! Queries as SQL.
//!
//! Each item of a query is one statement of its own, whose text depends on the item's shape only and can stay
//! prepared; the adapter merges the numbers that several items give. All bounds are on the sequence number,
//! and each source has an index that is sorted by it.

use std::fmt::Write as _;

use annals::Direction;
use uuid::Uuid;

use crate::resolve::{Item, Scope};
use crate::row::COLUMNS;
use crate::scan::Bounds;

/// What a statement returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// [`COLUMNS`].
    Events,
    /// Sequence numbers only.
    Numbers,
}

/// A value to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// One number.
    Number(i64),
    /// A list, bound as one value.
    Numbers(Vec<i64>),
    /// A list of event ids, bound as one value.
    Ids(Vec<Uuid>),
}

/// How an engine writes what differs between them.
#[derive(Debug, Clone, Copy)]
pub struct Dialect<'a> {
    /// What comes before the number of a parameter: `?` or `$`.
    pub parameter: &'static str,
    /// The text before and after a parameter that is a list: with the column before it, whether the list has it.
    pub member: (&'static str, &'static str),
    /// The same for a list of event ids.
    pub id_member: (&'static str, &'static str),
    /// What keeps the planner from using the index of a column that follows it, where event ids lead.
    pub unindexed: &'static str,
    /// The table of events.
    pub events: &'a str,
    /// The table of the tags of events.
    pub event_tags: &'a str,
    /// Where the index of a stream is sorted by position: the function of a stream and a sequence number that returns
    /// the position of the first event after that number. `None`: it is sorted by sequence number.
    pub seek: Option<&'a str>,
}

/// A statement with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// The text.
    pub sql: String,
    /// The values, in order.
    pub parameters: Vec<Parameter>,
}

/// The events of `item` within `bounds`.
#[must_use]
pub fn select(item: &Item, want: Want, bounds: &Bounds, dialect: &Dialect<'_>) -> Select {
    let mut statement = Statement { sql: String::with_capacity(384), values: Vec::new(), dialect };
    // In a stream few events are looked at, so their tags are checked one by one. Elsewhere the first tag leads.
    let leading = match item.scope {
        Scope::Stream(_) => None,
        _ if item.ids.is_some() => None,
        _ => item.tags.first(),
    };
    let number = if leading.is_some() { "t.sequence_number" } else { "e.sequence_number" };
    let columns = if want == Want::Events { COLUMNS } else { number };
    let plain = if item.ids.is_some() { dialect.unindexed } else { "" };
    statement.push(&["SELECT ", columns, " FROM "]);
    if leading.is_some() {
        statement.push(&[dialect.event_tags, " t CROSS JOIN "]);
    }
    statement.push(&[dialect.events, " e WHERE "]);
    let key = match (item.scope, dialect.seek) {
        (Scope::Stream(id), Some(seek)) => {
            statement.within_stream(id, bounds, seek);
            "e.position"
        }
        (scope, _) => {
            statement.within(plain, number, bounds);
            match scope {
                Scope::Log => {}
                Scope::Category(id) => statement.equals(plain, "e.category_id", id),
                Scope::Stream(id) => statement.equals(plain, "e.stream_id", id),
            }
            number
        }
    };
    for (comparison, bound) in [(" >= ", bounds.from_position), (" <= ", bounds.until_position)] {
        if let Some(bound) = bound {
            statement.push(&[" AND e.position", comparison]);
            statement.bind(Parameter::Number(bound));
        }
    }
    if let Some(ids) = &item.ids {
        let (before, after) = dialect.id_member;
        statement.push(&[" AND e.id", before]);
        statement.bind(Parameter::Ids(ids.clone()));
        statement.push(&[after]);
    }
    if let Some(tag) = leading {
        statement.push(&[" AND e.sequence_number = t.sequence_number"]);
        statement.equals("", "t.tag_id", *tag);
    }
    if let Some(names) = &item.names {
        statement.push(&[" AND e.name_id"]);
        statement.member(names);
    }
    let rest = item.tags.get(usize::from(leading.is_some())..).unwrap_or_default();
    if !rest.is_empty() {
        statement.push(&[" AND (SELECT count(*) FROM ", dialect.event_tags, " x WHERE x.tag_id"]);
        statement.member(rest);
        statement.push(&[" AND x.sequence_number = e.sequence_number) = "]);
        statement.bind(Parameter::Number(i64::try_from(rest.len()).unwrap_or(i64::MAX)));
    }
    let order = match bounds.direction {
        Direction::Forward => " LIMIT ",
        Direction::Backward => " DESC LIMIT ",
    };
    statement.push(&[" ORDER BY ", plain, key, order]);
    statement.bind(Parameter::Number(bounds.limit));
    Select { sql: statement.sql, parameters: statement.values }
}

struct Statement<'a> {
    sql: String,
    values: Vec<Parameter>,
    dialect: &'a Dialect<'a>,
}

impl Statement<'_> {
    /// The bounds where the index is sorted by sequence number.
    fn within(&mut self, plain: &str, number: &str, bounds: &Bounds) {
        self.push(&[plain, number, " > "]);
        self.bind(Parameter::Number(bounds.after));
        self.push(&[" AND ", plain, number, " <= "]);
        self.bind(Parameter::Number(bounds.until));
    }

    /// The same in a stream that is sorted by position. Both orders agree there.
    fn within_stream(&mut self, id: i64, bounds: &Bounds, seek: &str) {
        self.push(&["e.stream_id = "]);
        self.bind(Parameter::Number(id));
        if bounds.after > 0 {
            self.push(&[" AND e.position >= "]);
            match bounds.from_position {
                None => self.sought(id, bounds.after, seek),
                // Who knows the position of an event as well has nothing sought, if it comes after the bound.
                Some(from) => {
                    let events = self.dialect.events;
                    self.push(&[
                        "coalesce((SELECT f.position FROM ",
                        events,
                        " f WHERE f.stream_id = ",
                    ]);
                    self.bind(Parameter::Number(id));
                    self.push(&[" AND f.position = "]);
                    self.bind(Parameter::Number(from));
                    self.push(&[" AND f.sequence_number > "]);
                    self.bind(Parameter::Number(bounds.after));
                    self.push(&["), "]);
                    self.sought(id, bounds.after, seek);
                    self.push(&[")"]);
                }
            }
        }
        if bounds.until < i64::MAX {
            self.push(&[" AND e.position < "]);
            self.sought(id, bounds.until, seek);
        }
    }

    /// The position of the first event of a stream after this sequence number.
    fn sought(&mut self, id: i64, number: i64, seek: &str) {
        self.push(&[seek, "("]);
        self.bind(Parameter::Number(id));
        self.push(&[", "]);
        self.bind(Parameter::Number(number));
        self.push(&[")"]);
    }

    fn push(&mut self, parts: &[&str]) {
        self.sql.extend(parts.iter().copied());
    }

    fn bind(&mut self, value: Parameter) {
        self.values.push(value);
        // Writing to a string cannot fail.
        let _ = write!(self.sql, "{}{}", self.dialect.parameter, self.values.len());
    }

    fn member(&mut self, list: &[i64]) {
        let (before, after) = self.dialect.member;
        self.push(&[before]);
        self.bind(Parameter::Numbers(list.to_vec()));
        self.push(&[after]);
    }

    fn equals(&mut self, plain: &str, column: &str, id: i64) {
        self.push(&[" AND ", plain, column, " = "]);
        self.bind(Parameter::Number(id));
    }
}
