//! The log and its indexes, and scans over them.

use std::hash::Hash;
use std::ops::Range;

use annals::{
    Append, CategoryName, Direction, Error, Facts, NewEvent, Position, Query, QueryItem,
    ReadOptions, Result, SequenceNumber, Source, StoredEvent, StreamId, Tag,
};
use hashbrown::HashMap;
use time::OffsetDateTime;

use crate::ids::Ids;

/// How many events a scan looks at under one lock.
const SCAN_BUDGET: usize = 8_192;

/// Events in sequence order; the indexes hold places in it, ascending.
///
/// The event with sequence number n is at place n − `before` − 1.
#[derive(Debug)]
pub(crate) struct Log {
    before: u64,
    events: Vec<StoredEvent>,
    ids: Ids,
    streams: HashMap<StreamId, Vec<usize>>,
    categories: HashMap<CategoryName, Vec<usize>>,
    tags: HashMap<Tag, Vec<usize>>,
}

impl Log {
    pub(crate) fn new(before: SequenceNumber) -> Self {
        Self {
            before: before.value(),
            events: Vec::new(),
            ids: Ids::default(),
            streams: HashMap::new(),
            categories: HashMap::new(),
            tags: HashMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// All of `writes` or none: everything that can refuse comes before the first change. It takes the events
    /// and leaves the conditions, because dropping a predicate runs code of the caller's.
    pub(crate) fn append(
        &mut self,
        writes: &mut [Append],
        recorded_at: OffsetDateTime,
    ) -> Result<Vec<StoredEvent>> {
        let events = || writes.iter().flat_map(|write| &write.events);
        if let Some(known) = events().find(|event| self.ids.contains(&event.id)) {
            return Err(Error::DuplicateEvent(known.id));
        }
        for write in &*writes {
            write.condition.evaluate(&write.stream, &self.facts(write))?;
        }
        let count = events().count();
        let head = self.before + self.events.len() as u64;
        if count as u64 > SequenceNumber::MAX.value().saturating_sub(head) {
            return Err(Error::invalid("the log has no sequence numbers left"));
        }
        let mut stored = Vec::with_capacity(count);
        for write in writes.iter_mut().filter(|write| !write.events.is_empty()) {
            self.insert(&write.stream, std::mem::take(&mut write.events), recorded_at, &mut stored);
        }
        Ok(stored)
    }

    fn facts(&self, write: &Append) -> Facts {
        let places = listed(&self.streams, &write.stream);
        let first_match = |(query, after)| self.first_match(query, after);
        Facts {
            head: places.len().checked_sub(1).map(|last| Position::new(last as u64)),
            last: match places.last() {
                Some(&place) if write.condition.needs_last_event() => {
                    self.events.get(place).cloned()
                }
                _ => None,
            },
            matches: write.condition.queries().into_iter().map(first_match).collect(),
        }
    }

    fn first_match(&self, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
        let mut scan =
            Scan::new(self, query.clone(), &ReadOptions::default().after(after).limit(1));
        while !scan.is_done() {
            if let Some(found) = scan.advance(self, 1).first() {
                return Some(found.sequence_number);
            }
        }
        None
    }

    fn insert(
        &mut self,
        stream: &StreamId,
        events: Vec<NewEvent>,
        recorded_at: OffsetDateTime,
        stored: &mut Vec<StoredEvent>,
    ) {
        let in_category = entry(&mut self.categories, &stream.category);
        let in_stream = entry(&mut self.streams, stream);
        for event in events {
            let place = self.events.len();
            let position = Position::new(in_stream.len() as u64);
            let number = SequenceNumber::new(self.before + place as u64 + 1);
            in_stream.push(place);
            in_category.push(place);
            for tag in &event.tags {
                entry(&mut self.tags, tag).push(place);
            }
            self.ids.insert(event.id);
            let event = StoredEvent::new(event, stream.clone(), position, number, recorded_at);
            self.events.push(event.clone());
            stored.push(event);
        }
    }

    /// The place of the first event after `number`; the log's length when there is none.
    fn place_after(&self, number: SequenceNumber) -> usize {
        let distance = number.value().saturating_sub(self.before);
        usize::try_from(distance).unwrap_or(usize::MAX).min(self.events.len())
    }

    /// The shortest index that holds all that `item` can match.
    fn candidates(&self, item: &QueryItem) -> Candidates<'_> {
        let source = match &item.source {
            Source::Log => Candidates::All(0..self.events.len()),
            Source::Category(category) => Candidates::Listed(listed(&self.categories, category)),
            Source::Stream(stream) => Candidates::Listed(listed(&self.streams, stream)),
        };
        let tags = item.tags.iter().map(|tag| Candidates::Listed(listed(&self.tags, tag)));
        tags.fold(source, |best, next| if next.len() < best.len() { next } else { best })
    }
}

/// The list of `key`, made when it is new; the key is copied only then.
fn entry<'a, K: Clone + Eq + Hash>(
    index: &'a mut HashMap<K, Vec<usize>>,
    key: &K,
) -> &'a mut Vec<usize> {
    index.entry_ref(key).or_default()
}

