//! Views in tables and views inside appends, for the tests of every adapter that has them.

#![allow(dead_code, reason = "not every adapter has all of it")]

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::{
    Append, BoxError, Error, EventStore, NewEvent, Payload, ReadOptions, StorageAdapter,
    StoredEvent, StreamId, WriteCondition,
};
use annals_processing::{
    Answer, Ask, Decision, InlineError, ProcessingError, Processor, Sink, View, async_trait,
};
use annals_state::{
    Collection, Commit, DocumentId, DocumentKey, Expected, StateStore, Write, get_all,
};
use annals_testkit::processing::{ManualTimer, SinkHarness, sink_checks};

/// How many events each stream has, and the position of the last one. One named `poison` cannot be applied.
pub(crate) type Rows = BTreeMap<String, (i64, i64)>;

pub(crate) fn events(stream: &str, names: &[&'static str]) -> Vec<Append> {
    let events = names.iter().map(|name| NewEvent::json(*name, &7).unwrap());
    let stream = StreamId::new("orders", stream).unwrap();
    vec![Append::new(stream, events, WriteCondition::Always)]
}

/// What the row of an event says: a position that its table does not allow, of one named `poison`.
pub(crate) fn last(event: &StoredEvent) -> i64 {
    if *event.name() == "poison" { 1_000 } else { position(event) }
}

fn position(event: &StoredEvent) -> i64 {
    i64::try_from(event.position.value()).unwrap()
}

/// What the log makes.
pub(crate) async fn expected(log: &Arc<dyn StorageAdapter>) -> Rows {
    let store = EventStore::new(Arc::clone(log));
    let events = store.log().read(ReadOptions::default()).into_vec().await.unwrap();
    let mut rows = Rows::new();
    for event in events.iter().filter(|event| *event.name() != "poison") {
        let row = rows.entry(event.stream.name.as_str().to_owned()).or_default();
        *row = (row.0 + 1, position(event));
    }
    rows
}

/// The same as documents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsDocuments;

impl View for AsDocuments {
    type State = (i64, i64);

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::new(event.stream.name.as_str())?])
    }

    fn apply(
        &self,
        _: &DocumentId,
        row: &mut Option<(i64, i64)>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        let row = row.get_or_insert_default();
        *row = (row.0 + 1, last(event));
        if row.1 == 1_000 { Err("poisoned".into()) } else { Ok(()) }
    }
}

pub(crate) fn rows() -> Collection<(i64, i64)> {
    Collection::new("rows").unwrap()
}

pub(crate) async fn documents(state: Arc<dyn StateStore>) -> Rows {
    let found = rows().on(state).find(&annals_state::Find::default()).await.unwrap();
    found.documents.into_iter().map(|one| (one.id.as_str().to_owned(), one.value)).collect()
}

/// An inline view, of any adapter.
#[async_trait]
pub(crate) trait Appends: fmt::Debug + Send + Sync {
    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>, InlineError>;
}

/// What an inline view asks of its processor.
pub(crate) type Prepare = Box<dyn FnOnce(Processor) -> annals_processing::Result<Processor>>;

/// A log with inline views named `rows`.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    fn log(&self) -> Arc<dyn StorageAdapter>;
    fn inline(&self, prepare: Prepare) -> annals_processing::Result<Arc<dyn Appends>>;
    async fn read(&self) -> Rows;
}

async fn check(place: &impl Place) {
    assert_eq!(place.read().await, expected(&place.log()).await);
}

/// Two of them catch up in turn.
fn quick(place: &impl Place) -> Arc<dyn Appends> {
    let quick = |processor: Processor| Ok(processor.with_beat(Duration::from_millis(20)));
    place.inline(Box::new(quick)).unwrap()
}

