//! The tree in tiles of 256 hashes, as <https://c2sp.org/tlog-tiles> cuts it, kept as documents of a state store.
//!
//! ```text
//! annals.notary/<origin>/tree                    {"first": number, "size": count, "last": hash of the last leaf}
//! annals.notary/<origin>/tile/<level>/<n>        hashes of the subtrees of 256^level leaves, up to 256 of them
//! ```
//! The last tile of a level grows; nothing in it ever changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use annals::{Error, Payload, Result};
use annals_state::{
    CollectionName, Commit, DocumentId, DocumentKey, Expected, StateError, StateStore, Write,
    get_all,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::link::Hash;
use crate::notary::tree::{self, Full};
use crate::state::of_state;

const COLLECTION: CollectionName = CollectionName::from_static("annals.notary");
/// The height of a tile.
const HEIGHT: u32 = 8;
/// How many hashes a full tile has.
pub(crate) const WIDTH: u64 = 1 << HEIGHT;
const HASH_BYTES: usize = 32;

/// A tile: its level, and its place in that.
type Tile = (u32, u64);

/// Where the tiles of a log are.
#[derive(Clone)]
pub(crate) struct Tiles {
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) origin: Box<str>,
}

/// The right edge of the tree, from which it grows.
#[derive(Clone)]
pub(crate) struct Growing {
    pub(crate) form: Form,
    expected: Expected,
    /// The hashes of the last tile of each level, less than a full one.
    edges: Vec<Vec<Hash>>,
    /// Full tiles that are not kept yet.
    full: BTreeMap<Tile, Vec<Hash>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Form {
    /// The sequence number of the first leaf.
    pub(crate) first: u64,
    pub(crate) size: u64,
    /// The last leaf, in hexadecimal.
    last: Option<String>,
}

impl Form {
    pub(crate) fn last(&self) -> Option<Hash> {
        self.last.as_ref().and_then(|text| text.parse().ok())
    }
}

impl Growing {
    pub(crate) fn push(&mut self, leaf: Hash) {
        self.form.last = Some(leaf.to_string());
        self.form.size += 1;
        let (mut level, mut hash) = (0, leaf);
        loop {
            let place = usize::try_from(level).unwrap_or(usize::MAX);
            if self.edges.len() == place {
                self.edges.push(Vec::new());
            }
            let Some(edge) = self.edges.get_mut(place) else { return };
            edge.push(hash);
            if edge.len() as u64 != WIDTH {
                return;
            }
            let tile = std::mem::take(edge);
            hash = perfect(&tile);
            let nth = entries(self.form.size, level + 1).saturating_sub(1);
            self.full.insert((level, nth), tile);
            level += 1;
        }
    }
}

/// The root of a full subtree whose leaves are these.
fn perfect(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let pair = |pair: &[Hash]| match pair {
            [left, right] => tree::parent(*left, *right),
            other => other.first().copied().unwrap_or(Hash::GENESIS),
        };
        row = row.chunks(2).map(pair).collect();
    }
    row.first().copied().unwrap_or(Hash::GENESIS)
}

impl Tiles {
    fn key(&self, name: &str) -> Result<DocumentKey> {
        let id = DocumentId::new(format!("{}/{name}", self.origin)).map_err(Error::invalid)?;
        Ok(DocumentKey { collection: COLLECTION, id })
    }

