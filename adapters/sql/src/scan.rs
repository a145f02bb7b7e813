//! A read under way, page by page, with nothing held in between.

use std::num::NonZeroUsize;
use std::sync::Arc;

use annals::{Direction, Page, Position, Query, ReadOptions, SequenceNumber, StoredEvent};

use crate::resolve::Item;
use crate::row::to_column;

/// How many events a page has at most, unless an adapter is configured otherwise.
pub const PAGE_SIZE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2_047);

/// The first page is this small, so that short reads cost little.
const FIRST_PAGE: usize = 256;
/// Each page may be this much larger than the one before.
const GROWTH: usize = 4;

/// What one page may hold: `after` < sequence number ≤ `until`, positions within theirs, at most `limit`, from one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Exclusive.
    pub after: i64,
    /// Inclusive.
    pub until: i64,
    /// Inclusive.
    pub from_position: Option<i64>,
    /// Inclusive.
    pub until_position: Option<i64>,
    /// How many rows at most.
    pub limit: i64,
    /// From which end.
    pub direction: Direction,
}

impl Bounds {
    /// The first event, or the last one.
    #[must_use]
    pub fn one(direction: Direction) -> Self {
        Self {
            after: 0,
            until: i64::MAX,
            from_position: None,
            until_position: None,
            limit: 1,
            direction,
        }
    }
}

/// What is left of a read.
///
/// The head is fixed *before* names are looked up and events are read, or in the statement that reads the first of
/// them: all that is at or below the head is committed, so a name that is unknown afterwards has no event there, and all
/// statements see the same log up to it. The read ends at that head however fast others append.
#[derive(Debug, Clone)]
pub struct Scan {
    query: Arc<Query>,
    options: ReadOptions,
    /// Whether the read is no wider than the order, so that the end of a scan is the head.
    keeps_order: bool,
    items: Option<Vec<Item>>,
    head: u64,
    after: u64,
    until: u64,
    left: u64,
    page: usize,
    largest_page: usize,
    /// The last number that was returned.
    last: Option<SequenceNumber>,
    /// It ends before the read does.
    is_part: bool,
    is_done: bool,
    /// Of which history of the store its numbers are.
    generation: u64,
}

impl Scan {
    /// A read that has not begun, with pages of at most `largest_page` events. `keeps_order`: it is no wider than the
    /// order ([`Capabilities::keeps_order`](annals::Capabilities::keeps_order)).
    #[must_use]
    pub fn new(query: Query, options: ReadOptions, keeps_order: bool, largest_page: usize) -> Self {
        let largest_page = largest_page.max(1);
        Self {
            query: Arc::new(query),
            options,
            keeps_order,
            items: None,
            head: 0,
            after: options.after.value(),
            until: options.until.map_or(u64::MAX, SequenceNumber::value),
            left: options.limit.unwrap_or(u64::MAX),
            page: FIRST_PAGE.min(largest_page),
            largest_page,
            last: None,
            is_part: false,
            is_done: false,
            generation: 0,
        }
    }

    /// Of which history of the store the numbers of its items are; see [`restart`](Self::restart).
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Has the items looked up again, because the store is another one than that of which they were.
    pub fn restart(&mut self, generation: u64) {
        self.items = None;
        self.generation = generation;
    }

    /// What to read.
    #[must_use]
    pub fn query(&self) -> Arc<Query> {
        Arc::clone(&self.query)
    }

    /// What to read, by number; `None` until it was looked up.
    #[must_use]
    pub fn items(&self) -> Option<&[Item]> {
        self.items.as_deref()
    }

    /// Whether the last page was made.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether no event can be left, so that the last page needs no statement.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0 || self.after >= self.until || self.items.as_ref().is_some_and(Vec::is_empty)
    }

    /// Ends the read at `head`.
    pub fn fix_head(&mut self, head: u64) {
        self.head = head;
        self.until = self.until.min(head);
    }

    /// Ends the read at `head`, the last number of what it reads; 0: it has no events, which claims nothing beyond where
    /// the read began.
    pub fn fix_scope_head(&mut self, head: u64) {
        self.fix_head(if head == 0 { self.after } else { head });
    }

    /// Begins the read at `first`, the lowest number of the log: no page is spent on what comes before.
    pub fn fix_first(&mut self, first: u64) {
        self.after = self.after.max(first.saturating_sub(1));
    }

    /// Sets what to read, by number. Without items nothing is left.
    pub fn set_items(&mut self, items: Vec<Item>) {
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
            self.is_done = true;
            return part;
        }
        part.is_part = true;
        match self.options.direction {
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
        let position = |bound: Position| to_column(bound.value());
        Bounds {
            after: to_column(self.after),
            until: to_column(self.until),
            from_position: self.options.from_position.map(position),
            until_position: self.options.until_position.map(position),
            limit: to_column(self.left.min(self.page as u64)),
            direction: self.options.direction,
        }
    }

    /// The next page, of `events`. `cut`: it was ended early, so that fewer events than asked for do not mean that there
    /// are no more.
    pub fn advance(&mut self, events: Vec<StoredEvent>, cut: bool) -> Page {
        let full = events.len() as u64 >= self.left.min(self.page as u64);
        self.left = self.left.saturating_sub(events.len() as u64);
        self.last = events.last().map(|last| last.sequence_number).or(self.last);
        // After a page that was too large for its bytes the next one is no longer than what was kept of it.
        let next = if cut { events.len() } else { self.page.saturating_mul(GROWTH) };
        self.page = next.clamp(1, self.largest_page);
        let head = SequenceNumber::new(self.head);
        let returned = self.last.unwrap_or(self.options.begin(head));
        if self.left == 0 {
            self.is_done = true;
            return Page::new(events, returned);
        }
        if let Some(last) = events.last().filter(|last| (full || cut) && !self.ends_at(last)) {
            let last = last.sequence_number;
            match self.options.direction {
                Direction::Forward => self.after = last.value(),
                Direction::Backward => self.until = last.value().saturating_sub(1),
            }
            return Page::new(events, last);
        }
        self.is_done = true;
        if self.is_part {
            let bound = match self.options.direction {
                Direction::Forward => self.until,
                Direction::Backward => self.after.saturating_add(1),
            };
            return Page::new(events, SequenceNumber::new(bound));
        }
        let through = if self.keeps_order { self.options.end(head) } else { returned };
        Page::new(events, through).at_head()
    }

    /// Whether `last` is the last event that there can be.
    fn ends_at(&self, last: &StoredEvent) -> bool {
        let number = last.sequence_number.value();
        match self.options.direction {
            Direction::Forward => number >= self.until,
            Direction::Backward => number <= self.after.saturating_add(1),
        }
    }
}
