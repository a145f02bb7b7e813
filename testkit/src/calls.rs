//! Makes the calls that operations stand for, and reports their answers in the same words.

use std::collections::HashMap;

use annals::{
    Append, CategoryName, Error, EventId, EventName, NewEvent, Order, Payload, Query, QueryItem,
    ReadOptions, SequenceNumber, Source, StoredEvent, StreamId, StreamName, Tags, WriteCondition,
};
use annals::{Position, StorageAdapter};
use futures_util::StreamExt;

use crate::error::chain;
use crate::generate::valid;
use crate::model::{Condition, Event, Item, Mark, NAMES, Op, Outcome, Scope, Stored, Write};

/// The names and ids that the numbers of operations stand for: apart from those of everybody else.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
    ids: u128,
    /// The last number of the log before the first call, where the log can be read: a shared log may be long.
    start: SequenceNumber,
}

/// What a client knows of the store from the answers that it got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) last: u64,
    pub(crate) heads: HashMap<u8, u64>,
}

impl Seen {
    pub(crate) fn take(&mut self, events: &[Stored]) {
        for event in events {
            self.last = self.last.max(event.number);
            let head = self.heads.entry(event.stream).or_default();
            *head = event.position.max(*head);
        }
    }

    /// The operation without reference to what the client has seen. `number` returns the number of a mark.
    pub(crate) fn resolve(&self, op: &Op, number: &dyn Fn(u64) -> u64) -> Op {
        let mark = |mark| match mark {
            Mark::Start => Mark::At(0),
            Mark::Seen => Mark::At(self.last),
            Mark::At(nth) => Mark::At(number(nth)),
        };
        match op {
            Op::Append(writes) => Op::Append(
                writes
                    .iter()
                    .map(|write| {
                        let condition = self.condition(write.stream, &write.condition, &mark);
                        Write { condition, ..write.clone() }
                    })
                    .collect(),
            ),
            Op::Read(query, part) => {
                let mut part = part.clone();
                part.after = mark(part.after);
                part.until = part.until.map(mark);
                Op::Read(query.clone(), part)
            }
        }
    }

    fn condition(
        &self,
        stream: u8,
        condition: &Condition,
        mark: &dyn Fn(Mark) -> Mark,
    ) -> Condition {
        let all = |parts: &[Condition]| {
            parts.iter().map(|part| self.condition(stream, part, mark)).collect()
        };
        match condition {
            Condition::AsSeen => match self.heads.get(&stream) {
                None => Condition::StreamIsEmpty,
                Some(head) => Condition::PositionIs(*head),
            },
            Condition::NoMatch { query, after } => {
                Condition::NoMatch { query: query.clone(), after: mark(*after) }
            }
            Condition::All(parts) => Condition::All(all(parts)),
            Condition::Any(parts) => Condition::Any(all(parts)),
            leaf => leaf.clone(),
        }
    }
}

impl Names {
    pub(crate) async fn new(namespace: &str, store: &dyn StorageAdapter) -> Self {
        let last = match store.capabilities().order {
            Order::Log => store.read(Query::all(), ReadOptions::last(1)).next().await,
            _ => None,
        };
        let last = last.and_then(Result::ok).and_then(|page| page.events.first().cloned());
        let start = last.map_or(SequenceNumber::START, |event| event.sequence_number);
        let unique = EventId::generate().as_uuid().as_u128();
        // A time-ordered id has its random bits at the end; the last 32 tell the event.
        let prefix = format!("{namespace}{:010x}", (unique >> 32) & 0xFF_FFFF_FFFF);
        Self { prefix, ids: unique & !0xFFFF_FFFF, start }
    }

    fn category(&self, category: u8) -> CategoryName {
        valid(CategoryName::new(format!("{}c{category}", self.prefix)))
    }

    fn stream(&self, stream: u8) -> StreamId {
        let name = valid(StreamName::new(format!("s{}", stream % 2)));
        StreamId { category: self.category(stream / 2), name }
    }

    fn name(&self, name: u8) -> EventName {
        valid(EventName::new(format!("{}n{name}", self.prefix)))
    }

    fn tags(&self, tags: &[u8]) -> Tags {
        valid(Tags::parse(tags.iter().map(|tag| format!("{}t{tag}", self.prefix))))
    }

