//! What the tests share: a log, a state store, a timer that stands still, and a view that counts.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests take what they need of it, and may panic"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annals::{
    BoxError, EventStore, NewEvent, ReadOptions, SequenceNumber, StoredEvent, StreamId,
    WriteCondition,
};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_processing::{Processor, Tracking, View};
use annals_state::{Collection, DocumentId, DocumentKey, Documents, Scan, StateStore, get_all};
use annals_testkit::processing::{Interleaving, ManualTimer};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

pub mod stores;
pub mod views;

pub const SECOND: Duration = Duration::from_secs(1);

/// How often something is repeated: `usual`, or `full` with `ANNALS_TESTKIT_PROFILE=full`.
pub fn scaled<T>(usual: T, full: T) -> T {
    let is_full = std::env::var("ANNALS_TESTKIT_PROFILE").is_ok_and(|profile| profile == "full");
    if is_full { full } else { usual }
}

pub fn number(value: u64) -> SequenceNumber {
    SequenceNumber::new(value)
}

/// How many events a stream has, and the order in which they came, as one number that depends on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    pub events: u64,
    pub order: u64,
}

impl Count {
    pub fn add(&mut self, event: &StoredEvent) {
        self.events += 1;
        self.order = self.order.wrapping_mul(31).wrapping_add(event.sequence_number.value());
    }
}

/// A document for each stream, and one for all of them. An event named `poison` fails; one named `end` removes the
/// document of its stream.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Without it parts of the view share nothing.
    pub no_total: bool,
}

impl View for Counts {
    type State = Count;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        if *event.name() == "ignored" {
            return Ok(Vec::new());
        }
        let own = DocumentId::new(event.stream.name.as_str())?;
        Ok(if self.no_total { vec![own] } else { vec![own, DocumentId::from_static("total")] })
    }

    fn apply(
        &self,
        id: &DocumentId,
        count: &mut Option<Count>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        if *event.name() == "poison" {
            // Dirt that must not be seen.
            count.get_or_insert_default().events += 1_000;
            return Err("poisoned".into());
        }
        if *event.name() == "end" && id.as_str() != "total" {
            *count = None;
            return Ok(());
        }
        let state = count.get_or_insert_default();
        state.events += 1;
        if id.as_str() != "total" {
            state.order = state.order.wrapping_mul(31).wrapping_add(event.sequence_number.value());
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub struct World {
    pub adapter: MemoryAdapter,
    pub store: EventStore,
    pub state: Arc<dyn StateStore>,
    pub timer: ManualTimer,
}

impl World {
    pub fn new() -> Self {
        let adapter = MemoryAdapter::new();
        Self {
            store: EventStore::new(adapter.clone()),
            adapter,
            state: Arc::new(MemoryState::new()),
            timer: ManualTimer::new(),
        }
    }

    pub fn tasks(&self, seed: u64) -> Interleaving {
        Interleaving::new(seed, self.timer.clone())
    }

    pub fn documents(&self) -> Documents<Count> {
        Collection::new("counts").unwrap().on(Arc::clone(&self.state))
    }

    pub fn processor(&self) -> Processor {
        let timer = self.timer.clone();
        Processor::view("counts", &self.store, self.documents(), Counts::default(), timer).unwrap()
    }

    pub async fn append(&self, stream: &str, names: &[&str]) -> Vec<StoredEvent> {
        let id = StreamId::new("orders", stream).unwrap();
        let events: Vec<NewEvent> =
            names.iter().map(|name| NewEvent::json(*name, &12).unwrap()).collect();
        let stream = self.store.stream(id);
        stream.append(events, WriteCondition::Always).await.unwrap().into_vec()
    }

    /// So many events in turns over streams `s-0`, `s-1`, …
    pub async fn append_many(&self, events: usize, streams: usize) {
        for nth in 0..events {
            self.append(&format!("s-{}", nth % streams), &["counted"]).await;
        }
    }

    pub async fn counts(&self) -> BTreeMap<String, Count> {
        let scan = Scan::along_ids(annals_state::CollectionName::from_static("counts"));
        let pages = self.state.scan(scan).try_concat().await.unwrap();
        let mut counts = BTreeMap::new();
        for scanned in pages {
            let id = scanned.document.key.id.as_str().to_owned();
            let count = self.documents().get(id.as_str()).await.unwrap().unwrap();
            counts.insert(id, count.value);
        }
        counts
    }

    /// What one run without any failure makes of the log.
    pub async fn expected(&self) -> BTreeMap<String, Count> {
        self.expected_but(&[]).await
    }

    /// … without these events.
    pub async fn expected_but(&self, without: &[u64]) -> BTreeMap<String, Count> {
        let events = self.store.log().read(ReadOptions::default()).into_vec().await.unwrap();
        let mut counts = BTreeMap::new();
        let view = Counts::default();
        for event in events {
            if without.contains(&event.sequence_number.value()) {
                continue;
            }
            for id in view.ids(&event).unwrap() {
                let mut count = counts.remove(id.as_str());
                view.apply(&id, &mut count, &event).unwrap();
                if let Some(count) = count {
                    counts.insert(id.as_str().to_owned(), count);
                }
            }
        }
        counts
    }

    pub async fn tracking(&self) -> Option<Tracking> {
        let key = DocumentKey::new("annals.tracking", "counts/log/whole").unwrap();
        let found = get_all(&self.state, vec![key]).await.unwrap().pop().flatten();
        found.map(|document| document.body.to_json().unwrap())
    }

    pub async fn ids(&self, collection: &str) -> Vec<String> {
        let scan = Scan::along_ids(annals_state::CollectionName::new(collection).unwrap());
        let found = self.state.scan(scan).try_concat().await.unwrap();
        found.into_iter().map(|one| one.document.key.id.as_str().to_owned()).collect()
    }
}

/// Counts the commits that a store makes.
#[derive(Debug, Clone)]
pub struct Counting {
    inner: Arc<dyn StateStore>,
    commits: Arc<AtomicUsize>,
    reports: Arc<AtomicUsize>,
}

impl Counting {
    pub fn new(inner: Arc<dyn StateStore>) -> Self {
        Self { inner, commits: Arc::default(), reports: Arc::default() }
    }

    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    /// Those of them that store a status.
    pub fn reports(&self) -> usize {
        self.reports.load(Ordering::SeqCst)
    }
}

#[annals_state::async_trait]
impl StateStore for Counting {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> annals_state::StateCapabilities {
        self.inner.capabilities()
    }

    async fn commit(&self, commit: annals_state::Commit) -> annals_state::Result<()> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let is_report =
            commit.writes.iter().any(|write| write.key.collection.as_str() == "annals.status");
        self.reports.fetch_add(usize::from(is_report), Ordering::SeqCst);
        self.inner.commit(commit).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> annals_state::Result<annals_state::Got> {
        self.inner.get(keys).await
    }

    fn scan(&self, scan: Scan) -> annals_state::DocumentPages {
        self.inner.scan(scan)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
