//! Tokens: what a reader wants to have been seen, as a short text that travels in headers and messages.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use annals::{SequenceNumber, StoredEvent};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The most sources of a token.
const MAX_SOURCES: usize = 64;
/// The longest text of a token: 64 sources of at most 15 bytes each.
const MAX_TEXT: usize = 1_280;

/// How far a reader wants a view to be, for each source of events. A program that has appended returns one; who reads the
/// view later, in any process, waits for it first.
///
/// As text it is base64url without padding, of a hash of 32 bits and a number for each source: at most 20 characters for
/// one source.
///
/// ```
/// use annals::SequenceNumber;
/// use annals_processing::Token;
/// let token = Token::default().and("log", SequenceNumber::new(1_000_000));
/// let text = token.to_string();
/// assert!(text.len() <= 20);
/// assert_eq!(text.parse::<Token>()?, token);
/// # Ok::<(), annals_processing::InvalidToken>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Token(BTreeMap<u32, SequenceNumber>);

impl Token {
    /// That this event, of the source of this name, was seen.
    #[must_use]
    pub fn of(source: &str, event: &StoredEvent) -> Self {
        Self::default().and(source, event.sequence_number)
    }

    /// … and everything up to this number of this source, too. It never takes anything back, and knows at most 64 sources:
    /// of more, those with the lowest numbers are forgotten.
    #[must_use]
    pub fn and(mut self, source: &str, until: SequenceNumber) -> Self {
        self.raise(hash(source), until);
        self
    }

    /// … and everything that the other one wants.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Self {
        for (source, until) in &other.0 {
            self.raise(*source, *until);
        }
        self
    }

    /// Up to which number of this source it wants everything to have been seen; `None`: it says nothing of it.
    #[must_use]
    pub fn until(&self, source: &str) -> Option<SequenceNumber> {
        self.0.get(&hash(source)).copied()
    }

    fn raise(&mut self, source: u32, until: SequenceNumber) {
        let known = self.0.entry(source).or_default();
        *known = until.max(*known);
        if self.0.len() > MAX_SOURCES {
            let least = self.0.iter().min_by_key(|(_, until)| **until).map(|(source, _)| *source);
            least.map(|least| self.0.remove(&least));
        }
    }
}

/// FNV-1a with 32 bits.
fn hash(source: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    source.bytes().fold(0x811c_9dc5, step)
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        for (source, until) in &self.0 {
            bytes.extend(source.to_be_bytes());
            let mut left = until.value();
            while left >= 0x80 {
                bytes.push(u8::try_from(left & 0x7f).unwrap_or_default() | 0x80);
                left >>= 7;
            }
            bytes.push(u8::try_from(left).unwrap_or_default());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is no token: {0}")]
pub struct InvalidToken(&'static str);

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if text.len() > MAX_TEXT {
            return Err(InvalidToken("it is too long"));
        }
        let bytes =
            URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken("it is not base64url"))?;
        let mut rest = bytes.as_slice();
        let mut token = BTreeMap::new();
        while let Some((source, after)) = rest.split_first_chunk::<4>() {
            let (until, after) = varint(after)?;
            rest = after;
            if token.insert(u32::from_be_bytes(*source), until).is_some() {
                return Err(InvalidToken("it names a source twice"));
            }
        }
        if !rest.is_empty() {
            return Err(InvalidToken("it is cut off"));
        }
        if token.len() > MAX_SOURCES {
            return Err(InvalidToken("it has too many sources"));
        }
        Ok(Self(token))
    }
}

fn varint(bytes: &[u8]) -> Result<(SequenceNumber, &[u8]), InvalidToken> {
    let mut value = 0_u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let Some((byte, after)) = rest.split_first() else {
            return Err(InvalidToken("it is cut off"));
        };
        rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((SequenceNumber::new(value), rest));
        }
    }
    Err(InvalidToken("a number is too large"))
}
