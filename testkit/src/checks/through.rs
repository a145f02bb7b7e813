//! How far a page says that its read has come: each claim is compared with what a full read returns.

use annals::{
    Direction, Order, Page, Position, Query, QueryItem, ReadOptions, SequenceNumber, Source,
    StoredEvent, WriteCondition,
};
use futures_util::StreamExt;

use crate::checks::support::ledger::most;
use crate::checks::support::polled_read::{LIMIT, LONG, handles, long, sources, streams};
use crate::checks::support::read_world::{World, named, select};
use crate::engine::{Failure, Outcome, ensure};
use crate::pages::Pages;
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, event, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "through.shapes",
        [R5],
        Required,
        [],
        shapes,
        "pages of every kind of query claim no more and no less than was returned"
    ),
    check!(
        "through.bounds",
        [R5],
        Required,
        [],
        bounds,
        "at every bound and limit, and where nothing is left to read, pages claim what the contract says"
    ),
    check!(
        "through.long",
        [R5 R4],
        Required,
        [],
        long_reads,
        "of reads of many pages each page claims what was returned so far"
    ),
    check!(
        "through.appending",
        [R5 R2],
        Required,
        [],
        appending,
        "what a page claims stays true while others append"
    ),
    check!(
        "through.bytes",
        [R4 R5 R3],
        Required,
        [],
        bytes,
        "thousands of large events are read whole, also with a limit beyond a page"
    ),
    check!(
        "scan.positions",
        [R3 R5],
        Required,
        [],
        positions,
        "bounds on positions cut one stream, and are rejected for anything wider"
    ),
    check!(
        "scan.nothing",
        [R3 R5],
        Required,
        [],
        nothing,
        "a query without items, and items without names, match nothing"
    ),
    check!(
        "cond.nothing",
        [A4],
        Required,
        [Need::Has(Feature::QueryConditions)],
        nothing_matches,
        "no event matches a query of nothing"
    ),
];

/// The last number of what a read of `query` could return, as another read shows it.
async fn head(store: &Subject, query: &Query) -> Outcome<Option<SequenceNumber>> {
    let scope = match (store.capabilities.order, query.scope()) {
        (Order::Log, _) => Query::All,
        (_, Some(scope)) => scope.into(),
        (_, None) => return Ok(None),
    };
    Ok(store.latest(scope).await?.map(|last| last.sequence_number))
}

/// All pages of a read, which ends without an error.
pub(super) async fn pages(
    store: &Subject,
    query: &Query,
    options: ReadOptions,
) -> Outcome<Vec<Page>> {
    let mut shape = Pages::new(&store.capabilities, query, options);
    let mut read = store.adapter.read(query.clone(), options);
    let mut pages = Vec::new();
    while let Some(page) = within(LIMIT, "a page", read.next()).await? {
        let page = page?;
        shape.take(&page)?;
        pages.push(page);
    }
    shape.end()?;
    Ok(pages)
}

/// Each page returns just what it claims of `all` beyond the pages before it: `all` is in the direction of the read.
fn compare(
    store: &Subject,
    all: &[StoredEvent],
    pages: &[Page],
    query: &Query,
    options: ReadOptions,
) -> Outcome {
    let mut rest = all;
    for (nth, page) in pages.iter().enumerate() {
        let is_claimed = |event: &&StoredEvent| match options.direction {
            Direction::Forward => event.sequence_number <= page.through,
            Direction::Backward => event.sequence_number >= page.through,
        };
        let (claimed, later) = rest.split_at(rest.iter().take_while(is_claimed).count());
        let own = page.events.iter().filter(|event| store.owns(event));
        let own: Vec<StoredEvent> = own.cloned().collect();
        let what = format!(
            "what page {nth} of {query} ({options:?}) claims beyond the pages before it, with through {}",
            page.through
        );
        store.same(&own, claimed, &what)?;
        rest = later;
    }
    Ok(())
}

/// Reads, and proves every claim, the last one exactly.
pub(super) async fn claims(
    world: &World,
    store: &Subject,
    query: &Query,
    options: ReadOptions,
) -> Outcome {
    let lowest = head(store, query).await?;
    let pages = pages(store, query, options).await?;
    // Others may append to the same log meanwhile.
    let highest = head(store, query).await?;
    let mut unlimited = options;
    unlimited.limit = None;
    let all = select(world.matches(query), unlimited);
    compare(store, &all, &pages, query, options)?;
    let Some(last) = pages.last() else { return Err(Failure::new("a read had no page")) };
    let end = |head: Option<SequenceNumber>| {
        let head = head.unwrap_or(options.after);
        if last.at_head { options.end(head) } else { options.begin(head) }
    };
    if last.at_head || options.limit == Some(0) {
        let (low, high) = (end(lowest), end(highest));
        ensure!(
            (low..=high).contains(&last.through),
            "the last page of {query} ({options:?}) has through {}, expected {low} to {high}",
            last.through
        );
    }
    Ok(())
}