    /// The path of a tile in the format: groups of three digits, all but the last behind an `x`.
    fn tile_key(&self, (level, nth): Tile) -> Result<DocumentKey> {
        let (mut path, mut rest) = (format!("{:03}", nth % 1_000), nth / 1_000);
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1_000);
            rest /= 1_000;
        }
        self.key(&format!("tile/{level}/{path}"))
    }

    /// The tree as it is kept; an empty one if there is none.
    pub(crate) async fn load(&self) -> Result<Growing> {
        let key = self.key("tree")?;
        let found = get_all(&*self.state, vec![key.clone()]).await.map_err(of_state)?;
        let mut growing = Growing {
            form: Form::default(),
            expected: Expected::Absent,
            edges: Vec::new(),
            full: BTreeMap::new(),
        };
        let Some(document) = found.into_iter().flatten().next() else { return Ok(growing) };
        growing.expected = Expected::Is(document.revision);
        growing.form = document.body.to_json().map_err(|cause| self.corrupt(&key, cause))?;
        let size = growing.form.size;
        growing
            .form
            .first
            .checked_add(size)
            .ok_or_else(|| self.corrupt(&key, "it is too large"))?;
        let levels = (0..).take_while(|level| entries(size, *level) > 0);
        let edges: Vec<Tile> = levels.map(|level| (level, entries(size, level) / WIDTH)).collect();
        let found = self.tiles(edges.iter().copied()).await?;
        for (level, nth) in edges {
            let width = usize::try_from(entries(size, level) % WIDTH).unwrap_or(usize::MAX);
            let tile = found.get(&(level, nth)).map(Vec::as_slice).unwrap_or_default();
            let lacks = || self.corrupt(&key, "a tile is missing");
            growing.edges.push(tile.get(..width).ok_or_else(lacks)?.to_vec());
        }
        Ok(growing)
    }

    /// Keeps what has grown. `false`: another notary was faster, and nothing was kept.
    pub(crate) async fn keep(&self, growing: &mut Growing) -> Result<bool> {
        let mut tiles: Vec<(Tile, &Vec<Hash>)> =
            growing.full.iter().map(|(tile, hashes)| (*tile, hashes)).collect();
        for (level, edge) in (0_u32..).zip(&growing.edges) {
            let nth = entries(growing.form.size, level) / WIDTH;
            tiles.extend((!edge.is_empty()).then_some(((level, nth), edge)));
        }
        let body = Payload::json(&growing.form).map_err(Error::invalid)?;
        let mut writes = vec![Write::put(self.key("tree")?, body, growing.expected)];
        for (tile, hashes) in tiles {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            // Who may write the tree may write its tiles.
            writes.push(Write::put(self.tile_key(tile)?, Payload::bytes(bytes), Expected::Any));
        }
        let commit = Commit::new(writes);
        let revision = commit.revision;
        match self.state.commit(commit).await {
            Ok(()) => {
                growing.expected = Expected::Is(revision);
                growing.full.clear();
                Ok(true)
            }
            Err(StateError::Conflict(_)) => Ok(false),
            Err(error) => Err(of_state(error)),
        }
    }

    /// The hashes of the ranges of leaves, in one request.
    pub(crate) async fn hashes(&self, ranges: &[Range<u64>]) -> Result<Vec<Hash>> {
        let parts: Vec<Vec<Full>> =
            ranges.iter().map(|range| tree::subtrees(range.clone())).collect();
        let wanted: BTreeSet<Tile> = parts.iter().flatten().map(|full| place(*full).0).collect();
        let tiles = self.tiles(wanted.into_iter()).await?;
        let hash = |full: &Full| {
            let (tile, within) = place(*full);
            let hashes = tiles.get(&tile).and_then(|hashes| hashes.get(within));
            hashes.map(perfect).ok_or_else(|| Error::corrupt("the notary's tree lacks a tile"))
        };
        let fold = |parts: &Vec<Full>| {
            let hashes = parts.iter().map(hash).collect::<Result<Vec<_>>>()?;
            Ok(tree::fold(hashes.into_iter()))
        };
        parts.iter().map(fold).collect()
    }

    /// The leaves of one tile of the lowest level; as many as are kept.
    pub(crate) async fn leaves(&self, nth: u64) -> Result<Vec<Hash>> {
        Ok(self.tiles([(0, nth)].into_iter()).await?.remove(&(0, nth)).unwrap_or_default())
    }

    async fn tiles(&self, tiles: impl Iterator<Item = Tile>) -> Result<HashMap<Tile, Vec<Hash>>> {
        let tiles: Vec<Tile> = tiles.collect();
        let keys = tiles.iter().map(|tile| self.tile_key(*tile)).collect::<Result<Vec<_>>>()?;
        let found = get_all(&*self.state, keys).await.map_err(of_state)?;
        let hashes = |bytes: &Bytes| {
            let hash = |bytes: &[u8]| bytes.try_into().ok().map(Hash);
            bytes.chunks(HASH_BYTES).map_while(hash).collect()
        };
        let kept = tiles.into_iter().zip(found);
        Ok(kept.filter_map(|(tile, it)| Some((tile, hashes(it?.body.as_bytes())))).collect())
    }

    fn corrupt(&self, key: &DocumentKey, cause: impl std::fmt::Display) -> Error {
        Error::corrupt(format!("{key}: {cause}")).at(self.state.name(), "notary")
    }
}

/// How many hashes a tree of `size` leaves has at a level of tiles.
fn entries(size: u64, level: u32) -> u64 {
    size.checked_shr(HEIGHT * level).unwrap_or(0)
}

/// The tile that a full subtree lies in, and the hashes there that it is made of.
fn place((height, nth): Full) -> (Tile, Range<usize>) {
    let (level, inside) = (height / HEIGHT, height % HEIGHT);
    let first = nth << inside;
    let start = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
    ((level, first / WIDTH), start..start.saturating_add(1 << inside))
}
