//! Appends to a log, judged on it as it is before them.

use annals::adapter::Facts;
use annals::{Append, Error, Position, Query, ReadOptions, Result, SequenceNumber, StoredEvent};
use time::OffsetDateTime;

use crate::log::Log;
use crate::scan::Scan;

impl Log {
    /// All of `writes` or none: everything that can refuse comes before the first change. It takes the events
    /// and leaves the conditions, because dropping a predicate runs the caller's code.
    pub(crate) fn append(
        &mut self,
        writes: &mut [Append],
        recorded_at: OffsetDateTime,
    ) -> Result<Vec<StoredEvent>> {
        self.judge(writes)?;
        Ok(self.insert_all(writes, recorded_at))
    }

    /// Whether `writes` can be appended.
    pub(crate) fn judge(&self, writes: &[Append]) -> Result<()> {
        let events = || writes.iter().flat_map(|write| &write.events);
        if self.is_closed {
            return Err(Error::closed(crate::NAME));
        }
        if let Some(known) = events().find(|event| self.has(&event.id)) {
            return Err(Error::DuplicateEvent(known.id));
        }
        for write in writes {
            write.condition.evaluate(&write.stream, &self.facts(write))?;
        }
        let count = events().count();
        let left = SequenceNumber::MAX.value().saturating_sub(self.head().value());
        if count as u64 > left {
            return Err(Error::invalid("the log has no sequence numbers left"));
        }
        Ok(())
    }

    /// What [`insert_all`](Self::insert_all) will store.
    #[cfg(feature = "views")]
    pub(crate) fn draft(&self, writes: &[Append], recorded_at: OffsetDateTime) -> Vec<StoredEvent> {
        let mut number = self.head();
        let mut lengths = hashbrown::HashMap::new();
        let mut drafted = Vec::new();
        for write in writes {
            let places = || self.places_of(&write.stream).len() as u64;
            let length = lengths.entry(&write.stream).or_insert_with(places);
            for event in write.events.iter().cloned() {
                number = SequenceNumber::new(number.value() + 1);
                let (stream, position) = (write.stream.clone(), Position::new(*length));
                drafted.push(StoredEvent::new(event, stream, position, number, recorded_at));
                *length += 1;
            }
        }
        drafted
    }

    /// Appends what was judged. It takes the events.
    pub(crate) fn insert_all(
        &mut self,
        writes: &mut [Append],
        recorded_at: OffsetDateTime,
    ) -> Vec<StoredEvent> {
        let count = writes.iter().map(|write| write.events.len()).sum();
        let mut stored = Vec::with_capacity(count);
        for write in writes.iter_mut().filter(|write| !write.events.is_empty()) {
            self.insert(&write.stream, std::mem::take(&mut write.events), recorded_at, &mut stored);
        }
        stored
    }

    fn facts(&self, write: &Append) -> Facts {
        let places = self.places_of(&write.stream);
        let head = places.len().checked_sub(1).map(|last| Position::new(last as u64));
        let matches = write.condition.queries().into_iter();
        let matches = matches.map(|(query, after)| self.first_match(query, after)).collect();
        let facts = Facts::new(head).with_matches(matches);
        if write.condition.needs_last_event() || write.condition.needs_last_id() {
            let last = places.last().and_then(|place| self.events.get(*place));
            return facts.with_last(last.cloned());
        }
        facts
    }

    fn first_match(&self, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
        let options = ReadOptions::default().after(after).limit(1);
        let mut scan = Scan::new(self, query.clone(), options);
        while let Some(page) = scan.advance(self, 1) {
            if let Some(found) = page.events.first() {
                return Some(found.sequence_number);
            }
        }
        None
    }
}
