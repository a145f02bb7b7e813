//! Where logs and snapshots are: in memory, in SQLite, in PostgreSQL. And how often they are asked.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{EventId, EventStore, StorageAdapter};
use annals_domain::{Repository, SnapshotPolicy, StateSnapshots};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_postgres::PostgresOptions;
use annals_postgres::tokio_postgres::Config;
use annals_servers::PostgresServer;
use annals_sqlite::SqliteAdapter;
use annals_state::{Commit, DocumentKey, DocumentPages, Got, Scan, StateCapabilities, StateStore};
use annals_testkit::{Proxy, Recording, Request, Side};
use async_trait::async_trait;
use futures_util::StreamExt;

use crate::world::World;

/// A log, and documents beside it in the same database.
pub(crate) struct Place {
    pub(crate) log: Arc<dyn StorageAdapter>,
    pub(crate) state: Counting,
}

impl Place {
    fn new(log: impl StorageAdapter, state: impl StateStore) -> Self {
        Self { log: Arc::new(log), state: Counting::new(state) }
    }

    /// A new one of each kind; files are in this folder.
    pub(crate) async fn all(folder: &Path) -> Vec<Self> {
        let file = SqliteAdapter::open(folder.join("log.db")).await.expect("a store");
        let file_state = file.state();
        let mut all =
            vec![Self::new(MemoryAdapter::new(), MemoryState::new()), Self::new(file, file_state)];
        if let Some((url, schema)) = postgres().await {
            let options = PostgresOptions::new(&url).expect("a URL").with_schema(schema);
            let adapter = options.connect().await.expect("a store");
            let state = adapter.state();
            all.push(Self::new(adapter, state));
        }
        all
    }
}

/// The server of the tests and a schema with tables; `None` if there is no PostgreSQL here, which is said aloud.
async fn postgres() -> Option<(String, String)> {
    let url = tokio::task::spawn_blocking(PostgresServer::shared_or_not_run);
    let url = url.await.expect("a task")?;
    let schema = format!("t{}", EventId::generate().as_uuid().simple());
    let options = PostgresOptions::new(&url).expect("a URL").with_schema(&schema);
    options.migrate().await.expect("tables");
    Some((url, schema))
}

/// A state store that counts what it is asked. Clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    inner: Arc<dyn StateStore>,
    requests: Arc<AtomicU64>,
}

impl Counting {
    fn new(inner: impl StateStore) -> Self {
        Self { inner: Arc::new(inner), requests: Arc::default() }
    }

    /// How many requests there were since the last look.
    fn take(&self) -> u64 {
        self.requests.swap(0, Ordering::Relaxed)
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl StateStore for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn capabilities(&self) -> StateCapabilities {
        self.inner.capabilities()
    }

    async fn commit(&self, commit: Commit) -> annals_state::Result<()> {
        self.count();
        self.inner.commit(commit).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> annals_state::Result<Got> {
        self.count();
        self.inner.get(keys).await
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        let counted = self.clone();
        self.inner.scan(scan).inspect(move |_| counted.count()).boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

fn earth() -> String {
    "earth".to_owned()
}

/// Reads of the log since the last look: how many events and pages each was.
fn reads(log: &Recording<Arc<dyn StorageAdapter>>) -> Vec<(usize, usize)> {
    let calls = log.take().into_iter();
    let reads = calls.filter(|call| matches!(call.request, Request::Read(..)));
    reads.map(|call| (call.events.len(), call.pages)).collect()
}

/// A world of nine events with a snapshot of all of them.
async fn grown(repository: &Repository<World>) {
    repository.create(&earth(), || World::created("Earth")).await.expect("a world");
    for nth in 1..9 {
        let next = |world: &World| world.make_it_so(&nth.to_string());
        repository.execute(&earth(), next).await.expect("an event");
    }
    repository.snapshot(&earth()).await.expect("a snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_a_get_is_one_request_from_the_cache_and_two_from_a_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    for place in Place::all(folder.path()).await {
        let log = Recording::new(Arc::clone(&place.log));
        let store = EventStore::new(log.clone());
        let plain = Repository::<World>::new(store.clone());
        let snapshots = Arc::new(StateSnapshots::new(place.state.clone()));
        let kept = plain.clone().snapshots(snapshots, SnapshotPolicy::manual());
        grown(&kept).await;
        let whole = plain.get(&earth()).await.expect("earth");

        drop(log.take());
        place.state.take();
        let found = kept.get(&earth()).await.expect("earth");
        assert_eq!((&*found, found.version()), (&*whole, 9), "{}", place.log.name());
        assert_eq!((reads(&log), place.state.take()), (vec![(1, 1)], 1), "{}", place.log.name());

        let cached = plain.clone().cached(NonZeroUsize::MIN);
        drop(cached.get(&earth()).await.expect("earth"));
        drop(log.take());
        let found = cached.get(&earth()).await.expect("earth");
        assert_eq!((&*found, found.version()), (&*whole, 9), "{}", place.log.name());
        assert_eq!((reads(&log), place.state.take()), (vec![(1, 1)], 0), "{}", place.log.name());
        store.close().await;
    }
}

/// What a request is to the adapter is one packet to the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_a_request_is_one_round_trip_on_postgresql() {
    let Some((url, schema)) = postgres().await else { return };
    let config: Config = url.parse().expect("a URL");
    let port = *config.get_ports().first().expect("a port");
    let proxy = Proxy::start(([127, 0, 0, 1], port).into()).await.expect("a proxy");
    let mut proxied = Config::new();
    proxied.user(config.get_user().expect("a user")).host("127.0.0.1").port(proxy.addr().port());
    proxied.dbname(config.get_dbname().expect("a database"));
    // One connection that reads, so that what it has prepared stays prepared.
    let two = NonZeroUsize::new(2).expect("not 0");
    let adapter =
        PostgresOptions::from_config(proxied).with_schema(&schema).with_pool_size(two).connect();
    let adapter = adapter.await.expect("a store");
    // Others append, so that this adapter has nothing to say but what it reads.
    let writer = PostgresOptions::new(&url).expect("a URL").with_schema(&schema).connect();
    let writer = writer.await.expect("a store");
    let policy = SnapshotPolicy::manual();
    let of = |log: &annals_postgres::PostgresAdapter| {
        let snapshots = Arc::new(StateSnapshots::new(log.state()));
        Repository::<World>::new(EventStore::new(log.clone())).snapshots(snapshots, policy)
    };
    grown(&of(&writer)).await;
    let kept = of(&adapter);
    let cached = Repository::<World>::new(EventStore::new(adapter)).cached(NonZeroUsize::MIN);
    for (what, repository, most) in [("cache", cached, 1), ("snapshot", kept, 2)] {
        // Statements are prepared, and numbers of names learnt.
        for _ in 0..3 {
            drop(repository.get(&earth()).await.expect("earth"));
        }
        proxy.cut_after(Side::Client, most);
        let found = repository.get(&earth()).await;
        assert!(!proxy.heal(), "more than {most} packets with the {what}");
        assert_eq!(found.expect("earth").version(), 9);
        // With one packet less it is an error, so the test can fail.
        proxy.cut_after(Side::Client, most - 1);
        let cut = repository.get(&earth()).await;
        assert!(proxy.heal() && cut.is_err(), "fewer than {most} packets with the {what}");
    }
    writer.close().await;
}
