//! Scans over a log: what a read looks at, a page at a time.

use std::ops::Range;

use annals::{
    Direction, Page, Position, Query, ReadOptions, SequenceNumber, Source, StoredEvent, StreamId,
};

use crate::candidates::Candidates;
use crate::log::Log;

/// How many events a scan looks at under one lock.
const SCAN_BUDGET: usize = 8_192;

/// A read under way: what is left of it. It borrows nothing, so no lock is needed between pages.
#[derive(Debug)]
pub(crate) struct Scan {
    query: Query,
    options: ReadOptions,
    /// The last number of the log as the read began, where it ends.
    head: SequenceNumber,
    /// The places that are left to look at.
    bounds: Range<usize>,
    limit: u64,
    is_done: bool,
}

impl Scan {
    pub(crate) fn new(log: &Log, query: Query, options: ReadOptions) -> Self {
        let mut start = log.place_after(options.after);
        let mut end = options.until.map_or(log.len(), |until| log.place_after(until));
        if options.from_position.or(options.until_position).is_some()
            && let Some(Source::Stream(stream)) = query.scope()
        {
            if let Some(from) = options.from_position {
                start = start.max(place_of(log, &stream, Some(from)));
            }
            if let Some(until) = options.until_position {
                end = end.min(place_of(log, &stream, until.next()));
            }
        }
        let limit = options.limit.unwrap_or(u64::MAX);
        Self { query, options, head: log.head(), bounds: start..end, limit, is_done: false }
    }

    /// The next page, of at most `page_size` events; perhaps empty, if a whole budget of events did not match. `None`
    /// after the last.
    pub(crate) fn advance(&mut self, log: &Log, page_size: usize) -> Option<Page> {
        if std::mem::replace(&mut self.is_done, true) {
            return None;
        }
        let direction = self.options.direction;
        let items = || self.query.items().iter().filter(|item| item.can_match());
        let mut lists: Vec<Candidates<'_>> =
            items().map(|item| log.candidates(item).within(&self.bounds)).collect();
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX).min(page_size);
        let expected = lists.iter().map(Candidates::len).sum::<usize>().min(most);
        // Of such items every candidate matches: what they ask for is an index.
        let exact =
            items().all(|item| item.names.is_none() && item.ids.is_none() && item.tags.is_empty());
        let mut events = Vec::with_capacity(expected);
        let next = |lists: &[Candidates<'_>]| {
            let heads = lists.iter().filter_map(|list| list.peek(direction));
            match direction {
                Direction::Forward => heads.min(),
                Direction::Backward => heads.max(),
            }
        };
        let mut budget = SCAN_BUDGET.max(page_size);
        while let Some(place) = next(&lists)
            && events.len() < most
            && budget > 0
        {
            budget -= 1;
            match direction {
                Direction::Forward => self.bounds.start = place + 1,
                Direction::Backward => self.bounds.end = place,
            }
            for list in &mut lists {
                if list.peek(direction) == Some(place) {
                    list.skip(direction);
                }
            }
            let wanted = |event: &&StoredEvent| exact || self.query.matches(event);
            events.extend(log.events.get(place).filter(wanted).cloned());
        }
        self.limit = self.limit.saturating_sub(events.len() as u64);
        if self.limit == 0 {
            let last = events.last().map(|last| last.sequence_number);
            return Some(Page::new(events, last.unwrap_or(self.options.begin(self.head))));
        }
        if next(&lists).is_none() {
            return Some(Page::new(events, self.options.end(self.head)).at_head());
        }
        self.is_done = false;
        Some(Page::new(events, self.looked_at(log)))
    }

    /// The last number that was looked at.
    fn looked_at(&self, log: &Log) -> SequenceNumber {
        match self.options.direction {
            Direction::Forward => log.number_before(self.bounds.start).max(self.options.after),
            Direction::Backward => {
                let number = log.number_before(self.bounds.end).value() + 1;
                SequenceNumber::new(number)
            }
        }
    }
}

/// The place of the event at `position`, or the end of the log if the stream has none.
fn place_of(log: &Log, stream: &StreamId, position: Option<Position>) -> usize {
    let nth = position.and_then(|position| usize::try_from(position.value()).ok());
    let places = log.places_of(stream);
    nth.and_then(|nth| places.get(nth)).copied().unwrap_or(log.len())
}
