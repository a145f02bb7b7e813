//! Sinks that are known to be wrong, each with the checks that must catch it: the proof that the suite works.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use annals::{BoxError, NewEvent, Payload, StorageAdapter, StoredEvent, StreamId};
use annals_processing::{Batch, Sink, SinkError};
use annals_state::{
    CollectionName, Commit, Document, DocumentKey, Expected, Revision, Scan, StateError,
    StateStore, Write, get_all,
};
use async_trait::async_trait;
use futures_util::TryStreamExt;

use super::suite::SinkHarness;

const TALLIES: CollectionName = CollectionName::from_static("tallies");

/// What a sink does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    TrackingBeforeEffect,
    EffectBeforeTracking,
    EventByEvent,
    KeepsCache,
    NeverTracks,
    IgnoresEmpty,
    NeverClears,
    TakesUnknownForMade,
    TakesLostForMade,
    ForgetsLast,
    Backward,
}

/// A sink that is known to be wrong, or the right one to compare with.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BrokenSink {
    /// What it does wrong.
    pub about: &'static str,
    /// The checks that must catch it; none: it is right.
    pub caught_by: &'static [&'static str],
    fault: Fault,
}

impl BrokenSink {
    /// A harness of it over the stores that these functions make.
    pub fn harness(
        &self,
        log: impl Fn() -> Arc<dyn StorageAdapter> + Send + Sync + 'static,
        state: impl Fn() -> Arc<dyn StateStore> + Send + Sync + 'static,
    ) -> impl SinkHarness {
        Cage { fault: self.fault, log: Box::new(log), state: Box::new(state) }
    }
}

/// All of them, the right one first.
#[must_use]
pub fn broken_sinks() -> &'static [BrokenSink] {
    macro_rules! sinks {
        ($($fault:ident $about:literal [$($check:literal),*];)*) => {
            &[$(BrokenSink {
                about: $about,
                caught_by: &[$($check),*],
                fault: Fault::$fault,
            }),*]
        };
    }
    sinks! {
        None "is right" [];
        TrackingBeforeEffect "commits the tracking, then the effect" ["sink.dropped", "sink.kills"];
        EffectBeforeTracking "commits the effect, then the tracking" ["sink.dropped", "sink.kills", "sink.rivals"];
        EventByEvent "commits the effect of each event, the tracking with the last" ["sink.dropped", "sink.kills"];
        KeepsCache "keeps its cache after a lost race, and writes over what others made" ["sink.rivals"];
        NeverTracks "commits the effect without the tracking" ["sink.empty", "sink.dropped", "sink.kills", "sink.outcomes"];
        IgnoresEmpty "does nothing about a batch without events" ["sink.empty"];
        NeverClears "removes nothing in a reset" ["sink.reset"];
        TakesUnknownForMade "takes an unknown outcome for success" ["sink.errors"];
        TakesLostForMade "takes a lost race for success" ["sink.errors"];
        ForgetsLast "leaves out the last event of a batch of several" ["sink.batches"];
        Backward "applies the events of a batch from the last to the first" ["sink.batches"];
    }
}

type Make<T> = Box<dyn Fn() -> Arc<T> + Send + Sync>;

struct Cage {
    fault: Fault,
    log: Make<dyn StorageAdapter>,
    state: Make<dyn StateStore>,
}

#[async_trait]
impl SinkHarness for Cage {
    fn state(&self) -> Arc<dyn StateStore> {
        (self.state)()
    }

    fn log(&self) -> Arc<dyn StorageAdapter> {
        (self.log)()
    }

    fn sink(&self, state: Arc<dyn StateStore>) -> Box<dyn Sink> {
        Box::new(Tally { fault: self.fault, state, cache: BTreeMap::new() })
    }

    fn event(&self, nth: u64) -> (StreamId, NewEvent) {
        let names = [
            StreamId::from_static("tallies", "a"),
            StreamId::from_static("tallies", "b"),
            StreamId::from_static("tallies", "c"),
        ];
        let [a, b, c] = names;
        let stream = [a, b, c].into_iter().nth(usize::try_from(nth % 3).unwrap_or(0));
        let name = annals::EventName::from_static("tallied");
        let event = NewEvent::new(name, Payload::bytes(nth.to_be_bytes().to_vec()));
        (stream.unwrap_or_else(|| StreamId::from_static("tallies", "a")), event)
    }

    async fn effect(&self, state: &dyn StateStore) -> Result<String, BoxError> {
        let found = state.scan(Scan::along_ids(TALLIES)).try_concat().await?;
        let line = |one: annals_state::Scanned| {
            let text = String::from_utf8_lossy(one.document.body.as_bytes()).into_owned();
            format!("{} {text}\n", one.document.key.id)
        };
        Ok(found.into_iter().map(line).collect())
    }
}

