//! Payloads and metadata: bytes that are checked once, when they are made, and read back as they were.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::name::{Encoding, InvalidName};

/// Why bytes are not a payload or not metadata.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPayload {
    /// The value cannot be written as JSON.
    #[error("the value does not serialize as JSON")]
    Serialize(#[source] serde_json::Error),
    /// The bytes are not UTF-8 from this byte on.
    #[error("JSON text is UTF-8, found another byte at {0}")]
    NotUtf8(usize),
    /// The text breaks JSON's grammar here; lines and columns count from 1.
    #[error("not JSON at line {line}, column {column}")]
    NotJson {
        /// The line of the first error.
        line: usize,
        /// The column of the first error, in bytes.
        column: usize,
    },
    /// A `\uD800`–`\uDFFF` escape without its other half, at this byte: no string of Unicode has that.
    #[error("half of a surrogate pair is escaped at byte {0}")]
    LoneSurrogate(usize),
    /// Metadata is a JSON object.
    #[error("metadata is a JSON object")]
    NotAnObject,
    /// The encoding is not a valid name.
    #[error("encoding: {0}")]
    Encoding(InvalidName),
}

/// What an event says: bytes and how to read them.
///
/// JSON is checked once, here, and never parsed again by the store: the bytes come back one by one as they
/// were given, with their key order, white space and numbers. Any valid JSON will do, `U+0000` in a string
/// included, and so do opaque bytes. `Debug` shows the encoding and the size, never the content.
///
/// ```
/// use annals::Payload;
/// let payload = Payload::json(&serde_json::json!({ "dob": "1992-07-10" }))?;
/// assert_eq!(payload.to::<serde_json::Value>()?["dob"], "1992-07-10");
/// assert!(Payload::json_bytes(&b"{\"dob\":"[..]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload {
    encoding: Encoding,
    bytes: Bytes,
}

impl Payload {
    /// Serializes `value` as JSON.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, InvalidPayload> {
        let bytes = serde_json::to_vec(value).map_err(InvalidPayload::Serialize)?;
        // Well-formed by construction, except that a raw value may carry an escape through.
        check_surrogates(&bytes)?;
        Ok(Self { encoding: Encoding::JSON, bytes: bytes.into() })
    }

    /// Takes JSON text as it is, after one check of its grammar.
    pub fn json_bytes(bytes: impl Into<Bytes>) -> Result<Self, InvalidPayload> {
        let bytes = bytes.into();
        check_json(&bytes)?;
        Ok(Self { encoding: Encoding::JSON, bytes })
    }

    /// Takes bytes under an encoding of the caller's; under [`Encoding::JSON`] they are checked.
    pub fn new(encoding: Encoding, bytes: impl Into<Bytes>) -> Result<Self, InvalidPayload> {
        if encoding == Encoding::JSON {
            return Self::json_bytes(bytes);
        }
        Ok(Self { encoding, bytes: bytes.into() })
    }

    /// Opaque bytes, under [`Encoding::BYTES`].
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { encoding: Encoding::BYTES, bytes: bytes.into() }
    }

    /// For adapters: what was appended before, taken from the store without checking it again.
    #[must_use]
    pub fn from_store(encoding: Encoding, bytes: impl Into<Bytes>) -> Self {
        Self { encoding, bytes: bytes.into() }
    }

    /// How the bytes are to be read.
    #[must_use]
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// The bytes; a clone of them is a reference count.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, moved out.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Reads a JSON payload as a `T`, which may borrow from it.
    ///
    /// # Errors
    /// Those of `serde_json`, whose text may quote the payload; also when the encoding is not JSON.
    pub fn to<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        if self.encoding != Encoding::JSON {
            let text = format_args!("the payload is encoded as {}, not as json", self.encoding);
            return Err(serde_json::Error::custom(text));
        }
        serde_json::from_slice(&self.bytes)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.encoding, self.bytes.len())
    }
}

/// What is known about an event beside what it says: a JSON object, kept byte for byte.
///
/// No metadata (`None`) and an empty object are different, and come back as they were given.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Metadata(Bytes);

impl Metadata {
    /// Serializes `value`, which must become a JSON object.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, InvalidPayload> {
        Self::object(Payload::json(value)?)
    }

    /// Takes the text of a JSON object as it is, after one check of its grammar.
    pub fn json_bytes(bytes: impl Into<Bytes>) -> Result<Self, InvalidPayload> {
        Self::object(Payload::json_bytes(bytes)?)
    }

    fn object(json: Payload) -> Result<Self, InvalidPayload> {
        let first = json.bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'{') { Ok(Self(json.bytes)) } else { Err(InvalidPayload::NotAnObject) }
    }

    /// For adapters: what was appended before, taken from the store without checking it again.
    #[must_use]
    pub fn from_store(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The object's text; a clone of it is a reference count.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Reads the object as a `T`, which may borrow from it.
    ///
    /// # Errors
    /// Those of `serde_json`, whose text may quote the metadata.
    pub fn to<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.0)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata({} bytes)", self.0.len())
    }
}

/// UTF-8, JSON's grammar, whole surrogate pairs: what makes a JSON text readable by every consumer.
/// Nothing is built and nothing recurses, so depth and size do not matter.
fn check_json(bytes: &[u8]) -> Result<(), InvalidPayload> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| InvalidPayload::NotUtf8(error.valid_up_to()))?;
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| InvalidPayload::NotJson { line: error.line(), column: error.column() })?;
    check_surrogates(bytes)
}

/// Each escaped high surrogate of well-formed JSON is followed by an escaped low one, and no low one stands alone.
fn check_surrogates(json: &[u8]) -> Result<(), InvalidPayload> {
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\\')) {
        at += found;
        match surrogate_at(json, at) {
            None => at += 2,
            Some(Half::High) if surrogate_at(json, at + 6) == Some(Half::Low) => at += 12,
            Some(_) => return Err(InvalidPayload::LoneSurrogate(at)),
        }
    }
    Ok(())
}

#[derive(PartialEq)]
enum Half {
    High,
    Low,
}

/// The half of a surrogate pair that is escaped at `at`, if one is: `\uD8..` to `\uDB..` or `\uDC..` to `\uDF..`.
fn surrogate_at(json: &[u8], at: usize) -> Option<Half> {
    match json.get(at..at + 4)? {
        [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B'] => Some(Half::High),
        [b'\\', b'u', b'd' | b'D', _] if json.get(at + 3)?.is_ascii_digit() => None,
        [b'\\', b'u', b'd' | b'D', _] => Some(Half::Low),
        _ => None,
    }
}
