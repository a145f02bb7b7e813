//! Layers from the environment of an application.

use std::num::NonZeroU32;

#[cfg(feature = "encryption")]
use annals::BoxError;
use annals::{Error, Result, SequenceNumber};

use crate::codec::{Clear, Codec};
#[cfg(any(feature = "zlib", feature = "zstd"))]
use crate::compress::Compression;

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
        let get = |name: &str| {
            lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
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
    let key = |name: &str, text: &str| -> Result<crate::Key> {
        let key = match cipher.as_deref() {
            None | Some("aes-256-gcm-siv") => crate::Key::from_base64(text),
            #[cfg(feature = "aes-gcm")]
            Some("aes-gcm") => crate::Key::aes_gcm_from_base64(text),
            Some(_) => return Err(unfit("CIPHER")),
        };
        let named = |cause| -> BoxError { format!("{name}: {cause}").into() };
        key.map_err(|cause| Error::invalid(named(cause)))
    };
    let id = |name: &str, text: &str| {
        Ok::<_, Error>(crate::KeyId(text.parse().map_err(|_| unfit(name))?))
    };
    let Some(active) = get("CIPHER_KEY") else {
        // What was meant to be encrypted is never stored in the clear because one name is missing.
        let others = ["CIPHER", "CIPHER_KEY_ID", "CIPHER_OLD_KEYS", "CIPHER_CLEAR"];
        return match others.into_iter().find(|name| get(name).is_some()) {
            Some(name) => Err(Error::invalid(format!("{name} is set, and CIPHER_KEY is not"))),
            None => Ok(codec),
        };
    };
    let active_id = get("CIPHER_KEY_ID").unwrap_or_else(|| "1".to_owned());
    let ring = crate::KeyRing::new(id("CIPHER_KEY_ID", &active_id)?, &key("CIPHER_KEY", &active)?);
    let old = get("CIPHER_OLD_KEYS").unwrap_or_default();
    for one in old.split(',').filter(|one| !one.trim().is_empty()) {
        let (old_id, text) = one.trim().split_once(':').ok_or_else(|| unfit("CIPHER_OLD_KEYS"))?;
        ring.add(id("CIPHER_OLD_KEYS", old_id)?, &key("CIPHER_OLD_KEYS", text)?)?;
    }
    Ok(codec.with_keys(ring))
}
