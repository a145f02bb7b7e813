//! Views inside appends: exactly once under races and drops.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../sql/tests/common/views.rs"]
mod shared;

use std::sync::Arc;

use annals::{Append, StorageAdapter, StoredEvent};
use annals_memory::{InlineView, MemoryAdapter, MemoryState};
use annals_processing::{InlineError, TokioTimer, async_trait};
use shared::{AsDocuments, Place, Prepare, Rows};

#[async_trait]
impl shared::Appends for InlineView<AsDocuments> {
    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>, InlineError> {
        Self::append(self, writes).await
    }
}

#[derive(Default)]
struct Memory(MemoryAdapter, MemoryState);

#[async_trait]
impl Place for Memory {
    fn log(&self) -> Arc<dyn StorageAdapter> {
        Arc::new(self.0.clone())
    }

    fn inline(&self, prepare: Prepare) -> annals_processing::Result<Arc<dyn shared::Appends>> {
        let (rows, timer) = (shared::rows(), TokioTimer::default());
        Ok(Arc::new(InlineView::new("rows", &self.0, &self.1, rows, AsDocuments, timer, prepare)?))
    }

    async fn read(&self) -> Rows {
        shared::documents(Arc::new(self.1.clone())).await
    }
}

#[tokio::test]
async fn j10_an_inline_view_is_made_with_the_append_or_not_at_all() {
    shared::assert_made_with_the_append_or_not_at_all(Memory::default()).await;
}

#[tokio::test]
async fn j10_with_a_query_the_view_gets_what_it_asks_for() {
    shared::assert_gets_what_its_query_asks_for(Memory::default()).await;
}

#[test]
fn j10_an_inline_view_decides_nothing_and_takes_all_streams() {
    shared::assert_decides_nothing_and_takes_all_streams(&Memory::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j10_appends_that_race_are_dropped_and_go_past_the_view_are_applied_once() {
    shared::assert_exact_in_races(Memory::default()).await;
}
