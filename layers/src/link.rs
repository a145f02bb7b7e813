//! The hashes of a chain, and the bytes in which its events are stored. All numbers are big-endian.
//!
//! ```text
//! chain   = version 01 | method: 01 SHA-256, 02 HMAC-SHA-256 | position u64 | previous 32 | check 8
//!           | encoding length u8 | encoding | payload
//! content = H(each part behind its length as u64: "annals-chain content", method, category, stream, id, name,
//!           occurred_at in microseconds as i128, count of tags as u64, tags in order, encoding, payload,
//!           00 or 01 and the metadata)
//! link    = H("annals-chain link" | previous | position u64 | content)
//! check   = the first 8 bytes of content: which event changed; no security
//! ```

use std::fmt;
use std::str::FromStr;

use annals::{
    Encoding, EventId, NewEvent, Payload, Position, SequenceNumber, StoredEvent, StreamId,
};
use bytes::BufMut;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cursor::Cursor;
use crate::decode::DecodeError;

pub(crate) const CHAIN: Encoding = Encoding::from_static("annals-chain");
/// More than a link adds to a payload.
pub(crate) const OVERHEAD: u32 = 320;

/// SHA-256, or HMAC-SHA-256 of a keyed chain. Its text is hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first event of a stream follows.
    pub const GENESIS: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct InvalidHash;

impl FromStr for Hash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidHash);
        }
        for (nth, byte) in hash.iter_mut().enumerate() {
            let digits = text.get(2 * nth..2 * nth + 2).ok_or(InvalidHash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidHash)?;
        }
        Ok(Self(hash))
    }
}

/// The last event of a chain: keep it elsewhere to see later whether the stream was cut or written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The position of the stream's last event.
    pub position: Position,
    /// The hash that covers it and every event before it.
    pub hash: Hash,
}

/// An event of a chain between the hash that it follows and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The event's position in its stream.
    pub position: Position,
    /// The event's id.
    pub event: EventId,
    /// The hash of the event before it; [`Hash::GENESIS`] of a stream's first event.
    pub previous: Hash,
    /// The hash that covers it and every event before it.
    pub hash: Hash,
}

/// The secret of a keyed chain. It is wiped when it is dropped, and `Debug` does not show it.
#[derive(Clone)]
pub struct ChainKey(Zeroizing<[u8; 32]>);

impl ChainKey {
    /// A key of 32 bytes. The caller wipes its own copy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey(..)")
    }
}

enum Hashing {
    Plain(Sha256),
    Keyed(Box<Hmac<Sha256>>),
}

impl Hashing {
    fn put(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(sha) => Digest::update(sha, bytes),
            Self::Keyed(mac) => Mac::update(&mut **mac, bytes),
        }
    }

    fn part(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u64).to_be_bytes());
        self.put(bytes);
    }

    fn end(self) -> Hash {
        Hash(match self {
            Self::Plain(sha) => sha.finalize().into(),
            Self::Keyed(mac) => mac.finalize().into_bytes().into(),
        })
    }
}

/// How a chain is hashed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Method(pub(crate) Option<ChainKey>);

static PLAIN: Method = Method(None);

impl Method {
    const fn code(&self) -> u8 {
        if self.0.is_some() { 2 } else { 1 }
    }

    fn begin(&self) -> Hashing {
        match &self.0 {
            None => Hashing::Plain(Sha256::new()),
            Some(key) => {
                let mac = Hmac::new_from_slice(&*key.0).expect("HMAC takes keys of any length");
                Hashing::Keyed(Box::new(mac))
            }
        }
    }

    /// The hash of what an event says and what is known of it, without its place.
    pub(crate) fn content(&self, stream: &StreamId, event: &NewEvent) -> Hash {
        let mut hash = self.begin();
        hash.part(b"annals-chain content");
        hash.part(&[self.code()]);
        hash.part(stream.category.as_str().as_bytes());
        hash.part(stream.name.as_str().as_bytes());
        hash.part(event.id.as_uuid().as_bytes());
        hash.part(event.name.as_str().as_bytes());
        hash.part(&event.occurred_at.unix_timestamp_nanos().div_euclid(1_000).to_be_bytes());
        hash.part(&(event.tags.len() as u64).to_be_bytes());
        for tag in &event.tags {
            hash.part(tag.as_str().as_bytes());
        }
        hash.part(event.payload.encoding().as_str().as_bytes());
        hash.part(event.payload.as_bytes());
        match &event.metadata {
            None => hash.part(&[0]),
            Some(metadata) => {
                hash.part(&[1]);
                hash.part(metadata.as_bytes());
            }
        }
        hash.end()
    }

