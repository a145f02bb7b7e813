//! The log in sections, for readers that ask page by page, also over a network.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use annals::{
    EventName, EventStore, Query, QueryItem, ReadOptions, SequenceNumber, Source, StoredEvent,
};

use crate::error::{Error, Result};

/// All events of a store, in sections of a bounded size.
#[derive(Debug, Clone)]
pub struct NotificationLog {
    store: EventStore,
    size: NonZeroU64,
}

/// The sequence numbers at the ends of a section, both included: `"1,10"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SectionId {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The numbers of its first and its last event, which may lie beyond what was asked for if the log has gaps; `None`
    /// if it is empty.
    pub id: Option<SectionId>,
    /// Its events.
    pub items: Vec<StoredEvent>,
    /// Where to go on; `None` if the section is not full, so that nothing is known to follow.
    pub next_id: Option<SectionId>,
}

impl NotificationLog {
    /// The log of `store`, in sections of at most `size` events.
    #[must_use]
    pub const fn new(store: EventStore, size: NonZeroU64) -> Self {
        Self { store, size }
    }

    /// The events from `id.first` on: as many as `id` has numbers, at most as many as a section holds.
    ///
    /// # Errors
    /// [`Error::Store`], with those of the read.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn section(&self, id: SectionId) -> Result<Section> {
        let first = id.first.max(1);
        let wanted = (id.last.saturating_add(1)).saturating_sub(first).min(self.size.get());
        let items = self.read(first, wanted, None, Vec::new()).await?;
        let (Some(from), Some(to)) = (items.first(), items.last()) else {
            return Ok(Section { id: None, items, next_id: None });
        };
        let id =
            SectionId { first: from.sequence_number.value(), last: to.sequence_number.value() };
        let is_full = items.len() as u64 == wanted;
        let next_id = is_full.then(|| SectionId {
            first: id.last.saturating_add(1),
            last: id.last.saturating_add(self.size.get()),
        });
        Ok(Section { id: Some(id), items, next_id })
    }

    /// At most `limit` events from number `start` to number `stop`, both included. Without `names`, of any name.
    ///
    /// # Errors
    /// [`Error::Store`] with those of the read, and `Invalid` if `limit` is more than a section holds.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn select(
        &self,
        start: u64,
        limit: u64,
        stop: Option<u64>,
        names: impl IntoIterator<Item = EventName>,
    ) -> Result<Vec<StoredEvent>> {
        if limit > self.size.get() {
            let text =
                format!("a section has at most {} events, {limit} were asked for", self.size);
            return Err(annals::Error::invalid(text).into());
        }
        self.read(start, limit, stop, names.into_iter().collect()).await
    }

    async fn read(
        &self,
        start: u64,
        limit: u64,
        stop: Option<u64>,
        names: Vec<EventName>,
    ) -> Result<Vec<StoredEvent>> {
        let after = SequenceNumber::new(start.saturating_sub(1));
        let mut options = ReadOptions::default().after(after).limit(limit);
        if let Some(stop) = stop {
            options = options.until(SequenceNumber::new(stop));
        }
        let mut query = Query::All;
        if !names.is_empty() {
            let mut item = QueryItem::new(Source::Log);
            item.names = Some(names);
            query = item.into();
        }
        Ok(self.store.read(query, options).into_vec().await?)
    }
}

impl fmt::Display for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.first, self.last)
    }
}

impl FromStr for SectionId {
    type Err = Error;

    /// [`Error::Store`] (`Invalid`) if `text` is not two numbers with a comma.
    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once(',').and_then(|(first, last)| {
            Some(Self { first: first.parse().ok()?, last: last.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            annals::Error::invalid(format!("{text:?} is no section: two numbers, as in \"1,10\""))
                .into()
        })
    }
}

/// Reads a log to its end, again and again.
#[derive(Debug, Clone)]
pub struct LogReader {
    log: NotificationLog,
    next: u64,
}

impl LogReader {
    /// Reads from number `start` on.
    #[must_use]
    pub const fn new(log: NotificationLog, start: u64) -> Self {
        Self { log, next: start }
    }

    /// What is new since the last call, section by section, all in memory; at first everything from `start` on.
    ///
    /// # Errors
    /// [`Error::Store`], with those of the read. The next call then reads the same.
    ///
    /// # Cancel safety
    /// If it is dropped, the next call reads the same.
    pub async fn read(&mut self) -> Result<Vec<StoredEvent>> {
        let mut all: Vec<StoredEvent> = Vec::new();
        let mut start = self.next;
        loop {
            let size = self.log.size.get();
            let section = self.log.select(start, size, None, []).await?;
            let is_full = section.len() as u64 == size;
            if let Some(last) = section.last() {
                start = last.sequence_number.value().saturating_add(1);
            }
            all.extend(section);
            if !is_full {
                self.next = start;
                return Ok(all);
            }
        }
    }
}
