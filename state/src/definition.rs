//! Definitions: what the store knows of a collection's indexes, so that no program puts documents without the entries
//! that another one relies on.
//!
//! A collection's definition is a document itself. Every put is guarded by its revision, so a program with another
//! definition cannot put anything once the definition has changed, however long it slept.

use std::collections::BTreeMap;

use annals::{Encoding, Payload};
use serde::{Deserialize, Serialize};

use crate::collection::{Collection, Index};
use crate::document::{CollectionName, Document, DocumentId, DocumentKey};
use crate::error::{Result, StateError};

/// Where definitions are: one document for each collection, under its name.
const DEFINITIONS: CollectionName = CollectionName::from_static("annals.definitions");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    /// The fields of each index, `-` before those that descend.
    indexes: BTreeMap<String, Vec<String>>,
    /// At how many bytes keys are cut. Only where there are indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<usize>,
    /// The schema of the states that the entries were made from. Only where there are indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<u32>,
}

/// A definition as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    definition: Definition,
    /// Some documents may still have the entries of an earlier definition.
    reindexing: bool,
}

impl Definition {
    pub(crate) fn of<T>(collection: &Collection<T>, cut: usize) -> Self {
        let fields = |index: &Index| {
            let field = |part: &crate::collection::Part| {
                format!("{}{}", if part.descending { "-" } else { "" }, part.path)
            };
            (index.name.as_str().to_owned(), index.parts.iter().map(field).collect())
        };
        let indexed = !collection.indexes.is_empty();
        Self {
            indexes: collection.indexes.iter().map(fields).collect(),
            cut: indexed.then_some(cut),
            schema: indexed.then_some(collection.schema),
        }
    }

    pub(crate) fn has_indexes(&self) -> bool {
        !self.indexes.is_empty()
    }

    /// Its document's key. The name of any collection is an id.
    pub(crate) fn key(collection: &CollectionName) -> Result<DocumentKey> {
        Ok(DocumentKey { collection: DEFINITIONS, id: DocumentId::new(collection.as_str())? })
    }

    pub(crate) fn body(&self, reindexing: bool) -> Result<Payload> {
        Ok(Payload::json(&Stored { definition: self.clone(), reindexing })?)
    }

    /// Whether the stored definition, which must be this one, is still being carried out.
    pub(crate) fn is_reindexing(&self, name: &CollectionName, stored: &Document) -> Result<bool> {
        let parsed = (*stored.body.encoding() == Encoding::JSON)
            .then(|| serde_json::from_slice::<Stored>(stored.body.as_bytes()).ok())
            .flatten();
        let changed = |text: String| Err(StateError::definition_changed(name, text));
        let Some(stored) = parsed else { return changed("this program cannot read it".into()) };
        let theirs = stored.definition;
        if theirs == *self {
            return Ok(stored.reindexing);
        }
        let names = self.indexes.keys().chain(theirs.indexes.keys());
        for index in names {
            let fields = |one: &Self| match one.indexes.get(index) {
                Some(fields) => format!("({})", fields.join(", ")),
                None => "absent".into(),
            };
            if fields(self) != fields(&theirs) {
                let (ours, theirs) = (fields(self), fields(&theirs));
                return changed(format!("index {index} is {theirs} there, {ours} here"));
            }
        }
        if self.schema != theirs.schema {
            let text = |schema: Option<u32>| schema.map_or("none".into(), |n| n.to_string());
            let (ours, theirs) = (text(self.schema), text(theirs.schema));
            return changed(format!("its schema is {theirs} there, {ours} here"));
        }
        changed("keys are cut at another length there".into())
    }
}
