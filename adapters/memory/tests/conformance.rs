//! The conformance suite over the memory adapter.

use std::process::ExitCode;
use std::sync::Arc;

use annals_memory::MemoryAdapter;
use annals_testkit::{Harness, Hook, Opened, Variant, async_trait};

struct Memory(MemoryAdapter);

#[async_trait]
impl Harness for Memory {
    async fn open(&self, _namespace: &str) -> Opened {
        Ok(Arc::new(self.0.clone()))
    }

    async fn open_to_close(&self, _namespace: &str) -> Opened {
        Ok(Arc::new(MemoryAdapter::new()))
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::PageSize, Hook::StartAfter]
    }

    async fn open_as(&self, _namespace: &str, variant: Variant) -> Opened {
        match variant {
            Variant::PageSize(events) => Ok(Arc::new(self.0.clone().with_page_size(events))),
            Variant::StartAfter(last) => Ok(Arc::new(MemoryAdapter::starting_after(last))),
            other => Err(format!("no {other:?} in memory").into()),
        }
    }
}

fn main() -> ExitCode {
    annals_testkit::main("annals-memory", Memory(MemoryAdapter::new()))
}