/// Lists the events of each stream in a document.
#[derive(Debug)]
struct Tally {
    fault: Fault,
    state: Arc<dyn StateStore>,
    cache: BTreeMap<String, (String, Option<Revision>)>,
}

impl Tally {
    fn key(stream: &str) -> Result<DocumentKey, StateError> {
        Ok(DocumentKey::new(TALLIES, stream)?)
    }

    async fn writes(&mut self, events: &[&StoredEvent]) -> Result<Vec<Write>, StateError> {
        let mut streams: Vec<&str> =
            events.iter().map(|event| event.stream.name.as_str()).collect();
        streams.sort_unstable();
        streams.dedup();
        for stream in &streams {
            if self.cache.contains_key(*stream) {
                continue;
            }
            let found = get_all(&self.state, vec![Self::key(stream)?]).await?.pop().flatten();
            let text = |document: &Document| {
                String::from_utf8_lossy(document.body.as_bytes()).into_owned()
            };
            let known = found.map_or((String::new(), None), |document| {
                (text(&document), Some(document.revision))
            });
            self.cache.insert((*stream).to_owned(), known);
        }
        for event in events {
            if let Some((text, _)) = self.cache.get_mut(event.stream.name.as_str()) {
                *text = format!("{text} {}", event.position);
            }
        }
        let mut writes = Vec::new();
        for stream in streams {
            let Some((text, revision)) = self.cache.get(stream) else { continue };
            let expected = match self.fault {
                Fault::KeepsCache => Expected::Any,
                _ => Expected::from(*revision),
            };
            let body = Payload::bytes(text.clone().into_bytes());
            writes.push(Write::put(Self::key(stream)?, body, expected));
        }
        Ok(writes)
    }

    async fn commit(&mut self, commit: Commit) -> Result<(), StateError> {
        let (revision, writes) = (commit.revision, commit.writes.clone());
        match self.state.commit(commit).await {
            Err(StateError::OutcomeUnknown(_)) if self.fault == Fault::TakesUnknownForMade => {}
            Err(StateError::Conflict(_)) if self.fault == Fault::TakesLostForMade => {}
            outcome => outcome?,
        }
        for write in writes.iter().filter(|write| write.key.collection == TALLIES) {
            if let Some((_, known)) = self.cache.get_mut(write.key.id.as_str()) {
                *known = Some(revision);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for Tally {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let mut events: Vec<&StoredEvent> = batch.events().iter().collect();
        match self.fault {
            Fault::IgnoresEmpty if events.is_empty() => return Ok(()),
            Fault::ForgetsLast if events.len() > 1 => drop(events.pop()),
            Fault::Backward => events.reverse(),
            _ => {}
        }
        match self.fault {
            Fault::TrackingBeforeEffect => {
                self.commit(batch.commit([])).await?;
                let writes = self.writes(&events).await?;
                if !writes.is_empty() {
                    self.commit(Commit::new(writes)).await?;
                }
            }
            Fault::EffectBeforeTracking => {
                let writes = self.writes(&events).await?;
                if !writes.is_empty() {
                    self.commit(Commit::new(writes)).await?;
                }
                self.commit(batch.commit([])).await?;
            }
            Fault::EventByEvent => {
                let last = events.pop();
                for event in events {
                    let writes = self.writes(&[event]).await?;
                    self.commit(Commit::new(writes)).await?;
                }
                let writes = self.writes(last.as_slice()).await?;
                self.commit(batch.commit(writes)).await?;
            }
            Fault::NeverTracks => {
                let writes = self.writes(&events).await?;
                if !writes.is_empty() {
                    self.commit(Commit::new(writes)).await?;
                }
            }
            _ => {
                let writes = self.writes(&events).await?;
                self.commit(batch.commit(writes)).await?;
            }
        }
        Ok(())
    }

    fn forget(&mut self) {
        if self.fault != Fault::KeepsCache {
            self.cache.clear();
        }
    }

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        if self.fault == Fault::NeverClears {
            return Ok(());
        }
        let found = self.state.scan(Scan::along_ids(TALLIES)).try_concat().await?;
        let deletes = found.into_iter().map(|one| Write::delete(one.document.key, Expected::Any));
        self.state.commit(Commit::new(deletes.chain([guard.clone()]))).await?;
        Ok(())
    }
}

impl fmt::Debug for Cage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cage").field("fault", &self.fault).finish_non_exhaustive()
    }
}
