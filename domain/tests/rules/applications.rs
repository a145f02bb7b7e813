//! Rules X, N and T: contexts, sections of the log, the environment; typed streams, and given/when/then.

use std::num::NonZeroU64;

use annals::{
    BoxError, Error as StoreError, EventName, EventStore, Metadata, NewEvent, ReadOptions,
    StoredEvent, StreamId, WriteCondition,
};
use annals_domain::{
    Adapters, Application, Context, Env, EnvError, Error, Event, LogReader, NotificationLog,
    SectionId, TypedStream, given,
};
use annals_memory::MemoryAdapter;
use serde_json::{Value, json};

use crate::world::{World, WorldEvent};

fn store() -> EventStore {
    EventStore::new(MemoryAdapter::new())
}

fn metadata(event: &StoredEvent) -> Value {
    event.metadata().map_or(Value::Null, |metadata| metadata.to_json().expect("JSON"))
}

#[derive(Event, Debug, Clone, PartialEq)]
#[event(name = "noted", version = 2, upcast(as_text))]
struct Noted {
    text: String,
}

fn as_text(_: &mut Value) {}

#[derive(Debug, Clone, Default)]
struct Notes;

impl annals_domain::Aggregate for Notes {
    const CATEGORY: &'static str = "notes";
    type Id = u64;
    type Event = Noted;

    fn apply(&mut self, _: Noted) {}
}

#[tokio::test]
async fn x1_x2_x3_an_application_says_what_caused_its_events() {
    let application = Application::new("Universe", store());
    let id = "earth".to_owned();
    let plain = application.repository::<World>();
    let created = plain.create(&id, || World::created("Earth")).await.expect("a world").events;
    assert_eq!(created[0].metadata(), None, "X3: without a context metadata stays absent");

    let reacting = application.caused_by(&created[0]);
    let caused = reacting.repository::<World>().execute(&id, |world| world.make_it_so("x")).await;
    let first = created[0].id().to_string();
    let expected = json!({ "$correlationId": first, "$causationId": first });
    assert_eq!(metadata(&caused.expect("an event").events[0]), expected, "X1");

    let request = Context::correlated("request-7").with("actor", "ann");
    let note = |text: &str| Noted { text: text.to_owned() };
    let notes = application.with(request.clone());
    let made = notes.repository::<Notes>().create(&1, || note("x")).await.expect("a note").events;
    let stamp = json!({ "$schemaVersion": 2, "$correlationId": "request-7", "actor": "ann" });
    assert_eq!(metadata(&made[0]), stamp, "X2");
    assert_eq!(annals_domain::decode::<Noted>(&made[0]).expect("it reads"), Some(note("x")));

    // A save of roots and a boundary stamp as well.
    let mut root = annals_domain::Root::<Notes>::create(2, note("y")).expect("a root");
    let saved = notes.save(&mut [&mut root]).await.expect("a save");
    let stream = StreamId::from_static("notes", "3");
    let decided = notes.boundary(stream).execute((), |()| note("z")).await.expect("a note");
    assert_eq!((metadata(&saved[0]), metadata(&decided[0])), (stamp.clone(), stamp));

    // On request an index finds all that one request led to.
    let tagged = application.with(request.clone().tagged());
    let one = tagged.repository::<Notes>().create(&4, || note("t")).await.expect("a note").events;
    let tag = request.correlation_tag().expect("a tag").expect("a correlation");
    let item = annals::QueryItem::new(annals::Source::Log).with_tags(tag.into());
    let found = application.store().read(item, ReadOptions::default()).into_vec().await;
    assert_eq!(found.expect("a read"), one);
}

async fn log_of(events: usize) -> NotificationLog {
    let store = store();
    let stream = store.stream(StreamId::from_static("things", "one"));
    for nth in 0..events {
        let event = NewEvent::json(if nth % 2 == 0 { "even" } else { "odd" }, &nth);
        stream.append([event.expect("an event")], WriteCondition::Always).await.expect("an append");
    }
    NotificationLog::new(store, NonZeroU64::new(5).expect("not 0"))
}

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence_number.value()).collect()
}

/// A section that is asked for, its events, itself as it was found, and the next one.
type Case = (&'static str, &'static [u64], Option<&'static str>, Option<&'static str>);

