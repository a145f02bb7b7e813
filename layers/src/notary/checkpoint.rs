//! What a notary signs, as <https://c2sp.org/tlog-checkpoint> describes it.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::link::Hash;
use crate::note::{InvalidNote, Signer, Verifier};

/// The tree of a log at one moment: how many events it has, and a hash that covers them all. Its text is the format's:
/// origin, size, root in Base64, each in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Which log it is.
    pub origin: Box<str>,
    /// How many events it had.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
}

impl Checkpoint {
    /// A checkpoint that was kept elsewhere.
    #[must_use]
    pub fn new(origin: &str, size: u64, root: Hash) -> Self {
        Self { origin: origin.into(), size, root }
    }

    /// The note that `signer` signs. With it anybody can later prove that the log was changed.
    ///
    /// # Errors
    /// [`InvalidNote`] if the origin has a control character.
    pub fn sign(&self, signer: &Signer) -> Result<String, InvalidNote> {
        signer.sign(&self.to_string())
    }

    /// The checkpoint in a note that this signer signed. Further lines of its text are ignored.
    ///
    /// # Errors
    /// [`InvalidNote`] if this signer did not sign it, or it is no checkpoint.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, InvalidNote> {
        const MALFORMED: InvalidNote = InvalidNote::Malformed("it is no checkpoint");
        let mut lines = verifier.open(note)?.split_terminator('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(MALFORMED);
        };
        let is_number = size.bytes().all(|byte| byte.is_ascii_digit());
        let is_shortest = size == "0" || !size.starts_with('0');
        if origin.is_empty() || !is_number || !is_shortest || lines.any(str::is_empty) {
            return Err(MALFORMED);
        }
        let root = BASE64_STANDARD.decode(root).map_err(|_| MALFORMED)?;
        let root = Hash(root.try_into().map_err(|_| MALFORMED)?);
        Ok(Self::new(origin, size.parse().map_err(|_| MALFORMED)?, root))
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = BASE64_STANDARD.encode(self.root.0);
        writeln!(f, "{}\n{}\n{root}", self.origin, self.size)
    }
}
