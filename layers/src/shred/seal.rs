//! Personal values in the bytes of events: sealed on their way in, opened on their way out.
//!
//! ```text
//! sealed = Base64(version 01 | data key id 16 | nonce 12 | ciphertext | tag 16), AES-256-GCM-SIV
//! bound  = "annals-personal", version, data key id, nonce, category, stream, event id, event name, subject,
//!          00 in the payload or 01 in metadata, ordinal among the personal values there u32; each behind its length as u32
//! ```

use std::collections::HashMap;

use annals::{Encoding, Error, Metadata, NewEvent, Payload, Result, StoredEvent, StreamId};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use crate::cipher::{Cipher, NONCE_BYTES, TAG_BYTES};
use crate::cursor::Cursor;
use crate::decode::DecodeError;
use crate::key::random;
use crate::shred::fields::{Content, Field, Misspelt, find, may_hold};
use crate::shred::keys::{DataKey, DataKeyId};
use crate::shred::personal::Subject;

const VERSION: u8 = 1;
/// What a read writes instead of a value whose key was destroyed.
const REDACTED: &[u8] = b",\"redacted\":true";

/// The keys of one call.
pub(crate) type Sealers = HashMap<Subject, (DataKeyId, Cipher)>;

/// What is known of the keys that a read needs.
pub(crate) type Openers = HashMap<DataKeyId, Opener>;

pub(crate) enum Opener {
    Known(Cipher),
    Destroyed,
    Unknown,
}

impl From<DataKey> for Opener {
    fn from(key: DataKey) -> Self {
        match key {
            DataKey::Known(key) => Self::Known(Cipher::new(&key)),
            DataKey::Destroyed => Self::Destroyed,
            DataKey::Unknown => Self::Unknown,
        }
    }
}

/// A part of an event that may hold personal values, and its number in what they are bound to.
#[derive(Clone, Copy)]
enum Part {
    Payload = 0,
    Metadata = 1,
}

/// Whom the values of an event that is appended are about.
///
/// # Errors
/// [`Error::Invalid`] if a personal value is sealed, misspelt, inside another one, or in a payload that is not JSON.
pub(crate) fn subjects(event: &NewEvent) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for (_, bytes) in parts(event).map_err(|NotJson| not_json(event))? {
        for field in find(&bytes).map_err(|Misspelt| misspelt(event))? {
            match field.content {
                Content::Value(_) => subjects.push(field.subject),
                Content::Redacted => {}
                Content::Sealed(_) => {
                    let name = &event.name;
                    return Err(Error::invalid(format!(
                        "a personal value of {name} is sealed already"
                    )));
                }
            }
        }
    }
    Ok(subjects)
}

/// The form of an event that is stored.
pub(crate) fn seal(sealers: &Sealers, stream: &StreamId, mut event: NewEvent) -> Result<NewEvent> {
    for (part, bytes) in parts(&event).map_err(|NotJson| not_json(&event))? {
        let fields = find(&bytes).map_err(|Misspelt| misspelt(&event))?;
        if fields.iter().all(|field| field.content == Content::Redacted) {
            continue;
        }
        let mut sealed = Vec::with_capacity(bytes.len() + 96 * fields.len());
        let mut at = 0;
        for (ordinal, field) in fields.iter().enumerate() {
            let Content::Value(value) = &field.content else { continue };
            let lacks = || Error::backend("the key of a subject is missing");
            let (id, cipher) = sealers.get(&field.subject).ok_or_else(lacks)?;
            let place = Place { stream, event: &event, field, part, ordinal };
            let value = bytes.get(value.clone()).unwrap_or_default();
            sealed.extend_from_slice(bytes.get(at..field.form.start).unwrap_or_default());
            sealed.extend_from_slice(b",\"sealed\":\"");
            sealed.extend_from_slice(place.seal(*id, cipher, value)?.as_bytes());
            sealed.push(b'"');
            at = field.form.end;
        }
        sealed.extend_from_slice(bytes.get(at..).unwrap_or_default());
        replace(&mut event, part, sealed);
    }
    Ok(event)
}

/// The keys that an event needs to be opened. What is no marker that this layer writes is what it is.
pub(crate) fn needed(event: &NewEvent) -> Vec<DataKeyId> {
    let mut ids = Vec::new();
    for (_, bytes) in parts(event).unwrap_or_default() {
        for field in find(&bytes).unwrap_or_default() {
            // One that is damaged needs none, and is found where it is opened.
            let sealed = sealed(&bytes, &field).and_then(|sealed| Sealed::read(&sealed).ok());
            ids.extend(sealed.map(|sealed| sealed.key));
        }
    }
    ids
}

/// The event as it was appended, but for the values whose subjects were forgotten.
pub(crate) fn open(openers: &Openers, event: StoredEvent) -> Result<StoredEvent> {
    match opened(openers, &event) {
        Ok(None) => Ok(event),
        Ok(Some(own)) => {
            let mut record = event.into_record();
            record.event = own;
            Ok(record.into())
        }
        Err(cause) => Err(cause.of(&event)),
    }
}

