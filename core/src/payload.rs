//! Payloads and metadata: bytes that are checked once, when they are made, and read back as they were.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    /// The payload is not JSON, so it does not read as a value.
    #[error("the payload is encoded as {0}, not as json")]
    NotEncodedAsJson(Encoding),
    /// The JSON does not read as the type that was asked for. The source may quote the payload.
    #[error("the payload does not read as the type that was asked for")]
    Deserialize(#[source] serde_json::Error),
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
/// assert_eq!(payload.to_json::<serde_json::Value>()?["dob"], "1992-07-10");
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
    ///
    /// JSON has no number for NaN and the infinities: as `serde_json` does, they become `null`.
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

    /// Takes bytes under any encoding; under [`Encoding::JSON`] they are checked.
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
    /// [`InvalidPayload::NotEncodedAsJson`], and [`InvalidPayload::Deserialize`] if the JSON is no `T`.
    pub fn to_json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, InvalidPayload> {
        if self.encoding != Encoding::JSON {
            return Err(InvalidPayload::NotEncodedAsJson(self.encoding.clone()));
        }
        serde_json::from_slice(&self.bytes).map_err(InvalidPayload::Deserialize)
    }
}

/// The form of a payload in JSON and other serde formats: exact bytes, as text if they are UTF-8.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    encoding: Encoding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<Vec<u8>>,
}

/// As `{"encoding": …, "text": …}`, or with `"bytes"`, a list of numbers, if the bytes are not UTF-8.
impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(&self.bytes).ok();
        let bytes = text.is_none().then(|| self.bytes.to_vec());
        Form { encoding: self.encoding.clone(), text: text.map(Into::into), bytes }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Form { encoding, text, bytes } = Form::deserialize(deserializer)?;
        let bytes = match (text, bytes) {
            (Some(text), None) => Bytes::from(text.into_owned()),
            (None, Some(bytes)) => bytes.into(),
            _ => return Err(D::Error::custom("a payload has either text or bytes")),
        };
        Self::new(encoding, bytes).map_err(D::Error::custom)
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
    /// [`InvalidPayload::Deserialize`] if the object is no `T`.
    pub fn to_json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, InvalidPayload> {
        serde_json::from_slice(&self.0).map_err(InvalidPayload::Deserialize)
    }
}

/// As the object's exact text.
impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(text)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::json_bytes(String::deserialize(deserializer)?).map_err(D::Error::custom)
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

/// Each escaped high surrogate of well-formed JSON is followed by an escaped low one, and no low one is alone.
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
