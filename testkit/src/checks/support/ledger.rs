//! What a store must hold: every append that was acknowledged, and nothing else.

use std::collections::{HashMap, HashSet};

use annals::{
    Append, Error, EventId, NewEvent, Order, Position, ReadOptions, SequenceNumber, Source,
    StoredEvent, StreamId, WriteCondition,
};

use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::error::chain;
use crate::subject::{Context, Subject, event};
pub(crate) use crate::subject::{but, most};

/// Appends through it are proved as they are made, and what they must leave is kept to compare with reads.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) store: Subject,
    streams: HashMap<StreamId, Vec<StoredEvent>>,
    numbers: HashSet<SequenceNumber>,
    last: HashMap<Scope, SequenceNumber>,
}

/// What sequence numbers rise in, as the declared order says.
type Scope = Option<(annals::CategoryName, Option<annals::StreamName>)>;

impl Ledger {
    pub(crate) async fn open(cx: &Context) -> Outcome<Self> {
        Ok(Self::of(cx.open().await?))
    }

    pub(crate) fn of(store: Subject) -> Self {
        let (streams, numbers, last) = Default::default();
        Self { store, streams, numbers, last }
    }

    /// The same ledger, read and appended to through another handle.
    pub(crate) fn through(self, store: Subject) -> Self {
        Self { store, ..self }
    }

