//! Adapters that remember too much, or too little, and those whose answers go astray.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use annals::{
    Append, Direction, Error, EventId, EventName, EventPages, Page, Query, ReadOptions, Result,
    SequenceNumber, StoredEvent,
};
use futures_util::{StreamExt, stream};

use super::bent::{Bend, Log, Shared, but, dawdle, select_without};
use super::numbers::Plain;

bent_specimens! {
    /// The tags of an append are indexed after its events are stored; dropped in between, they never are.
    DropLosesTags caught by ["fault.drop_append"] {
        async fn commit(&self, shared: &Arc<Shared>, _: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            shared.pass_gate().await;
            {
                let mut log = shared.log();
                log.hidden.extend(prepared.iter().map(|event| (event.event.id, u64::MAX)));
                log.push_all(prepared);
            }
            tokio::task::yield_now().await;
            let mut log = shared.log();
            prepared.iter().for_each(|event| { log.hidden.remove(&event.event.id); });
            Ok(())
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let unseen = |event: &StoredEvent| query.uses_tags() && log.hidden.contains_key(&event.event.id);
            select_without(log, query, options, unseen)
        }
    }

    /// The answer to a dropped append is given to the next one of the same connection.
    DropShiftsAnswers { answers: tokio::sync::Mutex<VecDeque<Vec<StoredEvent>>> } caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let mut answers = self.answers.lock().await;
            let stored = Plain.append(shared, writes).await?;
            if stored.is_empty() {
                return Ok(stored);
            }
            answers.push_back(stored);
            tokio::task::yield_now().await;
            Ok(answers.pop_front().unwrap_or_default())
        }
    }

    /// A read with an upper bound is remembered, though the log may not have got there.
    BoundedReadsCached { answers: Mutex<HashMap<String, Vec<StoredEvent>>> } caught by ["vis.read_your_writes"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let found = Plain.select(log, query, options)?;
            if options.until.is_none() {
                return Ok(found);
            }
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(answers.entry(format!("{query:?} {options:?}")).or_insert(found).clone())
        }
    }

    /// The items of a query are read each for itself, and one that came to its end is not looked at again.
    ItemsEndAlone caught by ["scan.during_append"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            if query.items().len() < 2 || options.direction == Direction::Backward {
                return Plain::read(&Arc::new(Plain), shared, size, query, options);
            }
            let items = query.items().iter();
            let items = items.map(|item| Cursor { query: item.clone().into(), after: options.after, ended: false, read: VecDeque::new() });
            let head = self.head(&shared.log(), &query, &options);
            let state = Some((items.collect::<Vec<_>>(), options.limit.unwrap_or(u64::MAX), options.after));
            let shared = Arc::clone(shared);
            let page = move |state: Option<(Vec<Cursor>, u64, SequenceNumber)>| {
                let Some((mut items, mut left, mut through)) = state else { return std::future::ready(None) };
                let mut page: Vec<StoredEvent> = Vec::new();
                while page.len() < size.get() && left > 0 {
                    items.iter_mut().for_each(|item| item.fill(&shared.log(), size.get(), options));
                    let heads = items.iter().filter_map(|item| item.read.front());
                    let Some(next) = heads.min_by_key(|event| event.sequence_number).cloned() else { break };
                    for item in &mut items {
                        item.read.retain(|event| event.sequence_number != next.sequence_number);
                    }
                    page.push(next);
                    left -= 1;
                }
                through = page.last().map_or(through, |last| last.sequence_number);
                let is_whole = page.len() < size.get() && left > 0;
                let page = Page::new(page, if is_whole { options.end(head).max(through) } else { through });
                let state = (!is_whole && left > 0).then_some((items, left, through));
                std::future::ready(Some((Ok(if is_whole { page.at_head() } else { page }), state)))
            };
            stream::unfold(state, page).boxed()
        }
    }

    /// Keys of event names are remembered, also those of appends that were refused, whose keys are given again.
    NameKeysCached { keys: Mutex<HashMap<EventName, usize>> } caught by ["vis.two_handles"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut table: Vec<EventName> = Vec::new();
            for event in &log.events {
                if !table.contains(&event.event.name) {
                    table.push(event.event.name.clone());
                }
            }
            let stored = table.len();
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let mut writes = writes.to_vec();
            for event in writes.iter_mut().flat_map(|write| &mut write.events) {
                let known = keys.get(&event.name).copied().filter(|key| *key < stored);
                let known = known.or_else(|| table.iter().position(|name| *name == event.name));
                let key = known.unwrap_or(table.len());
                if key == table.len() {
                    table.push(event.name.clone());
                }
                keys.insert(event.name.clone(), key);
                event.name = table[key].clone();
            }
            Plain.prepare(log, &writes)
        }
    }

    /// The ids of the last few thousand events are remembered, and no others.
    IdsForgotten caught by ["append.batch_sizes"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            let recent = |id: &EventId| log.events.iter().rev().take(4_096).any(|event| event.event.id == *id);
            let mut ids = writes.iter().flat_map(|write| &write.events).map(|event| event.id);
            ids.find(|id| log.ids.contains(id) && recent(id)).map_or(Ok(()), |id| Err(Error::DuplicateEvent(id)))
        }
    }

    /// A predicate that panics takes along what is appended at the same time.
    PanicSpoilsNeighbours caught by ["cond.custom_panic"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let calls = Arc::clone(&shared.log().calls);
            let before = calls.load(Ordering::SeqCst);
            dawdle().await;
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            if calls.load(Ordering::SeqCst) != before {
                return Err(Error::backend("the writer is gone"));
            }
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            self.commit(shared, &writes, &prepared).await?;
            Ok(prepared)
        }

        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            catch_unwind(AssertUnwindSafe(|| Plain.judge(log, write))).unwrap_or_else(|panic| {
                log.calls.fetch_add(1, Ordering::SeqCst);
                resume_unwind(panic)
            })
        }
    }
}

/// Where a read of one item is.
struct Cursor {
    query: Query,
    after: SequenceNumber,
    ended: bool,
    read: VecDeque<StoredEvent>,
}

impl Cursor {
    /// Reads on when all was given that was read.
    fn fill(&mut self, log: &Log, size: usize, options: ReadOptions) {
        if self.ended || !self.read.is_empty() {
            return;
        }
        let next = but(&options, |it| {
            it.after = self.after;
            it.limit = Some(size as u64);
        });
        let found = Plain.select(log, &self.query, &next).unwrap_or_default();
        self.ended = found.len() < size;
        self.after = found.last().map_or(self.after, |event| event.sequence_number);
        self.read.extend(found);
    }
}
