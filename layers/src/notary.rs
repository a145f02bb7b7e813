//! A tree over a whole log, whose checkpoints others keep.

mod checkpoint;
mod proof;
mod tiles;
mod tree;

use std::fmt;
use std::sync::Arc;

use annals::{
    Error, Order, Query, ReadOptions, Result, SequenceNumber, StorageAdapter, StoredEvent,
};
use annals_state::StateStore;
use futures_util::StreamExt;

use crate::link::Hash;
pub use checkpoint::Checkpoint;
pub use proof::{ConsistencyProof, InclusionProof, entry};
use tiles::{Growing, Tiles, WIDTH};
use tree::Edge;

/// How many leaves are kept in one commit at most.
const BATCH: usize = 2_048;

/// Keeps a Merkle tree (RFC 6962) over all events of a log, in tiles in a state store, and makes checkpoints and proofs.
///
/// It is no layer: it reads the adapter next to the database, needs no key of encryption, costs appends nothing, and covers
/// logs that were written before. A [`Checkpoint`] that others keep shows every later change of the events below it: their
/// bytes, names, tags, times (`recorded_at` too), order, and whether any are missing at the end. What happened since the last
/// checkpoint it does not see; make one every second, or as often as it matters.
///
/// ```
/// # use std::sync::Arc;
/// # use annals::{EventStore, NewEvent, StreamId, WriteCondition};
/// # use annals_layers::{Checkpoint, Notary, Signer};
/// # use annals_memory::{MemoryAdapter, MemoryState};
/// # futures_executor::block_on(async {
/// let log = MemoryAdapter::new();
/// let store = EventStore::new(log.clone());
/// let stream = store.stream(StreamId::new("worlds", "earth")?);
/// stream.append([NewEvent::json("made", "in six days")?], WriteCondition::StreamIsEmpty).await?;
///
/// let mut notary = Notary::open(log, Arc::new(MemoryState::new()), "example.com/log").await?;
/// notary.catch_up().await?;
/// let signer = Signer::generate("example.com/log")?;
/// let note = notary.checkpoint().await?.sign(&signer)?;
///
/// // Somebody else, later.
/// let kept = Checkpoint::open(&note, &signer.verifier())?;
/// let event = stream.latest().await?.unwrap();
/// let proof = notary.inclusion(event.sequence_number, kept.size).await?;
/// assert!(proof.proves(&event, &kept));
/// assert_eq!(notary.audit(&kept).await?, None);
/// # Ok::<(), annals::BoxError>(())
/// # }).unwrap();
/// ```
pub struct Notary<A> {
    log: A,
    tiles: Tiles,
    /// The tree as it is kept. Absent while a call changes it: one that fails or is dropped leaves it to be read again.
    tree: Option<Growing>,
}

/// The first difference between a log and a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Divergence {
    /// Another event has this number now, or the same one says something else.
    Changed(SequenceNumber),
    /// There is no event of this number, but there are later ones.
    Missing(SequenceNumber),
    /// The log ends before the event of this number.
    CutTail(SequenceNumber),
    /// The log is that of the checkpoint; the notary's own tree is not, from this event on.
    OtherTree(SequenceNumber),
    /// Neither the log nor the notary's tree is that of the checkpoint: both are another history.
    OtherHistory,
}

impl<A: fmt::Debug> fmt::Debug for Notary<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.tree.as_ref().map(|tree| tree.form.size);
        f.debug_struct("Notary")
            .field("log", &self.log)
            .field("origin", &self.tiles.origin)
            .field("size", &size)
            .finish_non_exhaustive()
    }
}

impl<A: StorageAdapter> Notary<A> {
    /// The notary of `log`, with its tree in `state`, as it was left. The origin names the log in checkpoints: up to 128
    /// bytes, without blanks and `+`; take one that looks like a URL without its scheme.
    ///
    /// # Errors
    /// - [`Error::Unsupported`] if the sequence numbers of `log` have holes or no order over the whole log.
    /// - [`Error::Invalid`] if the origin is none. Those of the state store.
    pub async fn open(log: A, state: Arc<dyn StateStore>, origin: &str) -> Result<Self> {
        let can = log.capabilities();
        if can.order != Order::Log || !can.contiguous_sequence {
            return Err(Error::unsupported(log.name(), "a notary: its numbers have holes"));
        }
        let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if origin.is_empty() || origin.len() > 128 || origin.contains(is_bad) {
            return Err(Error::invalid("an origin has 1 to 128 bytes, no blank and no +"));
        }
        let tiles = Tiles { state, origin: origin.into() };
        let tree = Some(tiles.load().await?);
        Ok(Self { log, tiles, tree })
    }

