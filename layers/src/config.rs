//! Layers from the environment of an application.

use std::num::NonZeroU32;
#[cfg(feature = "shredding")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "encryption")]
use annals::BoxError;
#[cfg(feature = "chain")]
use annals::StorageAdapter;
use annals::{Error, Result, SequenceNumber};
#[cfg(feature = "shredding")]
use annals_state::StateStore;
#[cfg(feature = "chain")]
use zeroize::Zeroizing;

#[cfg(feature = "chain")]
use crate::chained::Chained;
use crate::codec::{Clear, Codec};
#[cfg(any(feature = "zlib", feature = "zstd"))]
use crate::compress::Compression;
#[cfg(feature = "encryption")]
use crate::key::{InvalidKey, Key, KeyId};
#[cfg(feature = "chain")]
use crate::link::{ChainKey, Hash};
use crate::retrying::Backoff;
#[cfg(feature = "encryption")]
use crate::ring::KeyRing;
#[cfg(feature = "shredding")]
use crate::shred::StoredKeys;

impl Codec {
    /// The codec that a lookup of names describes, such as that of the environment behind an application's prefix. Names
    /// that are not set, or empty, leave out what they stand for.
    ///
    /// | name | value |
    /// |---|---|
    /// | `COMPRESSOR` | `zlib`, `zstd` or `none`, with a level behind a colon: `zstd:9` |
    /// | `CIPHER` | `aes-256-gcm-siv` (the default), or `aes-gcm`, whose key has 16, 24 or 32 bytes |
    /// | `CIPHER_KEY` | the Base64 of the key that encrypts; without it nothing is encrypted |
    /// | `CIPHER_KEY_ID` | its id, a number; 1 unless set |
    /// | `CIPHER_OLD_KEYS` | keys for reading, each as `id:Base64`, separated by commas |
    /// | `CIPHER_CLEAR` | which events in the clear are taken: `refused` (the default), `accepted`, or the last such number |
    /// | `MAX_PAYLOAD` | the largest payload, in bytes |
    ///
    /// ```
    /// use annals_layers::Codec;
    /// let lookup = |name: &str| match name {
    ///     "COMPRESSOR" => Some("zlib:6".to_owned()),
    ///     "CIPHER_KEY" => Some("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
    ///     _ => None,
    /// };
    /// let codec = Codec::from_lookup(lookup)?;
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] names what has no value of its kind, or needs a feature that this program lacks. It never shows
    /// a key.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = set(lookup);
        let mut codec = Self::new();
        if let Some(text) = get("COMPRESSOR") {
            codec = compressor(codec, &text)?;
        }
        codec = cipher(codec, &get)?;
        if let Some(text) = get("CIPHER_CLEAR") {
            codec = codec.with_clear(match text.as_str() {
                "refused" => Clear::Refused,
                "accepted" => Clear::Accepted,
                number => Clear::Until(
                    number.parse::<SequenceNumber>().map_err(|_| unfit("CIPHER_CLEAR"))?,
                ),
            });
        }
        if let Some(text) = get("MAX_PAYLOAD") {
            codec = codec
                .with_max_payload(text.parse::<NonZeroU32>().map_err(|_| unfit("MAX_PAYLOAD"))?);
        }
        codec.check()?;
        Ok(codec)
    }
}

