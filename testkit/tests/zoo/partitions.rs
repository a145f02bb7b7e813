//! Adapters with a partition for each category, each of which is right, and not all together.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use annals::{
    Append, Capabilities, CategoryName, Direction, EventPages, Order, Query, ReadOptions, Result,
    SequenceNumber, Source, StoredEvent, StreamId,
};
use futures_util::{StreamExt, stream};
use tokio::sync::OwnedMutexGuard;

use super::bent::count;
use super::bent::{
    Bend, Log, Shared, amend, but, commit_at, dawdle, limit, select_without, unconditional,
};
use super::concurrency::StreamLocks;
use super::numbers::Plain;
use super::races::ids_looked_up_before;

fn partitioned() -> Capabilities {
    Plain.capabilities().with_order(Order::Category).with_contiguous_sequence(false)
}

/// The categories of a call, without those of guards.
fn written(writes: &[Append]) -> Vec<CategoryName> {
    let written = writes.iter().filter(|write| !write.events.is_empty());
    let mut categories: Vec<_> = written.map(|write| write.stream.category.clone()).collect();
    categories.sort();
    categories.dedup();
    categories
}

/// Takes the locks of these categories one after the other.
async fn lock(locks: &StreamLocks, categories: &[CategoryName]) -> Vec<OwnedMutexGuard<()>> {
    let mut held = Vec::new();
    for category in categories {
        let name = annals::StreamName::from_static("all");
        let lock = locks.of(&StreamId { category: category.clone(), name });
        held.push(lock.lock_owned().await);
    }
    held
}

/// Draws so many numbers, and gives the first.
fn draw(shared: &Shared, count: usize) -> u64 {
    let last = shared.log().last;
    shared.counter.fetch_max(last, Ordering::SeqCst);
    shared.counter.fetch_add(count as u64, Ordering::SeqCst) + 1
}

/// Stores `writes` with these numbers, and tells the caller the first and those that follow it.
fn tell_undrawn(shared: &Shared, writes: &[Append], numbers: Vec<u64>) -> Result<Vec<StoredEvent>> {
    let first = numbers.first().copied().unwrap_or_default();
    let mut stored = commit_at(shared, writes, numbers)?;
    for (event, told) in stored.iter_mut().zip(first..) {
        amend(event, |it| it.sequence_number = SequenceNumber::new(told));
    }
    Ok(stored)
}

/// Locks that all handles to a store share.
fn locks(shared: &Shared) -> Arc<StreamLocks> {
    Arc::clone(&shared.log().partitions)
}