    /// How many events the tree has.
    ///
    /// # Errors
    /// Those of the state store.
    pub async fn size(&self) -> Result<u64> {
        Ok(self.kept().await?.0)
    }

    /// Reads the log on, up to its head, and returns how many events were added to the tree. Several notaries may share a
    /// tree.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] if the last event of the tree is not in the log as it was, or a number is missing:
    ///   [`audit`](Self::audit) it.
    /// - [`Error::Unavailable`] if another notary adds to the tree at the same time, and those of both stores. Call it again.
    ///
    /// # Cancel safety
    /// Dropped, it leaves some of it done. Call it again.
    pub async fn catch_up(&mut self) -> Result<u64> {
        let mut tree = match self.tree.take() {
            Some(tree) => tree,
            None => self.tiles.load().await?,
        };
        let (mut added, mut pending) = (0, 0);
        // It begins at the last event that it knows, so that a log that went back is noticed.
        let after = tree.form.size.checked_sub(1).map(|last| tree.form.first + last);
        let after = after.and_then(|last| last.checked_sub(1)).unwrap_or_default();
        let options = ReadOptions::default().after(SequenceNumber::new(after));
        let mut is_known = tree.form.size == 0;
        let mut pages = self.log.read(Query::all(), options);
        while let Some(page) = pages.next().await {
            for event in page?.events {
                let leaf = tree::leaf(&entry(&event).0);
                let number = event.sequence_number.value();
                if !is_known {
                    is_known = true;
                    if number != after + 1 || Some(leaf) != tree.form.last() {
                        return Err(self.went_back(after + 1));
                    }
                    continue;
                }
                if tree.form.size == 0 {
                    tree.form.first = number;
                }
                if number != tree.form.first + tree.form.size {
                    return Err(self.went_back(tree.form.first + tree.form.size));
                }
                tree.push(leaf);
                (added, pending) = (added + 1, pending + 1);
                if pending == BATCH {
                    self.keep(&mut tree).await?;
                    pending = 0;
                }
            }
        }
        if !is_known {
            return Err(self.went_back(after + 1));
        }
        if pending > 0 {
            self.keep(&mut tree).await?;
        }
        self.tree = Some(tree);
        Ok(added)
    }

    async fn keep(&self, tree: &mut Growing) -> Result<()> {
        if self.tiles.keep(tree).await? {
            return Ok(());
        }
        Err(Error::unavailable("another notary adds to the tree").at(self.log.name(), "notary"))
    }

    fn went_back(&self, number: u64) -> Error {
        let what = format!("event #{number} is not the one that the notary knows: audit the log");
        Error::corrupt(what).at(self.log.name(), "notary")
    }

    /// The size of the tree and the number of its first event.
    async fn kept(&self) -> Result<(u64, u64)> {
        let of = |tree: &Growing| (tree.form.size, tree.form.first);
        match &self.tree {
            Some(tree) => Ok(of(tree)),
            None => Ok(of(&self.tiles.load().await?)),
        }
    }

