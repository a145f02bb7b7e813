//! Rules S: cache and snapshots change nothing that can be seen.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use annals::{BoxError, EventStore, StoredEvent};
use annals_domain::{
    Aggregate, Error, ExecuteError, MemorySnapshots, Repository, Retry, Snapshot, SnapshotKey,
    SnapshotPolicy, SnapshotStore, StateSnapshots,
};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_testkit::{Recording, Request};
use async_trait::async_trait;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::places::Place;
use crate::world::{World, WorldEvent};

const EVERY_2: SnapshotPolicy = SnapshotPolicy::every(NonZeroU64::new(2).expect("not 0"));

fn earth() -> String {
    "earth".to_owned()
}

fn key() -> SnapshotKey {
    SnapshotKey { kind: "worlds".to_owned(), id: earth() }
}

fn plain(store: &EventStore) -> Repository<World> {
    Repository::new(store.clone())
}

async fn grow(repository: &Repository<World>, events: usize) {
    for nth in 0..events {
        let next = |world: &World| world.make_it_so(&nth.to_string());
        repository.execute_or_create(&earth(), next).await.expect("an event");
    }
}

/// Each place for snapshots; files are in this folder.
async fn places(folder: &TempDir) -> Vec<Arc<dyn SnapshotStore>> {
    let mut all: Vec<Arc<dyn SnapshotStore>> = vec![Arc::new(MemorySnapshots::new())];
    for place in Place::all(folder.path()).await {
        all.push(Arc::new(StateSnapshots::new(place.state)));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn s1_state_with_cache_and_snapshots_equals_state_without(
        batches in prop::collection::vec(0..4_usize, 1..8),
        every in 1..4_u64,
        most in 1..3_usize,
        reads in prop::collection::vec(any::<(bool, u64)>(), 8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let store = EventStore::new(MemoryAdapter::new());
            let every = SnapshotPolicy::every(NonZeroU64::new(every).expect("not 0"));
            let place = Arc::new(StateSnapshots::new(MemoryState::new()));
            let fast = plain(&store)
                .cached(NonZeroUsize::new(most).expect("not 0"))
                .snapshots(place, every);
            for (batch, (fresh, version)) in batches.into_iter().zip(reads) {
                let writer = if fresh { plain(&store) } else { fast.clone() };
                let many = |world: &World| {
                    (0..batch).map(|nth| world.make_it_so(&nth.to_string())).collect::<Vec<_>>()
                };
                writer.execute_or_create(&earth(), many).await.expect("events");
                let versions = [version % 20, u64::MAX];
                for version in versions {
                    let with = fast.at_most(&earth(), version).await;
                    let without = plain(&store).at_most(&earth(), version).await;
                    match (with, without) {
                        (Ok(with), Ok(without)) => {
                            assert_eq!((&*with, with.version()), (&*without, without.version()));
                            assert_eq!(with.created_at(), without.created_at());
                            assert_eq!(with.modified_at(), without.modified_at());
                        }
                        (Err(with), Err(without)) => {
                            assert!(with.is_not_found() && without.is_not_found());
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn s2_unsaved_changes_of_a_copy_are_seen_by_nobody() {
    let store = EventStore::new(MemoryAdapter::new());
    let repository = plain(&store).cached(NonZeroUsize::MIN);
    grow(&repository, 1).await;
    let mut copy = repository.get(&earth()).await.expect("earth");
    copy.execute(|world| world.make_it_so("unsaved")).expect("an event");
    assert_eq!(repository.get(&earth()).await.expect("earth").history, ["0"]);
    let done = repository.execute(&earth(), |world| world.make_it_so("1")).await.expect("an event");
    assert_eq!(done.state().history, ["0", "1"]);
    grow(&repository, 1).await;
    assert_eq!(done.state().history, ["0", "1"], "what a command returned stays as it was");
}

/// How many events were read in each call since the last look.
fn read(adapter: &Recording<MemoryAdapter>) -> Vec<usize> {
    let reads = adapter.take().into_iter().filter(|call| matches!(call.request, Request::Read(..)));
    reads.map(|call| call.events.len()).collect()
}

#[tokio::test]
async fn s3_a_hit_reads_only_newer_events_and_the_cache_keeps_its_bound() {
    let adapter = Recording::new(MemoryAdapter::new());
    let store = EventStore::new(adapter.clone());
    grow(&plain(&store), 20).await;
    let repository = plain(&store).cached(NonZeroUsize::new(2).expect("not 0"));
    read(&adapter);
    drop(repository.get(&earth()).await.expect("earth"));
    assert_eq!(read(&adapter), [20]);
    drop(repository.get(&earth()).await.expect("earth"));
    assert_eq!(read(&adapter), [1], "the last known event, which proves the entry");
    grow(&plain(&store), 3).await;
    read(&adapter);
    assert_eq!(repository.get(&earth()).await.expect("earth").version(), 23);
    assert_eq!(read(&adapter), [4]);
    repository.execute(&earth(), |world| world.make_it_so("x")).await.expect("an event");
    assert_eq!(read(&adapter), [0_usize; 0], "the condition of the append proves the entry");
    // Two others take its place.
    for other in ["mars", "venus"] {
        repository.create(&other.to_owned(), || World::created(other)).await.expect("a world");
    }
    read(&adapter);
    drop(repository.get(&earth()).await.expect("earth"));
    assert_eq!(read(&adapter), [24]);
}

/// A world may have so many events.
fn at_most(most: usize) -> impl FnMut(&World) -> Result<WorldEvent, String> {
    move |world| {
        let count = world.history.len();
        if count < most { Ok(world.make_it_so("more")) } else { Err(format!("{count} of {most}")) }
    }
}

#[tokio::test]
async fn s3_a_command_on_a_hit_reads_what_its_condition_cannot_prove() {
    let adapter = Recording::new(MemoryAdapter::new());
    let store = EventStore::new(adapter.clone());
    let [repository, other] = [0, 1].map(|_| plain(&store).cached(NonZeroUsize::MIN));
    grow(&repository, 2).await;
    grow(&other, 1).await;
    // Another appended since: the append is rejected, and the decision is made again on what was read.
    read(&adapter);
    let done = repository.execute(&earth(), at_most(4)).await.expect("room for one");
    assert_eq!((done.state().history.len(), done.attempts), (4, 2));
    assert_eq!(read(&adapter), [2]);
    // A rejection is that of the current state, decided once if the log has not gone on.
    let mut decisions = 0;
    let mut decide = at_most(4);
    let counted = |world: &World| {
        decisions += 1;
        decide(world)
    };
    let rejected = repository.execute(&earth(), counted).await.expect_err("no room");
    assert!(matches!(rejected, ExecuteError::Rejected(why) if why == "4 of 4"));
    assert_eq!((decisions, read(&adapter)), (1, vec![1]));
    // What the cache has is behind and would be rejected: the log says otherwise.
    let not_three = |world: &World| match world.history.len() {
        3 => Err("three"),
        _ => Ok(Vec::from_iter((world.history.len() < 4).then(|| world.make_it_so("x")))),
    };
    let done = other.execute(&earth(), not_three).await.expect("nothing happens");
    assert_eq!((done.state().history.len(), done.attempts, done.events.len()), (4, 2, 0));
    assert_eq!(
        read(&adapter),
        [2],
        "what was read to confirm is what the next decision is made on"
    );
    // With one attempt nothing is recalled.
    repository.execute(&earth(), at_most(5)).await.expect("room for one");
    let once = other.clone().retry(Retry::attempts(NonZeroU32::MIN));
    let done = once.execute(&earth(), at_most(6)).await.expect("room for one");
    assert_eq!((done.state().history.len(), done.attempts), (6, 1));
    // Nor is one that was discarded decided on.
    repository.discard(&earth()).await.expect("it exists");
    let ended = other.execute(&earth(), at_most(9)).await.expect_err("it was discarded");
    assert!(ended.failure().is_some_and(Error::is_not_found), "{ended}");
}

#[tokio::test]
async fn s4_every_2_of_five_events_one_by_one_are_snapshots_at_2_and_4() {
    let store = EventStore::new(MemoryAdapter::new());
    let memory = MemorySnapshots::new();
    let repository = plain(&store).snapshots(Arc::new(memory.clone()), EVERY_2);
    grow(&repository, 5).await;
    assert_eq!(memory.versions(&key()), [2, 4]);
    // The same by saves of a root.
    let saved = MemorySnapshots::new();
    let repository =
        plain(&EventStore::new(MemoryAdapter::new())).snapshots(Arc::new(saved.clone()), EVERY_2);
    let mut root = annals_domain::Root::<World>::new(earth()).expect("a root");
    for nth in 0..5 {
        root.execute(|world| world.make_it_so(&nth.to_string())).expect("an event");
        repository.save(&mut root).await.expect("a save");
    }
    assert_eq!(saved.versions(&key()), [2, 4]);
    repository.snapshot(&earth()).await.expect("one by hand");
    assert_eq!(saved.versions(&key()), [4, 5]);
    let none = plain(&store).snapshot(&earth()).await.expect_err("no snapshots");
    assert!(matches!(none, Error::Store(annals::Error::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_begins_at_a_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    for place in places(&folder).await {
        let adapter = Recording::new(MemoryAdapter::new());
        let store = EventStore::new(adapter.clone());
        let repository = plain(&store).snapshots(place, EVERY_2);
        grow(&repository, 9).await;
        read(&adapter);
        assert_eq!(repository.get(&earth()).await.expect("earth").history.len(), 9);
        assert_eq!(read(&adapter), [2], "the event of the snapshot and the one after it");
        assert_eq!(repository.get_at(&earth(), 7).await.expect("version 7").history.len(), 7);
        assert_eq!(read(&adapter), [2]);
    }
}

/// A store of snapshots that returns this.
#[derive(Debug)]
struct Given(Result<Option<Snapshot>, &'static str>);

#[async_trait]
impl SnapshotStore for Given {
    async fn load(&self, _: &SnapshotKey, _: u64) -> Result<Option<Snapshot>, BoxError> {
        self.0.clone().map_err(Into::into)
    }

    async fn save(&self, _: &SnapshotKey, _: Snapshot) -> Result<(), BoxError> {
        Err("no room".into())
    }

    async fn forget(&self, _: &SnapshotKey) -> Result<(), BoxError> {
        Err("no".into())
    }
}

#[tokio::test]
async fn s5_whatever_is_wrong_with_a_snapshot_the_result_is_the_same() {
    let store = EventStore::new(MemoryAdapter::new());
    grow(&plain(&store), 5).await;
    let expected = plain(&store).get(&earth()).await.expect("earth");
    let log = store.log().read(annals::ReadOptions::default()).into_vec().await.expect("a read");
    // A state that decodes and is wrong: what uses it shows.
    let wrong = |last: &StoredEvent, version: u64| Snapshot {
        schema: 1,
        version,
        sequence_number: last.sequence_number,
        event: last.id(),
        created_at: last.occurred_at(),
        modified_at: last.occurred_at(),
        state: serde_json::to_vec(&World::created_state("wrong")).expect("JSON"),
    };
    let foreign = annals_testkit::StoredEventBuilder::new().build();
    let cases = [
        ("other schema", Ok(Some(Snapshot { schema: 2, ..wrong(&log[3], 4) }))),
        ("garbage", Ok(Some(Snapshot { state: b"{".to_vec(), ..wrong(&log[3], 4) }))),
        ("foreign log", Ok(Some(wrong(&foreign, 4)))),
        ("another version of this log", Ok(Some(wrong(&log[3], 3)))),
        ("ahead of the log", Ok(Some(wrong(&foreign, 9)))),
        ("before the first event", Ok(Some(wrong(&log[0], 0)))),
        ("broken store", Err("on fire")),
        ("none", Ok(None)),
    ];
    for (what, given) in cases {
        let repository = plain(&store).snapshots(Arc::new(Given(given)), EVERY_2);
        let found = repository.get(&earth()).await.expect(what);
        assert_eq!((&*found, found.version()), (&*expected, 5), "{what}");
    }
    // The test can fail: what is proven is used.
    let repository = plain(&store).snapshots(Arc::new(Given(Ok(Some(wrong(&log[3], 4))))), EVERY_2);
    assert_eq!(repository.get(&earth()).await.expect("earth").name, "wrong");
    // Nor does a store that keeps nothing hinder a command.
    let repository = plain(&store).snapshots(Arc::new(Given(Err("on fire"))), EVERY_2);
    grow(&repository, 2).await;
    repository.discard(&earth()).await.expect("it exists");
}

#[tokio::test]
async fn s5_a_cache_of_a_log_that_went_back_is_not_used() {
    let adapter = Swapped::default();
    let store = EventStore::new(adapter.clone());
    let repository = plain(&store).cached(NonZeroUsize::MIN);
    grow(&repository, 5).await;
    // The log is restored to three events, and two others follow.
    let restored = MemoryAdapter::new();
    let other = plain(&EventStore::new(restored.clone()));
    other.create(&earth(), || World::created("restored")).await.expect("a world");
    grow(&other, 4).await;
    adapter.swap(restored);
    let found = repository.get(&earth()).await.expect("earth");
    assert_eq!((found.name.as_str(), found.version()), ("restored", 5));
    let done = repository.execute(&earth(), |world| world.make_it_so("x")).await.expect("an event");
    assert_eq!((done.state().name.as_str(), done.version(), done.attempts), ("restored", 6, 1));
    // To another one again, which a command meets first.
    let restored = MemoryAdapter::new();
    let other = plain(&EventStore::new(restored.clone()));
    other.create(&earth(), || World::created("again")).await.expect("a world");
    adapter.swap(restored);
    let done = repository.execute(&earth(), |world| world.make_it_so("x")).await.expect("an event");
    assert_eq!((done.state().name.as_str(), done.version(), done.attempts), ("again", 2, 2));
    // And to nothing.
    adapter.swap(MemoryAdapter::new());
    assert!(repository.get(&earth()).await.is_err_and(|error| error.is_not_found()));
}

/// A store whose log can be replaced, as a restore does.
#[derive(Debug, Clone, Default)]
struct Swapped(Arc<std::sync::Mutex<MemoryAdapter>>);

impl Swapped {
    fn now(&self) -> MemoryAdapter {
        self.0.lock().expect("no panic").clone()
    }

    fn swap(&self, adapter: MemoryAdapter) {
        *self.0.lock().expect("no panic") = adapter;
    }
}

#[async_trait]
impl annals::StorageAdapter for Swapped {
    fn name(&self) -> &'static str {
        "swapped"
    }

    fn capabilities(&self) -> annals::Capabilities {
        self.now().capabilities()
    }

    async fn append(&self, writes: Vec<annals::Append>) -> annals::Result<Vec<StoredEvent>> {
        self.now().append(writes).await
    }

    fn read(&self, query: annals::Query, options: annals::ReadOptions) -> annals::EventPages {
        self.now().read(query, options)
    }

    async fn close(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_nothing_of_snapshots_is_in_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    for place in places(&folder).await {
        let store = EventStore::new(MemoryAdapter::new());
        grow(&plain(&store).snapshots(place, EVERY_2), 6).await;
        let log =
            store.log().read(annals::ReadOptions::default()).into_vec().await.expect("a read");
        assert_eq!(log.len(), 6);
        assert!(log.iter().all(|event| *event.name() == "World.SomethingHappened"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_an_older_snapshot_never_replaces_a_newer_and_a_discard_forgets() {
    let folder = tempfile::tempdir().expect("a folder");
    for place in places(&folder).await {
        let store = EventStore::new(MemoryAdapter::new());
        let repository = plain(&store).snapshots(Arc::clone(&place), EVERY_2);
        grow(&repository, 2).await;
        let old = place.load(&key(), 2).await.expect("a snapshot").expect("at 2");
        grow(&repository, 6).await;
        place.save(&key(), old.clone()).await.expect("nothing happens");
        let version = |found: Option<Snapshot>| found.map(|snapshot| snapshot.version);
        let newest = place.load(&key(), u64::MAX).await.expect("a snapshot");
        assert_eq!(version(newest.clone()), Some(8));
        assert_eq!(version(place.load(&key(), 7).await.expect("a snapshot")), Some(6));
        assert_eq!(
            version(place.load(&key(), 5).await.expect("no snapshot")),
            None,
            "two are kept"
        );
        // The same version again is no error.
        place.save(&key(), newest.expect("at 8")).await.expect("it is there");
        let other = SnapshotKey { kind: "worlds".to_owned(), id: "mars".to_owned() };
        place.save(&other, old).await.expect("a snapshot");
        repository.discard(&earth()).await.expect("it exists");
        assert_eq!(version(place.load(&key(), u64::MAX).await.expect("none")), None);
        assert_eq!(version(place.load(&other, u64::MAX).await.expect("it is there")), Some(2));
        assert_eq!(<World as Aggregate>::CATEGORY, "worlds");
    }
}

#[tokio::test]
async fn a_sweep_removes_the_snapshots_of_a_subject() {
    use annals_state::Sweep;
    let state = Arc::new(MemoryState::new());
    let snapshots =
        StateSnapshots::new(Arc::clone(&state)).with_subjects(|key, subject| key.id == subject);
    let store = EventStore::new(MemoryAdapter::new());
    let repository = plain(&store).snapshots(Arc::new(snapshots.clone()), EVERY_2);
    for name in ["earth", "mars"] {
        let two = |world: &World| [World::created(name), world.make_it_so("x")];
        repository.execute_or_create(&name.to_owned(), two).await.expect("events");
    }
    let swept = Sweep::forget(&snapshots, "mars").await.expect("a sweep");
    assert_eq!((swept.looked_at, swept.removed), (2, 1));
    assert!(snapshots.load(&key(), 9).await.expect("a read").is_some());
    // Without a word about subjects all of them go.
    let all = StateSnapshots::new(state);
    assert_eq!(Sweep::forget(&all, "anybody").await.expect("a sweep").removed, 1);
    grow(&repository, 2).await;
    all.forget_kind("worlds").await.expect("all of them");
    assert!(all.load(&key(), 9).await.expect("a read").is_none());
}
