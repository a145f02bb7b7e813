//! Authenticated encryption with associated data: AES-256-GCM-SIV (RFC 8452) and AES-GCM (NIST SP 800-38D).

#[cfg(feature = "aes-gcm")]
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, aead::consts::U12, aes::Aes192};
use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};

use crate::key::{Algorithm, Key};

pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;

/// A key made ready.
pub(crate) enum Cipher {
    Siv(Box<Aes256GcmSiv>),
    #[cfg(feature = "aes-gcm")]
    Gcm128(Box<Aes128Gcm>),
    #[cfg(feature = "aes-gcm")]
    Gcm192(Box<AesGcm<Aes192, U12>>),
    #[cfg(feature = "aes-gcm")]
    Gcm256(Box<Aes256Gcm>),
}

impl Cipher {
    pub(crate) fn new(key: &Key) -> Self {
        let bytes = key.expose();
        // Every `Key` has a length of its algorithm.
        let right = "a key has a length of its algorithm";
        match key.algorithm() {
            Algorithm::AesGcmSiv => {
                Self::Siv(Box::new(KeyInit::new_from_slice(bytes).expect(right)))
            }
            #[cfg(feature = "aes-gcm")]
            Algorithm::AesGcm => match bytes.len() {
                16 => Self::Gcm128(Box::new(KeyInit::new_from_slice(bytes).expect(right))),
                24 => Self::Gcm192(Box::new(KeyInit::new_from_slice(bytes).expect(right))),
                _ => Self::Gcm256(Box::new(KeyInit::new_from_slice(bytes).expect(right))),
            },
        }
    }

    /// Encrypts `buffer` from `start` on in place, and appends the tag.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        bound: &[u8],
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), TooLong> {
        let Some(body) = buffer.get_mut(start..) else { return Err(TooLong) };
        macro_rules! seal {
            ($cipher:expr) => {
                $cipher
                    .encrypt_inout_detached(nonce.into(), bound, body.into())
                    .map(|tag| tag.to_vec())
                    .map_err(|_| TooLong)?
            };
        }
        let tag = match self {
            Self::Siv(cipher) => seal!(cipher),
            #[cfg(feature = "aes-gcm")]
            Self::Gcm128(cipher) => seal!(cipher),
            #[cfg(feature = "aes-gcm")]
            Self::Gcm192(cipher) => seal!(cipher),
            #[cfg(feature = "aes-gcm")]
            Self::Gcm256(cipher) => seal!(cipher),
        };
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// Decrypts `sealed`, the last bytes of which are the tag; `None` if it was not sealed with this key, nonce and
    /// associated data.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        bound: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let (body, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
        let tag: &[u8; TAG_BYTES] = tag.try_into().ok()?;
        let mut plain = body.to_vec();
        let buffer = plain.as_mut_slice();
        macro_rules! open {
            ($cipher:expr) => {
                $cipher.decrypt_inout_detached(nonce.into(), bound, buffer.into(), tag.into())
            };
        }
        let opened = match self {
            Self::Siv(cipher) => open!(cipher),
            #[cfg(feature = "aes-gcm")]
            Self::Gcm128(cipher) => open!(cipher),
            #[cfg(feature = "aes-gcm")]
            Self::Gcm192(cipher) => open!(cipher),
            #[cfg(feature = "aes-gcm")]
            Self::Gcm256(cipher) => open!(cipher),
        };
        opened.ok().map(|()| plain)
    }
}

/// The text is longer than the algorithm permits under one nonce.
#[derive(Debug)]
pub(crate) struct TooLong;

/// Associated data of these parts, each behind its length as `u32`.
#[cfg(feature = "shredding")]
pub(crate) fn bound(parts: &[&[u8]]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        // Names have at most 255 bytes, and the rest is shorter.
        bound.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}
