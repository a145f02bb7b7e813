//! What a document's body holds: the state, its schema, and the last event that went into it.

use annals::{BoxError, Encoding, Payload, SequenceNumber};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::collection::Collection;
use crate::document::Document;
use crate::error::{Result, StateError};
use crate::find::Stored;

#[derive(Serialize, Deserialize)]
struct Envelope<S> {
    /// The schema.
    v: u32,
    /// The number of the last event.
    at: u64,
    /// The state.
    s: S,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// A document's state in the current schema.
pub(crate) struct State {
    pub(crate) at: SequenceNumber,
    pub(crate) value: Value,
}

/// The body of a document, and its state as everybody will read it.
pub(crate) fn seal(
    schema: u32,
    at: SequenceNumber,
    state: &impl Serialize,
) -> Result<(Payload, Value)> {
    let body = Payload::json(&Envelope { v: schema, at: at.value(), s: state })?;
    // Entries are made from what is read, not from what was written: the two may differ, as in a number that is no
    // number, or a field that is written twice.
    let read: Envelope<Value> =
        serde_json::from_slice(body.as_bytes()).map_err(StateError::invalid)?;
    Ok((body, read.s))
}

/// Reads the state of a document.
pub(crate) fn open<T>(collection: &Collection<T>, document: &Document) -> Result<State> {
    let read = || -> Result<State, BoxError> {
        let encoding = document.body.encoding();
        if *encoding != Encoding::JSON {
            return Err(format!("it is encoded as {encoding}, not as json").into());
        }
        let envelope: Envelope<Value> = serde_json::from_slice(document.body.as_bytes())?;
        let value = collection.upcast(envelope.v, envelope.s)?;
        Ok(State { at: SequenceNumber::new(envelope.at), value })
    };
    read().map_err(|error| StateError::undecodable(document.key.clone(), error))
}

/// Reads a document as what it is to the program.
pub(crate) fn typed<T: DeserializeOwned>(
    collection: &Collection<T>,
    document: Document,
) -> Result<Stored<T>> {
    let Document { key, revision, body } = &document;
    // One of the current schema is read from its text at once: a `Value` has no integers of 128 bits.
    let current = (*body.encoding() == Encoding::JSON)
        .then(|| serde_json::from_slice::<Version>(body.as_bytes()).ok())
        .flatten()
        .is_some_and(|version| version.v == collection.schema);
    let read = if current {
        serde_json::from_slice::<Envelope<T>>(body.as_bytes())
            .map(|envelope| (envelope.s, SequenceNumber::new(envelope.at)))
    } else {
        let state = open(collection, &document)?;
        serde_json::from_value(state.value).map(|value| (value, state.at))
    };
    match read {
        Ok((value, at)) => Ok(Stored { id: key.id.clone(), revision: *revision, value, at }),
        Err(error) => Err(StateError::undecodable(document.key, error)),
    }
}
