//! The aggregates that were used last. Entries are never changed, so nobody waits for another and nothing leaks.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::StreamId;
use lru::LruCache;

use crate::loaded::Loaded;

type Entries<A> = LruCache<StreamId, Arc<Loaded<A>>>;

/// At most so many aggregates.
pub(crate) struct Cache<A>(Mutex<Entries<A>>);

impl<A> Cache<A> {
    pub(crate) fn new(most: NonZeroUsize) -> Self {
        Self(Mutex::new(LruCache::new(most)))
    }

    pub(crate) fn get(&self, stream: &StreamId) -> Option<Arc<Loaded<A>>> {
        self.entries().get(stream).cloned()
    }

    /// Removes the entry if it is still `known`: it is about to be replaced, or it does not belong to this log.
    pub(crate) fn remove(&self, stream: &StreamId, known: &Arc<Loaded<A>>) {
        let mut entries = self.entries();
        if entries.peek(stream).is_some_and(|entry| Arc::ptr_eq(entry, known)) {
            entries.pop(stream);
        }
    }

    /// Keeps `loaded`, unless what is there is newer.
    pub(crate) fn put(&self, stream: &StreamId, loaded: &Arc<Loaded<A>>) {
        let mut entries = self.entries();
        match entries.get_mut(stream) {
            Some(entry) if entry.version > loaded.version => {}
            Some(entry) => *entry = Arc::clone(loaded),
            None => drop(entries.put(stream.clone(), Arc::clone(loaded))),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> std::fmt::Debug for Cache<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.entries();
        f.debug_struct("Cache").field("len", &entries.len()).field("most", &entries.cap()).finish()
    }
}
