//! Adapters that go wrong when a caller goes away.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use annals::{Append, EventPages, Query, ReadOptions, Result, StoredEvent};
use futures_util::{StreamExt, stream};
use tokio::sync::oneshot;

use super::bent::{Shared, dawdle, push_all};
use super::numbers::Plain;

bent_specimens! {
    /// A dropped append keeps the lock.
    DropKeepsLock caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            while shared.counter.swap(1, Ordering::SeqCst) == 1 {
                tokio::task::yield_now().await;
            }
            let prepared = self.prepare(&mut shared.log(), &writes);
            tokio::task::yield_now().await;
            if let Ok(prepared) = &prepared {
                push_all(shared, prepared);
            }
            shared.counter.store(0, Ordering::SeqCst);
            prepared
        }
    }

    /// An append that is dropped half way leaves half of it stored.
    DropStoresHalf caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            let (first, second) = prepared.split_at(prepared.len() / 2);
            push_all(shared, first);
            tokio::task::yield_now().await;
            push_all(shared, second);
            Ok(prepared)
        }
    }

    /// An append that is dropped leaves its numbers used, though contiguity is declared.
    DropBurnsNumbers caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            shared.log().last += prepared.len() as u64;
            tokio::task::yield_now().await;
            push_all(shared, &prepared);
            Ok(prepared)
        }
    }

    /// Of several streams a dropped append leaves the first.
    DropStoresFirstStream caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            let mut rest = prepared.as_slice();
            for write in &writes {
                let (own, others) = rest.split_at(write.events.len());
                push_all(shared, own);
                rest = others;
                tokio::task::yield_now().await;
            }
            Ok(prepared)
        }
    }

    /// The ids of an append count as known before it is committed, and go on to when it is dropped.
    DropKeepsIds caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            shared.log().ids.extend(prepared.iter().map(|event| event.event.id));
            tokio::task::yield_now().await;
            push_all(shared, &prepared);
            Ok(prepared)
        }
    }

    /// Each stream of a call is written by a task of its own; those that were not begun are left out.
    DropLeavesTasks caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            let mut rest = prepared.clone();
            for write in &writes {
                let others = rest.split_off(write.events.len());
                let (shared, own) = (Arc::clone(shared), std::mem::replace(&mut rest, others));
                let written = tokio::spawn(async move { push_all(&shared, &own) }).await;
                written.map_err(annals::Error::unavailable)?;
            }
            Ok(prepared)
        }
    }

    /// Whose turn it is is told to the one who waited longest, who may be gone.
    DropLosesTurn { turns: Turns } caught by ["fault.drop_queued"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let _turn = self.turns.take().await;
            dawdle().await;
            Plain.append(shared, writes).await
        }
    }

    /// A dropped append keeps its connection, of a pool of twenty.
    DropLeaksConnection caught by ["fault.drop_many"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            while shared.counter.load(Ordering::SeqCst) >= 20 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            shared.counter.fetch_add(1, Ordering::SeqCst);
            dawdle().await;
            let stored = Plain.append(shared, writes).await;
            shared.counter.fetch_sub(1, Ordering::SeqCst);
            stored
        }
    }

    /// A read that is not read to its end keeps its connection, of a pool of ten.
    DroppedReadKeepsConnection caught by ["fault.drop_read"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            while shared.counter.load(Ordering::SeqCst) >= 10 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Plain.append(shared, writes).await
        }

        fn read(
            self: &Arc<Self>,
            shared: &Arc<Shared>,
            size: NonZeroUsize,
            query: Query,
            options: ReadOptions,
        ) -> EventPages {
            let (taken, given) = (Arc::clone(shared), Arc::clone(shared));
            let pages = Plain::read(&Arc::new(Plain), shared, size, query, options);
            let take = stream::once(async move {
                taken.counter.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            });
            let give = stream::once(async move {
                given.counter.fetch_sub(1, Ordering::SeqCst);
            });
            let nothing = |()| stream::empty();
            take.flat_map(nothing).chain(pages).chain(give.flat_map(nothing)).boxed()
        }
    }

    /// A read ends early when the handle that began it is gone.
    ReadEndsWithHandle { alive: Arc<()> } caught by ["fault.drop_handle"] {
        fn read(
            self: &Arc<Self>,
            shared: &Arc<Shared>,
            size: NonZeroUsize,
            query: Query,
            options: ReadOptions,
        ) -> EventPages {
            let handle: Weak<()> = Arc::downgrade(&self.alive);
            let pages = Plain::read(&Arc::new(Plain), shared, size, query, options);
            pages.take_while(move |_| std::future::ready(handle.strong_count() > 0)).boxed()
        }
    }
}

/// A lock that is handed from one to the next.
#[derive(Debug, Default)]
struct Turns(Mutex<(bool, VecDeque<oneshot::Sender<()>>)>);

impl Turns {
    async fn take(&self) -> Turn<'_> {
        let wait = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut state.0, true) {
                let (sender, receiver) = oneshot::channel();
                state.1.push_back(sender);
                Some(receiver)
            } else {
                None
            }
        };
        if let Some(wait) = wait {
            let _ = wait.await;
        }
        Turn(self)
    }
}

struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.1.pop_front() {
            // That nobody may be there to hear it is the bug.
            Some(next) => drop(next.send(())),
            None => state.0 = false,
        }
    }
}
