//! Commits as one call of a function of the database.

use std::time::Duration;

use annals_state::Result as StateResult;
use annals_state::{Change, Commit, Conflict, Expected, Revision, Write};
use hashbrown::HashMap;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::connection::session::{Session, Value};
use crate::error::Outcome;
use crate::state::direct;
use crate::state::statements::Statements;

/// What the function is called with: one row for each write that says something, in the order of their documents.
#[derive(Debug, Default)]
struct Columns<'a> {
    writes: Vec<&'a Write>,
    collections: Vec<&'a str>,
    ids: Vec<&'a str>,
    kinds: Vec<i16>,
    owners: Vec<i32>,
    expects: Vec<i16>,
    expected: Vec<Option<Uuid>>,
    revisions: Vec<Uuid>,
    encodings: Vec<&'a str>,
    bodies: Vec<&'a [u8]>,
    are_indexed: Vec<bool>,
    entry_of: Vec<i32>,
    entry_owners: Vec<i32>,
    entry_collections: Vec<&'a str>,
    entry_ids: Vec<&'a str>,
    entry_names: Vec<&'a str>,
    entry_keys: Vec<&'a [u8]>,
}

/// A number of a list that was bounded before.
fn number(nth: usize) -> i32 {
    i32::try_from(nth).unwrap_or(i32::MAX)
}

impl<'a> Columns<'a> {
    fn of(commits: &[&'a Commit]) -> Self {
        let writes = commits.iter().enumerate();
        let writes = writes.flat_map(|(nth, commit)| {
            commit.writes.iter().map(move |write| (nth, commit.revision, write))
        });
        let mut writes: Vec<_> = writes.filter(|(.., write)| says_something(write)).collect();
        writes.sort_by(|(.., a), (.., b)| a.key.cmp(&b.key));
        let mut columns = Self::default();
        for (owner, revision, write) in writes {
            columns.push(number(owner), revision, write);
        }
        columns
    }

    fn push(&mut self, owner: i32, revision: Revision, write: &'a Write) {
        let (collection, id) = (write.key.collection.as_str(), write.key.id.as_str());
        self.writes.push(write);
        self.collections.push(collection);
        self.ids.push(id);
        self.owners.push(owner);
        let (expects, expected) = match write.expected {
            Expected::Any => (0, None),
            Expected::Absent => (1, None),
            Expected::Is(revision) => (2, Some(revision.as_uuid())),
        };
        self.expects.push(expects);
        self.expected.push(expected);
        self.revisions.push(revision.as_uuid());
        let nth = number(self.writes.len());
        let (kind, encoding, body, entries) = match &write.change {
            Change::Put { body, entries } => {
                (0, body.encoding().as_str(), &body.as_bytes()[..], &entries[..])
            }
            Change::Delete => (1, "", &[][..], &[][..]),
            Change::Guard => (2, "", &[][..], &[][..]),
        };
        self.kinds.push(kind);
        self.encodings.push(encoding);
        self.bodies.push(body);
        self.are_indexed.push(!entries.is_empty());
        for entry in entries {
            self.entry_of.push(nth);
            self.entry_owners.push(owner);
            self.entry_collections.push(collection);
            self.entry_ids.push(id);
            self.entry_names.push(entry.index.as_str());
            self.entry_keys.push(&entry.key);
        }
    }
}

/// A guard of anything holds, whatever is there.
fn says_something(write: &Write) -> bool {
    !matches!((&write.change, write.expected), (Change::Guard, Expected::Any))
}

/// Whether other commits must not touch the document in the same call: its absence is guarded by a row.
fn excludes(write: &Write) -> bool {
    !matches!((&write.change, write.expected), (Change::Guard, Expected::Any | Expected::Is(_)))
}

/// The documents that the commits of one call touch.
#[derive(Debug, Default)]
pub(super) struct Touched<'a>(HashMap<(&'a str, &'a str), bool>);

impl<'a> Touched<'a> {
    /// Adds those of `commit`, unless they and the others exclude each other.
    pub(super) fn add(&mut self, commit: &'a Commit) -> bool {
        let key = |write: &'a Write| (write.key.collection.as_str(), write.key.id.as_str());
        let fits = |write: &'a Write| match self.0.get(&key(write)) {
            None => true,
            Some(taken) => !taken && !excludes(write),
        };
        if !commit.writes.iter().all(fits) {
            return false;
        }
        self.0.extend(commit.writes.iter().map(|write| (key(write), excludes(write))));
        true
    }
}

/// Makes `commits`, which do not exclude each other, and says of each what became of it. `patience`: how long locks are
/// waited for.
pub(super) async fn commit(
    session: Session<'_>,
    sql: &Statements,
    commits: &[&Commit],
    patience: Duration,
) -> Outcome<Vec<StateResult<()>>> {
    let columns = Columns::of(commits);
    let mut outcomes: Vec<StateResult<()>> = commits.iter().map(|_| Ok(())).collect();
    if columns.writes.is_empty() {
        return Ok(outcomes);
    }
    let patience = direct::setting(patience);
    let values: [Value<'_>; 17] = [
        (&columns.collections, Type::TEXT_ARRAY),
        (&columns.ids, Type::TEXT_ARRAY),
        (&columns.kinds, Type::INT2_ARRAY),
        (&columns.owners, Type::INT4_ARRAY),
        (&columns.expects, Type::INT2_ARRAY),
        (&columns.expected, Type::UUID_ARRAY),
        (&columns.revisions, Type::UUID_ARRAY),
        (&columns.encodings, Type::TEXT_ARRAY),
        (&columns.bodies, Type::BYTEA_ARRAY),
        (&columns.are_indexed, Type::BOOL_ARRAY),
        (&columns.entry_of, Type::INT4_ARRAY),
        (&columns.entry_owners, Type::INT4_ARRAY),
        (&columns.entry_collections, Type::TEXT_ARRAY),
        (&columns.entry_ids, Type::TEXT_ARRAY),
        (&columns.entry_names, Type::TEXT_ARRAY),
        (&columns.entry_keys, Type::BYTEA_ARRAY),
        (&patience, Type::TEXT),
    ];
    // In the order of documents: the first of a commit is the one to name.
    for row in session.query(&sql.commit, &values).await? {
        let (owner, nth): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
        let found: Option<Uuid> = row.try_get(2)?;
        let write = usize::try_from(nth - 1).ok().and_then(|nth| columns.writes.get(nth));
        let outcome = usize::try_from(owner).ok().and_then(|nth| outcomes.get_mut(nth));
        if let (Some(write), Some(outcome)) = (write, outcome)
            && outcome.is_ok()
        {
            let found = found.map(Revision::from_uuid);
            *outcome = Err(Conflict::new(write.key.clone(), write.expected, found).into());
        }
    }
    Ok(outcomes)
}
