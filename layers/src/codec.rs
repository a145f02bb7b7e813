//! What is done to events on their way into a store and back.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use annals::{Error, EventName, NewEvent, Payload, Result, SequenceNumber, StoredEvent, StreamId};
use bytes::Bytes;

use crate::compress::{Compression, Packer, Unpacker};
use crate::decode::DecodeError;
use crate::frame::{Body, FRAME, Header, OVERHEAD, Plain, SEALED, bound};

/// Which events that are not encrypted a codec with keys takes. Somebody who can write to the database could otherwise
/// replace an encrypted event by one of its own in the clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clear {
    /// None, but those of [open names](Codec::with_open_names).
    #[default]
    Refused,
    /// Those up to this sequence number, itself included: what was appended before encryption began.
    Until(SequenceNumber),
    /// All.
    Accepted,
}

/// What is done to events: nothing, compression, encryption, or both. Set it up before use; clones share what it holds.
///
/// ```
/// use annals_layers::{Codec, Compression, Key, KeyId, KeyRing};
/// let codec = Codec::new()
///     .with_compression(Compression::Zstd(3))
///     .with_keys(KeyRing::new(KeyId(1), &Key::generate()?));
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Codec {
    packer: Option<Arc<Packer>>,
    unpacker: Arc<Unpacker>,
    dictionaries: BTreeMap<u32, Arc<Unpacker>>,
    #[cfg(feature = "encryption")]
    keys: Option<crate::KeyRing>,
    open_names: HashSet<EventName>,
    pub(crate) open_metadata: bool,
    clear: Clear,
    max_payload: NonZeroU32,
    sealed_reads: bool,
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec {
    const MAX_PAYLOAD: NonZeroU32 = NonZeroU32::new(64 << 20).unwrap();

    /// Neither compresses nor encrypts, and reads every frame that needs no key and no dictionary.
    #[must_use]
    pub fn new() -> Self {
        Self {
            packer: None,
            unpacker: Arc::default(),
            dictionaries: BTreeMap::new(),
            #[cfg(feature = "encryption")]
            keys: None,
            open_names: HashSet::new(),
            open_metadata: false,
            clear: Clear::default(),
            max_payload: Self::MAX_PAYLOAD,
            sealed_reads: false,
        }
    }

    /// Compresses from now on. A dictionary is also given for reading.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        #[cfg(feature = "zstd")]
        let this = match &compression {
            Compression::Dictionary(dictionary) => self.with_dictionary(dictionary.clone()),
            _ => self,
        };
        #[cfg(not(feature = "zstd"))]
        let this = self;
        Self { packer: Some(Arc::new(Packer::new(compression))), ..this }
    }

    /// Reads what was compressed with this dictionary. Several may be given.
    #[cfg(feature = "zstd")]
    #[must_use]
    pub fn with_dictionary(mut self, dictionary: crate::Dictionary) -> Self {
        self.dictionaries.insert(dictionary.id(), Arc::new(Unpacker::new(dictionary)));
        self
    }

    /// Encrypts from now on with the active key of the ring, and reads with all of them. The ring may change later.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn with_keys(mut self, keys: crate::KeyRing) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Never encrypts events of these names, and takes them in the clear.
    #[must_use]
    pub fn with_open_names(mut self, names: impl IntoIterator<Item = EventName>) -> Self {
        self.open_names.extend(names);
        self
    }

    /// Leaves metadata readable beside the frame, and binds the frame to it. Needs an adapter that keeps it byte for byte.
    #[must_use]
    pub fn with_open_metadata(mut self) -> Self {
        self.open_metadata = true;
        self
    }

    /// Which events that are not encrypted are taken; without keys, all.
    #[must_use]
    pub fn with_clear(mut self, clear: Clear) -> Self {
        self.clear = clear;
        self
    }

    /// The largest payload, and the largest metadata, in bytes; 64 MiB unless set. A frame that says more than both is
    /// [`DecodeError::TooLarge`], and nothing of that size is allocated.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: NonZeroU32) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Reads return an event that this codec has no key or dictionary for as [`Sealed`](crate::Sealed), and go on: for
    /// tools that look into a store without all keys. Forged and damaged events stay errors.
    #[must_use]
    pub fn with_sealed_reads(mut self) -> Self {
        self.sealed_reads = true;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.packer.as_ref().map_or(Ok(()), |packer| packer.compression().check())
    }

    /// What it does, for the name of a stack: `zstd+aes`.
    pub(crate) fn label(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.packer.as_ref().map(|packer| packer.compression().name()));
        #[cfg(feature = "encryption")]
        parts.extend(self.keys.as_ref().map(|_| "aes"));
        if parts.is_empty() { "plain".to_owned() } else { parts.join("+") }
    }

    /// The largest payload that fits where `inner` bytes do: with the metadata in one frame, each has half of the room.
    pub(crate) fn max_payload(&self, inner: Option<NonZeroU32>) -> NonZeroU32 {
        let Some(inner) = inner else { return self.max_payload };
        let room = inner.get().saturating_sub(OVERHEAD);
        let room = if self.open_metadata { room } else { room / 2 };
        NonZeroU32::new(room).unwrap_or(NonZeroU32::MIN).min(self.max_payload)
    }

    /// Whether every event gets a frame, and not only one that looks as if it had one.
    pub(crate) fn frames(&self) -> bool {
        #[cfg(feature = "encryption")]
        if self.keys.is_some() {
            return true;
        }
        self.packer.is_some()
    }

    /// Prepares a call of `events` events.
    pub(crate) fn begin(&self, events: usize) -> Result<Sealing> {
        #[cfg(feature = "encryption")]
        if let Some(keys) = &self.keys {
            let sealing =
                keys.sealing().ok_or_else(|| Error::backend("the ring has no active key"))?;
            // One draw for all events of the call.
            let mut nonces = vec![[0; 12]; events];
            crate::key::random(nonces.as_flattened_mut())?;
            return Ok(Sealing { key: Some(sealing), nonces });
        }
        let _ = events;
        Ok(Sealing::default())
    }

    /// The form of an event that is stored.
    pub(crate) fn encode(
        &self,
        sealing: &mut Sealing,
        stream: &StreamId,
        mut event: NewEvent,
    ) -> Result<NewEvent> {
        if !self.frames() && event.payload.encoding() != &FRAME {
            return Ok(event);
        }
        let header = self.header(sealing, &event);
        let metadata = if self.open_metadata { None } else { event.metadata.take() };
        let plain = Plain { payload: event.payload.clone(), metadata }.to_bytes();
        let mut frame = Vec::with_capacity(plain.len() + 64);
        header.put(&mut frame);
        let start = frame.len();
        self.pack(&mut frame, &plain);
        sealing.seal(&header, &mut frame, start, stream, &event)?;
        event.payload = Payload::from_store(FRAME, frame);
        Ok(event)
    }

    #[allow(unused_variables, clippy::unused_self, reason = "without encryption there is no key")]
    fn header(&self, sealing: &mut Sealing, event: &NewEvent) -> Header {
        #[cfg(feature = "encryption")]
        if let Some((id, ready)) = &sealing.key
            && !self.open_names.contains(&event.name)
            && let Some(nonce) = sealing.nonces.pop()
        {
            return Header { algorithm: ready.algorithm.code(), key: Some((id.0, nonce)) };
        }
        Header::CLEAR
    }

    /// Appends the body to a frame: compressed if that is smaller.
    fn pack(&self, frame: &mut Vec<u8>, plain: &[u8]) {
        let start = frame.len();
        if let Some(packer) = &self.packer
            && let Some(packed) = packer.pack(plain)
        {
            let compression = packer.compression();
            Body::put(frame, compression.code(), compression.dictionary(), plain.len());
            if frame.len() - start + packed.len() < plain.len() + 1 {
                frame.extend_from_slice(&packed);
                return;
            }
            frame.truncate(start);
        }
        frame.push(0);
        frame.extend_from_slice(plain);
    }

    /// The event as it was appended.
    pub(crate) fn decode(&self, event: StoredEvent) -> Result<StoredEvent> {
        match self.opened(&event) {
            Ok(None) => Ok(event),
            Ok(Some(plain)) => {
                let mut record = event.into_record();
                record.event.payload = plain.payload;
                record.event.metadata = plain.metadata.or(record.event.metadata);
                Ok(record.into())
            }
            Err(cause) if self.sealed_reads && cause.is_lack() => {
                let mut record = event.into_record();
                record.event.payload =
                    Payload::from_store(SEALED, record.event.payload.into_bytes());
                Ok(record.into())
            }
            Err(cause) => Err(cause.of(&event)),
        }
    }

    /// What the frame of an event says; `None` if it has none.
    fn opened(&self, event: &StoredEvent) -> Result<Option<Plain>, DecodeError> {
        if event.payload().encoding() != &FRAME {
            return self.permit_clear(event).map(|()| None);
        }
        let frame = event.payload().as_bytes();
        let (header, end) = Header::read(frame)?;
        let body = match header.key {
            None => {
                self.permit_clear(event)?;
                frame.slice(end..)
            }
            Some((id, nonce)) => {
                let (head, sealed) = frame.split_at(end);
                self.open(&header, id, &nonce, head, sealed, event)?
            }
        };
        let plain = Plain::from_bytes(self.unpack(Body::read(body)?)?)?;
        if plain.metadata.is_some() && event.metadata().is_some() {
            return Err(DecodeError::Damaged("it has metadata twice"));
        }
        Ok(Some(plain))
    }

    fn permit_clear(&self, event: &StoredEvent) -> Result<(), DecodeError> {
        #[cfg(feature = "encryption")]
        if self.keys.is_some() {
            let is_permitted = match self.clear {
                Clear::Refused => false,
                Clear::Until(last) => event.sequence_number <= last,
                Clear::Accepted => true,
            };
            if !is_permitted && !self.open_names.contains(event.name()) {
                return Err(DecodeError::InTheClear);
            }
        }
        let _ = event;
        Ok(())
    }

    #[cfg(feature = "encryption")]
    fn open(
        &self,
        header: &Header,
        id: u32,
        nonce: &[u8; 12],
        head: &[u8],
        sealed: &[u8],
        event: &StoredEvent,
    ) -> Result<Bytes, DecodeError> {
        let is_known =
            matches!(header.algorithm, 1) || (cfg!(feature = "aes-gcm") && header.algorithm == 2);
        if !is_known {
            return Err(DecodeError::Unknown("algorithm", header.algorithm));
        }
        let key = self.keys.as_ref().and_then(|keys| keys.get(crate::KeyId(id)));
        let key = key.ok_or(DecodeError::UnknownKey(id))?;
        if key.algorithm.code() != header.algorithm {
            return Err(DecodeError::Forged);
        }
        let bound = bound(head, &event.stream, &event.event);
        key.cipher.open(nonce, &bound, sealed).map(Bytes::from).ok_or(DecodeError::Forged)
    }

    #[cfg(not(feature = "encryption"))]
    #[allow(clippy::unused_self, clippy::too_many_arguments, reason = "as with the feature")]
    fn open(
        &self,
        header: &Header,
        _: u32,
        _: &[u8; 12],
        _: &[u8],
        _: &[u8],
        _: &StoredEvent,
    ) -> Result<Bytes, DecodeError> {
        Err(DecodeError::Unknown("algorithm", header.algorithm))
    }

    fn unpack(&self, body: Body) -> Result<Bytes, DecodeError> {
        // A payload, metadata, and what stands before them.
        let most = 2 * u64::from(self.max_payload.get()) + u64::from(OVERHEAD);
        let length = body.length.unwrap_or(body.packed.len() as u64);
        if length > most {
            return Err(DecodeError::TooLarge(most));
        }
        if body.length.is_none() {
            return Ok(body.packed);
        }
        let unpacker = match body.dictionary {
            None => &self.unpacker,
            Some(id) => self.dictionaries.get(&id).ok_or(DecodeError::UnknownDictionary(id))?,
        };
        let length = usize::try_from(length).map_err(|_| DecodeError::TooLarge(most))?;
        unpacker.unpack(body.compression, &body.packed, length).map(Bytes::from)
    }
}

/// What a call seals with: the active key, and a nonce for each of its events.
#[derive(Default)]
pub(crate) struct Sealing {
    #[cfg(feature = "encryption")]
    key: Option<(crate::KeyId, Arc<crate::ring::Ready>)>,
    #[cfg(feature = "encryption")]
    nonces: Vec<[u8; 12]>,
}

impl Sealing {
    #[cfg(feature = "encryption")]
    fn seal(
        &self,
        header: &Header,
        frame: &mut Vec<u8>,
        start: usize,
        stream: &StreamId,
        event: &NewEvent,
    ) -> Result<()> {
        let (Some((_, nonce)), Some((_, ready))) = (&header.key, &self.key) else { return Ok(()) };
        let bound = bound(frame.get(..start).unwrap_or_default(), stream, event);
        let too_long = |_| Error::invalid("a payload is too long to be encrypted");
        ready.cipher.seal(nonce, &bound, frame, start).map_err(too_long)
    }

    #[cfg(not(feature = "encryption"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with the feature")]
    fn seal(
        &self,
        _: &Header,
        _: &mut Vec<u8>,
        _: usize,
        _: &StreamId,
        _: &NewEvent,
    ) -> Result<()> {
        Ok(())
    }
}
