//! Reads by pages: what is asked for, when, and that nothing of it is lost, doubled or out of order.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use annals::{
    Direction, Error, EventId, EventName, EventPages, NewEvent, Page, Payload, Position, Query,
    ReadOptions, SequenceNumber, StoredEvent, StreamId,
};
use annals_sql::{Item, PAGE_SIZE, PageSource, Scan, Scope, Turn, pages};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use proptest::collection::btree_set;
use proptest::prelude::*;
use time::OffsetDateTime;
use uuid::Uuid;

const NAME: EventName = EventName::from_static("kept");
const STREAM: StreamId = StreamId::from_static("worlds", "earth");
/// The most pages that may be under way while one is consumed.
const AHEAD: usize = 2;

/// A log that answers at once, and counts.
#[derive(Debug, Clone)]
struct Log {
    numbers: Arc<BTreeSet<u64>>,
    item: Item,
    /// After so many events a page is cut short.
    cut: usize,
    /// Of each page whether it was asked for ahead.
    asked: Arc<Mutex<Vec<bool>>>,
    under_way: Arc<AtomicUsize>,
}

impl Log {
    fn new(numbers: impl IntoIterator<Item = u64>, item: Item) -> Self {
        Self {
            numbers: Arc::new(numbers.into_iter().collect()),
            item,
            cut: usize::MAX,
            asked: Arc::default(),
            under_way: Arc::default(),
        }
    }

    fn read(&self, options: ReadOptions, largest_page: NonZeroUsize) -> EventPages {
        pages(self.clone(), Scan::new(Query::all(), options, true, largest_page.get()), "test")
    }

    fn asked(&self) -> Vec<bool> {
        self.asked.lock().unwrap().clone()
    }

    fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    fn page(&self, mut scan: Scan) -> (Scan, Page) {
        if scan.items().is_none() {
            scan.fix_head(self.numbers.last().copied().unwrap_or_default());
            scan.set_items(vec![self.item.clone()]);
        }
        if scan.is_empty() {
            let page = scan.advance(Vec::new(), false);
            return (scan, page);
        }
        let bounds = scan.bounds();
        let [after, until, limit] =
            [bounds.after, bounds.until, bounds.limit].map(|bound| u64::try_from(bound).unwrap());
        let within = self.numbers.range(after + 1..=until).copied();
        let limit = usize::try_from(limit).unwrap();
        let most = limit.min(self.cut);
        let numbers: Vec<u64> = match bounds.direction {
            Direction::Forward => within.take(most).collect(),
            Direction::Backward => within.rev().take(most).collect(),
        };
        let is_cut = numbers.len() == self.cut && self.cut < limit;
        let page = scan.advance(numbers.into_iter().map(event).collect(), is_cut);
        (scan, page)
    }
}

fn event(number: u64) -> StoredEvent {
    let (id, now) =
        (EventId::from_uuid(Uuid::from_u128(number.into())), OffsetDateTime::UNIX_EPOCH);
    let event = NewEvent::from_parts(id, NAME, Payload::bytes(Vec::new()), now);
    StoredEvent::new(event, STREAM, Position::new(number), SequenceNumber::new(number), now)
}

/// A page under way, until it was taken or dropped.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PageSource for Log {
    fn ask(&self, scan: Scan, ahead: bool) -> BoxFuture<'static, Turn> {
        self.asked.lock().unwrap().push(ahead);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let (log, under_way) = (self.clone(), UnderWay(Arc::clone(&self.under_way)));
        async move {
            let _under_way = under_way;
            Ok::<_, Error>(log.page(scan))
        }
        .boxed()
    }

    fn closed(&self) -> Option<Error> {
        None
    }
}

fn next(read: &mut EventPages) -> Option<Page> {
    read.next().now_or_never().expect("the log answers at once").transpose().unwrap()
}

