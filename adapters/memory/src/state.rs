//! The in-memory state store: the reference for what every state store does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use annals::adapter::async_trait;
use annals::{Direction, Payload};
use annals_state::{
    Along, Change, CollectionName, Commit, Document, DocumentId, DocumentKey, DocumentPages, Got,
    IndexEntry, IndexName, Place, Result, Revision, Scan, Scanned, StateCapabilities, StateError,
    StateStore, judge,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

const NAME: &str = "memory";
pub(crate) const CAPABILITIES: StateCapabilities =
    StateCapabilities::NONE.with_max_writes(10_000).with_max_commit_bytes(64 << 20);

/// A state store in memory. Clones are handles to the same store; nothing survives the process.
///
/// A commit takes one short lock, a `get` or a page of a scan a shared one, and nothing is held in between.
///
/// ```
/// # use annals::Payload;
/// # use annals_memory::MemoryState;
/// # use annals_state::{Commit, DocumentKey, Expected, StateStore, Write};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let state = MemoryState::new();
/// let key = DocumentKey::new("carts", "c-1")?;
/// let put = Write::put(key.clone(), Payload::json(&["tea"])?, Expected::Absent);
/// let commit = Commit::new([put]);
/// let revision = commit.revision;
/// state.commit(commit).await?;
/// let got = state.get(vec![key]).await?;
/// assert_eq!(got.documents[0].as_ref().map(|cart| cart.revision), Some(revision));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryState {
    shelves: Arc<RwLock<Shelves>>,
    page_size: NonZeroUsize,
}

#[derive(Default)]
pub(crate) struct Shelves {
    collections: BTreeMap<CollectionName, Shelf>,
    closed: bool,
}

/// One collection: its documents by id, and for each index the ids under each key.
#[derive(Default)]
struct Shelf {
    documents: BTreeMap<DocumentId, Held>,
    indexes: BTreeMap<IndexName, BTreeMap<Bytes, BTreeSet<DocumentId>>>,
}

struct Held {
    revision: Revision,
    body: Payload,
    entries: Vec<IndexEntry>,
}

impl MemoryState {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let page_size = NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN);
        Self { shelves: Arc::default(), page_size }
    }

    /// Scans pages of at most so many documents (256 by default). No result depends on it.
    #[must_use]
    pub fn with_page_size(mut self, documents: NonZeroUsize) -> Self {
        self.page_size = documents;
        self
    }

    // Nothing panics under the lock, and all that can fail comes before the first change: a poisoned lock is whole.
    fn shared(&self) -> Result<RwLockReadGuard<'_, Shelves>> {
        let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        if shelves.closed { Err(StateError::closed(NAME)) } else { Ok(shelves) }
    }

    pub(crate) fn exclusive(&self) -> RwLockWriteGuard<'_, Shelves> {
        self.shelves.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryState {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryState").finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for MemoryState {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> StateCapabilities {
        CAPABILITIES
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        CAPABILITIES.check_commit(&commit)?;
        self.exclusive().commit(commit)
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got> {
        CAPABILITIES.check_get(&keys)?;
        let shelves = self.shared()?;
        let mut got = Got::default();
        let mut bytes = 0;
        let mut keys = keys.into_iter();
        for key in keys.by_ref() {
            let held = shelves.held(&key);
            bytes += held.map_or(0, |held| held.body.as_bytes().len() as u64);
            if bytes > CAPABILITIES.max_page_bytes && !got.documents.is_empty() {
                got.rest.push(key);
                break;
            }
            got.documents.push(held.map(|held| held.document(key)));
        }
        got.rest.extend(keys);
        Ok(got)
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        if let Err(error) = CAPABILITIES.check_scan(&scan) {
            return stream::iter([Err(error)]).boxed();
        }
        let state = Some((self.clone(), scan));
        stream::unfold(state, |state| async move {
            let (store, mut scan) = state?;
            let page = match store.shared() {
                Ok(shelves) => shelves.page(&scan, store.page_size.get()),
                Err(error) => return Some((Err(error), None)),
            };
            scan.after = Some(page.last()?.place());
            scan.limit = scan.limit.map(|left| left.saturating_sub(page.len() as u64));
            Some((Ok(page), Some((store, scan))))
        })
        .boxed()
    }

    async fn close(&self) {
        self.exclusive().closed = true;
    }
}

impl Held {
    fn document(&self, key: DocumentKey) -> Document {
        Document { key, revision: self.revision, body: self.body.clone() }
    }
}

impl Shelves {
    /// Makes a commit that the capabilities allow.
    pub(crate) fn commit(&mut self, commit: Commit) -> Result<()> {
        if self.closed {
            return Err(StateError::closed(NAME));
        }
        let found = |key| self.held(key).map(|held| held.revision);
        let found: Vec<_> = commit.writes.iter().map(|write| found(&write.key)).collect();
        judge(&commit.writes, &found)?;
        for write in commit.writes {
            match write.change {
                Change::Guard => {}
                Change::Delete => self.remove(&write.key),
                Change::Put { body, entries } => {
                    let held = Held { revision: commit.revision, body, entries };
                    self.remove(&write.key);
                    self.insert(write.key, held);
                }
            }
        }
        Ok(())
    }

    /// The documents with these keys.
    #[cfg(feature = "views")]
    pub(crate) fn look(&self, keys: Vec<DocumentKey>) -> Vec<Option<Document>> {
        let look = |key| self.held(&key).map(|held| held.document(key));
        keys.into_iter().map(look).collect()
    }

    fn held(&self, key: &DocumentKey) -> Option<&Held> {
        self.collections.get(&key.collection)?.documents.get(&key.id)
    }

