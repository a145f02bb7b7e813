//! What reads must give: a world of events, and the naive answer to every read of it.

use annals::{
    Append, Direction, EventName, NewEvent, Order, Query, QueryItem, ReadOptions, SequenceNumber,
    Source, StoredEvent, StreamId, WriteCondition,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use time::Duration;

use crate::checks::support::ledger::{Ledger, most};
use crate::engine::Outcome;
use crate::subject::{Context, Subject, event};

/// Event names that a careless comparison takes for one another.
pub(crate) const NAMES: [&str; 6] =
    ["placed", "Placed", "placed-late", "place", "changed", "cancelled"];
/// Tags of which some begin like others.
pub(crate) const TAGS: [&str; 5] = ["a", "ab", "a:b", "A", "b"];

/// Streams that share parts of their names, not in the order of their names.
const STREAMS: [(&str, &str); 7] = [
    ("orders", "o-2"),
    ("orders", "o-10"),
    ("orders", "o-1"),
    ("invoices", "o-1"),
    ("orders2", "o-1"),
    ("o-1", "orders"),
    ("orders", "orders"),
];

/// Events of this check, and what lies between them in the log.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    /// This check's events, ascending.
    pub(crate) own: Vec<StoredEvent>,
    /// The log from the start of the check to its last event, others' events included; empty where it cannot be
    /// read.
    log: Vec<StoredEvent>,
}

impl World {
    /// The world of what was appended so far.
    pub(crate) async fn of(ledger: Ledger) -> Outcome<Self> {
        let mut world = Self { ledger, own: Vec::new(), log: Vec::new() };
        world.refresh().await?;
        Ok(world)
    }

    /// A few dozen events over streams in turn, of which no two reads want the same.
    pub(crate) async fn small(cx: &Context) -> Outcome<Self> {
        let mut ledger = Ledger::open(cx).await?;
        let mut random = StdRng::seed_from_u64(cx.seed());
        let store = ledger.store.clone();
        let streams = STREAMS.map(|(category, name)| store.stream(category, name));
        for nth in 0..24_usize {
            let one = if nth < 14 { nth % 7 } else { random.random_range(0..7) };
            let several = store.capabilities.multi_stream_append && nth % 5 == 4;
            let count = [1, 2, 3, 1][nth % 4].min(most(&store));
            let mut writes = vec![some(&store, &streams[one], count, nth, &mut random)];
            if several && most(&store) > count {
                let other = &streams[(one + 3) % 7];
                writes.push(some(&store, other, 1, nth + 1, &mut random));
            }
            ledger.append(writes).await?;
        }
        Self::of(ledger).await
    }

    /// Takes in what was appended since.
    pub(crate) async fn refresh(&mut self) -> Outcome {
        let last = self.last();
        let new = self.ledger.sorted(|event| event.sequence_number > last);
        if let Some(newest) = new.last().filter(|_| self.can().order == Order::Log) {
            let start = last.max(self.ledger.store.start);
            let options = ReadOptions::default().after(start).until(newest.sequence_number);
            let log = self.ledger.store.read(Source::Log, options).await?;
            let own = log.iter().filter(|event| self.ledger.store.owns(event));
            let own: Vec<_> = own.cloned().collect();
            self.ledger.store.same(&own, &new, "the events of the log")?;
            self.log.extend(log);
        }
        self.own.extend(new);
        Ok(())
    }

    fn can(&self) -> annals::Capabilities {
        self.ledger.store.capabilities
    }

    /// The number of this check's last event.
    pub(crate) fn last(&self) -> SequenceNumber {
        self.own.last().map_or(SequenceNumber::START, |event| event.sequence_number)
    }

    /// Whether the adapter must answer it.
    pub(crate) fn may_read(&self, query: &Query) -> bool {
        self.can().keeps_order(query) && (self.can().tags || !query.uses_tags())
    }

