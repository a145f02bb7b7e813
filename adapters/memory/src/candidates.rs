//! Where in the log to look for what a query asks for.

use std::borrow::Cow;
use std::ops::Range;

use annals::Direction;

/// Places in the log that may match, ascending, and what is left of them.
pub(crate) struct Candidates<'a> {
    /// `None`: every place.
    places: Option<Cow<'a, [usize]>>,
    left: Range<usize>,
}

impl<'a> Candidates<'a> {
    pub(crate) fn all(count: usize) -> Self {
        Self { places: None, left: 0..count }
    }

    pub(crate) fn listed(places: &'a [usize]) -> Self {
        Self { places: Some(Cow::Borrowed(places)), left: 0..places.len() }
    }

    pub(crate) fn found(mut places: Vec<usize>) -> Self {
        places.sort_unstable();
        places.dedup();
        Self { left: 0..places.len(), places: Some(Cow::Owned(places)) }
    }

    pub(crate) fn len(&self) -> usize {
        self.left.len()
    }

    pub(crate) fn within(mut self, bounds: &Range<usize>) -> Self {
        self.left = match &self.places {
            None => self.left.start.max(bounds.start)..self.left.end.min(bounds.end),
            Some(places) => {
                let place = |bound| places.partition_point(|place| *place < bound);
                place(bounds.start)..place(bounds.end)
            }
        };
        self
    }

    pub(crate) fn peek(&self, direction: Direction) -> Option<usize> {
        if self.left.is_empty() {
            return None;
        }
        let nth = match direction {
            Direction::Forward => self.left.start,
            Direction::Backward => self.left.end - 1,
        };
        match &self.places {
            None => Some(nth),
            Some(places) => places.get(nth).copied(),
        }
    }

    pub(crate) fn skip(&mut self, direction: Direction) {
        match direction {
            Direction::Forward => self.left.start += 1,
            Direction::Backward => self.left.end -= 1,
        }
    }
}
