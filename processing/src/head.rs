//! The head of a log, read once a beat for all processors of [`Services`](crate::Services) that ask for some events only.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use annals::{EventStore, Order, Query, ReadOptions, Result, SequenceNumber};
use event_listener::Event;
use futures_util::TryStreamExt;

/// A follow of some events says nothing when others are appended, so a processor that asks for some reads now and then how
/// far the log is. Where one reading says that nothing was appended, none of them reads, and none wakes up until one says
/// something else.
#[derive(Debug)]
pub(crate) struct Head {
    store: EventStore,
    last: Mutex<Reading>,
    changed: Event,
}

/// `head` is `None` if the reading failed.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    nth: u64,
    head: Option<SequenceNumber>,
}

impl Head {
    /// The one of `heads` that is of this log, which is added if it is not there. `None` for a log without one order: how
    /// far a read of it has come says nothing of its other parts.
    pub(crate) fn of(heads: &mut Vec<Arc<Self>>, store: &EventStore) -> Option<Arc<Self>> {
        if store.capabilities().order != Order::Log {
            return None;
        }
        let is_same = |head: &&Arc<Self>| Arc::ptr_eq(head.store.adapter(), store.adapter());
        if let Some(head) = heads.iter().find(is_same) {
            return Some(Arc::clone(head));
        }
        let (last, changed) = (Mutex::default(), Event::new());
        let head = Arc::new(Self { store: store.clone(), last, changed });
        heads.push(Arc::clone(&head));
        Some(head)
    }

    /// Reads it. After an error each processor looks by itself.
    pub(crate) async fn read(&self) {
        let head = self.through().await;
        if let Err(error) = &head {
            tracing::debug!(name: "annals.head_unknown", %error);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Reading { nth: last.nth + 1, head: head.ok().flatten() };
        let is_news = next.head.is_none() || next.head != last.head;
        *last = next;
        drop(last);
        if is_news {
            self.changed.notify(usize::MAX);
        }
    }

    /// A read of no event says how far the log is.
    async fn through(&self) -> Result<Option<SequenceNumber>> {
        let mut pages = self.store.pages(Query::any_of([]), ReadOptions::default());
        let mut head = None;
        while let Some(page) = pages.try_next().await? {
            head = page.at_head.then_some(page.through);
        }
        Ok(head)
    }

    fn last(&self) -> Reading {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one processor has heard of a head.
#[derive(Debug, Default)]
pub(crate) struct Hearing(u64);

impl Hearing {
    /// The processor has looked by itself: what was read until now is of no use to it.
    pub(crate) fn looked(&mut self, head: Option<&Arc<Head>>) {
        self.0 = head.map_or(0, |head| head.last().nth);
    }

    /// Whether a reading that it has not heard of says that the log ends where it did.
    pub(crate) fn is_still(&mut self, head: Option<&Arc<Head>>, seen: SequenceNumber) -> bool {
        let Some(last) = head.map(|head| head.last()) else { return false };
        last.nth > std::mem::replace(&mut self.0, last.nth) && last.head == Some(seen)
    }

    /// Completes once a reading that it has not heard of says something else: the log does not end where it did, or nobody
    /// knows. Call it after [`is_still`](Self::is_still) was true.
    pub(crate) async fn is_moved(&self, head: Option<&Arc<Head>>, seen: SequenceNumber) {
        let Some(head) = head else { return pending().await };
        loop {
            let changed = head.changed.listen();
            let last = head.last();
            if last.nth > self.0 && last.head != Some(seen) {
                return;
            }
            changed.await;
        }
    }
}
