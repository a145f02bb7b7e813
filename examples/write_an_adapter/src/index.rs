//! Where everything is: all that is kept in memory.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use annals::{
    CategoryName, Direction, Error, EventId, Position, Query, ReadOptions, Result, SequenceNumber,
    Source, StoredEvent, StreamId,
};

/// The bytes of an event in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) len: usize,
}

/// Numbers have no holes: the event with sequence number n is at place n − 1.
#[derive(Debug, Default)]
pub(crate) struct Index {
    spans: Vec<Span>,
    ids: HashMap<EventId, usize>,
    streams: HashMap<StreamId, Vec<usize>>,
    categories: HashMap<CategoryName, Vec<usize>>,
}

impl Index {
    /// The last sequence number given.
    pub(crate) fn head(&self) -> SequenceNumber {
        SequenceNumber::new(self.spans.len() as u64)
    }

    pub(crate) fn contains(&self, id: EventId) -> bool {
        self.ids.contains_key(&id)
    }

    /// How many events `stream` has.
    pub(crate) fn len_of(&self, stream: &StreamId) -> usize {
        self.streams.get(stream).map_or(0, Vec::len)
    }

    pub(crate) fn last_of(&self, stream: &StreamId) -> Option<Span> {
        let place = self.streams.get(stream)?.last()?;
        self.spans.get(*place).copied()
    }

    /// Takes up the next event of the file, which must be the next of its stream and of the log.
    pub(crate) fn add(&mut self, event: &StoredEvent, span: Span) -> Result<()> {
        let place = self.spans.len();
        let position = Position::new(self.len_of(&event.stream) as u64);
        if event.sequence_number.value() != place as u64 + 1 || event.position != position {
            return Err(Error::corrupt(format!("{event} is out of its order")));
        }
        if self.ids.insert(event.id(), place).is_some() {
            return Err(Error::corrupt(format!("{event} is there twice")));
        }
        self.spans.push(span);
        self.streams.entry(event.stream.clone()).or_default().push(place);
        self.categories.entry(event.stream.category.clone()).or_default().push(place);
        Ok(())
    }

    /// All that `query` can match within the bounds of `options`, in their direction.
    pub(crate) fn candidates(
        &self,
        query: &Query,
        options: ReadOptions,
    ) -> Box<dyn Iterator<Item = Span> + '_> {
        let place = |number: SequenceNumber| {
            usize::try_from(number.value()).unwrap_or(usize::MAX).min(self.spans.len())
        };
        let start = place(options.after);
        let end = place(options.until.unwrap_or(SequenceNumber::MAX)).max(start);
        let places: Box<dyn DoubleEndedIterator<Item = usize>> = match query.scope() {
            _ if query.is_of_ids() => {
                let ids = query.items().iter().flat_map(|item| item.ids.iter().flatten());
                let places = ids.filter_map(|id| self.ids.get(id).copied());
                let places: BTreeSet<usize> =
                    places.filter(|it| (start..end).contains(it)).collect();
                Box::new(places.into_iter())
            }
            None => Box::new(std::iter::empty()),
            Some(Source::Log) => Box::new(start..end),
            Some(Source::Category(category)) => listed(self.categories.get(&category), start..end),
            Some(Source::Stream(stream)) => listed(self.streams.get(&stream), start..end),
        };
        let places: Box<dyn Iterator<Item = usize>> = match options.direction {
            Direction::Forward => places,
            Direction::Backward => Box::new(places.rev()),
        };
        Box::new(places.filter_map(|place| self.spans.get(place).copied()))
    }
}

/// The places of an ascending list that lie within `bounds`.
fn listed(
    places: Option<&Vec<usize>>,
    bounds: Range<usize>,
) -> Box<dyn DoubleEndedIterator<Item = usize> + '_> {
    let places = places.map(Vec::as_slice).unwrap_or_default();
    let first = places.partition_point(|place| *place < bounds.start);
    let end = places.partition_point(|place| *place < bounds.end);
    Box::new(places.get(first..end).unwrap_or_default().iter().copied())
}
