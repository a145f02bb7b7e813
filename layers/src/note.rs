//! Signed notes, as <https://c2sp.org/signed-note> describes them, with Ed25519: text, an empty line, a line for each
//! signature. Any tool that knows the format checks them.

use std::fmt;
use std::str::FromStr;

use annals::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a signature is made with, in the words of the format.
const ED25519: u8 = 1;
/// Lines beyond these are not read.
const MAX_SIGNATURES: usize = 100;

/// Why a text is no note that was signed, or no name or key of a signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNote {
    /// The text does not have the form.
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
    /// None of the signatures is by this signer.
    #[error("it is not signed by the signer that was asked for")]
    NotSigned,
    /// The signature by this signer is not one of this text.
    #[error("its signature is not one of its text")]
    Forged,
}

impl From<InvalidNote> for annals::Error {
    fn from(error: InvalidNote) -> Self {
        Self::invalid(error)
    }
}

/// A name and a secret key that sign notes. The key is wiped when it is dropped, and `Debug` does not show it.
#[derive(Clone)]
pub struct Signer {
    name: Box<str>,
    key: SigningKey,
}

impl Signer {
    /// A signer with the secret of 32 bytes. The caller wipes its own copy. The name has no blank and no `+`; take one that
    /// looks like a URL without its scheme.
    ///
    /// # Errors
    /// [`InvalidNote::Malformed`] if the name is none.
    pub fn from_bytes(name: &str, secret: &[u8; 32]) -> Result<Self, InvalidNote> {
        Ok(Self { name: checked(name)?.into(), key: SigningKey::from_bytes(secret) })
    }

    /// A signer with a fresh key, whose secret [`to_bytes`](Self::to_bytes) returns.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), as [`Error::Invalid`](annals::Error::Invalid);
    /// [`Error::Backend`](annals::Error::Backend) if the operating system has no randomness.
    pub fn generate(name: &str) -> Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        let no_randomness = |error| annals::Error::backend(format!("no randomness: {error}"));
        getrandom::fill(&mut *secret).map_err(no_randomness)?;
        Ok(Self::from_bytes(name, &secret)?)
    }

    /// The secret, to be kept outside the database.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// What checks its signatures.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The note of `text`, signed.
    ///
    /// # Errors
    /// [`InvalidNote::Malformed`] if the text does not end with a line feed, or has another control character.
    pub fn sign(&self, text: &str) -> Result<String, InvalidNote> {
        let is_control = |c: char| c.is_control() && c != '\n';
        if !text.ends_with('\n') || text.contains(is_control) {
            return Err(InvalidNote::Malformed("the text is not made of whole lines"));
        }
        let verifier = self.verifier();
        let mut bytes = verifier.id().to_vec();
        bytes.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        Ok(format!("{text}\n— {} {}\n", self.name, BASE64_STANDARD.encode(bytes)))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A name and a public key that check notes. Its text is the format's: name, `+`, id of the key, `+`, key.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    name: Box<str>,
    key: VerifyingKey,
}

impl Verifier {
    /// The signer's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this signer has signed. Signatures by others are ignored.
    ///
    /// # Errors
    /// [`InvalidNote`] says why it is none.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, InvalidNote> {
        let Some(at) = note.rfind("\n\n") else {
            return Err(InvalidNote::Malformed("there are no signatures"));
        };
        let (text, signatures) = (note.get(..=at), note.get(at + 2..));
        let (Some(text), Some(signatures)) = (text, signatures) else {
            return Err(InvalidNote::Malformed("there are no signatures"));
        };
        if !signatures.ends_with('\n') {
            return Err(InvalidNote::Malformed("the last line has no end"));
        }
        let mut is_signed = false;
        for (nth, line) in signatures.split_terminator('\n').enumerate() {
            if nth == MAX_SIGNATURES {
                return Err(InvalidNote::Malformed("there are too many signatures"));
            }
            let malformed = InvalidNote::Malformed("a line is no signature");
            let parts = line.strip_prefix("— ").and_then(|line| line.split_once(' '));
            let (name, signature) = parts.ok_or(malformed)?;
            let bytes = BASE64_STANDARD.decode(signature).map_err(|_| malformed)?;
            let (id, signature) = bytes.split_at_checked(4).ok_or(malformed)?;
            if name != &*self.name || id != self.id() {
                continue;
            }
            let signature = Signature::from_slice(signature).map_err(|_| malformed)?;
            let checked = self.key.verify_strict(text.as_bytes(), &signature);
            checked.map_err(|_| InvalidNote::Forged)?;
            is_signed = true;
        }
        if is_signed { Ok(text) } else { Err(InvalidNote::NotSigned) }
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes());
        hash.finalize().first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{id:08x}+{}", self.name, BASE64_STANDARD.encode(key))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({self})")
    }
}

impl FromStr for Verifier {
    type Err = InvalidNote;

    fn from_str(text: &str) -> Result<Self, InvalidNote> {
        const MALFORMED: InvalidNote = InvalidNote::Malformed("it is no name, id and key");
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(MALFORMED);
        };
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| MALFORMED)?;
        let Some((&ED25519, key)) = bytes.split_first() else { return Err(MALFORMED) };
        let key = key.try_into().map_err(|_| MALFORMED)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| MALFORMED)?;
        let this = Self { name: checked(name)?.into(), key };
        if id != format!("{:08x}", u32::from_be_bytes(this.id())) {
            return Err(InvalidNote::Malformed("the id is not that of the name and the key"));
        }
        Ok(this)
    }
}

fn checked(name: &str) -> Result<&str, InvalidNote> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(is_bad) {
        return Err(InvalidNote::Malformed("a signer's name has no blank and no +"));
    }
    Ok(name)
}