    /// The tree as it is now: [sign](Checkpoint::sign) it, and have others keep it.
    ///
    /// # Errors
    /// Those of the state store; [`Error::Corrupt`] if the tree lacks a tile.
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        let (size, _) = self.kept().await?;
        self.checkpoint_at(size).await
    }

    /// The tree as it was when it had `size` events.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint); [`Error::Invalid`] if it never had so many.
    pub async fn checkpoint_at(&self, size: u64) -> Result<Checkpoint> {
        self.within(size).await?;
        let root = self.tiles.hashes(&std::array::from_fn::<_, 1, _>(|_| 0..size)).await?;
        let root = root.first().copied().unwrap_or(Hash::GENESIS);
        Ok(Checkpoint::new(&self.tiles.origin, size, root))
    }

    /// The proof that the event of this number is in the tree of `size` events.
    ///
    /// # Errors
    /// As [`checkpoint_at`](Self::checkpoint_at); [`Error::Invalid`] too if that tree does not have the event.
    pub async fn inclusion(&self, number: SequenceNumber, size: u64) -> Result<InclusionProof> {
        let first = self.within(size).await?;
        let index = number.value().checked_sub(first).filter(|index| *index < size);
        let index = index.ok_or_else(|| Error::invalid("the event is not in that tree"))?;
        let hashes = self.tiles.hashes(&tree::inclusion(index, size)).await?;
        Ok(InclusionProof::new(index, size, hashes))
    }

    /// The proof that the tree of `new` events begins with the tree of `old` events.
    ///
    /// # Errors
    /// As [`checkpoint_at`](Self::checkpoint_at); [`Error::Invalid`] too if `old` is the larger one.
    pub async fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProof> {
        self.within(new).await?;
        if old > new {
            return Err(Error::invalid("the older tree is the larger one"));
        }
        let ranges = if old == 0 { Vec::new() } else { tree::consistency(old, new) };
        Ok(ConsistencyProof::new(old, new, self.tiles.hashes(&ranges).await?))
    }

    /// The number of the first event, if the tree has `size` of them.
    async fn within(&self, size: u64) -> Result<u64> {
        let (most, first) = self.kept().await?;
        if size > most {
            return Err(Error::invalid(format!("the tree has {most} events, not {size}")));
        }
        Ok(first)
    }

    /// Reads the log again, up to the size of `against`, and returns the first difference; `None` if there is none. It keeps
    /// one tile and one hash for each bit of the size.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the checkpoint is of another origin; those of both stores.
    pub async fn audit(&self, against: &Checkpoint) -> Result<Option<Divergence>> {
        if against.origin != self.tiles.origin {
            return Err(Error::invalid(format!("the checkpoint is of {}", against.origin)));
        }
        let (_, first) = self.kept().await?;
        let mut audit = Audit::new(self, first, against.size);
        if against.size > 0 {
            let until = SequenceNumber::new(first.saturating_add(against.size - 1));
            let mut pages = self.log.read(Query::all(), ReadOptions::default().until(until));
            while let Some(page) = pages.next().await {
                for event in page?.events {
                    audit.see(&event).await?;
                }
            }
        }
        audit.end(against.root).await
    }
}

struct Audit<'a, A> {
    notary: &'a Notary<A>,
    first: u64,
    size: u64,
    log: Edge,
    own: Edge,
    tile: Vec<Hash>,
    /// The first difference between the log and the notary's tree.
    found: Option<Divergence>,
    /// Whether every event so far has the number behind the last one's.
    is_whole: bool,
}

impl<'a, A: StorageAdapter> Audit<'a, A> {
    fn new(notary: &'a Notary<A>, first: u64, size: u64) -> Self {
        let (log, own, tile) = (Edge::default(), Edge::default(), Vec::new());
        Self { notary, first, size, log, own, tile, found: None, is_whole: true }
    }

    /// The next leaf of the notary's own tree.
    async fn own(&mut self) -> Result<Option<Hash>> {
        let (nth, within) = (self.own.size() / WIDTH, self.own.size() % WIDTH);
        if within == 0 {
            self.tile = self.notary.tiles.leaves(nth).await?;
        }
        let leaf = usize::try_from(within).ok().and_then(|within| self.tile.get(within)).copied();
        if let Some(leaf) = leaf {
            self.own.push(leaf);
        }
        Ok(leaf)
    }

    async fn see(&mut self, event: &StoredEvent) -> Result<()> {
        if !self.is_whole {
            return Ok(());
        }
        let expected = SequenceNumber::new(self.first + self.log.size());
        if event.sequence_number != expected {
            self.is_whole = false;
            let before = event.sequence_number < expected;
            let what = if before { Divergence::Changed } else { Divergence::Missing };
            self.found.get_or_insert(what(expected));
            return Ok(());
        }
        let leaf = tree::leaf(&entry(event).0);
        self.log.push(leaf);
        if self.own().await?.is_some_and(|own| own != leaf) {
            self.found.get_or_insert(Divergence::Changed(expected));
        }
        Ok(())
    }

    async fn end(mut self, root: Hash) -> Result<Option<Divergence>> {
        let is_cut = self.is_whole && self.log.size() < self.size;
        if is_cut {
            let next = SequenceNumber::new(self.first + self.log.size());
            self.found.get_or_insert(Divergence::CutTail(next));
        }
        while self.own.size() < self.size && self.own().await?.is_some() {}
        let is_own = self.own.size() == self.size && self.own.root() == root;
        let is_log = self.is_whole && !is_cut && self.log.root() == root;
        Ok(match (is_log, is_own) {
            (true, true) => None,
            (true, false) => {
                let number = match self.found {
                    Some(Divergence::Changed(number)) => number,
                    _ => SequenceNumber::new(self.first + self.own.size()),
                };
                Some(Divergence::OtherTree(number))
            }
            // The tree is right, so what differs from it is what was changed.
            (false, true) => self.found,
            (false, false) if is_cut => self
                .found
                .filter(|it| matches!(it, Divergence::CutTail(_)))
                .or(Some(Divergence::OtherHistory)),
            (false, false) => Some(Divergence::OtherHistory),
        })
    }
}