/// J10.
pub(crate) async fn assert_made_with_the_append_or_not_at_all(place: impl Place) {
    let log = place.log();
    // Before there was the view.
    log.append(events("s-0", &["counted"; 3])).await.unwrap();
    let view = quick(&place);
    view.append(events("s-1", &["counted", "counted"])).await.unwrap();
    check(&place).await;
    // Others append without it.
    log.append(events("s-0", &["counted"; 3])).await.unwrap();
    view.append(events("s-1", &["counted"])).await.unwrap();
    check(&place).await;
    // What the view cannot apply is not appended, nor remembered by a writer, and nothing of it is in the view.
    let before = place.read().await;
    for stream in ["s-1", "s-7"] {
        let error = view.append(events(stream, &["counted", "poison"])).await.unwrap_err();
        assert!(matches!(error, InlineError::View(_)), "{error}");
    }
    assert_eq!(place.read().await, before);
    // Nor is what the log rejects.
    let stream = StreamId::from_static("orders", "s-1");
    let event = NewEvent::json("counted", &7).unwrap();
    let refused = vec![Append::new(stream, [event], WriteCondition::StreamIsEmpty)];
    let error = view.append(refused).await.unwrap_err();
    assert!(matches!(error, InlineError::Append(Error::ConditionFailed { .. })), "{error}");
    check(&place).await;
    // Without an event there is nothing to apply.
    assert_eq!(view.append(events("s-1", &[])).await.unwrap(), []);
    // A known event is reported as one.
    let again = events("s-7", &["counted"]);
    view.append(again.clone()).await.unwrap();
    let error = view.append(again).await.unwrap_err();
    assert!(matches!(error, InlineError::Append(Error::DuplicateEvent(_))), "{error}");
    // Events of several streams in one append.
    let several = [events("s-7", &["counted"]), events("s-8", &["counted"; 2])].concat();
    let several = view.append([several, events("s-7", &["counted"])].concat()).await;
    match several {
        Ok(stored) => assert_eq!(stored.len(), 4),
        Err(InlineError::Append(Error::Invalid(_))) => {}
        Err(error) => panic!("{error}"),
    }
    check(&place).await;
    // Another handle, as after a start, goes on.
    quick(&place).append(events("s-2", &["counted"])).await.unwrap();
    check(&place).await;
    // A follow sees what was appended, and a read the same as the append returned.
    let stored = view.append(events("s-3", &["counted"; 2])).await.unwrap();
    let store = EventStore::new(place.log());
    let read = store.log().read(ReadOptions::default()).into_vec().await.unwrap();
    assert!(read.ends_with(&stored), "{stored:?}");
}

/// J10.
pub(crate) async fn assert_gets_what_its_query_asks_for(place: impl Place) {
    let one = StreamId::from_static("orders", "s-1");
    let view = place.inline(Box::new(move |processor| processor.with_query(one))).unwrap();
    view.append(events("s-0", &["counted"])).await.unwrap();
    view.append(events("s-1", &["counted"])).await.unwrap();
    assert_eq!(place.read().await, Rows::from([("s-1".to_owned(), (1, 0))]));
}

/// J10.
pub(crate) fn assert_decides_nothing_and_takes_all_streams(place: &impl Place) {
    let parks = |processor: Processor| Ok(processor.with_errors(|_| Decision::Park));
    let parks = place.inline(Box::new(parks)).unwrap_err();
    assert!(matches!(parks, ProcessingError::Misuse(_)), "{parks}");
    let part = |processor: Processor| {
        let part = annals_processing::Partitions::hash(2)?.nth(0)?;
        Ok(processor.with_partition(part))
    };
    let part = place.inline(Box::new(part)).unwrap_err();
    assert!(matches!(part, ProcessingError::Misuse(_)), "{part}");
}