    /// The hash of an event at its place, after the event of the hash `previous`.
    pub(crate) fn link(&self, previous: Hash, position: Position, content: Hash) -> Hash {
        let mut hash = self.begin();
        hash.put(b"annals-chain link");
        hash.put(&previous.0);
        hash.put(&position.value().to_be_bytes());
        hash.put(&content.0);
        hash.end()
    }

    /// Chains `event`: puts it into the form that is stored, and returns its hash.
    pub(crate) fn chain(
        &self,
        stream: &StreamId,
        mut event: NewEvent,
        previous: Hash,
        position: Position,
    ) -> (NewEvent, Hash) {
        let content = self.content(stream, &event);
        let encoding = event.payload.encoding().as_str().as_bytes();
        let payload = event.payload.as_bytes();
        let mut bytes = Vec::with_capacity(51 + encoding.len() + payload.len());
        bytes.extend_from_slice(&[1, self.code()]);
        bytes.put_u64(position.value());
        bytes.extend_from_slice(&previous.0);
        bytes.extend_from_slice(content.0.first_chunk::<8>().unwrap_or(&[0; 8]));
        // A name has at most 255 bytes.
        bytes.push(u8::try_from(encoding.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(encoding);
        bytes.extend_from_slice(payload);
        event.payload = Payload::from_store(CHAIN, bytes);
        (event, self.link(previous, position, content))
    }

    /// The chained event of a stored one; `None` if it is not chained. Up to `after` it may be chained without the key.
    pub(crate) fn read(
        &self,
        after: SequenceNumber,
        event: &StoredEvent,
    ) -> Result<Option<Chained>, DecodeError> {
        if event.payload().encoding() != &CHAIN {
            return Ok(None);
        }
        let bytes = event.payload().as_bytes();
        let mut rest = Cursor::new(bytes);
        let version = rest.byte()?;
        if version != 1 {
            return Err(DecodeError::Unknown("chain version", version));
        }
        let method = match rest.byte()? {
            code if code == self.code() => self,
            1 if event.sequence_number <= after => &PLAIN,
            1 => return Err(DecodeError::BrokenChain("an event is not under the key")),
            code => return Err(DecodeError::Unknown("chain method", code)),
        };
        let position = Position::new(u64::from_be_bytes(rest.array()?));
        let previous = Hash(rest.array()?);
        let check: [u8; 8] = rest.array()?;
        let encoding = rest.encoding()?;
        let mut own = event.event.clone();
        own.payload = Payload::from_store(encoding, bytes.slice(rest.place()..));
        let content = method.content(&event.stream, &own);
        let is_whole = content.0.first_chunk::<8>() == Some(&check);
        Ok(Some(Chained {
            own,
            position,
            previous,
            is_whole,
            hash: method.link(previous, position, content),
        }))
    }
}

/// The hash of events at the beginning of a stream that are not chained: what the first link of the chain follows. It was
/// made by the method of then, which may have had no key.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) own: Hash,
    plain: Hash,
}

impl Before {
    pub(crate) const NOTHING: Self = Self::link(Hash::GENESIS);

    /// What follows this link.
    pub(crate) const fn link(hash: Hash) -> Self {
        Self { own: hash, plain: hash }
    }

    #[must_use]
    pub(crate) fn with(self, method: &Method, event: &StoredEvent) -> Self {
        let next = |method: &Method, hash| {
            let content = method.content(&event.stream, &event.event);
            method.link(hash, event.position, content)
        };
        let own = next(method, self.own);
        Self { own, plain: if method.0.is_some() { next(&PLAIN, self.plain) } else { own } }
    }

    pub(crate) fn is(self, hash: Hash) -> bool {
        self.own == hash || self.plain == hash
    }
}

/// An event of a chain, as it is stored.
pub(crate) struct Chained {
    /// The event as it was appended.
    pub(crate) own: NewEvent,
    pub(crate) position: Position,
    pub(crate) previous: Hash,
    /// Whether it still says what it said.
    pub(crate) is_whole: bool,
    /// The hash of what it says now, at the position and after the hash that it names.
    pub(crate) hash: Hash,
}
