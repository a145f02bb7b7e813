//! The layer that compresses and encrypts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::adapter::async_trait;
use annals::{
    Append, Capabilities, Error, EventPages, Query, ReadOptions, Result, StorageAdapter,
    StoredEvent,
};
use bytes::Bytes;

use crate::codec::Codec;
use crate::condition::{Decode, Predicates};
use crate::frame::{Header, SEALED};
use crate::pages::{self, Claims};

/// Wraps any adapter: stores payloads and metadata compressed, encrypted, or both, as its [`Codec`] says.
///
/// Names, tags, streams, ids and times stay readable, for queries, and are bound to what is encrypted: a payload that is
/// moved to another event is [`Forged`](crate::DecodeError::Forged). Hash what identifies a person before it becomes a
/// tag. Encryption does not see events that are deleted or put in another order: that is what a chain below it is for.
///
/// A predicate of a [`WriteCondition::Custom`](annals::WriteCondition::Custom) sees the decoded event. If that cannot be
/// decoded the predicate does not hold, and an append that fails for it returns the cause.
///
/// # Errors of reads
/// Before an event that cannot be read, what precedes it is returned; then the error, whose source is an
/// [`Undecodable`](crate::Undecodable); then the read ends.
/// - [`Error::Corrupt`]: the event was forged or damaged, or is in the clear where the codec does not permit that.
/// - [`Error::Backend`]: the codec has no such key or dictionary, or the frame is of a newer version.
#[derive(Debug, Clone)]
pub struct Encoded<A> {
    inner: A,
    codec: Arc<Codec>,
    name: Arc<str>,
    is_closed: Arc<AtomicBool>,
}

/// A page is cut behind so many bytes of payloads: compressed, a store may have far more of them on a page.
const PAGE_BYTES: usize = 4 << 20;

impl<A: StorageAdapter> Encoded<A> {
    /// Stores events in `inner` as `codec` says.
    ///
    /// # Errors
    /// - [`Error::Unsupported`]: open metadata over an adapter that does not keep it byte for byte.
    /// - [`Error::Invalid`]: a level of compression that does not exist.
    pub fn new(inner: A, codec: Codec) -> Result<Self> {
        codec.check()?;
        if codec.open_metadata && !inner.capabilities().exact_payload_bytes {
            return Err(Error::unsupported(inner.name(), "open metadata: it changes its bytes"));
        }
        let name = format!("{}({})", codec.label(), inner.name()).into();
        Ok(Self { inner, codec: Arc::new(codec), name, is_closed: Arc::default() })
    }

    /// The adapter inside.
    pub const fn inner(&self) -> &A {
        &self.inner
    }

    fn decode(&self) -> Decode {
        let (codec, name) = (Arc::clone(&self.codec), Arc::clone(&self.name));
        Arc::new(move |event| codec.decode(event).map_err(|error| error.at(&name, "read")))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Encoded<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        inner
            .with_max_payload_bytes(Some(self.codec.max_payload(inner.max_payload_bytes)))
            // A frame is no JSON that a store could write in another way.
            .with_exact_payload_bytes(inner.exact_payload_bytes || self.codec.frames())
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(&self.name, &writes)?;
        let mut predicates = Predicates::new(self.decode());
        let given: Vec<_> = writes.iter().flat_map(|write| write.events.iter().cloned()).collect();
        let mut sealing = self.codec.begin(given.len()).map_err(|e| e.at(&self.name, "append"))?;
        let mut encoded = Vec::with_capacity(writes.len());
        for write in writes {
            let events: Result<Vec<_>> = write
                .events
                .into_iter()
                .map(|event| self.codec.encode(&mut sealing, &write.stream, event))
                .collect();
            let condition = predicates.wrap(write.condition)?;
            encoded.push(Append::new(write.stream, events?, condition));
        }
        let stored = self.inner.append(encoded).await.map_err(|error| predicates.unwrap(error))?;
        returned(stored, given).map_err(|error| error.at(&self.name, "append"))
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let can = self.capabilities();
        if let Err(error) = can.check_read(&self.name, &query, &options) {
            return pages::fail(error);
        }
        let claims = Claims::new(can, &query, &options);
        let (decode, name) = (self.decode(), Arc::clone(&self.name));
        let is_closed = Arc::clone(&self.is_closed);
        let closed =
            move || is_closed.load(Ordering::Acquire).then(|| Error::closed(name.to_string()));
        let pages = self.inner.read(query, options);
        pages::map(pages, claims, PAGE_BYTES, closed, move |event| decode(event))
    }

    async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.inner.close().await;
    }
}

/// What an append returns: the events that were given, at the places that the store gave them. Nothing is decoded.
pub(crate) fn returned(
    stored: Vec<StoredEvent>,
    given: Vec<annals::NewEvent>,
) -> Result<Vec<StoredEvent>> {
    let same = |(stored, given): (&StoredEvent, &annals::NewEvent)| stored.id() == given.id;
    if stored.len() != given.len() || !stored.iter().zip(&given).all(same) {
        return Err(Error::outcome_unknown("the store returned other events than were appended"));
    }
    let place = |(stored, event): (StoredEvent, annals::NewEvent)| {
        let at = &*stored;
        StoredEvent::new(event, at.stream.clone(), at.position, at.sequence_number, at.recorded_at)
    };
    Ok(stored.into_iter().zip(given).map(place).collect())
}

/// An event that a read could not open, as [`Codec::with_sealed_reads`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// The id of the key that opens it; `None` if it is not encrypted, but compressed with a dictionary that is not given.
    pub key: Option<u32>,
    /// Its bytes in the store.
    pub frame: Bytes,
}

impl Sealed {
    /// What `event` is sealed with, if a read could not open it. No application may use the encoding `annals-sealed`.
    #[must_use]
    pub fn of(event: &StoredEvent) -> Option<Self> {
        let payload = event.payload();
        if payload.encoding() != &SEALED {
            return None;
        }
        let frame = payload.as_bytes().clone();
        let key = Header::read(&frame).ok().and_then(|(header, _)| header.key);
        Some(Self { key: key.map(|(id, _)| id), frame })
    }
}