/// J10: appends that race, are dropped and go past the view are applied once.
pub(crate) async fn assert_exact_in_races(place: impl Place) {
    let (view, other) = (quick(&place), quick(&place));
    let writers = (0..4_u64).map(|writer| {
        let view = Arc::clone(if writer % 2 == 0 { &view } else { &other });
        let plain = place.log();
        tokio::spawn(async move {
            for nth in 0..16_u64 {
                let writes = events(&format!("s-{writer}"), &["counted"]);
                if nth % 8 == 7 {
                    plain.append(writes).await.unwrap();
                    continue;
                }
                // One beside it is rejected in the same transaction.
                if nth % 6 == 1 {
                    let poison = events(&format!("s-{writer}"), &["counted", "poison"]);
                    let error = view.append(poison).await.unwrap_err();
                    assert!(!error.is_outcome_unknown(), "{error}");
                }
                // Some are dropped somewhere.
                let limit = if nth % 5 == 4 { (nth * 7 + writer * 3) % 12 } else { 120_000 };
                match tokio::time::timeout(Duration::from_millis(limit), view.append(writes)).await
                {
                    Ok(Err(InlineError::Append(Error::Unavailable(_)))) | Err(_) => {}
                    Ok(appended) => drop(appended.unwrap()),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let last = async || {
        while view.append(events("s-9", &["counted"])).await.is_err() {}
    };
    tokio::time::timeout(Duration::from_secs(120), last()).await.unwrap();
    check(&place).await;
    assert!(expected(&place.log()).await.values().map(|row| row.0).sum::<i64>() >= 30);
}

/// Adapters with views in tables, each in a world of its own with a name.
#[async_trait]
pub(crate) trait Maker: Send + Sync {
    type Adapter: StorageAdapter + Clone;
    /// A new world with a table of [`Rows`].
    fn make(&self, name: &str) -> Self::Adapter;
    fn state(&self, adapter: &Self::Adapter) -> Arc<dyn StateStore>;
    fn sink(&self, adapter: &Self::Adapter, name: &str) -> Box<dyn Sink>;
    async fn read(&self, name: &str) -> Result<Rows, BoxError>;
}

/// A table of [`Rows`].
#[async_trait]
pub(crate) trait Table: Send + Sync {
    async fn read(&self) -> Rows;
    /// Adds a row of `nobody`.
    async fn intrude(&self);
}

fn name() -> String {
    format!("views{}", annals::EventId::generate().as_uuid().simple())
}

/// The suite knows worlds by their state stores: each says in a document which world it is of.
struct Worlds<M: Maker> {
    maker: M,
    made: Mutex<HashMap<String, M::Adapter>>,
    last: Mutex<String>,
}

fn home() -> DocumentKey {
    DocumentKey::new("suite", "home").unwrap()
}

async fn home_of(state: &dyn StateStore) -> String {
    loop {
        // It may be one that fails at times.
        if let Ok(mut found) = get_all(state, vec![home()]).await {
            return found.pop().flatten().unwrap().body.to_json().unwrap();
        }
    }
}

#[async_trait]
impl<M: Maker> SinkHarness for Worlds<M> {
    fn log(&self) -> Arc<dyn StorageAdapter> {
        let name = name();
        let adapter = self.maker.make(&name);
        let write = Write::put(home(), Payload::json(&name).unwrap(), Expected::Absent);
        let state = self.maker.state(&adapter);
        futures_executor::block_on(state.commit(Commit::new([write]))).unwrap();
        self.made.lock().unwrap().insert(name.clone(), adapter.clone());
        *self.last.lock().unwrap() = name;
        Arc::new(adapter)
    }

    fn state(&self) -> Arc<dyn StateStore> {
        let last = self.last.lock().unwrap().clone();
        self.maker.state(&self.made.lock().unwrap()[&last])
    }

    fn sink(&self, state: Arc<dyn StateStore>) -> Box<dyn Sink> {
        let name = futures_executor::block_on(home_of(&state));
        let adapter = self.made.lock().unwrap()[&name].clone();
        self.maker.sink(&adapter, &name)
    }

    fn event(&self, nth: u64) -> (StreamId, NewEvent) {
        let stream = StreamId::new("orders", format!("s-{}", nth % 4)).unwrap();
        (stream, NewEvent::json("counted", &nth).unwrap())
    }

    async fn effect(&self, state: &dyn StateStore) -> Result<String, BoxError> {
        let name = home_of(state).await;
        Ok(format!("{:?}", self.maker.read(&name).await?))
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(1)
    }
}

pub(crate) fn assert_passes_the_suite_of_sinks(maker: impl Maker + 'static, rounds: u64) {
    let worlds = Worlds { maker, made: Mutex::default(), last: Mutex::default() };
    // Its commits are its own: no store of the suite can lose their answers.
    for check in sink_checks().iter().filter(|check| check.name != "sink.errors") {
        check.run(&worlds, 0..rounds).unwrap();
        worlds.made.lock().unwrap().clear();
    }
}

/// `broken` is in the text of the constraint's error.
pub(crate) async fn assert_finds_and_parks_what_cannot_be_applied(
    table: &impl Table,
    log: Arc<dyn StorageAdapter>,
    processor: impl Fn() -> Processor,
    broken: &str,
) {
    for nth in 0..40 {
        let name = if nth == 23 { "poison" } else { "counted" };
        log.append(events(&format!("s-{}", nth % 5), &[name])).await.unwrap();
    }
    let error = processor().settle().await.unwrap_err();
    let ProcessingError::Handler(failed) = &error else { panic!("{error}") };
    assert_eq!(failed.sequence_number.value(), 24);
    assert!(failed.source.to_string().contains(broken), "{:?}", failed.source);
    let before: i64 = table.read().await.values().map(|row| row.0).sum();
    assert_eq!(before, 23, "what comes before it was applied");

    let mut parking = processor().with_errors(|_| Decision::Park);
    parking.settle().await.unwrap();
    assert_eq!(parking.handle().status().parked, 1);
    let mut expected = expected(&log).await;
    // Its sequence waits: positions 0 to 3 were applied.
    expected.insert("s-3".to_owned(), (4, 3));
    assert_eq!(table.read().await, expected);
}

pub(crate) async fn assert_a_reset_fills_the_tables_again(
    table: &impl Table,
    log: Arc<dyn StorageAdapter>,
    processor: Processor,
) {
    log.append(events("s-0", &["counted"; 5])).await.unwrap();
    let handle = processor.handle();
    let running = tokio::spawn(processor.run());
    let last = log.append(events("s-1", &["counted"; 5])).await.unwrap();
    let until = last.last().map(|event| event.sequence_number);
    handle.wait(until, Duration::from_secs(120)).await.unwrap();
    assert_eq!(table.read().await, expected(&log).await);
    table.intrude().await;
    assert_eq!(handle.ask(Ask::Reset).await.unwrap(), Answer::Done);
    let settled = async {
        while table.read().await != expected(&log).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), settled).await.unwrap();
    handle.stop();
    running.await.unwrap().unwrap();
}

/// A timer for what is only settled.
pub(crate) fn manual() -> ManualTimer {
    ManualTimer::new()
}
