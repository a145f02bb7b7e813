//! Keys, which show nothing and are wiped.

use std::fmt;

use annals::{Error, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// What names a key in frames. An id is never given to a second key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why bytes are no key. It never shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The length is not one of the algorithm's, in bytes.
    #[error("a key of {0} bytes fits no algorithm that was asked for")]
    Length(usize),
    /// The text is not Base64.
    #[error("the text of the key is not Base64")]
    NotBase64,
}

impl From<InvalidKey> for Error {
    fn from(error: InvalidKey) -> Self {
        Self::invalid(error)
    }
}

/// What a key is for. The numbers are those in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    AesGcmSiv = 1,
    #[cfg(feature = "aes-gcm")]
    AesGcm = 2,
}

impl Algorithm {
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

/// A secret key and the algorithm that it is for: no key is ever used with two.
///
/// It is wiped when it is dropped. `Debug` shows neither bytes nor length, and it has no `Display`, no serde form and no
/// `PartialEq`.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    bytes: Zeroizing<Vec<u8>>,
}

impl Key {
    /// A fresh key for AES-256-GCM-SIV.
    ///
    /// # Errors
    /// [`Error::Backend`] if the operating system has no randomness.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; 32]);
        random(&mut bytes)?;
        Ok(Self { algorithm: Algorithm::AesGcmSiv, bytes })
    }

    /// A key of 32 bytes for AES-256-GCM-SIV. The caller wipes its own copy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self { algorithm: Algorithm::AesGcmSiv, bytes: Zeroizing::new(bytes.to_vec()) }
    }

    /// A key for AES-256-GCM-SIV from the Base64 of its 32 bytes; white space around it is ignored.
    ///
    /// # Errors
    /// [`InvalidKey`] says why it is none.
    pub fn from_base64(text: &str) -> Result<Self, InvalidKey> {
        let bytes = decode(text)?;
        if bytes.len() == 32 {
            return Ok(Self { algorithm: Algorithm::AesGcmSiv, bytes });
        }
        Err(InvalidKey::Length(bytes.len()))
    }

    /// A key of 16, 24 or 32 bytes for AES-128-GCM, AES-192-GCM or AES-256-GCM. The caller wipes its own copy.
    ///
    /// A nonce that repeats under one key breaks AES-GCM: change such a key before it has sealed 2^32 events, all
    /// processes together.
    ///
    /// # Errors
    /// [`InvalidKey::Length`] if it has another length.
    #[cfg(feature = "aes-gcm")]
    pub fn aes_gcm(bytes: &[u8]) -> Result<Self, InvalidKey> {
        Self::gcm(Zeroizing::new(bytes.to_vec()))
    }

    /// A key for AES-GCM from the Base64 of its 16, 24 or 32 bytes; white space around it is ignored.
    ///
    /// # Errors
    /// [`InvalidKey`] says why it is none.
    #[cfg(feature = "aes-gcm")]
    pub fn aes_gcm_from_base64(text: &str) -> Result<Self, InvalidKey> {
        Self::gcm(decode(text)?)
    }

    #[cfg(feature = "aes-gcm")]
    fn gcm(bytes: Zeroizing<Vec<u8>>) -> Result<Self, InvalidKey> {
        if matches!(bytes.len(), 16 | 24 | 32) {
            return Ok(Self { algorithm: Algorithm::AesGcm, bytes });
        }
        Err(InvalidKey::Length(bytes.len()))
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Compares in a time that does not depend on what the keys say.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let differs =
            self.bytes.iter().zip(other.bytes.iter()).fold(0, |all, (a, b)| all | (a ^ b));
        self.algorithm == other.algorithm && self.bytes.len() == other.bytes.len() && differs == 0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
    let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| InvalidKey::NotBase64)?;
    Ok(Zeroizing::new(bytes))
}

/// Fills `bytes` with randomness of the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| Error::backend(format!("no randomness: {error}")))
}
