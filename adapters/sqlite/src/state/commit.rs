//! Judging and writing a commit, inside a transaction that excludes all others.

use std::collections::BTreeSet;

use annals_state::{
    Change, Commit, DocumentKey, IndexEntry, IndexName, Revision, StateError, Write, judge,
};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::error::Outcome;

/// A document that is there.
#[derive(Debug, Clone, Copy)]
struct Held {
    document_id: i64,
    revision: Revision,
}

/// A commit whose expectations hold.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    commit: &'a Commit,
    held: Vec<Option<Held>>,
}

fn held(connection: &Connection, key: &DocumentKey) -> Outcome<Option<Held>> {
    let sql = "SELECT document_id, revision FROM state_documents WHERE collection = ?1 AND id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row([key.collection.as_str(), key.id.as_str()], |row| {
        Ok(Held { document_id: row.get(0)?, revision: Revision::from_uuid(uuid(row.get(1)?)) })
    });
    Ok(row.optional()?)
}

fn uuid(bytes: [u8; 16]) -> Uuid {
    Uuid::from_bytes(bytes)
}

/// Looks all documents of `commit` up. An inner error refuses this commit only; nothing was written.
pub(crate) fn look<'a>(
    connection: &Connection,
    commit: &'a Commit,
) -> Outcome<Result<Judged<'a>, StateError>> {
    let held: Outcome<Vec<_>> =
        commit.writes.iter().map(|write| held(connection, &write.key)).collect();
    let held = held?;
    let revisions: Vec<_> = held.iter().map(|held| held.map(|held| held.revision)).collect();
    Ok(judge(&commit.writes, &revisions).map(|()| Judged { commit, held }))
}

impl Judged<'_> {
    /// Makes its writes; whether there were any but guards.
    pub(crate) fn write(&self, connection: &Connection) -> Outcome<bool> {
        let mut wrote = false;
        for (write, held) in self.commit.writes.iter().zip(&self.held) {
            match (&write.change, held) {
                (Change::Guard, _) | (Change::Delete, None) => continue,
                (Change::Delete, Some(held)) => delete(connection, *held)?,
                (Change::Put { .. }, held) => {
                    put(connection, write, *held, self.commit.revision)?;
                }
            }
            wrote = true;
        }
        Ok(wrote)
    }
}

fn delete(connection: &Connection, held: Held) -> Outcome<()> {
    for sql in [
        "DELETE FROM state_entries WHERE document_id = ?1",
        "DELETE FROM state_documents WHERE document_id = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([held.document_id])?;
    }
    Ok(())
}

fn put(
    connection: &Connection,
    write: &Write,
    held: Option<Held>,
    revision: Revision,
) -> Outcome<()> {
    let Change::Put { body, entries } = &write.change else { return Ok(()) };
    let (collection, id) = (write.key.collection.as_str(), write.key.id.as_str());
    let (encoding, revision) = (body.encoding().as_str(), revision.as_uuid());
    let (revision, body) = (revision.as_bytes(), &body.as_bytes()[..]);
    let (document_id, before) = if let Some(Held { document_id, .. }) = held {
        let sql = "UPDATE state_documents SET revision = ?2, encoding = ?3, body = ?4 \
                   WHERE document_id = ?1";
        let mut statement = connection.prepare_cached(sql)?;
        statement.execute(params![document_id, revision, encoding, body])?;
        (document_id, entries_of(connection, document_id)?)
    } else {
        let sql = "INSERT INTO state_documents (collection, id, revision, encoding, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut statement = connection.prepare_cached(sql)?;
        (statement.insert(params![collection, id, revision, encoding, body])?, BTreeSet::new())
    };
    // Most entries stay as they are.
    let after: BTreeSet<&IndexEntry> = entries.iter().collect();
    for entry in before.iter().filter(|entry| !after.contains(entry)) {
        let sql = "DELETE FROM state_entries \
                   WHERE collection = ?1 AND name = ?2 AND key = ?3 AND id = ?4";
        let mut statement = connection.prepare_cached(sql)?;
        statement.execute(params![collection, entry.index.as_str(), &entry.key[..], id])?;
    }
    for entry in after.into_iter().filter(|entry| !before.contains(*entry)) {
        let sql = "INSERT INTO state_entries (collection, name, key, id, document_id) \
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut statement = connection.prepare_cached(sql)?;
        let name = entry.index.as_str();
        statement.execute(params![collection, name, &entry.key[..], id, document_id])?;
    }
    Ok(())
}

fn entries_of(connection: &Connection, document_id: i64) -> Outcome<BTreeSet<IndexEntry>> {
    let sql = "SELECT name, key FROM state_entries WHERE document_id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([document_id])?;
    let mut entries = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let index = IndexName::new(name).map_err(annals::Error::corrupt)?;
        entries.insert(IndexEntry { index, key: Bytes::from(row.get::<_, Vec<u8>>(1)?) });
    }
    Ok(entries)
}
