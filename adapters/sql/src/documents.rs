//! What stores of documents share: scans as SQL, pages, and failures as errors of their contract.
//!
//! A document is a row under its collection and its id, an entry a row under its collection, index, key and id. All
//! texts and keys are compared by their bytes.

use std::fmt::Write as _;

use annals::{Direction, Encoding, Error, Payload};
use annals_state::{
    Along, Document, DocumentId, DocumentKey, DocumentPages, Got, Revision, Scan, Scanned,
    StateError,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use uuid::Uuid;

use crate::fault::{Class, Fault};
use crate::row::to_column;

/// How many documents a page of a scan has at most.
pub const PAGE_DOCUMENTS: usize = 256;

/// A value of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// A number.
    Number(i64),
}

/// A statement for a page of a scan. Its columns: key of the entry (empty along ids), id, revision, encoding, body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The statement.
    pub sql: String,
    /// Its values, in order.
    pub values: Vec<Value>,
    /// How many rows it returns, unless it is the last page.
    pub rows: usize,
}

/// How a page is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    /// What begins a parameter, before its number.
    pub parameter: &'static str,
    /// The table of documents.
    pub documents: &'a str,
    /// The table of entries.
    pub entries: &'a str,
    /// What joins the entries `e` with their documents `d`, in this order.
    pub join: &'a str,
    /// No bytes.
    pub empty: &'static str,
}

struct Statement<'a> {
    tables: &'a Tables<'a>,
    sql: String,
    values: Vec<Value>,
}

impl Statement<'_> {
    /// The parameter of a further value.
    fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("{}{}", self.tables.parameter, self.values.len())
    }

    fn and(&mut self, left: &str, operator: &str, value: Value) {
        let parameter = self.bind(value);
        let _ = write!(self.sql, " AND {left} {operator} {parameter}");
    }
}

impl Tables<'_> {
    /// The next page of `scan`, which has been checked.
    #[must_use]
    pub fn page(&self, scan: &Scan) -> Page {
        let backward = scan.direction == Direction::Backward;
        let limit = scan.limit.map_or(PAGE_DOCUMENTS, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX).min(PAGE_DOCUMENTS)
        });
        let mut statement = Statement { tables: self, sql: String::new(), values: Vec::new() };
        let collection = statement.bind(Value::Text(scan.collection.as_str().to_owned()));
        let columns = "d.id, d.revision, d.encoding, d.body";
        let (column, order) = match &scan.along {
            Along::Ids => {
                let Self { documents, empty, .. } = self;
                statement.sql = format!(
                    "SELECT {empty}, {columns} FROM {documents} d WHERE d.collection = {collection}"
                );
                ("d.id", ["d.id", ""])
            }
            Along::Index(index) => {
                let Self { entries, join, .. } = self;
                let name = statement.bind(Value::Text(index.as_str().to_owned()));
                statement.sql = format!(
                    "SELECT e.key, {columns} FROM {entries} e {join} \
                     WHERE e.collection = {collection} AND e.name = {name}"
                );
                ("e.key", ["e.key", "e.id"])
            }
        };
        let along_ids = scan.along == Along::Ids;
        let value = |bytes: &Bytes| {
            if along_ids {
                // It has been checked that it is one.
                Value::Text(String::from_utf8_lossy(bytes).into_owned())
            } else {
                Value::Bytes(bytes.clone())
            }
        };
        // Of the place and the bound on its side only the narrower one counts: one range of an index.
        let after = scan.after.as_ref();
        let place = |after: &annals_state::Place| {
            if along_ids {
                Bytes::copy_from_slice(after.id.as_str().as_bytes())
            } else {
                after.key.clone()
            }
        };
        let is_inside = after.is_some_and(|after| {
            if backward {
                scan.to.as_ref().is_none_or(|to| place(after) < *to)
            } else {
                scan.from.as_ref().is_none_or(|from| place(after) >= *from)
            }
        });
        if let Some(from) = scan.from.as_ref().filter(|_| backward || !is_inside) {
            statement.and(column, ">=", value(from));
        }
        if let Some(to) = scan.to.as_ref().filter(|_| !backward || !is_inside) {
            statement.and(column, "<", value(to));
        }
        if let Some(after) = after.filter(|_| is_inside) {
            let operator = if backward { "<" } else { ">" };
            let id = Value::Text(after.id.as_str().to_owned());
            if along_ids {
                statement.and(column, operator, id);
            } else {
                let key = statement.bind(Value::Bytes(after.key.clone()));
                let id = statement.bind(id);
                let _ = write!(statement.sql, " AND (e.key, e.id) {operator} ({key}, {id})");
            }
        }
        let direction = if backward { " DESC" } else { "" };
        let order: Vec<String> = order
            .into_iter()
            .filter(|column| !column.is_empty())
            .map(|column| format!("{column}{direction}"))
            .collect();
        let limited = statement.bind(Value::Number(to_column(limit as u64)));
        let _ = write!(statement.sql, " ORDER BY {} LIMIT {limited}", order.join(", "));
        Page { sql: statement.sql, values: statement.values, rows: limit }
    }
}