    /// Every stream, and every category and the log where they can be read.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let mut sources = Vec::new();
        let streams: Vec<&StreamId> = self.own.iter().map(|event| &event.stream).collect();
        for stream in streams {
            for source in [stream.clone().into(), stream.category.clone().into(), Source::Log] {
                if !sources.contains(&source) && self.may_read(&source.clone().into()) {
                    sources.push(source);
                }
            }
        }
        sources
    }

    /// The log is read from the start of the check only: what a shared one held before is not known.
    pub(crate) fn widest(&self, query: &Query) -> ReadOptions {
        match query.scope() {
            Some(Source::Log) => ReadOptions::default().after(self.ledger.store.start),
            _ => ReadOptions::default(),
        }
    }

    /// This check's events that `query` matches, ascending.
    pub(crate) fn matches(&self, query: &Query) -> Vec<StoredEvent> {
        self.own.iter().filter(|event| query.matches(event)).cloned().collect()
    }

    /// The numbers of so many events of `query`, spread over them, and those next to each.
    pub(crate) fn marks(&self, query: &Query, events: usize) -> Vec<SequenceNumber> {
        let found = self.matches(query);
        let step = found.len().saturating_sub(1).div_ceil(events.max(2) - 1).max(1);
        let ends = found.iter().step_by(step).chain(found.last());
        let around = |event: &StoredEvent| {
            let number = event.sequence_number.value();
            [number - 1, number, number + 1].map(SequenceNumber::new)
        };
        let mut marks: Vec<_> = ends.flat_map(around).collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    /// Reads by the ledger's handle, and proves that it is what a naive filter of the world returns.
    pub(crate) async fn compare(&self, query: &Query, options: ReadOptions) -> Outcome {
        self.compare_by(&self.ledger.store, query, options).await
    }

    /// The same by another handle. The log may have grown by events of others: the read then must be right for
    /// the head that it shows.
    pub(crate) async fn compare_by(
        &self,
        store: &Subject,
        query: &Query,
        options: ReadOptions,
    ) -> Outcome {
        let found = store.read(query.clone(), options).await?;
        let is_log = query.scope() == Some(Source::Log);
        let known = if is_log { &self.log } else { &self.own };
        let known = known.iter().filter(|event| query.matches(event));
        let mut known: Vec<_> = known.cloned().collect();
        let shown = found.iter().map(|event| event.sequence_number).max();
        if let Some(head) = shown.filter(|head| is_log && *head > self.last()) {
            let later = ReadOptions::default().after(self.last()).until(head);
            let later = store.read(query.clone(), later).await?;
            known.extend(later.into_iter().filter(|event| !store.owns(event)));
        }
        let expected = select(known, options);
        store.same(&found, &expected, &format!("read of {query} ({options:?})"))
    }

    /// Compares reads of `query` in both directions with each of these options.
    pub(crate) async fn compare_both(
        &self,
        query: &Query,
        options: impl IntoIterator<Item = ReadOptions>,
    ) -> Outcome {
        for options in options {
            self.compare(query, options).await?;
            self.compare(query, options.backward()).await?;
        }
        Ok(())
    }

    /// A random query that the adapter must answer, of one to four items.
    pub(crate) fn query(&self, random: &mut StdRng) -> Query {
        let sources = self.sources();
        loop {
            let items = (0..random.random_range(1..=4)).map(|_| self.item(&sources, random));
            let query = Query::any_of(items);
            if self.may_read(&query) {
                return query;
            }
        }
    }

    fn item(&self, sources: &[Source], random: &mut StdRng) -> QueryItem {
        let mut item = QueryItem::new(sources.choose(random).cloned().unwrap_or(Source::Log));
        if random.random_bool(0.5) {
            let count = random.random_range(1..4);
            let picked = (0..count).filter_map(|_| NAMES.choose(random).copied());
            item.names = Some(picked.map(EventName::from_static).collect());
        }
        if self.can().tags && random.random_bool(0.4) {
            let count = random.random_range(1..3);
            let picked: Vec<_> = (0..count).filter_map(|_| TAGS.choose(random).copied()).collect();
            item.tags = self.ledger.store.tags(&picked);
        }
        item
    }
}

/// What a read with these options returns of ascending events that match.
pub(crate) fn select(mut matched: Vec<StoredEvent>, options: ReadOptions) -> Vec<StoredEvent> {
    matched.retain(|event| {
        let number = event.sequence_number;
        options.after < number
            && options.until.is_none_or(|until| number <= until)
            && options.allows_position(event.position)
    });
    if options.direction == Direction::Backward {
        matched.reverse();
    }
    let limit = options.limit.unwrap_or(u64::MAX);
    matched.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    matched
}

/// A write of `count` events with names and tags in turn. They occurred the earlier the later they are appended.
pub(crate) fn some(
    store: &Subject,
    stream: &StreamId,
    count: usize,
    turn: usize,
    random: &mut StdRng,
) -> Append {
    let one = |nth: usize| -> NewEvent {
        let mut event = event(NAMES[(turn * 5 + nth) % NAMES.len()]);
        if store.capabilities.tags {
            let tags = TAGS.iter().filter(|_| random.random_bool(0.4)).copied();
            event.tags = store.tags(&tags.collect::<Vec<_>>());
        }
        let turn = i64::try_from(turn * 10 + nth).unwrap_or_default();
        let occurred_at = event.occurred_at - Duration::minutes(turn);
        event.with_occurred_at(occurred_at)
    };
    Append::new(stream.clone(), (0..count).map(one).collect::<Vec<_>>(), WriteCondition::Always)
}

/// Events of `source` with one of these names.
pub(crate) fn named(source: &Source, names: &[&'static str]) -> QueryItem {
    let mut item = QueryItem::new(source.clone());
    item.names = Some(names.iter().map(|name| EventName::from_static(name)).collect());
    item
}
