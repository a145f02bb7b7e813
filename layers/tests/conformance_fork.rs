//! The conformance suite over a fork of a log in memory.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use annals::{Append, NewEvent, SequenceNumber, StorageAdapter as _, StreamId, WriteCondition};
use annals_layers::Fork;
use annals_memory::MemoryAdapter;
use annals_testkit::{Harness, Hook, Opened, Variant, async_trait};

/// A base and an overlay for each namespace.
#[derive(Default)]
struct Forks(Mutex<HashMap<String, (MemoryAdapter, MemoryAdapter)>>);

/// A base of so many events of nobody's namespace.
async fn base(base: MemoryAdapter, events: u64) -> annals::Result<MemoryAdapter> {
    for n in 0..events {
        let stream = StreamId::new("base", format!("s-{}", n % 7))?;
        let write = Append::new(stream, [NewEvent::json("was", &n)?], WriteCondition::Always);
        base.append(vec![write]).await?;
    }
    Ok(base)
}

impl Forks {
    fn get(&self, namespace: &str) -> Option<(MemoryAdapter, MemoryAdapter)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    async fn get_or_make(
        &self,
        namespace: &str,
        after: SequenceNumber,
    ) -> annals::Result<(MemoryAdapter, MemoryAdapter)> {
        if let Some(pair) = self.get(namespace) {
            return Ok(pair);
        }
        // The last event of the base has the number that the fork goes on after.
        let base = match after.prev() {
            Some(before) => base(MemoryAdapter::starting_after(before), 1).await?,
            None => base(MemoryAdapter::new(), 60).await?,
        };
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(pairs.entry(namespace.to_owned()).or_insert((base, MemoryAdapter::new())).clone())
    }
}

#[async_trait]
impl Harness for Forks {
    async fn open(&self, namespace: &str) -> Opened {
        let (base, overlay) = self.get_or_make(namespace, SequenceNumber::START).await?;
        Ok(Arc::new(Fork::open(base, overlay).await?))
    }

    async fn open_to_close(&self, _: &str) -> Opened {
        let base = base(MemoryAdapter::new(), 60).await?;
        Ok(Arc::new(Fork::open(base, MemoryAdapter::new()).await?))
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::PageSize, Hook::StartAfter]
    }

    async fn open_as(&self, namespace: &str, variant: Variant) -> Opened {
        let (base, overlay) = match variant {
            Variant::PageSize(events) => {
                let (base, overlay) = self.get_or_make(namespace, SequenceNumber::START).await?;
                (base.with_page_size(events), overlay.with_page_size(events))
            }
            Variant::StartAfter(last) => self.get_or_make(namespace, last).await?,
            other => return Err(format!("no {other:?} in memory").into()),
        };
        Ok(Arc::new(Fork::open(base, overlay).await?))
    }
}

fn main() -> ExitCode {
    annals_testkit::main("fork(annals-memory)", Forks::default())
}
