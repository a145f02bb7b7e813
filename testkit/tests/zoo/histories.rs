//! Adapters that trust what they remember, though the store went back.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use annals::adapter::Facts;
use annals::{
    Append, Direction, Error, EventId, EventName, EventPages, Page, Position, Query, ReadOptions,
    Result, SequenceNumber, StoredEvent, StreamId,
};
use futures_util::{StreamExt, stream};

use super::bent::{Bend, Log, Shared, amend, waits};
use super::numbers::Plain;

/// A follow that goes on behind its last number, whatever event has it by now.
fn trusting(shared: &Arc<Shared>, query: Query, options: ReadOptions) -> EventPages {
    let shared = Arc::clone(shared);
    let next = move |mut options: ReadOptions| {
        let (shared, query) = (Arc::clone(&shared), query.clone());
        async move {
            loop {
                let rung = waits(&shared, 1)();
                let found = Plain.select(&shared.log(), &query, &options);
                let found = found.unwrap_or_default();
                if let Some(last) = found.last() {
                    options.after = last.sequence_number;
                    return Some((Ok(Page::new(found, options.after).at_head()), options));
                }
                let _ = rung.await;
            }
        }
    };
    stream::unfold(options, next).boxed()
}

bent_specimens! {
    /// Numbers go on behind the last one that the handle appended.
    HeadRemembered { last: AtomicU64 } caught by ["history.append_after", "history.emptied"] {
        fn number(&self, log: &Log, _: &StreamId, _nth: usize, nth_in_call: usize) -> SequenceNumber {
            let last = self.last.load(Ordering::SeqCst).max(log.last);
            SequenceNumber::new(last + 1 + nth_in_call as u64)
        }

        fn answer(&self, stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            let last = stored.last().map_or(0, |event| event.sequence_number.value());
            self.last.fetch_max(last, Ordering::SeqCst);
            Ok(stored)
        }
    }

    /// In an empty log numbers go on behind the last one that the handle appended.
    HeadRememberedOfNothing { last: AtomicU64 } caught by ["history.emptied"] {
        fn number(&self, log: &Log, _: &StreamId, _nth: usize, nth_in_call: usize) -> SequenceNumber {
            let last = if log.last == 0 { self.last.load(Ordering::SeqCst) } else { log.last };
            SequenceNumber::new(last + 1 + nth_in_call as u64)
        }

        fn answer(&self, stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            let last = stored.last().map_or(0, |event| event.sequence_number.value());
            self.last.fetch_max(last, Ordering::SeqCst);
            Ok(stored)
        }
    }

    /// Ends of streams are remembered, and conditions judged on them.
    EndsRemembered { ends: Mutex<HashMap<StreamId, Position>> } caught by ["history.append_after"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            let last = log.last_of(&write.stream);
            let end = last.map(|last| last.position).max(ends.get(&write.stream).copied());
            let answer = |(query, after): (&Query, _)| log.first_match(query, after);
            let matches = write.condition.queries().into_iter().map(answer).collect();
            Facts::new(end).with_last(last.cloned()).with_matches(matches)
        }

        fn answer(&self, stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            ends.extend(stored.iter().map(|event| (event.stream.clone(), event.position)));
            Ok(stored)
        }
    }

    /// Names are stored as numbers, and what a number means is looked up once.
    NamesRemembered { names: Mutex<HashMap<usize, EventName>> } caught by ["history.others_first"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut table: Vec<EventName> = Vec::new();
            for event in &log.events {
                if !table.contains(&event.event.name) {
                    table.push(event.event.name.clone());
                }
            }
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let mut found = Plain.select(log, query, options)?;
            for event in &mut found {
                let Some(key) = table.iter().position(|name| *name == event.event.name) else { continue };
                let name = names.entry(key).or_insert_with(|| table[key].clone()).clone();
                amend(event, |it| it.event.name = name);
            }
            Ok(found)
        }
    }

    /// Ids that the handle appended count as known for ever.
    IdsRemembered { ids: Mutex<HashSet<EventId>> } caught by ["history.ids"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            let mut new = writes.iter().flat_map(|write| &write.events).map(|event| event.id);
            let known = new.find(|id| ids.contains(id) || log.ids.contains(id));
            known.map_or(Ok(()), |id| Err(Error::DuplicateEvent(id)))
        }

        fn answer(&self, stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            ids.extend(stored.iter().map(|event| event.event.id));
            Ok(stored)
        }
    }

    /// A follow goes on behind its last number without looking for the event that had it.
    FollowTrustsItsNumber caught by ["history.follow_ahead"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, _: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            trusting(shared, query, options)
        }
    }

    /// A handle looks for its last event from its second call on.
    FirstFollowTrustsItsNumber { calls: AtomicU64 } caught by ["history.first_look"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            Plain.append(shared, writes).await
        }

        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let is_first = self.calls.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first && options.limit.is_none() && options.until.is_none() {
                return trusting(shared, query, options);
            }
            Plain::follow(&Arc::new(Plain), shared, size, query, options)
        }
    }

    /// A read goes on behind as many events as it has returned.
    ReadsOnByPosition caught by ["history.read_across"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            if options.direction == Direction::Backward {
                return Plain::read(&Arc::new(Plain), shared, size, query, options);
            }
            let shared = Arc::clone(shared);
            let page = move |returned: Option<usize>| {
                let read = returned.map(|returned| {
                    let found = Plain.select(&shared.log(), &query, &options).unwrap_or_default();
                    let through = found.last().map_or(options.after, |last| last.sequence_number);
                    let page: Vec<_> = found.into_iter().skip(returned).take(size.get()).collect();
                    if page.len() < size.get() {
                        return (Ok(Page::new(page, through).at_head()), None);
                    }
                    let through = page.last().map_or(through, |last| last.sequence_number);
                    (Ok(Page::new(page, through)), Some(returned + size.get()))
                });
                std::future::ready(read)
            };
            stream::unfold(Some(0), page).boxed()
        }
    }
}
