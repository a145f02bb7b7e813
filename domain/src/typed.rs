//! A stream of typed events without state: an index of ids, a list of what was done.

use std::marker::PhantomData;

use annals::{EventStream, ReadOptions, StoredEvent, WriteCondition};

use crate::error::{Error, Result};
use crate::event::{Event, Unknown, decode_or, new_event};

/// A stream whose events are all of `E`.
#[derive(Debug, Clone)]
pub struct TypedStream<E> {
    stream: EventStream,
    events: PhantomData<fn() -> E>,
}

impl<E: Event> TypedStream<E> {
    /// The events of `stream`.
    #[must_use]
    pub const fn new(stream: EventStream) -> Self {
        Self { stream, events: PhantomData }
    }

    /// Appends `events` if `condition` holds.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it does not hold; [`Error::Store`] with those of the append.
    ///
    /// # Cancel safety
    /// All or nothing is stored if it is dropped.
    pub async fn append(
        &self,
        events: impl IntoIterator<Item = E>,
        condition: WriteCondition,
    ) -> Result<Vec<StoredEvent>> {
        let new = events.into_iter().map(|event| new_event(event).map(|(_, new)| new));
        let new = new.collect::<Result<Vec<_>>>()?;
        let appended = self.stream.append(new, condition).await;
        Ok(appended.map_err(|error| Error::of_attempt(error, 1))?.into_vec())
    }

    /// Reads events, each with where it is.
    ///
    /// # Errors
    /// [`Error::Decode`] if one cannot be read as `E`; [`Error::Store`] with those of the read.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn read(&self, options: ReadOptions) -> Result<Vec<(E, StoredEvent)>> {
        let stored = self.stream.read(options).into_vec().await?;
        let typed = stored.into_iter().filter_map(|stored| {
            decode_or(&stored, Unknown::Error).map(|event| Some((event?, stored))).transpose()
        });
        typed.collect()
    }

    /// The first event; `None` if there is none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn first(&self) -> Result<Option<(E, StoredEvent)>> {
        Ok(self.read(ReadOptions::default().limit(1)).await?.pop())
    }

    /// The last event; `None` if there is none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn last(&self) -> Result<Option<(E, StoredEvent)>> {
        Ok(self.read(ReadOptions::last(1)).await?.pop())
    }
}
