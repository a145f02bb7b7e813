//! How payloads are written: the one place where a typed event becomes bytes.

use annals::{BoxError, Encoding, InvalidPayload, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How the payloads of a type of events are written. Which encoding a stored payload has is kept with it, so events that
/// were written in [`Json`] are read back after the type has moved to another format.
pub trait Format: 'static {
    /// The encoding of what it writes.
    const ENCODING: Encoding;

    /// Writes `value`.
    ///
    /// # Errors
    /// [`InvalidPayload`] if the value does not serialize in this format.
    fn write<T: Serialize>(value: &T) -> Result<Payload, InvalidPayload>;

    /// Reads a payload of this encoding.
    ///
    /// # Errors
    /// Why it cannot be read as `T`.
    fn read<T: DeserializeOwned>(payload: &Payload) -> Result<T, BoxError>;
}

/// Payloads as JSON text: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl Format for Json {
    const ENCODING: Encoding = Encoding::JSON;

    fn write<T: Serialize>(value: &T) -> Result<Payload, InvalidPayload> {
        Payload::json(value)
    }

    fn read<T: DeserializeOwned>(payload: &Payload) -> Result<T, BoxError> {
        Ok(payload.to_json()?)
    }
}

/// Payloads as CBOR (RFC 8949): smaller than JSON, with exact numbers and maps of any keys. Steps of an upcast see them
/// as JSON values, so an event that holds bytes has no upcast.
#[cfg(feature = "cbor")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Cbor;

#[cfg(feature = "cbor")]
impl Format for Cbor {
    const ENCODING: Encoding = Encoding::from_static("cbor");

    fn write<T: Serialize>(value: &T) -> Result<Payload, InvalidPayload> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).map_err(|error| {
            InvalidPayload::Serialize(serde::ser::Error::custom(error.to_string()))
        })?;
        Payload::new(Self::ENCODING, bytes)
    }

    fn read<T: DeserializeOwned>(payload: &Payload) -> Result<T, BoxError> {
        Ok(ciborium::from_reader(payload.as_bytes().as_ref())?)
    }
}

/// Reads a payload in the format that it was written in: `F`, or JSON.
///
/// # Errors
/// Why it cannot be read; another encoding is named.
pub fn read<F: Format, T: DeserializeOwned>(payload: &Payload) -> Result<T, BoxError> {
    if *payload.encoding() == F::ENCODING {
        F::read(payload)
    } else if *payload.encoding() == Encoding::JSON {
        Json::read(payload)
    } else {
        Err(format!("the payload is encoded as {}, not as {}", payload.encoding(), F::ENCODING)
            .into())
    }
}
