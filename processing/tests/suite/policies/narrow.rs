//! The memory adapter with less than it can do.

use annals::{
    Append, Capabilities, EventPages, KnownIds, Order, Query, ReadOptions, StorageAdapter,
    StoredEvent,
};
use annals_processing::async_trait;

use crate::support::World;

/// The memory adapter with less than it can do.
#[derive(Debug, Clone)]
pub(crate) struct Narrow {
    pub(crate) inner: annals_memory::MemoryAdapter,
    pub(crate) capabilities: Capabilities,
}
impl Narrow {
    pub(crate) fn with(world: &World, change: impl Fn(Capabilities) -> Capabilities) -> Self {
        let inner = world.adapter.clone();
        let capabilities = change(inner.capabilities());
        Self { inner, capabilities }
    }

    pub(crate) fn one_stream(world: &World) -> Self {
        Self::with(world, |all| all.with_multi_stream_append(false))
    }

    pub(crate) fn ordered_by_category(world: &World) -> Self {
        Self::with(world, |all| all.with_order(Order::Category))
    }

    pub(crate) fn forgetful(world: &World) -> Self {
        Self::with(world, |all| all.with_known_ids(KnownIds::Recent))
    }
}
#[async_trait]
impl StorageAdapter for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn append(&self, writes: Vec<Append>) -> annals::Result<Vec<StoredEvent>> {
        self.capabilities.check_append("narrow", &writes)?;
        self.inner.append(writes).await
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        self.inner.read(query, options)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