/// A scan on its way.
#[derive(Debug, Clone)]
pub struct Progress {
    /// What is left of it.
    pub scan: Scan,
    done: bool,
}

impl Progress {
    /// The beginning of `scan`.
    #[must_use]
    pub fn new(scan: Scan) -> Self {
        let done = scan.limit == Some(0);
        Self { scan, done }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes note of a page: of `asked` rows, and cut short or not.
    pub fn advance(&mut self, page: &[Scanned], asked: usize, cut: bool) {
        if let Some(last) = page.last() {
            self.scan.after = Some(last.place());
        }
        self.scan.limit = self.scan.limit.map(|left| left.saturating_sub(page.len() as u64));
        self.done = (page.len() < asked && !cut) || self.scan.limit == Some(0) || page.is_empty();
    }
}

/// A page, and what is left of the scan behind it.
pub type Turn = Result<(Progress, Vec<Scanned>), StateError>;

/// Where pages come from.
pub trait Source: Send + Sync + 'static {
    /// The next page. It holds nothing once it was read.
    fn ask(&self, progress: Progress) -> BoxFuture<'static, Turn>;

    /// The error of a scan whose store was closed, if it was.
    fn closed(&self) -> Option<StateError>;
}

/// The pages of `scan`, whose errors name `store`. Nothing happens before the first poll.
#[must_use]
pub fn pages(source: impl Source, scan: Scan, store: &'static str) -> DocumentPages {
    stream::unfold(Some((source, Progress::new(scan))), move |state| async move {
        let (source, progress) = state?;
        if let Some(closed) = source.closed() {
            return Some((Err(closed), None));
        }
        if progress.is_done() {
            return None;
        }
        match source.ask(progress).await {
            Ok((_, page)) if page.is_empty() => None,
            Ok((progress, page)) => Some((Ok(page), Some((source, progress)))),
            Err(error) => Some((Err(error.at(store, "scan")), None)),
        }
    })
    .boxed()
}

/// Counts the bytes of an answer, which ends before the document that is too much.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    left: u64,
    is_empty: bool,
}

impl Room {
    /// Room for so many bytes, or for one document.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { left: bytes, is_empty: true }
    }

    /// Whether a document of this size goes in, beside those before it. `None`: there is no such document.
    pub fn takes(&mut self, size: Option<usize>) -> bool {
        let size = size.unwrap_or(0) as u64;
        if size > self.left && !self.is_empty {
            return false;
        }
        self.left = self.left.saturating_sub(size);
        self.is_empty = false;
        true
    }
}

/// Puts what was found in the order of the keys, as far as there is room.
pub fn got(
    keys: Vec<DocumentKey>,
    bytes: u64,
    mut find: impl FnMut(&DocumentKey) -> Option<Document>,
) -> Got {
    let mut got = Got::default();
    let mut room = Room::new(bytes);
    let mut keys = keys.into_iter();
    for key in keys.by_ref() {
        let found = find(&key);
        if !room.takes(found.as_ref().map(|document| document.body.as_bytes().len())) {
            got.rest.push(key);
            break;
        }
        got.documents.push(found);
    }
    got.rest.extend(keys);
    got
}

/// A document of a row.
///
/// # Errors
/// [`StateError::Corrupt`] if no commit can have made it.
pub fn document(
    key: DocumentKey,
    revision: Uuid,
    encoding: &str,
    body: Bytes,
) -> Result<Document, StateError> {
    let encoding = Encoding::new(encoding).map_err(StateError::corrupt)?;
    let body = Payload::from_store(encoding, body);
    Ok(Document { key, revision: Revision::from_uuid(revision), body })
}

/// The id of a row.
///
/// # Errors
/// [`StateError::Corrupt`] if it is none.
pub fn id(text: &str) -> Result<DocumentId, StateError> {
    DocumentId::new(text).map_err(StateError::corrupt)
}

impl Fault {
    /// The error for one caller of the state store `store`.
    #[must_use]
    pub fn state_error(&self, store: &'static str) -> StateError {
        let source = Box::new(self.cause());
        let error = match self.class() {
            Class::Unavailable => StateError::unavailable(source),
            Class::OutcomeUnknown => StateError::outcome_unknown(source),
            Class::Corrupt => StateError::corrupt(source),
            Class::Backend => StateError::backend(source),
        };
        error.at(store, "")
    }
}

/// An error of the adapter as one of its state store.
#[must_use]
pub fn state_error(error: Error, store: &'static str) -> StateError {
    match error {
        Error::Closed { .. } => StateError::closed(store),
        Error::Invalid(reason) => StateError::invalid(reason),
        other => Fault::of(other).state_error(store),
    }
}
