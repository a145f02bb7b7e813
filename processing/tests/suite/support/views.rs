//! The view of the tests over stores of any kind, for the suite of sinks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals::{BoxError, NewEvent, StorageAdapter, StreamId};
use annals_processing::{Sink, ViewSink};
use annals_state::{Collection, CollectionName, Scan, StateStore};
use annals_testkit::processing::SinkHarness;
use futures_util::TryStreamExt;

use super::Counts;
use super::stores::{Both, Ground, Kind};

/// A view over two stores. With `one` its log and its state are of one adapter.
pub struct Views {
    ground: Ground,
    log: Kind,
    state: Kind,
    one: bool,
    patience: Duration,
    /// The adapter of the log that was made last.
    both: Mutex<Option<Both>>,
}

impl Views {
    pub fn new(ground: Ground, [log, state]: [Kind; 2], one: bool, patience: Duration) -> Self {
        Self { ground, log, state, one, patience, both: Mutex::new(None) }
    }
}

#[annals_processing::async_trait]
impl SinkHarness for Views {
    fn log(&self) -> Arc<dyn StorageAdapter> {
        let both = self.ground.open(self.log);
        let log = Arc::clone(&both.log);
        *self.both.lock().unwrap_or_else(PoisonError::into_inner) = Some(both);
        log
    }

    fn state(&self) -> Arc<dyn StateStore> {
        let both = self.both.lock().unwrap_or_else(PoisonError::into_inner).take();
        match both {
            Some(both) if self.one => both.state,
            _ => self.ground.open(self.state).state,
        }
    }

    fn sink(&self, state: Arc<dyn StateStore>) -> Box<dyn Sink> {
        let counts = Collection::new("counts").unwrap().on(state);
        Box::new(ViewSink::new(Counts::default(), counts))
    }

    fn event(&self, nth: u64) -> (StreamId, NewEvent) {
        let stream = StreamId::new("orders", format!("s-{}", nth % 4)).unwrap();
        let name = if nth % 7 == 6 { "end" } else { "counted" };
        (stream, NewEvent::json(name, &nth).unwrap())
    }

    async fn effect(&self, state: &dyn StateStore) -> Result<String, BoxError> {
        let scan = Scan::along_ids(CollectionName::from_static("counts"));
        let found = state.scan(scan).try_concat().await?;
        let line = |one: annals_state::Scanned| {
            format!("{} {:?}\n", one.document.key.id, one.document.body.as_bytes())
        };
        Ok(found.into_iter().map(line).collect())
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}
