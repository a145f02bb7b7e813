//! A gate for tests of adapters that run in this process.

use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::harness::Gate;

const OPEN: u8 = 0;
const ARMED: u8 = 1;
const HELD: u8 = 2;

/// A [`Gate`] that an adapter passes by awaiting [`pass`](Gate::pass).
#[derive(Debug, Default)]
pub struct Latch {
    state: AtomicU8,
    changed: Notify,
}

impl Latch {
    /// Waits until the state is `wanted`.
    async fn until(&self, wanted: u8) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state.load(Ordering::SeqCst) == wanted {
                return;
            }
            changed.await;
        }
    }
}

#[async_trait]
impl Gate for Latch {
    fn arm(&self) {
        self.state.store(ARMED, Ordering::SeqCst);
    }

    async fn held(&self) {
        self.until(HELD).await;
    }

    fn release(&self) {
        self.state.store(OPEN, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    async fn pass(&self) {
        let armed = self.state.compare_exchange(ARMED, HELD, Ordering::SeqCst, Ordering::SeqCst);
        if armed.is_ok() {
            self.changed.notify_waiters();
            self.until(OPEN).await;
        }
    }
}