fn opened(openers: &Openers, event: &StoredEvent) -> Result<Option<NewEvent>, DecodeError> {
    let mut own = None;
    for (part, bytes) in parts(&event.event).unwrap_or_default() {
        // Whatever has no such form was appended without this layer.
        let fields = find(&bytes).unwrap_or_default();
        let mut plain = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for (ordinal, field) in fields.iter().enumerate() {
            let Some(text) = sealed(&bytes, field) else { continue };
            let place = Place { stream: &event.stream, event: &event.event, field, part, ordinal };
            let sealed = Sealed::read(&text)?;
            plain.extend_from_slice(bytes.get(at..field.form.start).unwrap_or_default());
            match openers.get(&sealed.key) {
                Some(Opener::Known(cipher)) => {
                    plain.extend_from_slice(b",\"value\":");
                    plain.extend_from_slice(&place.open(&sealed, cipher)?);
                }
                Some(Opener::Destroyed) => plain.extend_from_slice(REDACTED),
                Some(Opener::Unknown) | None => {
                    return Err(DecodeError::UnknownDataKey(sealed.key));
                }
            }
            at = field.form.end;
        }
        if at > 0 {
            plain.extend_from_slice(bytes.get(at..).unwrap_or_default());
            replace(own.get_or_insert_with(|| event.event.clone()), part, plain);
        }
    }
    Ok(own)
}

/// The payload of another encoding may hold a marker, which nobody could find.
#[derive(Debug)]
struct NotJson;

fn parts(event: &NewEvent) -> Result<Vec<(Part, Bytes)>, NotJson> {
    let mut parts = Vec::with_capacity(2);
    let payload = event.payload.as_bytes();
    if event.payload.encoding() == &Encoding::JSON {
        parts.push((Part::Payload, payload.clone()));
    } else if may_hold(payload) {
        return Err(NotJson);
    }
    parts.extend(event.metadata.as_ref().map(|it| (Part::Metadata, it.as_bytes().clone())));
    Ok(parts)
}

fn replace(event: &mut NewEvent, part: Part, bytes: Vec<u8>) {
    match part {
        Part::Payload => event.payload = Payload::from_store(Encoding::JSON, bytes),
        Part::Metadata => event.metadata = Some(Metadata::from_store(bytes)),
    }
}

fn sealed(bytes: &Bytes, field: &Field) -> Option<Bytes> {
    match &field.content {
        Content::Sealed(text) => Some(bytes.slice(text.clone())),
        _ => None,
    }
}

struct Sealed {
    key: DataKeyId,
    nonce: [u8; NONCE_BYTES],
    body: Bytes,
}

impl Sealed {
    fn read(text: &[u8]) -> Result<Self, DecodeError> {
        let not_base64 = |_| DecodeError::Damaged("a sealed value is not Base64");
        let bytes = Bytes::from(BASE64_STANDARD.decode(text).map_err(not_base64)?);
        let mut rest = Cursor::new(&bytes);
        let version = rest.byte()?;
        if version != VERSION {
            return Err(DecodeError::Unknown("version of sealed values", version));
        }
        let key = DataKeyId::from_uuid(uuid::Uuid::from_bytes(rest.array()?));
        let nonce = rest.array()?;
        Ok(Self { key, nonce, body: bytes.slice(rest.place()..) })
    }
}

/// Where a personal value is: what it must not be moved away from.
struct Place<'a> {
    stream: &'a StreamId,
    event: &'a NewEvent,
    field: &'a Field,
    part: Part,
    ordinal: usize,
}

impl Place<'_> {
    fn bound(&self, key: DataKeyId, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
        // A payload has less than 4 GiB.
        let ordinal = u32::try_from(self.ordinal).unwrap_or(u32::MAX).to_be_bytes();
        crate::cipher::bound(&[
            b"annals-personal",
            &[VERSION],
            key.as_uuid().as_bytes(),
            nonce,
            self.stream.category.as_str().as_bytes(),
            self.stream.name.as_str().as_bytes(),
            self.event.id.as_uuid().as_bytes(),
            self.event.name.as_str().as_bytes(),
            self.field.subject.as_str().as_bytes(),
            &[self.part as u8],
            &ordinal,
        ])
    }

    fn seal(&self, id: DataKeyId, cipher: &Cipher, value: &[u8]) -> Result<String> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let mut bytes = Vec::with_capacity(1 + 16 + NONCE_BYTES + value.len() + TAG_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(id.as_uuid().as_bytes());
        bytes.extend_from_slice(&nonce);
        let start = bytes.len();
        bytes.extend_from_slice(value);
        let sealed = cipher.seal(&nonce, &self.bound(id, &nonce), &mut bytes, start);
        sealed.map_err(|_| Error::invalid("a personal value is too long to be encrypted"))?;
        Ok(BASE64_STANDARD.encode(bytes))
    }

    fn open(&self, sealed: &Sealed, cipher: &Cipher) -> Result<Vec<u8>, DecodeError> {
        let bound = self.bound(sealed.key, &sealed.nonce);
        cipher.open(&sealed.nonce, &bound, &sealed.body).ok_or(DecodeError::Forged)
    }
}

fn misspelt(event: &NewEvent) -> Error {
    let name = &event.name;
    Error::invalid(format!("{name} has a personal value in another form than Personal writes"))
}

fn not_json(event: &NewEvent) -> Error {
    let (name, encoding) = (&event.name, event.payload.encoding());
    Error::invalid(format!("{name} is encoded as {encoding}, and personal values need json"))
}
