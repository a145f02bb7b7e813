//! Documents that are looked up, and pages of scans.

use annals_sql::documents::{self, Progress, Room, Value as Column};
use annals_state::{Document, DocumentKey, Got, Scanned};
use bytes::Bytes;
use futures_util::{StreamExt, pin_mut};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connection::session::{Session, Value};
use crate::error::Outcome;
use crate::state::statements::{CAPABILITIES, Statements};

fn corrupt(error: &annals_state::StateError) -> annals::Error {
    annals::Error::corrupt(error.to_string())
}

/// The document of a row whose columns from `first` on are revision, encoding and body.
fn document(row: &Row, first: usize, key: DocumentKey) -> Outcome<Document> {
    let body = Bytes::copy_from_slice(row.try_get(first + 2)?);
    let found = documents::document(key, row.try_get(first)?, row.try_get(first + 1)?, body);
    Ok(found.map_err(|error| corrupt(&error))?)
}

/// All in one statement, so from one moment.
pub(super) async fn get(
    session: Session<'_>,
    sql: &Statements,
    keys: &[DocumentKey],
) -> Outcome<Got> {
    let collections: Vec<&str> = keys.iter().map(|key| key.collection.as_str()).collect();
    let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    let values: Vec<Value<'_>> = vec![(&collections, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)];
    let rows = session.rows(&sql.get, values).await?;
    pin_mut!(rows);
    let mut got = Got::default();
    let mut room = Room::new(CAPABILITIES.max_page_bytes);
    let mut left = keys.iter();
    // A row for each key, in their order.
    while let Some(row) = rows.next().await {
        let row = row?;
        let Some(key) = left.as_slice().first() else { break };
        let body: Option<&[u8]> = row.try_get(2)?;
        if !room.takes(body.map(<[u8]>::len)) {
            break;
        }
        let found = body.is_some().then(|| document(&row, 0, key.clone()));
        got.documents.push(found.transpose()?);
        left.next();
    }
    got.rest = left.cloned().collect();
    Ok(got)
}

pub(super) async fn page(
    session: Session<'_>,
    sql: &Statements,
    mut progress: Progress,
) -> Outcome<(Progress, Vec<Scanned>)> {
    let asked = sql.tables().page(&progress.scan);
    // The driver binds no `Bytes`.
    let bytes = |value: &Column| match value {
        Column::Bytes(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    };
    let blobs: Vec<Vec<u8>> = asked.values.iter().map(bytes).collect();
    let values = asked.values.iter().zip(&blobs).map(|(value, blob)| -> Value<'_> {
        match value {
            Column::Text(text) => (text, Type::TEXT),
            Column::Bytes(_) => (blob, Type::BYTEA),
            Column::Number(number) => (number, Type::INT8),
        }
    });
    let rows = session.rows(&asked.sql, values.collect()).await?;
    pin_mut!(rows);
    let mut room = Room::new(CAPABILITIES.max_page_bytes);
    let (mut found, mut cut) = (Vec::new(), false);
    while let Some(row) = rows.next().await {
        let row = row?;
        let id = documents::id(row.try_get(1)?).map_err(|error| corrupt(&error))?;
        let key = DocumentKey { collection: progress.scan.collection.clone(), id };
        let document = document(&row, 2, key)?;
        if !room.takes(Some(document.body.as_bytes().len())) {
            cut = true;
            break;
        }
        found.push(Scanned { key: Bytes::copy_from_slice(row.try_get(0)?), document });
    }
    progress.advance(&found, asked.rows, cut);
    Ok((progress, found))
}
