//! Whether somebody asked to stop, for who has to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;

/// Whether somebody asked to stop.
#[derive(Clone, Default)]
pub struct Stopping(Arc<(AtomicBool, Event)>);

impl Stopping {
    /// Whether it was asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits until it is asked.
    pub async fn wait(&self) {
        loop {
            let asked = self.0.1.listen();
            if self.is_asked() {
                return;
            }
            asked.await;
        }
    }

    pub(crate) fn ask(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify(usize::MAX);
    }
}

impl fmt::Debug for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stopping").field(&self.is_asked()).finish()
    }
}