    /// The streams that have events.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.streams.keys()
    }

    /// The events of `stream` so far.
    pub(crate) fn stream(&self, stream: &StreamId) -> &[StoredEvent] {
        self.streams.get(stream).map(Vec::as_slice).unwrap_or_default()
    }

    /// The condition that `stream` is where it is.
    pub(crate) fn as_it_is(&self, stream: &StreamId) -> WriteCondition {
        match self.stream(stream).last() {
            None => WriteCondition::StreamIsEmpty,
            Some(last) => WriteCondition::PositionIs(last.position),
        }
    }

    /// An append that must be done.
    pub(crate) async fn append(&mut self, writes: Vec<Append>) -> Outcome<Vec<StoredEvent>> {
        let proposed = writes.clone();
        let stored = self.store.adapter.append(writes).await;
        let stored =
            stored.map_err(|error| Failure::from(error).in_context(describe(&proposed)))?;
        self.record(&proposed, &stored).map_err(|failure| {
            failure.in_context(format!("returned by {}", describe(&proposed)))
        })?;
        Ok(stored)
    }

    /// The same with one stream.
    pub(crate) async fn one(
        &mut self,
        stream: &StreamId,
        events: Vec<NewEvent>,
        condition: WriteCondition,
    ) -> Outcome<Vec<StoredEvent>> {
        self.append(vec![Append::new(stream.clone(), events, condition)]).await
    }

    /// An append that must be refused; returns the error.
    pub(crate) async fn refused(&self, writes: Vec<Append>, why: &str) -> Outcome<Error> {
        let described = describe(&writes);
        match self.store.adapter.append(writes).await {
            Err(error) => Ok(error),
            Ok(stored) => Err(Failure::new(format!(
                "{described} must be refused ({why}), but returned {} events: {}",
                stored.len(),
                summary(&stored)
            ))),
        }
    }

    /// An append that must be refused because of a known event: one of `known`.
    pub(crate) async fn duplicate(
        &self,
        writes: Vec<Append>,
        known: &[EventId],
        why: &str,
    ) -> Outcome {
        let described = describe(&writes);
        match self.refused(writes, why).await? {
            Error::DuplicateEvent(id) if known.contains(&id) => Ok(()),
            other => Err(Failure::new(format!(
                "{described} ({why}): expected DuplicateEvent of {known:?}, found: {}",
                chain(&other)
            ))),
        }
    }

    /// An append that must be refused because its condition does not hold.
    pub(crate) async fn unmet(&self, writes: Vec<Append>, why: &str) -> Outcome {
        let described = describe(&writes);
        match self.refused(writes, why).await? {
            Error::ConditionFailed(_) => Ok(()),
            other => Err(Failure::new(format!(
                "{described} ({why}): expected ConditionFailed, found: {}",
                chain(&other)
            ))),
        }
    }

    /// An append that must be refused as a call that makes no sense.
    pub(crate) async fn invalid(&self, writes: Vec<Append>, why: &str) -> Outcome {
        let described = describe(&writes);
        match self.refused(writes, why).await? {
            Error::Invalid(_) => Ok(()),
            other => Err(Failure::new(format!(
                "{described} ({why}): expected Invalid, found: {}",
                chain(&other)
            ))),
        }
    }

    fn scope(&self, stream: &StreamId) -> Scope {
        match self.store.capabilities.order {
            Order::Log => None,
            Order::Category => Some((stream.category.clone(), None)),
            Order::Stream => Some((stream.category.clone(), Some(stream.name.clone()))),
        }
    }

    /// Proves what an append returned against what was proposed, and keeps it.
    pub(crate) fn record(&mut self, proposed: &[Append], stored: &[StoredEvent]) -> Outcome {
        let all = proposed.iter().flat_map(|write| {
            write.events.iter().map(|event| (write.stream.clone(), event.clone()))
        });
        let all: Vec<_> = all.collect();
        ensure_eq!(stored.len(), all.len(), "the number of events");
        let mut before = SequenceNumber::START;
        for (nth, ((stream, event), found)) in all.into_iter().zip(stored).enumerate() {
            ensure_eq!(found.event.id, event.id, "the id of event {nth}, in the order given");
            ensure!(
                self.store.alike(&found.event, &event),
                "event {nth}: expected {event:?}, found {:?}",
                found.event
            );
            ensure_eq!(found.stream, stream, "the stream of event {nth}");
            let position = Position::new(self.stream(&stream).len() as u64);
            ensure_eq!(found.position, position, "the position of event {nth} in {stream}");
            let number = found.sequence_number;
            ensure!(
                number > before,
                "the sequence number of event {nth} of the call is {number}, after {before}"
            );
            ensure!(number <= SequenceNumber::MAX, "event {nth} has sequence number {number}");
            ensure!(
                self.numbers.insert(number),
                "event {nth} has the sequence number {number} of an earlier event"
            );
            let scope = self.scope(&stream);
            if let Some(last) = self.last.insert(scope, number) {
                ensure!(
                    number > last,
                    "event {nth} in {stream} has sequence number {number}, and an earlier append had {last}"
                );
            }
            before = number;
            self.streams.entry(stream).or_default().push(found.clone());
        }
        Ok(())
    }

    /// The store holds exactly what was acknowledged: by each stream, and by each wider source it can read.
    pub(crate) async fn verify(&self, when: &str) -> Outcome {
        for (stream, expected) in &self.streams {
            let found = self.store.stream_events(stream).await?;
            self.store.same(&found, expected, &format!("{when}, the events of stream {stream}"))?;
            let latest = self.store.latest(stream.clone()).await?;
            let last = &expected[expected.len().saturating_sub(1)..];
            let what = format!("{when}, the latest of stream {stream}");
            self.store.same(latest.as_slice(), last, &what)?;
        }
        self.verify_wide(when).await
    }

    /// The same by the sources wider than a stream only, for many streams.
    pub(crate) async fn verify_wide(&self, when: &str) -> Outcome {
        if self.store.capabilities.order >= Order::Category {
            let categories: HashSet<_> =
                self.streams.keys().map(|stream| stream.category.clone()).collect();
            for category in categories {
                let expected = self.sorted(|event| event.stream.category == category);
                let found = self.store.read(category.clone(), ReadOptions::default()).await?;
                self.store.same(
                    &found,
                    &expected,
                    &format!("{when}, the events of category {category}"),
                )?;
            }
        }
        if self.store.capabilities.order >= Order::Log {
            let options = ReadOptions::default().after(self.store.start);
            let mut found = self.store.read(Source::Log, options).await?;
            found.retain(|event| self.store.owns(event));
            self.store.same(
                &found,
                &self.sorted(|_| true),
                &format!("{when}, the events of the log"),
            )?;
        }
        Ok(())
    }

    /// Streams that were never appended to with success hold nothing.
    pub(crate) async fn verify_with(&self, streams: &[&StreamId], when: &str) -> Outcome {
        for stream in streams {
            if !self.streams.contains_key(stream) {
                let found = self.store.stream_events(stream).await?;
                self.store.same(&found, &[], &format!("{when}, the events of stream {stream}"))?;
            }
        }
        self.verify(when).await
    }

    /// Where numbers are contiguous and the log can be read: every number from the first to the last of this
    /// ledger, and from the start of the check, is there, foreign events included.
    pub(crate) async fn verify_no_hole(&self, when: &str) -> Outcome {
        let can = self.store.capabilities;
        let Some(last) = self.numbers.iter().max() else { return Ok(()) };
        if !can.contiguous_sequence || can.order < Order::Log {
            return Ok(());
        }
        let options = ReadOptions::default().after(self.store.start).until(*last);
        let found = self.store.read(Source::Log, options).await?;
        let numbers: Vec<u64> = found.iter().map(|event| event.sequence_number.value()).collect();
        let hole =
            numbers.iter().zip(numbers.iter().skip(1)).find(|(one, next)| **next != **one + 1);
        if let Some((before, after)) = hole {
            return Err(Failure::new(format!(
                "{when}, the log has no event between the sequence numbers {before} and {after}, \
                 but contiguous_sequence is declared",
            )));
        }
        let first = numbers.first().copied().unwrap_or_default();
        let start = self.store.start.value();
        ensure!(
            start == 0 || first == start + 1,
            "{when}, the log goes from sequence number {start} to {first}, but contiguous_sequence is declared"
        );
        ensure_eq!(numbers.last(), Some(&last.value()), "{when}, the last sequence number read");
        Ok(())
    }

    /// The events asked for, by sequence number.
    pub(crate) fn sorted(&self, wanted: impl Fn(&StoredEvent) -> bool) -> Vec<StoredEvent> {
        let all = self.streams.values().flatten();
        let mut events: Vec<_> = all.filter(|event| wanted(event)).cloned().collect();
        events.sort_by_key(|event| event.sequence_number);
        events
    }
}

