//! A read under way, page by page, with nothing held in between.

use std::num::NonZeroUsize;
use std::sync::Arc;

use annals::{Direction, Query, ReadOptions, StoredEvent};

use crate::select::Item;
use crate::to_column;

/// How many events a page has at most, unless an adapter is told otherwise.
pub const PAGE_SIZE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2_047);

/// The first page is this small, so that short reads cost little.
const FIRST_PAGE: usize = 256;
/// Each page may be this much larger than the one before.
const GROWTH: usize = 4;

/// What one page may hold: `after` < sequence number ≤ `until`, at most `limit`, from one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Exclusive.
    pub after: i64,
    /// Inclusive.
    pub until: i64,
    /// How many rows at most.
    pub limit: i64,
    /// From which end.
    pub direction: Direction,
}

/// What is left of a read.
///
/// The first page fixes the head, *before* names are looked up: all that is at or below the head is committed,
/// so a name that is unknown afterwards has no event there, and all statements see the same log. Only where one
/// statement gives the whole first page may the head be fixed after it. The read ends at that head however fast
/// others append.
#[derive(Debug, Clone)]
pub struct Scan {
    query: Arc<Query>,
    items: Option<Vec<Item>>,
    after: u64,
    until: u64,
    left: u64,
    direction: Direction,
    page: usize,
    largest_page: usize,
}

impl Scan {
    /// A read that has not begun, with pages of at most `largest_page` events.
    #[must_use]
    pub fn new(query: Query, options: &ReadOptions, largest_page: usize) -> Self {
        let largest_page = largest_page.max(1);
        Self {
            query: Arc::new(query),
            items: None,
            after: options.after.value(),
            until: options.until.map_or(u64::MAX, annals::SequenceNumber::value),
            left: options.limit.unwrap_or(u64::MAX),
            direction: options.direction,
            page: FIRST_PAGE.min(largest_page),
            largest_page,
        }
    }

    /// What to read.
    #[must_use]
    pub fn query(&self) -> Arc<Query> {
        Arc::clone(&self.query)
    }

    /// What to read, by number; `None` until the head is fixed.
    #[must_use]
    pub fn items(&self) -> Option<&[Item]> {
        self.items.as_deref()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0 || self.after >= self.until
    }

    /// Ends the read at `head`.
    pub fn fix_head(&mut self, head: u64) {
        self.until = self.until.min(head);
    }

    /// Begins the read at `first`, the lowest number of the log: no page is spent on what comes before.
    pub fn fix_first(&mut self, first: u64) {
        self.after = self.after.max(first.saturating_sub(1));
    }

    /// Sets what to read, by number: looked up after the head was fixed. Of no items nothing is left.
    pub fn set_items(&mut self, items: Vec<Item>) {
        if items.is_empty() {
            self.left = 0;
        }
        self.items = Some(items);
    }

    /// Takes the next page off, so that it can be read while others are. Where the places of pages are not known
    /// beforehand it takes all, and leaves nothing. Sequence numbers without holes make full pages of it; with
    /// holes pages are smaller, and nothing is missed.
    #[must_use]
    pub fn split(&mut self) -> Self {
        let span = self.until.saturating_sub(self.after);
        let is_whole_log = self.items.as_deref() == Some(&[Item::ALL]);
        let mut part = self.clone();
        if !is_whole_log || self.left < span || span <= self.page as u64 {
            self.left = 0;
            return part;
        }
        match self.direction {
            Direction::Forward => {
                self.after += self.page as u64;
                part.until = self.after;
            }
            Direction::Backward => {
                self.until -= self.page as u64;
                part.after = self.until;
            }
        }
        self.page = self.page.saturating_mul(GROWTH).min(self.largest_page);
        part
    }

    /// The bounds of the next page.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            after: to_column(self.after),
            until: to_column(self.until),
            limit: to_column(self.left.min(self.page as u64)),
            direction: self.direction,
        }
    }

    /// Takes note of the next page. `cut`: it was ended early, so that fewer events than asked for do not mean
    /// that there are no more.
    pub fn advance(&mut self, page: &[StoredEvent], cut: bool) {
        let full = page.len() as u64 >= self.left.min(self.page as u64);
        self.left = self.left.saturating_sub(page.len() as u64);
        match page.last() {
            Some(last) if (full || cut) && !self.ends_at(last) => match self.direction {
                Direction::Forward => self.after = last.sequence_number.value(),
                Direction::Backward => self.until = last.sequence_number.value().saturating_sub(1),
            },
            _ => self.left = 0,
        }
        // After a page that was too large for its bytes the next one is no longer than what was kept of it.
        let next = if cut { page.len() } else { self.page.saturating_mul(GROWTH) };
        self.page = next.clamp(1, self.largest_page);
    }

    /// Whether `last` is the last event that there can be.
    fn ends_at(&self, last: &StoredEvent) -> bool {
        let number = last.sequence_number.value();
        match self.direction {
            Direction::Forward => number >= self.until,
            Direction::Backward => number <= self.after.saturating_add(1),
        }
    }
}
