//! Documents that are looked up, and pages of scans.

use annals_sql::documents::{self, Progress, Room, Tables, Turn, Value};
use annals_sql::oneshot;
use annals_state::{Document, DocumentKey, Got, Scanned, StateCapabilities, StateError};
use bytes::Bytes;
use rusqlite::types::Value as Column;
use rusqlite::{Connection, Row, params_from_iter};
use uuid::Uuid;

use crate::error::{Failure, NAME, Outcome};

/// What the store declares beyond being durable and shared. A page has at most so many bytes.
pub(super) const CAPABILITIES: StateCapabilities =
    StateCapabilities::NONE.with_max_writes(10_000).with_max_commit_bytes(64 << 20);

const TABLES: Tables<'_> = Tables {
    parameter: "?",
    documents: "state_documents",
    entries: "state_entries",
    join: "CROSS JOIN state_documents d ON d.document_id = e.document_id",
    empty: "x''",
};

/// What is asked for, and who waits for it.
#[derive(Debug)]
pub(crate) enum Read {
    Get(Vec<DocumentKey>, oneshot::Sender<Result<Got, StateError>>),
    Page(Box<Progress>, oneshot::Sender<Turn>),
}

impl Read {
    pub(crate) fn serve(self, connection: &Connection) {
        // A caller that is gone needs no answer.
        match self {
            Self::Get(keys, reply) if !reply.is_closed() => {
                drop(reply.send(get(connection, keys).map_err(told)));
            }
            Self::Page(progress, reply) if !reply.is_closed() => {
                drop(reply.send(page(connection, *progress).map_err(told)));
            }
            _ => {}
        }
    }

    pub(crate) fn refuse(self, error: annals::Error) {
        let error = documents::state_error(error, NAME);
        match self {
            Self::Get(_, reply) => drop(reply.send(Err(error))),
            Self::Page(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

fn told(failure: Failure) -> StateError {
    failure.into_fault().state_error(NAME)
}

fn get(connection: &Connection, keys: Vec<DocumentKey>) -> Outcome<Got> {
    if keys.len() < 2 {
        return look(connection, keys);
    }
    // All of it from one moment.
    connection.prepare_cached("BEGIN")?.execute([])?;
    let got = look(connection, keys);
    let ended = connection.prepare_cached("COMMIT").and_then(|mut end| end.execute([]));
    if ended.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    ended?;
    got
}

/// The documents, as the transaction sees them.
pub(super) fn look(connection: &Connection, keys: Vec<DocumentKey>) -> Outcome<Got> {
    let sql = "SELECT id, revision, encoding, body FROM state_documents \
               WHERE collection = ?1 AND id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut failed = None;
    let got = documents::got(keys, CAPABILITIES.max_page_bytes, |key| {
        let found = (|| -> Outcome<Option<Document>> {
            let mut rows = statement.query([key.collection.as_str(), key.id.as_str()])?;
            rows.next()?.map(|row| document(row, 0, || Ok(key.clone()))).transpose()
        })();
        found.unwrap_or_else(|failure| {
            failed.get_or_insert(failure);
            None
        })
    });
    failed.map_or(Ok(got), Err)
}

/// The document of a row whose columns from `first` on are id, revision, encoding and body.
fn document(
    row: &Row<'_>,
    first: usize,
    key: impl FnOnce() -> Outcome<DocumentKey>,
) -> Outcome<Document> {
    let corrupt = |error| Failure::from(annals::Error::corrupt(error));
    let encoding = row.get_ref(first + 2)?;
    let encoding = encoding.as_str().map_err(|error| corrupt(error.to_string()))?;
    let body = Bytes::from(row.get::<_, Vec<u8>>(first + 3)?);
    let revision = Uuid::from_bytes(row.get(first + 1)?);
    documents::document(key()?, revision, encoding, body)
        .map_err(|error| corrupt(error.to_string()))
}

fn page(connection: &Connection, mut progress: Progress) -> Outcome<(Progress, Vec<Scanned>)> {
    let asked = TABLES.page(&progress.scan);
    let values = asked.values.iter().map(|value| match value {
        Value::Text(text) => Column::Text(text.clone()),
        Value::Bytes(bytes) => Column::Blob(bytes.to_vec()),
        Value::Number(number) => Column::Integer(*number),
    });
    let mut statement = connection.prepare_cached(&asked.sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut room = Room::new(CAPABILITIES.max_page_bytes);
    let (mut found, mut cut) = (Vec::new(), false);
    while let Some(row) = rows.next()? {
        let document = document(row, 1, || {
            let id: String = row.get(1)?;
            let id =
                documents::id(&id).map_err(|error| annals::Error::corrupt(error.to_string()))?;
            Ok(DocumentKey { collection: progress.scan.collection.clone(), id })
        })?;
        if !room.takes(Some(document.body.as_bytes().len())) {
            cut = true;
            break;
        }
        found.push(Scanned { key: Bytes::from(row.get::<_, Vec<u8>>(0)?), document });
    }
    progress.advance(&found, asked.rows, cut);
    Ok((progress, found))
}