#[tokio::test]
async fn n1_sections_have_the_ends_that_they_have() {
    let log = log_of(7).await;
    let cases: [Case; 7] = [
        ("1,5", &[1, 2, 3, 4, 5], Some("1,5"), Some("6,10")),
        ("0,3", &[1, 2, 3], Some("1,3"), Some("4,8")),
        ("1,10", &[1, 2, 3, 4, 5], Some("1,5"), Some("6,10")),
        ("6,10", &[6, 7], Some("6,7"), None),
        ("5,2", &[], None, None),
        ("8,12", &[], None, None),
        ("1,18446744073709551615", &[1, 2, 3, 4, 5], Some("1,5"), Some("6,10")),
    ];
    for (asked, items, id, next) in cases {
        let section = log.section(asked.parse().expect(asked)).await.expect("a section");
        assert_eq!(numbers(&section.items), items, "{asked}");
        let text = |id: Option<SectionId>| id.map(|id| id.to_string());
        assert_eq!(text(section.id).as_deref(), id, "{asked}");
        assert_eq!(text(section.next_id).as_deref(), next, "{asked}");
    }
    for bad in ["", "1", "a,b", "1,2,3", "-1,2", "1;2"] {
        let error = bad.parse::<SectionId>().expect_err(bad);
        assert!(matches!(error, Error::Store(StoreError::Invalid(_))), "{bad}");
    }
}

#[tokio::test]
async fn n2_a_reader_reads_only_what_is_new_and_a_selection_has_a_bound() {
    let log = log_of(7).await;
    let error = log.select(1, 6, None, []).await.expect_err("more than a section");
    assert!(matches!(error, Error::Store(StoreError::Invalid(_))), "{error}");
    let odd = [EventName::from_static("odd")];
    let selected = log.select(1, 5, Some(5), odd).await.expect("a selection");
    assert_eq!(numbers(&selected), [2, 4]);

    let mut reader = LogReader::new(log.clone(), 1);
    assert_eq!(numbers(&reader.read().await.expect("all")), [1, 2, 3, 4, 5, 6, 7]);
    assert!(reader.read().await.expect("nothing").is_empty());
    let log = log_of(10).await;
    assert_eq!(
        numbers(&LogReader::new(log, 5).read().await.expect("a full last section")),
        [5, 6, 7, 8, 9, 10]
    );
}

#[test]
fn t1_the_prefixed_key_first_then_what_was_given_the_process_the_default() {
    let process = |key: &str| match key {
        "UNIVERSE_A" => Some("process, prefixed".to_owned()),
        "A" | "B" | "C" => Some("process".to_owned()),
        _ => None,
    };
    let env = Env::from_lookup("Universe", process)
        .with("A", "given")
        .with("C", "given")
        .with_default("UNIVERSE_B", "default, prefixed")
        .with_default("D", "default");
    let found = ["A", "B", "C", "D", "E"].map(|key| env.get(key));
    let expected = [
        Some("process, prefixed"),
        Some("default, prefixed"),
        Some("given"),
        Some("default"),
        None,
    ];
    assert_eq!(found.each_ref().map(Option::as_deref), expected);
    assert_eq!(Env::new("Universe").get("PATH"), None);
    assert_eq!(Env::process("Universe").get("PATH"), std::env::var("PATH").ok());
}

#[test]
fn t2_errors_name_what_is_wrong_and_debug_shows_no_value() {
    let env = Env::new("Universe").with("UNIVERSE_POOL", "many").with("PASSWORD", "s3cret");
    assert_eq!(
        env.require("URL"),
        Err(EnvError::Missing(vec!["UNIVERSE_URL".to_owned(), "URL".to_owned()]))
    );
    assert_eq!(
        env.require("URL").expect_err("none").to_string(),
        "none of UNIVERSE_URL, URL is set"
    );
    let error = env.parse::<u32>("POOL", "a number").expect_err("no number");
    assert_eq!(error.to_string(), "UNIVERSE_POOL is \"many\", expected a number");
    assert_eq!(env.parse::<u32>("SIZE", "a number"), Ok(None));
    let shown = format!("{env:?}");
    assert!(!shown.contains("s3cret") && shown.contains("PASSWORD"), "{shown}");
}