/// Queries of every shape that the adapter must answer.
fn queries(world: &World) -> Outcome<Vec<Query>> {
    let store = &world.ledger.store;
    let mut queries = vec![Query::any_of([])];
    for source in world.sources() {
        let item = QueryItem::new(source.clone());
        let none = item.clone().with_names([""; 0]).map_err(annals::Error::from)?;
        queries.extend([Query::from(source.clone()), none.into()]);
        queries.push(named(&source, &["placed", "changed"]).into());
        queries.push(named(&source, &["never"]).into());
        queries.push(item.clone().with_tags(store.tags(&["a"])).into());
        let first = world.own.first().map(|event| event.stream.clone());
        queries.push(Query::any_of([item].into_iter().chain(first.map(QueryItem::new))));
    }
    queries.retain(|query| world.may_read(query));
    Ok(queries)
}

async fn shapes(cx: Context) -> Outcome {
    let mut world = World::small(&cx).await?;
    for round in 0..2 {
        for query in queries(&world)? {
            let all = world.widest(&query);
            let exact = world.matches(&query).len() as u64;
            for options in [all, all.limit(exact), all.limit(exact + 1), all.limit(0)] {
                claims(&world, &world.ledger.store, &query, options).await?;
                claims(&world, &world.ledger.store, &query, options.backward()).await?;
            }
        }
        let stream = world.ledger.store.stream("orders", &format!("later-{round}"));
        world.ledger.one(&stream, vec![event("changed")], WriteCondition::Always).await?;
        world.refresh().await?;
    }
    Ok(())
}

async fn bounds(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let store = &world.ledger.store;
    let far = [world.last().value() + 1_000_000, i64::MAX as u64, u64::MAX];
    for source in world.sources() {
        let lists = [Query::from(source.clone()), named(&source, &["placed"]).into()];
        for query in lists {
            let all = world.widest(&query);
            let mut options = vec![all.limit(1), all.limit(2)];
            let marks = world.marks(&query, 3);
            for (nth, mark) in marks.iter().enumerate() {
                let (after, until) = (all.after(*mark), all.until(*mark));
                options.extend([after, until, after.limit(1), until.limit(1)]);
                // Also a bound below the other.
                let other = marks[(nth * 7 + 3) % marks.len()];
                options.extend([after.until(other), after.until(other).limit(0)]);
            }
            for number in far.map(SequenceNumber::new) {
                let (after, until) = (all.after(number), all.until(number));
                options.extend([after, until, after.limit(0), after.until(world.last())]);
            }
            for options in options {
                claims(&world, store, &query, options).await?;
                claims(&world, store, &query, options.backward()).await?;
            }
        }
    }
    // A stream that has no events.
    let query = store.stream("orders", "of nothing").into();
    for after in [SequenceNumber::START, world.last()] {
        let options = ReadOptions::default().after(after);
        claims(&world, store, &query, options).await?;
        claims(&world, store, &query, options.backward()).await?;
    }
    Ok(())
}

async fn long_reads(cx: Context) -> Outcome {
    let world = World::of(long(&cx, LONG).await?).await?;
    for store in handles(&cx).await? {
        for source in sources(&store) {
            for query in [source.clone().into(), named(&source, &["rare"]).into()] {
                let all = world.widest(&query);
                let whole = world.matches(&query).len() as u64;
                let middle = world.own[world.own.len() / 2].sequence_number;
                let most = all.limit(whole.saturating_sub(3));
                for options in [all, most, all.until(middle), all.after(middle).limit(whole)] {
                    claims(&world, &store, &query, options).await?;
                    claims(&world, &store, &query, options.backward()).await?;
                }
            }
        }
    }
    Ok(())
}

async fn appending(cx: Context) -> Outcome {
    let mut ledger = long(&cx, LONG).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        for source in sources(&store) {
            for query in [Query::from(source.clone()), named(&source, &["rare"]).into()] {
                for direction in [Direction::Forward, Direction::Backward] {
                    let mut options = ReadOptions::default();
                    options.direction = direction;
                    if source == Source::Log {
                        options = options.after(store.start);
                    }
                    let due = ledger.sorted(|event| query.matches(event));
                    let mut read = store.adapter.read(query.clone(), options);
                    let mut shape = Pages::new(&store.capabilities, &query, options);
                    let mut pages = Vec::new();
                    while let Some(page) = within(LIMIT, "a page", read.next()).await? {
                        let page = page?;
                        shape.take(&page)?;
                        pages.push(page);
                        let [stream, ..] = streams(&store);
                        if pages.len() < 30 {
                            let rare = vec![event("rare")];
                            ledger.one(&stream, rare, WriteCondition::Always).await?;
                        }
                    }
                    shape.end()?;
                    let known = match direction {
                        // A read may show what was appended meanwhile; then it claims it.
                        Direction::Forward => ledger.sorted(|event| query.matches(event)),
                        Direction::Backward => due,
                    };
                    compare(&store, &select(known, options), &pages, &query, options)?;
                }
            }
        }
    }
    Ok(())
}

