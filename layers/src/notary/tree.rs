//! The Merkle tree of RFC 6962: hashes, which subtrees a proof is made of, and how it is checked (RFC 9162, section 2.1).

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::link::Hash;

pub(crate) fn leaf(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

pub(crate) fn parent(left: Hash, right: Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// A subtree that is full: its height above the leaves, and its place among those of its height.
pub(crate) type Full = (u32, u64);

/// The hash of a list from those of the full subtrees that it is made of, left to right; of none, that of an empty tree.
pub(crate) fn fold(hashes: impl DoubleEndedIterator<Item = Hash>) -> Hash {
    let whole = hashes.rev().reduce(|right, left| parent(left, right));
    whole.unwrap_or_else(|| Hash(Sha256::digest([]).into()))
}

/// The full subtrees that a range of leaves is made of, left to right.
pub(crate) fn subtrees(range: Range<u64>) -> Vec<Full> {
    let (mut at, mut found) = (range.start, Vec::new());
    while at < range.end {
        let height = at.trailing_zeros().min((range.end - at).ilog2());
        found.push((height, at >> height));
        at += 1 << height;
    }
    found
}

/// The largest power of two below `size`, which is at least 2: where RFC 6962 splits a list.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The ranges of leaves whose hashes prove that a leaf is in a tree of `size`, from the leaf up.
pub(crate) fn inclusion(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut list = 0..size;
    while list.end - list.start > 1 {
        let middle = list.start + split(list.end - list.start);
        if index < middle {
            ranges.push(middle..list.end);
            list.end = middle;
        } else {
            ranges.push(list.start..middle);
            list.start = middle;
        }
    }
    ranges.reverse();
    ranges
}

/// The ranges of leaves whose hashes prove that a tree of `new` begins with the tree of `old`, which is at least 1.
pub(crate) fn consistency(old: u64, new: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut list = 0..new;
    while old < list.end {
        let middle = list.start + split(list.end - list.start);
        if old <= middle {
            ranges.push(middle..list.end);
            list.end = middle;
        } else {
            ranges.push(list.start..middle);
            list.start = middle;
        }
    }
    // The old tree itself is known to who checks.
    if list.start > 0 {
        ranges.push(list);
    }
    ranges.reverse();
    ranges
}

pub(crate) fn includes(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for other in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = parent(*other, hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = parent(hash, *other);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == root
}

pub(crate) fn extends(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size >= new_size {
        // Every tree begins with the empty one.
        let is_same = old == new || (old_size == 0 && old_root == fold(std::iter::empty()));
        return proof.is_empty() && is_same && old_size <= new_size;
    }
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let mut proof = proof.iter().copied();
    // A full tree is the first hash of its own proof.
    let first = if old_size.is_power_of_two() { Some(old_root) } else { proof.next() };
    let Some(first) = first else { return false };
    let (mut before, mut after) = (first, first);
    for other in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            before = parent(other, before);
            after = parent(other, after);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            after = parent(after, other);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && before == old_root && after == new_root
}

/// The hash of a list whose leaves come one by one: keeps one hash for each bit of its length.
#[derive(Default)]
pub(crate) struct Edge {
    size: u64,
    full: Vec<Hash>,
}

impl Edge {
    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.full.pop() {
                hash = parent(left, hash);
            }
        }
        self.full.push(hash);
        self.size += 1;
    }

    pub(crate) fn root(&self) -> Hash {
        fold(self.full.iter().copied())
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::{Edge, fold, leaf};

    /// Roots of the trees of 0 to 8 leaves in the tests of Certificate Transparency.
    #[test]
    fn l17_known_answers_of_rfc_6962() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut edge = Edge::default();
        assert_eq!(fold(std::iter::empty()).to_string(), roots[0]);
        for (nth, data) in leaves.into_iter().enumerate() {
            assert_eq!(edge.root().to_string(), roots[nth]);
            edge.push(leaf(data));
        }
        assert_eq!(edge.root().to_string(), roots[8]);
    }
}