#[tokio::test]
async fn t2_cache_and_snapshots_are_as_the_environment_says() {
    use annals_domain::{Repository, SnapshotPolicy};
    use annals_testkit::{Recording, Request};
    let env = |cache: &str| Env::new("Universe").with("UNIVERSE_AGGREGATE_CACHE", cache);
    // With a cache, and without: the second load reads one event of two, or both.
    for (env, read) in [(env("5"), 1), (env("0"), 2), (Env::new("Universe"), 2)] {
        let adapter = Recording::new(MemoryAdapter::new());
        let worlds = Repository::<World>::new(EventStore::new(adapter.clone()));
        let worlds = worlds.cached_by(&env).expect("a number");
        let id = "earth".to_owned();
        let two = || [World::created("Earth"), World::created("Earth again")];
        worlds.create(&id, two).await.expect("a world");
        drop(adapter.take());
        drop(worlds.get(&id).await.expect("earth"));
        let calls = adapter.take();
        assert!(matches!(calls[0].request, Request::Read(..)));
        assert_eq!((calls.len(), calls[0].events.len()), (1, read));
    }
    let every = NonZeroU64::new(7).map(SnapshotPolicy::every).expect("not 0");
    for (value, policy) in [
        (Some("7"), every),
        (Some("0"), SnapshotPolicy::manual()),
        (None, SnapshotPolicy::manual()),
    ] {
        let env = Env::new("Universe");
        let env = value.map_or(env.clone(), |value| env.with("SNAPSHOT_EVERY", value));
        assert_eq!(SnapshotPolicy::from_env(&env), Ok(policy));
    }
    let worlds = Repository::<World>::new(store()).cached_by(&env("many"));
    let expected = "UNIVERSE_AGGREGATE_CACHE is \"many\", expected a number of aggregates";
    assert_eq!(worlds.expect_err("no number").to_string(), expected);
    let wrong = SnapshotPolicy::from_env(&Env::new("U").with("SNAPSHOT_EVERY", "-1"));
    let expected = "SNAPSHOT_EVERY is \"-1\", expected a number of events";
    assert_eq!(wrong.expect_err("no number").to_string(), expected);
}

#[tokio::test]
async fn t3_an_unknown_adapter_lists_the_known_ones() {
    let adapters = Adapters::default().with("memory", |_| async { Ok(MemoryAdapter::new()) }).with(
        "broken",
        |env: Env| async move {
            Err::<MemoryAdapter, BoxError>(env.require("URL").expect_err("none").into())
        },
    );
    let open = |name: &str| {
        let env = Env::new("Universe").with("PERSISTENCE", name);
        let adapters = adapters.clone();
        async move { Application::open("Universe", &adapters, &env).await }
    };
    let application = open("memory").await.expect("an application");
    application.store().log().latest().await.expect("a read");
    application.close().await;
    assert!(matches!(application.store().log().latest().await, Err(StoreError::Closed { .. })));
    let error = open("sqlite").await.expect_err("not registered");
    assert_eq!(error.to_string(), "there is no adapter \"sqlite\", only broken, memory");
    assert!(open("broken").await.expect_err("broken").to_string().contains("UNIVERSE_URL"));
    let none = Application::open("Universe", &adapters, &Env::new("Universe")).await;
    assert_eq!(
        none.expect_err("none").to_string(),
        "none of UNIVERSE_PERSISTENCE, PERSISTENCE is set"
    );
}

#[tokio::test]
async fn a_typed_stream_is_a_list_of_events() {
    let stream = store().stream(StreamId::from_static("logs", "ids"));
    let typed = TypedStream::<WorldEvent>::new(stream.clone());
    assert!(typed.first().await.expect("a read").is_none());
    let events = ["a", "b", "c"].map(World::created);
    typed.append(events.clone(), WriteCondition::StreamIsEmpty).await.expect("an append");
    let error = typed.append([World::created("d")], WriteCondition::StreamIsEmpty).await;
    assert!(error.expect_err("not empty").is_conflict());
    let read = typed.read(ReadOptions::last(2)).await.expect("a read");
    let read: Vec<_> = read.into_iter().map(|(event, _)| event).collect();
    assert_eq!(read, [events[2].clone(), events[1].clone()]);
    assert_eq!(
        typed.first().await.expect("a read").map(|(event, _)| event),
        Some(events[0].clone())
    );
    assert_eq!(
        typed.last().await.expect("a read").map(|(event, _)| event),
        Some(events[2].clone())
    );
    let other = NewEvent::json("other", &1).expect("an event");
    stream.append([other], WriteCondition::Always).await.expect("an append");
    assert!(matches!(typed.last().await, Err(Error::Decode(_))));
}

#[test]
fn given_when_then() {
    let earth = given::<World>([World::created("Earth")]);
    assert_eq!(earth.state().name, "Earth");
    earth
        .when(|world| world.make_it_so("x"))
        .then([WorldEvent::SomethingHappened { what: "x".to_owned() }]);
    earth.when(|_| None::<WorldEvent>).then([]);
    earth.when(|_| Err::<WorldEvent, _>("no")).then_rejected("no");
    let fails = |test: fn()| std::panic::catch_unwind(test).is_err();
    assert!(fails(|| given::<World>([]).when(|world| world.make_it_so("x")).then([])));
    assert!(fails(|| given::<World>([]).when(|_| Err::<WorldEvent, _>("no")).then([])));
    assert!(fails(|| given::<World>([]).when(|_| Err::<WorldEvent, _>("no")).then_rejected("x")));
    assert!(fails(|| given::<World>([])
        .when(|world| Ok::<_, &str>(world.make_it_so("x")))
        .then_rejected("no")));
    assert!(Metadata::json(&json!({})).is_ok());
}