async fn bytes(cx: Context) -> Outcome {
    const EVENTS: usize = 2_100;
    let store = cx.open().await?;
    let room = store.capabilities.max_payload_bytes.map_or(8_192, |most| most.get().min(8_192));
    let payload = vec![b'x'; usize::try_from(room).unwrap_or_default()];
    let stream = store.stream("large", "events");
    let mut ledger = crate::checks::support::ledger::Ledger::of(store);
    let mut left = EVENTS;
    while left > 0 {
        let count = left.min(most(&ledger.store)).min(200);
        let large = |_| {
            let mut event = event("large");
            event.payload = annals::Payload::bytes(payload.clone());
            event
        };
        let batch = (0..count).map(large).collect();
        ledger.one(&stream, batch, WriteCondition::Always).await?;
        left -= count;
    }
    let world = World::of(ledger).await?;
    for source in world.sources() {
        let query = Query::from(source);
        let all = world.widest(&query);
        for options in [all, all.limit(EVENTS as u64 - 5), all.limit(EVENTS as u64 + 5)] {
            claims(&world, &world.ledger.store, &query, options).await?;
            claims(&world, &world.ledger.store, &query, options.backward()).await?;
        }
    }
    Ok(())
}

async fn positions(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let store = &world.ledger.store;
    let mut queries: Vec<Query> = Vec::new();
    for stream in world.ledger.streams() {
        let source = Source::from(stream.clone());
        queries.extend([source.clone().into(), named(&source, &["placed", "changed"]).into()]);
    }
    queries.push(store.stream("orders", "of nothing").into());
    let all = ReadOptions::default();
    for query in &queries {
        let far = [0, 1, 2, 3, 50, i64::MAX as u64, u64::MAX].map(Position::new);
        let mut options = Vec::new();
        for position in far {
            let (from, until) = (all.from_position(position), all.until_position(position));
            options.extend([from, until, from.until_position(Position::new(2))]);
            options.extend([from.limit(1), until.limit(2), from.limit(0)]);
            for mark in world.marks(query, 2) {
                options.extend([from.after(mark), until.after(mark), from.until(mark)]);
            }
        }
        for options in options {
            claims(&world, store, query, options).await?;
            claims(&world, store, query, options.backward()).await?;
        }
    }
    let [one, other] = [store.stream("orders", "o-1"), store.stream("orders", "o-2")];
    let mut wide = vec![Query::any_of([]), Query::any_of([one.clone(), other].map(QueryItem::new))];
    wide.extend([one.category.clone().into(), Query::All]);
    for query in wide {
        for options in [all.from_position(Position::FIRST), all.until_position(Position::new(9))] {
            for options in [options, options.backward(), options.allow_skips()] {
                let found = store.try_read(query.clone(), options).await?;
                let is_refused = matches!(
                    found,
                    Err(annals::Error::Invalid(_) | annals::Error::Unsupported { .. })
                );
                ensure!(is_refused, "{query} has no positions, but {options:?} read {found:?}");
            }
        }
    }
    Ok(())
}

async fn nothing(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let store = &world.ledger.store;
    for query in nothings(&world)? {
        for options in [ReadOptions::default(), ReadOptions::default().limit(3)] {
            for options in [options, options.backward()] {
                let pages = pages(store, &query, options).await?;
                let empty = pages.iter().all(|page| page.events.is_empty());
                ensure!(empty, "a read of {query} returned events: {pages:?}");
                let is_one = !query.items().is_empty() || pages.len() == 1;
                ensure!(is_one, "a read of {query} is one page, found {pages:?}");
            }
        }
        claims(&world, store, &query, ReadOptions::default()).await?;
    }
    Ok(())
}

/// Queries that match nothing, as far as they can be read.
fn nothings(world: &World) -> Outcome<Vec<Query>> {
    let mut queries = vec![Query::any_of([])];
    for source in world.sources() {
        let item = QueryItem::new(source);
        let none = item.clone().with_names([""; 0]).map_err(annals::Error::from)?;
        if Feature::KnownIds.is_declared(&world.ledger.store.capabilities) {
            queries.push(Query::any_of([item.with_ids([]), none.clone()]));
        }
        queries.push(none.into());
    }
    Ok(queries)
}

async fn nothing_matches(cx: Context) -> Outcome {
    let mut world = World::small(&cx).await?;
    let stream = world.own[0].stream.clone();
    for query in nothings(&world)? {
        let holds = WriteCondition::no_match(query, SequenceNumber::START);
        world.ledger.one(&stream, vec![event("placed")], holds.clone()).await?;
        let both = holds & world.ledger.as_it_is(&stream);
        world.ledger.one(&stream, vec![event("placed")], both).await?;
    }
    world.ledger.verify("after conditions on nothing").await
}