/// While the first page is consumed the second is read, and then two: a layer that decodes a page waits for none that could
/// have been read meanwhile.
#[test]
fn the_next_page_is_asked_for_before_the_one_before_it_is_returned() {
    for item in [Item::ALL, Item::of(Scope::Category(1))] {
        // Only of a whole log it is known before where the page after the next begins.
        let most = if item == Item::ALL { AHEAD } else { 1 };
        let log = Log::new(1..=20_000, item);
        let mut read = log.read(ReadOptions::default(), PAGE_SIZE);
        assert!(log.asked().is_empty(), "nothing happens before the first poll");
        let first = next(&mut read).unwrap();
        assert_eq!(log.asked(), [false, true], "the second page is under way, and no more");
        let mut seen = first.events.len();
        while let Some(page) = next(&mut read) {
            seen += page.events.len();
            let is_last = seen == 20_000;
            assert!(is_last || (1..=most).contains(&log.under_way()), "{seen} events came");
            assert!(seen > 15_000 || log.under_way() == most, "{seen} events came");
        }
        assert_eq!((seen, log.under_way()), (20_000, 0));
        assert!(log.asked().iter().skip(1).all(|ahead| *ahead), "only the first is waited for");
    }
}

#[test]
fn a_read_that_fits_on_its_first_page_asks_for_no_other() {
    let all = ReadOptions::default();
    for (events, options) in [(0, all), (1, all), (200, all), (5_000, all.limit(200))] {
        let log = Log::new(1..=events, Item::ALL);
        let mut read = log.read(options, PAGE_SIZE);
        let page = next(&mut read).unwrap();
        assert_eq!(page.events.len() as u64, events.min(200));
        assert_eq!((log.asked(), log.under_way()), (vec![false], 0));
        assert_eq!(next(&mut read), None);
        assert_eq!(log.asked(), [false]);
    }
}

#[test]
fn a_read_that_is_dropped_leaves_nothing_under_way() {
    let log = Log::new(1..=20_000, Item::ALL);
    for pages in 0..4 {
        let mut read = log.read(ReadOptions::default(), PAGE_SIZE);
        for _ in 0..pages {
            next(&mut read).unwrap();
        }
        drop(read);
        assert_eq!(log.under_way(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    /// Whatever the numbers, bounds, sizes and cuts of pages: a read returns what is within its bounds, once and in order, with
    /// at most two pages under way.
    #[test]
    fn a_read_returns_what_is_within_its_bounds(
        numbers in btree_set(1..3_000_u64, 0..1_500),
        is_whole in any::<bool>(),
        after in prop_oneof![Just(0), 0..3_000_u64],
        until in prop::option::of(0..3_000_u64),
        limit in prop::option::of(0..1_500_u64),
        is_backward in any::<bool>(),
        largest_page in 1..600_usize,
        cut in prop_oneof![Just(usize::MAX), 1..300_usize],
    ) {
        let item = if is_whole { Item::ALL } else { Item::of(Scope::Category(1)) };
        let log = Log { cut, ..Log::new(numbers.iter().copied(), item) };
        let mut options = ReadOptions::default().after(SequenceNumber::new(after));
        options.until = until.map(SequenceNumber::new);
        options.limit = limit;
        let bounds = |number: &u64| *number > after && until.is_none_or(|until| *number <= until);
        let within = numbers.iter().copied().filter(bounds);
        let most = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
        let expected: Vec<u64> = if is_backward {
            options = options.backward();
            within.rev().take(most).collect()
        } else {
            within.take(most).collect()
        };
        let mut read = log.read(options, NonZeroUsize::new(largest_page).unwrap());
        let mut seen = Vec::new();
        while let Some(page) = next(&mut read) {
            prop_assert!(log.under_way() <= AHEAD, "{} pages are under way", log.under_way());
            prop_assert!(page.events.len() <= largest_page);
            seen.extend(page.events.iter().map(|event| event.sequence_number.value()));
        }
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(log.under_way(), 0);
    }
}