bent_specimens! {
    /// Each category looks for known event ids everywhere, and nothing keeps two categories from storing one at once.
    IdsPerCategory caught by ["idem.duplicate_race"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let all = locks(shared);
            let mut categories: Vec<_> = writes.iter().map(|write| write.stream.category.clone()).collect();
            categories.sort();
            categories.dedup();
            let _held = lock(&all, &categories).await;
            ids_looked_up_before(self, shared, &writes).await
        }

        fn duplicates(&self, _: &Log, _: &[Append]) -> Result<()> {
            Ok(())
        }
    }

    /// The order of categories, and one lock for all of them.
    OneLockForAll caught by ["order.held_scope"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        fn has_scopes(&self) -> bool {
            true
        }
    }

    /// A lock for each category, which appends wait for one after the other in the order in which they came.
    WaitsInLine caught by ["order.held_scope"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        fn has_scopes(&self) -> bool {
            true
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let all = locks(shared);
            let line = shared.writer.lock().await;
            let _held = lock(&all, &written(&writes)).await;
            drop(line);
            shared.pass_gate().await;
            let numbers = draw(shared, count(&writes));
            commit_at(shared, &writes, numbers..)
        }
    }

    /// What a call stores in its first category can be read a moment before the rest.
    CategoriesVisibleInTurn caught by ["vis.batch_atomic"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        async fn commit(&self, shared: &Arc<Shared>, _: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            shared.pass_gate().await;
            let first = prepared.first().map(|event| event.stream.category.clone());
            let later = prepared.iter().filter(|event| Some(&event.stream.category) != first.as_ref());
            let later: Vec<_> = later.map(|event| event.event.id).collect();
            {
                let mut log = shared.log();
                log.hidden.extend(later.iter().map(|id| (*id, u64::MAX)));
                log.push_all(prepared);
            }
            let _shown = Shown(shared, later);
            dawdle().await;
            Ok(())
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_without(log, query, options, |event| log.hidden.contains_key(&event.event.id))
        }
    }

    /// A call over several categories draws its numbers when it has locked the first of them.
    LocksWhileNumbering caught by ["r2.category"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let (all, categories) = (locks(shared), written(&writes));
            let (first, rest) = categories.split_at(categories.len().min(1));
            let _first = lock(&all, first).await;
            let numbers = draw(shared, count(&writes));
            if !rest.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let _rest = lock(&all, rest).await;
            commit_at(shared, &writes, numbers..)
        }
    }

    /// The categories that a call writes to are locked, whatever its conditions look at.
    LockPerCategory caught by ["cond.judged_inside"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _held = lock(&locks(shared), &written(&writes)).await;
            let copy = shared.log().clone();
            Plain.duplicates(&copy, &writes)?;
            writes.iter().try_for_each(|write| self.judge(&copy, write))?;
            let mut log = shared.log();
            let prepared = self.prepare(&mut log, &unconditional(&writes, |_| true))?;
            log.push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Numbers are drawn one by one, and the caller is told those that follow the first.
    NumbersToldUndrawn caught by ["seq.at_once"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _held = lock(&locks(shared), &written(&writes)).await;
            let mut numbers = Vec::new();
            for _ in 0..count(&writes) {
                numbers.push(draw(shared, 1));
                if numbers.len().is_multiple_of(100) {
                    tokio::task::yield_now().await;
                }
            }
            tell_undrawn(shared, &writes, numbers)
        }
    }

    /// Each write of a call draws its numbers, and the caller is told those that follow the first.
    NumbersToldAcrossWrites caught by ["seq.at_once"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _held = lock(&locks(shared), &written(&writes)).await;
            let mut numbers = Vec::new();
            for write in &writes {
                let first = draw(shared, write.events.len());
                numbers.extend((first..).take(write.events.len()));
                tokio::task::yield_now().await;
            }
            tell_undrawn(shared, &writes, numbers)
        }
    }

    /// A number follows the last one that is stored, of which two categories can learn at once.
    NumberAfterLast caught by ["seq.at_once"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _held = lock(&locks(shared), &written(&writes)).await;
            let last = shared.log().last;
            tokio::task::yield_now().await;
            commit_at(shared, &writes, last + 1..)
        }
    }

    /// The items of a query are looked for one after the other, up to the last number of the log: in another
    /// category, that may be beyond numbers that are not stored yet.
    ItemsAtManyMoments caught by ["r2.steps"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _held = lock(&locks(shared), &written(&writes)).await;
            let first = draw(shared, count(&writes));
            for _ in 0..first % 6 {
                dawdle().await;
            }
            commit_at(shared, &writes, first..)
        }

        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            if query.items().len() < 2 {
                return Plain::read(&Arc::new(Plain), shared, size, query, options);
            }
            let (bend, shared) = (Arc::clone(self), Arc::clone(shared));
            let page = async move {
                let last = SequenceNumber::new(shared.log().last);
                let bounded = but(&options, |it| {
                    it.until = Some(it.until.map_or(last, |until| until.min(last)));
                    it.limit = None;
                });
                let mut found = Vec::new();
                for item in query.items() {
                    found.extend(Plain.select(&shared.log(), &item.clone().into(), &bounded)?);
                    tokio::task::yield_now().await;
                }
                found.sort_by_key(|event| event.sequence_number);
                found.dedup_by_key(|event| event.sequence_number);
                if options.direction == Direction::Backward {
                    found.reverse();
                }
                found.truncate(limit(&options));
                let head = bend.head(&shared.log(), &query, &options);
                Ok(bend.paged(bend.pages(found, usize::MAX), &query, &options, head))
            };
            let pages = stream::once(page).flat_map(|pages: Result<Vec<_>>| {
                stream::iter(match pages {
                    Ok(pages) => pages.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                })
            });
            pages.boxed()
        }
    }

    /// The index of categories is brought up to date a few calls later.
    CategoryIndexLags caught by ["vis.read_your_writes"] {
        fn capabilities(&self) -> Capabilities {
            partitioned()
        }

        fn insert(&self, log: &mut Log, event: StoredEvent) {
            let now = log.calls.fetch_add(1, Ordering::SeqCst);
            log.hidden.insert(event.event.id, now + 6);
            log.push(event);
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let now = log.calls.fetch_add(1, Ordering::SeqCst);
            if matches!(query.scope(), Some(Source::Stream(_))) {
                return Plain.select(log, query, options);
            }
            let unseen = |event: &StoredEvent| log.hidden.get(&event.event.id).is_some_and(|until| *until > now);
            select_without(log, query, options, unseen)
        }
    }
}

/// Shows what was hidden when it is dropped.
struct Shown<'a>(&'a Arc<Shared>, Vec<annals::EventId>);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let mut log = self.0.log();
        self.1.iter().for_each(|id| {
            log.hidden.remove(id);
        });
    }
}
