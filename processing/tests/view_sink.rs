//! The sink of views passes the suite that any sink can run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use annals::{BoxError, NewEvent, StorageAdapter, StreamId};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_processing::{Sink, ViewSink};
use annals_state::{Collection, CollectionName, Scan, StateStore};
use annals_testkit::processing::{SinkHarness, sink_checks};
use futures_util::TryStreamExt;
use support::Counts;

struct Views;

#[annals_processing::async_trait]
impl SinkHarness for Views {
    fn state(&self) -> Arc<dyn StateStore> {
        Arc::new(MemoryState::new())
    }

    fn log(&self) -> Arc<dyn StorageAdapter> {
        Arc::new(MemoryAdapter::new())
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
}

#[test]
fn p1_to_p10_views_pass_the_suite_of_sinks() {
    for check in sink_checks() {
        check.run(&Views, 0..60).unwrap();
    }
}