/// What is set to something.
fn set(lookup: impl Fn(&str) -> Option<String>) -> impl Fn(&str) -> Option<String> {
    move |name| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn unfit(name: &str) -> Error {
    Error::invalid(format!("{name} has no value of its kind"))
}

fn compressor(codec: Codec, text: &str) -> Result<Codec> {
    let (kind, level) = match text.split_once(':') {
        Some((kind, level)) => (kind, Some(level)),
        None => (text, None),
    };
    match kind {
        "none" if level.is_none() => Ok(codec),
        #[cfg(feature = "zlib")]
        "zlib" => {
            let level = level.unwrap_or("6").parse().map_err(|_| unfit("COMPRESSOR"))?;
            Ok(codec.with_compression(Compression::Zlib(level)))
        }
        #[cfg(feature = "zstd")]
        "zstd" => {
            let level = level.unwrap_or("3").parse().map_err(|_| unfit("COMPRESSOR"))?;
            Ok(codec.with_compression(Compression::Zstd(level)))
        }
        _ => Err(unfit("COMPRESSOR")),
    }
}

#[cfg(not(feature = "encryption"))]
fn cipher(codec: Codec, get: &impl Fn(&str) -> Option<String>) -> Result<Codec> {
    let names = ["CIPHER", "CIPHER_KEY", "CIPHER_KEY_ID", "CIPHER_OLD_KEYS", "CIPHER_CLEAR"];
    match names.into_iter().find(|name| get(name).is_some()) {
        // What was to be encrypted is never stored in the clear for want of a feature.
        Some(name) => Err(Error::invalid(format!("{name} needs the feature encryption"))),
        None => Ok(codec),
    }
}

#[cfg(feature = "encryption")]
fn cipher(codec: Codec, get: &impl Fn(&str) -> Option<String>) -> Result<Codec> {
    let cipher = get("CIPHER");
    let key = |text: &str| match cipher.as_deref() {
        None | Some("aes-256-gcm-siv") => Ok(Key::from_base64(text)),
        #[cfg(feature = "aes-gcm")]
        Some("aes-gcm") => Ok(Key::aes_gcm_from_base64(text)),
        Some(_) => Err(unfit("CIPHER")),
    };
    match ring(get, ["CIPHER_KEY", "CIPHER_KEY_ID", "CIPHER_OLD_KEYS"], key)? {
        Some(ring) => Ok(codec.with_keys(ring)),
        None => match ["CIPHER", "CIPHER_CLEAR"].into_iter().find(|name| get(name).is_some()) {
            Some(name) => Err(lacks(name, "CIPHER_KEY")),
            None => Ok(codec),
        },
    }
}

/// What was meant to be encrypted is never stored in the clear because one name is missing.
#[cfg(feature = "encryption")]
fn lacks(name: &str, other: &str) -> Error {
    Error::invalid(format!("{name} is set, and {other} is not"))
}

/// The keys under the names of the active one, of its id, and of the others; `None` if none of them is set.
#[cfg(feature = "encryption")]
fn ring(
    get: &impl Fn(&str) -> Option<String>,
    [active, active_id, others]: [&str; 3],
    make: impl Fn(&str) -> Result<Result<Key, InvalidKey>>,
) -> Result<Option<KeyRing>> {
    let key = |name: &str, text: &str| {
        let named = |cause| -> BoxError { format!("{name}: {cause}").into() };
        make(text)?.map_err(|cause| Error::invalid(named(cause)))
    };
    let id = |name: &str, text: &str| Ok::<_, Error>(KeyId(text.parse().map_err(|_| unfit(name))?));
    let Some(text) = get(active) else {
        return match [active_id, others].into_iter().find(|name| get(name).is_some()) {
            Some(name) => Err(lacks(name, active)),
            None => Ok(None),
        };
    };
    let number = get(active_id).unwrap_or_else(|| "1".to_owned());
    let ring = KeyRing::new(id(active_id, &number)?, &key(active, &text)?);
    let old = get(others).unwrap_or_default();
    for one in old.split(',').filter(|one| !one.trim().is_empty()) {
        let (number, text) = one.trim().split_once(':').ok_or_else(|| unfit(others))?;
        ring.add(id(others, number)?, &key(others, text)?)?;
    }
    Ok(Some(ring))
}

#[cfg(feature = "shredding")]
impl StoredKeys {
    /// Keys in `state`, wrapped by the master key that a lookup of names describes; see [`Codec::from_lookup`].
    ///
    /// | name | value |
    /// |---|---|
    /// | `SUBJECT_KEY` | the Base64 of the 32 bytes of the master key; it has to be set |
    /// | `SUBJECT_KEY_ID` | its id, a number; 1 unless set |
    /// | `SUBJECT_OLD_KEYS` | master keys of before, each as `id:Base64`, separated by commas |
    ///
    /// # Errors
    /// [`Error::Invalid`] names what has no value of its kind, or is missing. It never shows a key.
    pub fn from_lookup(
        state: Arc<dyn StateStore>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let names = ["SUBJECT_KEY", "SUBJECT_KEY_ID", "SUBJECT_OLD_KEYS"];
        let master = ring(&set(lookup), names, |text| Ok(Key::from_base64(text)))?;
        let master = master.ok_or_else(|| Error::invalid("SUBJECT_KEY is not set"))?;
        Ok(Self::new(state, master))
    }
}

#[cfg(feature = "chain")]
impl<A: StorageAdapter> Chained<A> {
    /// Chains the events of `inner` as a lookup of names describes; see [`Codec::from_lookup`].
    ///
    /// | name | value |
    /// |---|---|
    /// | `CHAIN_KEY` | the key of a [keyed](Self::keyed) chain, as 64 hexadecimal digits; without it the chain has no key |
    /// | `CHAIN_AFTER` | the last sequence number [before the chain](Self::with_chained_after), or before its key |
    ///
    /// # Errors
    /// [`Error::Invalid`] names what has no value of its kind, and never shows a key. Those of [`new`](Self::new).
    pub fn from_lookup(inner: A, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = set(lookup);
        let chain = match get("CHAIN_KEY").map(Zeroizing::new) {
            None => Self::new(inner)?,
            Some(text) => {
                let hash: Hash = text.parse().map_err(|_| unfit("CHAIN_KEY"))?;
                Self::keyed(inner, ChainKey::from_bytes(&Zeroizing::new(hash.0)))?
            }
        };
        let Some(last) = get("CHAIN_AFTER") else { return Ok(chain) };
        Ok(chain.with_chained_after(last.parse().map_err(|_| unfit("CHAIN_AFTER"))?))
    }
}

impl Backoff {
    /// How often to call, as a lookup of names describes it; see [`Codec::from_lookup`].
    ///
    /// | name | value |
    /// |---|---|
    /// | `RETRY_ATTEMPTS` | how often a call is made, the first time included; 5 unless set |
    /// | `RETRY_FIRST_WAIT` | the wait before the second attempt, in milliseconds; 50 unless set |
    /// | `RETRY_LONGEST_WAIT` | the longest wait, in milliseconds; 5,000 unless set |
    ///
    /// # Errors
    /// [`Error::Invalid`] names what has no value of its kind.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = set(lookup);
        let attempts = match get("RETRY_ATTEMPTS") {
            None => NonZeroU32::MIN.saturating_add(4),
            Some(text) => text.parse().map_err(|_| unfit("RETRY_ATTEMPTS"))?,
        };
        let wait = |name, usual| match get(name) {
            None => Ok(usual),
            Some(text) => text.parse().map(Duration::from_millis).map_err(|_| unfit(name)),
        };
        let usual = Self::new(attempts);
        let first = wait("RETRY_FIRST_WAIT", usual.first)?;
        Ok(usual.with_waits(first, wait("RETRY_LONGEST_WAIT", usual.most)?))
    }
}