    fn insert(&mut self, key: DocumentKey, held: Held) {
        let collection = self.collections.entry(key.collection).or_default();
        for entry in &held.entries {
            let index = collection.indexes.entry(entry.index.clone()).or_default();
            index.entry(entry.key.clone()).or_default().insert(key.id.clone());
        }
        collection.documents.insert(key.id, held);
    }

    /// Leaves no empty index or collection behind: names that nobody uses any more take no memory.
    fn remove(&mut self, key: &DocumentKey) {
        let Some(collection) = self.collections.get_mut(&key.collection) else { return };
        let Some(held) = collection.documents.remove(&key.id) else { return };
        for entry in &held.entries {
            let Some(index) = collection.indexes.get_mut(&entry.index) else { continue };
            if let Some(ids) = index.get_mut(&entry.key) {
                ids.remove(&key.id);
                if ids.is_empty() {
                    index.remove(&entry.key);
                }
            }
            if index.is_empty() {
                collection.indexes.remove(&entry.index);
            }
        }
        if collection.documents.is_empty() {
            self.collections.remove(&key.collection);
        }
    }

    /// The next page of a scan; empty at its end.
    fn page(&self, scan: &Scan, page_size: usize) -> Vec<Scanned> {
        let left =
            scan.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut bytes = 0;
        let mut page = Vec::new();
        let Some(collection) = self.collections.get(&scan.collection) else { return page };
        for (key, id) in collection.places(scan).take(left.min(page_size)) {
            let Some(held) = collection.documents.get(id) else { continue };
            bytes += held.body.as_bytes().len() as u64;
            if bytes > CAPABILITIES.max_page_bytes && !page.is_empty() {
                break;
            }
            let at = DocumentKey { collection: scan.collection.clone(), id: id.clone() };
            page.push(Scanned { key, document: held.document(at) });
        }
        page
    }
}

type Places<'a> = Box<dyn Iterator<Item = (Bytes, &'a DocumentId)> + 'a>;

impl Shelf {
    /// Where the scan goes from its place on.
    fn places<'a>(&'a self, scan: &'a Scan) -> Places<'a> {
        match &scan.along {
            Along::Ids => self.ids(scan),
            Along::Index(index) => match self.indexes.get(index) {
                Some(index) => entries(index, scan),
                None => Box::new(std::iter::empty()),
            },
        }
    }

    fn ids<'a>(&'a self, scan: &'a Scan) -> Places<'a> {
        // `check_scan` has proven that the bounds are text.
        let text =
            |bytes: &'a Option<Bytes>| bytes.as_deref().and_then(|b| std::str::from_utf8(b).ok());
        let after = scan.after.as_ref().map(|place| place.id.as_str());
        let bounds = bounds(text(&scan.from), text(&scan.to), after, scan.direction, false);
        let Some(bounds) = bounds else { return Box::new(std::iter::empty()) };
        let ids = self.documents.range::<str, _>(bounds).map(|(id, _)| (Bytes::new(), id));
        match scan.direction {
            Direction::Backward => Box::new(ids.rev()),
            Direction::Forward => Box::new(ids),
        }
    }
}

fn entries<'a>(index: &'a BTreeMap<Bytes, BTreeSet<DocumentId>>, scan: &'a Scan) -> Places<'a> {
    let after = scan.after.as_ref().map(|place: &Place| &*place.key);
    let bounds = bounds(scan.from.as_deref(), scan.to.as_deref(), after, scan.direction, true);
    let Some(bounds) = bounds else { return Box::new(std::iter::empty()) };
    let keys = index.range::<[u8], _>(bounds);
    let ids = move |(key, ids): (&'a Bytes, &'a BTreeSet<DocumentId>)| {
        // Only under the key of the place does its id count.
        let after = scan.after.as_ref().filter(|place| place.key == *key);
        let after = after.map(|place| place.id.as_str());
        let bounds = self::bounds(None, None, after, scan.direction, false);
        let bounds = bounds.unwrap_or((Bound::Unbounded, Bound::Unbounded));
        let key = key.clone();
        let ids = ids.range::<str, _>(bounds);
        let ids: Box<dyn Iterator<Item = &'a DocumentId>> = match scan.direction {
            Direction::Backward => Box::new(ids.rev()),
            Direction::Forward => Box::new(ids),
        };
        ids.map(move |id| (key.clone(), id))
    };
    match scan.direction {
        Direction::Backward => Box::new(keys.rev().flat_map(ids)),
        Direction::Forward => Box::new(keys.flat_map(ids)),
    }
}

/// The part of [`from`, `to`) beyond `after` in this direction, `after` itself included if `inclusive`; `None` if that
/// is nothing, of which a `BTreeMap` would panic.
fn bounds<'a, T: Ord + ?Sized>(
    from: Option<&'a T>,
    to: Option<&'a T>,
    after: Option<&'a T>,
    direction: Direction,
    inclusive: bool,
) -> Option<(Bound<&'a T>, Bound<&'a T>)> {
    let mut low = from.map_or(Bound::Unbounded, Bound::Included);
    let mut high = to.map_or(Bound::Unbounded, Bound::Excluded);
    if let Some(after) = after {
        let bound = if inclusive { Bound::Included(after) } else { Bound::Excluded(after) };
        match direction {
            Direction::Backward if to.is_none_or(|to| after < to) => high = bound,
            Direction::Forward if from.is_none_or(|from| after >= from) => low = bound,
            _ => {}
        }
    }
    let nothing = match (low, high) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high))
        | (Bound::Excluded(low), Bound::Included(high)) => low >= high,
        _ => false,
    };
    if nothing { None } else { Some((low, high)) }
}
