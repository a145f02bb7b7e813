//! What the appends of one transaction are judged on.

use annals::{
    Append, Error, EventId, Query, Result, SequenceNumber, Source, StoredEvent, StreamId,
};
use hashbrown::{HashMap, HashSet};
use time::OffsetDateTime;

use crate::known::{Head, Known, Numbered};
use crate::resolve::Ids;

/// One append to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// What it writes.
    pub writes: &'a [Append],
    /// When its events are recorded.
    pub recorded_at: OffsetDateTime,
}

/// What one transaction is judged on.
#[derive(Debug, Default)]
pub struct Facts {
    /// The last sequence number and the last number of a name, where they were asked for.
    pub head: Option<(u64, i64)>,
    /// The last event of the log, where the head was asked for.
    pub last: Option<Numbered>,
    /// All streams that the appends write to or ask for; `None`: without events.
    pub streams: HashMap<StreamId, Option<Head>>,
    /// All names that the appends write or ask for; `None`: not made yet.
    pub names: HashMap<Box<str>, Option<i64>>,
    /// For each query of each condition, in order, an event of the log that matches.
    pub matches: Vec<Option<SequenceNumber>>,
    /// For each write with a custom condition, in order, the last event of its stream.
    pub lasts: Vec<Option<StoredEvent>>,
    /// Those of the events that the log has, where it was asked for.
    pub known_ids: HashSet<EventId>,
    /// Fresh numbers, where they were asked for.
    pub numbers: Vec<SequenceNumber>,
}

/// What is not remembered.
#[derive(Debug, Default)]
pub struct Missing {
    /// Streams of which the end is not remembered.
    pub streams: Vec<StreamId>,
    /// Names of which the number is not remembered.
    pub names: Vec<Box<str>>,
}

impl Missing {
    /// Whether all is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.names.is_empty()
    }
}

impl Facts {
    /// Lists what `writes` write and ask for, without answers.
    pub fn list(&mut self, writes: &[Append]) {
        for write in writes {
            self.streams.insert(write.stream.clone(), None);
            if !write.events.is_empty() {
                self.list_name(write.stream.category.as_str());
            }
            for event in &write.events {
                self.list_name(event.name.as_str());
                self.list_name(event.payload.encoding().as_str());
                for tag in &event.tags {
                    self.list_name(tag.as_str());
                }
            }
            for (query, _) in write.condition.queries() {
                self.list_query(query);
            }
        }
    }

    /// Lists what `query` asks for, without answers.
    pub fn list_query(&mut self, query: &Query) {
        for item in query.items() {
            match &item.source {
                Source::Log => {}
                Source::Category(category) => self.list_name(category.as_str()),
                Source::Stream(stream) => {
                    self.streams.insert(stream.clone(), None);
                }
            }
            item.names.iter().flatten().for_each(|name| self.list_name(name.as_str()));
            item.tags.iter().for_each(|tag| self.list_name(tag.as_str()));
        }
    }

    fn list_name(&mut self, name: &str) {
        if !self.names.contains_key(name) {
            self.names.insert(name.into(), None);
        }
    }

    /// Fills in what is remembered; returns what is not.
    pub fn recall(&mut self, known: &mut Known) -> Missing {
        let mut missing = Missing::default();
        for (stream, head) in &mut self.streams {
            match known.streams.get(stream) {
                Some(remembered) => *head = *remembered,
                None => missing.streams.push(stream.clone()),
            }
        }
        for (name, id) in &mut self.names {
            *id = known.names.get(name);
            if id.is_none() {
                missing.names.push(name.clone());
            }
        }
        missing
    }

    /// All that is listed, as if nothing were remembered.
    #[must_use]
    pub fn all_missing(&self) -> Missing {
        Missing {
            streams: self.streams.keys().cloned().collect(),
            names: self.names.keys().cloned().collect(),
        }
    }
}

/// Whether its condition is judged on events, not only on the ends of streams.
#[must_use]
pub fn looks_into_log(write: &Append) -> bool {
    write.condition.needs_last_event() || !write.condition.queries().is_empty()
}

/// The names that `works` write, in order.
#[must_use]
pub fn names_of<'a>(works: &[Work<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for write in works.iter().flat_map(|work| work.writes).filter(|write| !write.events.is_empty())
    {
        names.push(write.stream.category.as_str());
        for event in &write.events {
            names.push(event.name.as_str());
            names.push(event.payload.encoding().as_str());
            names.extend(event.tags.iter().map(annals::Tag::as_str));
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

impl Ids for Facts {
    type Error = Error;

    fn name(&mut self, name: &str) -> Result<Option<i64>> {
        Ok(self.names.get(name).copied().flatten())
    }

    fn stream(&mut self, stream: &StreamId) -> Result<Option<i64>> {
        Ok(self.streams.get(stream).copied().flatten().map(|head| head.stream_id))
    }
}