impl Subject {
    /// Whether both are the same event: byte for byte where that is declared, otherwise with equal JSON.
    pub(crate) fn alike(&self, one: &NewEvent, other: &NewEvent) -> bool {
        if one == other || self.capabilities.exact_payload_bytes {
            return one == other;
        }
        let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let metadata = |event: &NewEvent| event.metadata.as_ref().map(|it| json(it.as_bytes()));
        let (a, b) = (&one.payload, &other.payload);
        let payloads = *a.encoding() == annals::Encoding::JSON
            && json(a.as_bytes()).is_some()
            && json(a.as_bytes()) == json(b.as_bytes());
        let rest = but(other, |it| {
            it.payload = if payloads { a.clone() } else { b.clone() };
            it.metadata.clone_from(&one.metadata);
        });
        metadata(one) == metadata(other) && a.encoding() == b.encoding() && rest == *one
    }

    /// Fails unless both are the same events, telling the first that differs.
    pub(crate) fn same(
        &self,
        found: &[StoredEvent],
        expected: &[StoredEvent],
        what: &str,
    ) -> Outcome {
        let differ = |(one, other): (&StoredEvent, &StoredEvent)| {
            let places = |event: &StoredEvent| (event.position, event.sequence_number);
            places(one) != places(other)
                || one.stream != other.stream
                || one.recorded_at != other.recorded_at
                || !self.alike(&one.event, &other.event)
        };
        if let Some(nth) = found.iter().zip(expected).position(differ) {
            return Err(Failure::new(format!(
                "{what}: item {nth}: expected {:?}, found {:?}",
                expected[nth], found[nth]
            )));
        }
        let common = found.len().min(expected.len());
        ensure!(
            found.len() == expected.len(),
            "{what}: expected {} events, found {}; missing: [{}], too many: [{}]",
            expected.len(),
            found.len(),
            summary(&expected[common..]),
            summary(&found[common..])
        );
        Ok(())
    }
}

/// The first few events in short.
pub(crate) fn summary<'a>(events: impl IntoIterator<Item = &'a StoredEvent>) -> String {
    let mut events = events.into_iter();
    let mut text: Vec<_> = events.by_ref().take(3).map(ToString::to_string).collect();
    if events.next().is_some() {
        text.push("…".to_owned());
    }
    if text.is_empty() { "nothing".to_owned() } else { text.join(", ") }
}

/// An append in short.
pub(crate) fn describe(writes: &[Append]) -> String {
    let one = |write: &Append| {
        let (events, stream) = (write.events.len(), &write.stream);
        match &write.condition {
            WriteCondition::Always => format!("{events} to {stream}"),
            condition => format!("{events} to {stream}, expecting {condition}"),
        }
    };
    let mut text: Vec<_> = writes.iter().take(3).map(one).collect();
    if writes.len() > 3 {
        text.push(format!("… {} writes", writes.len()));
    }
    format!("the append of {{{}}}", text.join("; "))
}

/// So many cheap events that differ in their ids only.
pub(crate) fn light(count: usize) -> Vec<NewEvent> {
    let template = event("happened");
    (0..count).map(|_| template.clone().with_id(EventId::generate())).collect()
}

/// The check is not run where one call cannot append so many events.
pub(crate) fn needs_room(store: &Subject, events: usize) -> Outcome {
    if most(store) < events {
        return Err(Failure::not_run(format!("a call may append less than {events} events")));
    }
    Ok(())
}

/// A write without a condition.
pub(crate) fn always(stream: &StreamId, events: Vec<NewEvent>) -> Append {
    Append::new(stream.clone(), events, WriteCondition::Always)
}

/// Repeats a call for as long as the store is too busy, a bounded number of times.
pub(crate) async fn patient(
    store: &Subject,
    writes: &[Append],
) -> annals::Result<Vec<StoredEvent>> {
    let mut tries = 0;
    loop {
        match store.adapter.append(writes.to_vec()).await {
            Err(error) if error.is_retryable() && tries < 20 => tries += 1,
            other => return other,
        }
    }
}