    fn event(&self, event: &Event) -> NewEvent {
        let id = EventId::from_uuid(uuid::Uuid::from_u128(self.ids | u128::from(event.id)));
        let payload = valid(Payload::json(&event.id));
        let occurred_at = time::OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1_234_567_890);
        NewEvent::new(self.name(event.name), payload)
            .with_id(id)
            .with_tags(self.tags(&event.tags))
            .with_occurred_at(occurred_at)
    }

    /// A query for events of these names only, so that events of others do not count.
    fn query(&self, items: &[Item]) -> Query {
        let everything = [Item { source: Scope::Log, names: Vec::new(), tags: Vec::new() }];
        let items = if items.is_empty() { &everything } else { items };
        Query::any_of(items.iter().map(|item| {
            let (source, all) = match item.source {
                Scope::Log => (Source::Log, item.tags.is_empty()),
                Scope::Category(category) => (self.category(category).into(), false),
                Scope::Stream(stream) => (self.stream(stream).into(), false),
            };
            let names = match &item.names {
                names if names.is_empty() && all => (0..NAMES).collect(),
                names => names.clone(),
            };
            let names: Vec<_> = names.iter().map(|name| self.name(*name)).collect();
            let mut query = QueryItem::new(source).with_tags(self.tags(&item.tags));
            query.names = Some(names).filter(|names| !names.is_empty());
            query
        }))
    }

    fn condition(&self, condition: &Condition) -> WriteCondition {
        let all = |parts: &[Condition]| parts.iter().map(|part| self.condition(part)).collect();
        match condition {
            Condition::Always | Condition::AsSeen => WriteCondition::Always,
            Condition::StreamIsEmpty => WriteCondition::StreamIsEmpty,
            Condition::StreamExists => WriteCondition::StreamExists,
            Condition::PositionIs(at) => WriteCondition::PositionIs(Position::new(*at)),
            Condition::NoMatch { query, after } => {
                WriteCondition::no_match(self.query(query), at(*after))
            }
            Condition::All(parts) => WriteCondition::All(all(parts)),
            Condition::Any(parts) => WriteCondition::Any(all(parts)),
        }
    }

    /// Makes the call of a resolved operation. The events stored or read are given whole as well.
    pub(crate) async fn call(
        &self,
        store: &dyn StorageAdapter,
        op: &Op,
    ) -> (Outcome, Vec<StoredEvent>) {
        let result = match op {
            Op::Append(writes) => {
                let append = |write: &Write| {
                    let events = write.events.iter().map(|event| self.event(event));
                    let condition = self.condition(&write.condition);
                    Append::new(self.stream(write.stream), events, condition)
                };
                store.append(writes.iter().map(append).collect()).await
            }
            Op::Read(query, part) => {
                let mut options = ReadOptions::default().after(at(part.after));
                options.until = part.until.map(at);
                options.limit = part.limit;
                if part.backward {
                    options = options.backward();
                }
                let whole = query.is_empty() && part.limit.is_none();
                if whole {
                    self.read(store, Query::all(), options.after(self.start)).await
                } else {
                    self.read(store, self.query(query), options).await
                }
            }
        };
        match (result, op) {
            (Ok(events), Op::Append(_)) => (Outcome::Appended(self.tell(&events)), events),
            (Ok(events), Op::Read(..)) => (Outcome::Read(self.tell(&events)), events),
            (Err(error), _) => (outcome(&error), Vec::new()),
        }
    }

    /// All own events of a scope.
    pub(crate) async fn all(
        &self,
        store: &dyn StorageAdapter,
        scope: Scope,
    ) -> annals::Result<Vec<Stored>> {
        let source = match scope {
            Scope::Log => Source::Log,
            Scope::Category(category) => self.category(category).into(),
            Scope::Stream(stream) => self.stream(stream).into(),
        };
        let options = ReadOptions::default().after(self.start);
        Ok(self.tell(&self.read(store, source.into(), options).await?))
    }

    /// Reads to the end; what others appended is left out.
    async fn read(
        &self,
        store: &dyn StorageAdapter,
        query: Query,
        options: ReadOptions,
    ) -> annals::Result<Vec<StoredEvent>> {
        let mut pages = store.read(query, options);
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let own =
                |event: &StoredEvent| event.stream.category.as_str().starts_with(&self.prefix);
            found.extend(page?.events.into_iter().filter(own));
        }
        Ok(found)
    }

    /// An event in the words of operations. One that no operation can have made gets the id 0.
    pub(crate) fn tell(&self, events: &[StoredEvent]) -> Vec<Stored> {
        let small = |text: &str, mark: char| -> u8 {
            let text = text.strip_prefix(&self.prefix).unwrap_or(text);
            text.strip_prefix(mark).and_then(|text| text.parse().ok()).unwrap_or(u8::MAX)
        };
        let tell = |stored: &StoredEvent| {
            let id = stored.event.id.as_uuid().as_u128();
            let tags = stored.event.tags.iter().map(|tag| small(tag.as_str(), 't')).collect();
            let name = small(stored.event.name.as_str(), 'n');
            let mut event = Event { id: u32::try_from(id ^ self.ids).unwrap_or(0), name, tags };
            if self.event(&event) != stored.event {
                event.id = 0;
            }
            let category = small(stored.stream.category.as_str(), 'c');
            let stream = small(stored.stream.name.as_str(), 's').min(1);
            Stored {
                event,
                stream: category.saturating_mul(2).saturating_add(stream),
                position: stored.position.value(),
                number: stored.sequence_number.value(),
            }
        };
        events.iter().map(tell).collect()
    }
}

fn outcome(error: &Error) -> Outcome {
    match error {
        Error::ConditionFailed(_) => Outcome::ConditionFailed,
        Error::DuplicateEvent(_) => Outcome::Duplicate,
        Error::Invalid(_) => Outcome::Invalid,
        Error::Unavailable(_) => Outcome::Unavailable,
        Error::OutcomeUnknown(_) => Outcome::Unknown,
        other => Outcome::Failed(chain(other)),
    }
}

fn at(mark: Mark) -> SequenceNumber {
    match mark {
        Mark::At(number) => SequenceNumber::new(number),
        Mark::Start | Mark::Seen => SequenceNumber::START,
    }
}
