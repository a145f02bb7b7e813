//! Bounded caches between names and the numbers that stand for them in rows.

use std::num::NonZeroUsize;
use std::sync::Arc;

use annals::{
    CategoryName, Encoding, Error, EventName, InvalidName, Result, StreamId, StreamName, Tag,
};

use crate::cache::Cache;

/// One interned name as each type that it can be: all of them share the text.
#[derive(Debug, Clone)]
pub struct Name {
    /// As a category.
    pub category: CategoryName,
    /// As the name of an event.
    pub event: EventName,
    /// As an encoding.
    pub encoding: Encoding,
    /// As a tag.
    pub tag: Tag,
}

impl Name {
    /// Checks a text of the names table.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not a name.
    pub fn from_store(text: &str) -> Result<Self> {
        let text: Arc<str> = text.into();
        let name = || {
            Ok::<_, InvalidName>(Self {
                category: CategoryName::new(Arc::clone(&text))?,
                event: EventName::new(Arc::clone(&text))?,
                // Of nearly all events: their clones cost nothing.
                encoding: if *text == *Encoding::JSON.as_str() {
                    Encoding::JSON
                } else {
                    Encoding::new(Arc::clone(&text))?
                },
                tag: Tag::new(Arc::clone(&text))?,
            })
        };
        name().map_err(Error::corrupt)
    }
}

/// Where the names behind the numbers of a row come from.
pub trait Lookup {
    /// Why a number has no name.
    type Error: From<Error>;

    /// The stream of this number.
    ///
    /// # Errors
    /// A failed look-up, or that there is none.
    fn stream(&mut self, id: i64) -> Result<StreamId, Self::Error>;

    /// The name of this number.
    ///
    /// # Errors
    /// A failed look-up, or that there is none.
    fn name(&mut self, id: i64) -> Result<&Name, Self::Error>;
}

/// The names that rows referred to lately. What a number stands for never changes, so entries never go stale.
#[derive(Debug)]
pub struct Dictionary {
    streams: Cache<i64, StreamId>,
    names: Cache<i64, Name>,
}

impl Dictionary {
    /// Keeps at most `bound` streams and as many names.
    #[must_use]
    pub fn new(bound: NonZeroUsize) -> Self {
        Self { streams: Cache::new(bound), names: Cache::new(bound) }
    }

    /// The stream of this number, if it is known.
    pub fn stream(&mut self, id: i64) -> Option<StreamId> {
        self.streams.cloned(&id)
    }

    /// The name of this number, if it is known.
    pub fn name(&mut self, id: i64) -> Option<&Name> {
        self.names.get(&id)
    }

    /// Learns a name that is at hand.
    pub fn remember_name(&mut self, id: i64, name: Name) {
        self.names.put(id, name);
    }

    /// Learns a stream from the texts of its row.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when `name` is not a name.
    pub fn learn_stream(
        &mut self,
        id: i64,
        category: CategoryName,
        name: &str,
    ) -> Result<StreamId> {
        let name = StreamName::new(name).map_err(Error::corrupt)?;
        let stream = StreamId { category, name };
        self.streams.put(id, stream.clone());
        Ok(stream)
    }

    /// Learns the number of a stream whose names are at hand.
    pub fn remember_stream(&mut self, id: i64, stream: &StreamId) {
        if !self.streams.contains(&id) {
            self.streams.put(id, stream.clone());
        }
    }

    /// Learns a name from its row.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when `text` is not a name.
    pub fn learn_name(&mut self, id: i64, text: &str) -> Result<()> {
        self.names.put(id, Name::from_store(text)?);
        Ok(())
    }

    /// Forgets everything, as after a transaction whose numbers were never committed.
    pub fn clear(&mut self) {
        self.streams.clear();
        self.names.clear();
    }
}

/// The numbers of the names that were asked for lately. Only names that exist are kept.
#[derive(Debug)]
pub struct NameIds(Cache<Box<str>, i64>);

impl NameIds {
    /// Keeps at most `bound` names.
    #[must_use]
    pub fn new(bound: NonZeroUsize) -> Self {
        Self(Cache::new(bound))
    }

    /// The number of `name`, if it is known.
    pub fn get(&mut self, name: &str) -> Option<i64> {
        self.0.cloned(name)
    }

    /// Learns the number of `name`.
    pub fn learn(&mut self, name: &str, id: i64) {
        self.0.put(name.into(), id);
    }

    /// Forgets everything, as after a transaction whose numbers were never committed.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
