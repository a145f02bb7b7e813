//! Why a layer cannot read an event.

use annals::{Error, EventId, SequenceNumber, StoredEvent, StreamId};

/// Why the bytes of an event cannot be read. None of these shows a key or what the event says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are no frame that this layer ever wrote.
    #[error("the frame is damaged: {0}")]
    Damaged(&'static str),
    /// The event was not sealed under this key for this place: somebody changed or moved it, or the key is another one
    /// under the same id.
    #[error("the frame was not sealed for this event under the key that it names")]
    Forged,
    /// The event is not encrypted, and the codec does not permit that.
    #[error("the event is not encrypted")]
    InTheClear,
    /// What the frame says is larger than the codec's bound, in bytes.
    #[error("the frame says more than {0} bytes")]
    TooLarge(u64),
    /// The codec has no key of this id.
    #[error("key {0} is not given")]
    UnknownKey(u32),
    /// The codec has no dictionary of this id.
    #[error("dictionary {0} is not given")]
    UnknownDictionary(u32),
    /// The key store never had this key of a subject.
    #[cfg(feature = "shredding")]
    #[error("the key store has no key {0}")]
    UnknownDataKey(crate::DataKeyId),
    /// A newer version of this crate wrote the frame, or one with more features: what, and its code.
    #[error("{0} {1} is not known to this version and its features")]
    Unknown(&'static str, u8),
    /// A chained event does not follow from the one before it.
    #[error("the chain is broken: {0}")]
    BrokenChain(&'static str),
}

impl DecodeError {
    /// Whether the event is whole, and only this program lacks something to read it.
    #[must_use]
    pub const fn is_lack(&self) -> bool {
        #[cfg(feature = "shredding")]
        if matches!(self, Self::UnknownDataKey(_)) {
            return true;
        }
        matches!(self, Self::UnknownKey(_) | Self::UnknownDictionary(_) | Self::Unknown(..))
    }

    /// The error of a read that meets it in `event`.
    pub(crate) fn of(self, event: &StoredEvent) -> Error {
        let is_lack = self.is_lack();
        let undecodable = Undecodable {
            sequence_number: event.sequence_number,
            stream: event.stream.clone(),
            id: event.id(),
            cause: self,
        };
        if is_lack { Error::backend(undecodable) } else { Error::corrupt(undecodable) }
    }
}

/// The source of the error of a read: which event cannot be read, and why.
///
/// It is the source of [`Error::Backend`] if [the program lacks something](DecodeError::is_lack), else of
/// [`Error::Corrupt`].
#[derive(Debug, Clone, thiserror::Error)]
#[error("event #{sequence_number} of {stream} ({id}): {cause}")]
#[non_exhaustive]
pub struct Undecodable {
    /// Its place in the log.
    pub sequence_number: SequenceNumber,
    /// Its stream.
    pub stream: StreamId,
    /// Its id.
    pub id: EventId,
    /// Why it cannot be read.
    pub cause: DecodeError,
}

impl Undecodable {
    /// What `error` says of an event that cannot be read; `None` of any other error.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        error.failure()?.source.downcast_ref()
    }
}

/// The error of a read that an append made, as one of the append. A read leaves no outcome unknown.
pub(crate) fn of_append(error: Error) -> Error {
    match error {
        Error::Unavailable(failure) => {
            Error::unavailable(failure.source).at(&failure.adapter, "append")
        }
        Error::Corrupt(failure) => Error::corrupt(failure.source).at(&failure.adapter, "append"),
        Error::Backend(failure) => Error::backend(failure.source).at(&failure.adapter, "append"),
        error => error,
    }
}