fn listed<'a, K: Eq + Hash>(index: &'a HashMap<K, Vec<usize>>, key: &K) -> &'a [usize] {
    index.get(key).map(Vec::as_slice).unwrap_or_default()
}

/// Places in the log that may match, ascending.
enum Candidates<'a> {
    All(Range<usize>),
    Listed(&'a [usize]),
}

impl Candidates<'_> {
    fn len(&self) -> usize {
        match self {
            Self::All(range) => range.len(),
            Self::Listed(places) => places.len(),
        }
    }

    fn within(self, bounds: &Range<usize>) -> Self {
        match self {
            Self::All(range) => Self::All(range.start.max(bounds.start)..range.end.min(bounds.end)),
            Self::Listed(places) => {
                let start = places.partition_point(|place| *place < bounds.start);
                let end = places.partition_point(|place| *place < bounds.end);
                Self::Listed(places.get(start..end).unwrap_or_default())
            }
        }
    }

    fn peek(&self, direction: Direction) -> Option<usize> {
        match (self, direction) {
            (Self::All(range), _) if range.is_empty() => None,
            (Self::All(range), Direction::Forward) => Some(range.start),
            (Self::All(range), Direction::Backward) => Some(range.end - 1),
            (Self::Listed(places), Direction::Forward) => places.first().copied(),
            (Self::Listed(places), Direction::Backward) => places.last().copied(),
        }
    }

    fn skip(&mut self, direction: Direction) {
        match (self, direction) {
            (Self::All(range), Direction::Forward) => range.start += 1,
            (Self::All(range), Direction::Backward) => range.end -= 1,
            (Self::Listed(places), Direction::Forward) => {
                *places = places.get(1..).unwrap_or_default();
            }
            (Self::Listed(places), Direction::Backward) => {
                *places = places.split_last().map(|(_, rest)| rest).unwrap_or_default();
            }
        }
    }
}

/// A read under way: what is left of it. It borrows nothing, so no lock is needed between pages.
#[derive(Debug)]
pub(crate) struct Scan {
    query: Query,
    direction: Direction,
    bounds: Range<usize>,
    limit: u64,
}

impl Scan {
    pub(crate) fn new(log: &Log, query: Query, options: &ReadOptions) -> Self {
        let query = if query.items().is_empty() { Source::Log.into() } else { query };
        let start = log.place_after(options.after);
        let end = options.until.map_or(log.len(), |until| log.place_after(until));
        Self {
            query,
            direction: options.direction,
            bounds: start..end,
            limit: options.limit.unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.limit == 0 || self.bounds.is_empty()
    }

    /// The next events that match, at most `page_size`; perhaps none, when a whole budget of events did not.
    pub(crate) fn advance(&mut self, log: &Log, page_size: usize) -> Vec<StoredEvent> {
        let items = self.query.items();
        let mut lists: Vec<Candidates<'_>> =
            items.iter().map(|item| log.candidates(item).within(&self.bounds)).collect();
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX).min(page_size);
        let expected = lists.iter().map(Candidates::len).sum::<usize>().min(most);
        // Of such items every candidate matches: what they ask for is an index.
        let exact = items.iter().all(|item| item.names.is_empty() && item.tags.is_empty());
        let mut page = Vec::with_capacity(expected);
        for _ in 0..SCAN_BUDGET.max(page_size) {
            let heads = lists.iter().filter_map(|list| list.peek(self.direction));
            let next = match self.direction {
                Direction::Forward => heads.min(),
                Direction::Backward => heads.max(),
            };
            let Some(place) = next else {
                self.bounds = 0..0;
                break;
            };
            match self.direction {
                Direction::Forward => self.bounds.start = place + 1,
                Direction::Backward => self.bounds.end = place,
            }
            for list in &mut lists {
                if list.peek(self.direction) == Some(place) {
                    list.skip(self.direction);
                }
            }
            let wanted = |event: &&StoredEvent| exact || self.query.matches(event);
            if let Some(event) = log.events.get(place).filter(wanted) {
                page.push(event.clone());
                if page.len() == most {
                    break;
                }
            }
        }
        self.limit = self.limit.saturating_sub(page.len() as u64);
        page
    }
}
