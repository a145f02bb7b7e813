//! The log and its indexes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::ops::Bound;

use annals::{
    CategoryName, CategorySummary, EventId, NewEvent, Position, QueryItem, SequenceNumber, Source,
    StoredEvent, StreamId, StreamName, StreamSummary, Tag,
};
use hashbrown::HashMap;
use time::OffsetDateTime;

use crate::candidates::Candidates;
use crate::ids::Ids;

/// Events in sequence order; the indexes hold places in it, ascending.
///
/// The event with sequence number n is at place n − `before` − 1.
#[derive(Debug)]
pub(crate) struct Log {
    before: u64,
    pub(crate) events: Vec<StoredEvent>,
    pub(crate) is_closed: bool,
    ids: Ids,
    streams: HashMap<StreamId, Vec<usize>>,
    categories: HashMap<CategoryName, Vec<usize>>,
    tags: HashMap<Tag, Vec<usize>>,
    /// All categories and streams in the order of their names.
    names: BTreeMap<CategoryName, BTreeSet<StreamName>>,
}

impl Log {
    pub(crate) fn new(before: SequenceNumber) -> Self {
        Self {
            before: before.value(),
            events: Vec::new(),
            is_closed: false,
            ids: Ids::default(),
            streams: HashMap::new(),
            categories: HashMap::new(),
            tags: HashMap::new(),
            names: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// The last sequence number.
    pub(crate) fn head(&self) -> SequenceNumber {
        self.number_before(self.events.len())
    }

    /// The sequence number before that of the event at `place`.
    pub(crate) fn number_before(&self, place: usize) -> SequenceNumber {
        SequenceNumber::new(self.before + place as u64)
    }

    /// The streams of `category` after `after`, at most `limit`.
    pub(crate) fn list_streams(
        &self,
        category: &CategoryName,
        after: Option<&StreamName>,
        limit: NonZeroUsize,
    ) -> Vec<StreamSummary> {
        let Some(names) = self.names.get(category) else { return Vec::new() };
        let names =
            names.range::<StreamName, _>((behind(after), Bound::Unbounded)).take(limit.get());
        let streams = names.map(|name| {
            let stream = StreamId { category: category.clone(), name: name.clone() };
            let places = listed(&self.streams, &stream);
            Some(StreamSummary::new(stream, places.len() as u64, self.recorded_at(places)?))
        });
        streams.flatten().collect()
    }

    /// The categories after `after`, at most `limit`.
    pub(crate) fn list_categories(
        &self,
        after: Option<&CategoryName>,
        limit: NonZeroUsize,
    ) -> Vec<CategorySummary> {
        let names = self
            .names
            .range::<CategoryName, _>((behind(after), Bound::Unbounded))
            .take(limit.get());
        let categories = names.map(|(category, streams)| {
            let places = listed(&self.categories, category);
            let (streams, events) = (streams.len() as u64, places.len() as u64);
            let recorded_at = self.recorded_at(places)?;
            Some(CategorySummary::new(category.clone(), streams, events, recorded_at))
        });
        categories.flatten().collect()
    }

    /// When the first and the last of these events were recorded.
    fn recorded_at(&self, places: &[usize]) -> Option<[OffsetDateTime; 2]> {
        let time = |place: Option<&usize>| Some(self.events.get(*place?)?.recorded_at);
        Some([time(places.first())?, time(places.last())?])
    }

    /// Appends `events` to `stream`, to this log and to `stored`.
    pub(crate) fn insert(
        &mut self,
        stream: &StreamId,
        events: Vec<NewEvent>,
        recorded_at: OffsetDateTime,
        stored: &mut Vec<StoredEvent>,
    ) {
        let in_category = entry(&mut self.categories, &stream.category);
        let in_stream = entry(&mut self.streams, stream);
        if in_stream.is_empty() {
            self.names.entry(stream.category.clone()).or_default().insert(stream.name.clone());
        }
        for event in events {
            let place = self.events.len();
            let position = Position::new(in_stream.len() as u64);
            let number = SequenceNumber::new(self.before + place as u64 + 1);
            in_stream.push(place);
            in_category.push(place);
            for tag in &event.tags {
                entry(&mut self.tags, tag).push(place);
            }
            self.ids.insert(event.id, place);
            let event = StoredEvent::new(event, stream.clone(), position, number, recorded_at);
            self.events.push(event.clone());
            stored.push(event);
        }
    }

    /// The place of the first event after `number`; the log's length when there is none.
    pub(crate) fn place_after(&self, number: SequenceNumber) -> usize {
        let distance = number.value().saturating_sub(self.before);
        usize::try_from(distance).unwrap_or(usize::MAX).min(self.events.len())
    }

    /// Whether an event has this id.
    pub(crate) fn has(&self, id: &EventId) -> bool {
        self.ids.contains(id)
    }

    /// The places of the events of a stream, by position.
    pub(crate) fn places_of(&self, stream: &StreamId) -> &[usize] {
        listed(&self.streams, stream)
    }

    /// The shortest index that holds all that `item` can match.
    pub(crate) fn candidates(&self, item: &QueryItem) -> Candidates<'_> {
        let source = match &item.source {
            Source::Log => Candidates::all(self.events.len()),
            Source::Category(category) => Candidates::listed(listed(&self.categories, category)),
            Source::Stream(stream) => Candidates::listed(self.places_of(stream)),
        };
        let ids = item
            .ids
            .iter()
            .map(|ids| Candidates::found(ids.iter().filter_map(|id| self.ids.get(id)).collect()));
        let tags = item.tags.iter().map(|tag| Candidates::listed(listed(&self.tags, tag)));
        ids.chain(tags).fold(source, |best, next| if next.len() < best.len() { next } else { best })
    }
}

/// The list of `key`, made when it is new; the key is copied only then.
fn entry<'a, K: Clone + Eq + Hash>(
    index: &'a mut HashMap<K, Vec<usize>>,
    key: &K,
) -> &'a mut Vec<usize> {
    index.entry_ref(key).or_default()
}

fn behind<K>(name: Option<&K>) -> Bound<&K> {
    name.map_or(Bound::Unbounded, Bound::Excluded)
}

fn listed<'a, K: Eq + Hash>(index: &'a HashMap<K, Vec<usize>>, key: &K) -> &'a [usize] {
    index.get(key).map(Vec::as_slice).unwrap_or_default()
}
