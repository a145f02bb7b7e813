//! Ranges of keys.

use bytes::Bytes;

use crate::filter::Filter;
use crate::scan::prefix_end;
use crate::value::{Kind, invert, kind_tags};

/// Keys from `from`, itself included, to `to`, itself excluded; `None`: no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) from: Option<Bytes>,
    pub(crate) to: Option<Bytes>,
}

impl KeyRange {
    /// What lies in both.
    pub(crate) fn intersect(self, other: Self) -> Self {
        let to = match (self.to, other.to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { from: self.from.max(other.from), to }
    }

    /// The keys that begin with `prefix` and go on within this range; `None` if there are none.
    pub(crate) fn under(&self, prefix: &[u8]) -> Option<Self> {
        let join = |rest: &Bytes| Bytes::from([prefix, &rest[..]].concat());
        let from = self
            .from
            .as_ref()
            .map(join)
            .or_else(|| (!prefix.is_empty()).then(|| Bytes::copy_from_slice(prefix)));
        let to = self.to.as_ref().map(join).or_else(|| prefix_end(prefix));
        let nothing = matches!((&from, &to), (Some(from), Some(to)) if from >= to);
        (!nothing).then_some(Self { from, to })
    }

    /// The range that has all keys of this one, each cut to so many bytes.
    pub(crate) fn cut(&self, bytes: usize) -> Self {
        let short = |key: &Bytes| key.slice(..key.len().min(bytes));
        let to = self.to.as_ref().and_then(|to| {
            // A cut key may be that of something smaller.
            if to.len() > bytes { prefix_end(&short(to)) } else { Some(to.clone()) }
        });
        Self { from: self.from.as_ref().map(short), to }
    }
}

/// The same keys as these ranges, in order and each once.
pub(crate) fn merge(mut ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    ranges.sort_unstable_by(|a, b| a.from.cmp(&b.from));
    let mut merged: Vec<KeyRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.to.is_none() || range.from.is_none() || range.from <= last.to => {
                let end = last.to.take().zip(range.to).map(|(a, b)| a.max(b));
                last.to = end;
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Where values lie that compare so with the value of this ascending key: among those of its kind.
///
/// No key begins another, so "greater" begins where all that begin with the key end.
pub(crate) fn of_comparison(leaf: &Filter, key: &[u8], kind: Kind, descending: bool) -> KeyRange {
    let (first, last) = kind_tags(kind);
    // The least and the greatest key as prefixes, and whether what begins with it belongs to it.
    let (low, high) = match leaf {
        Filter::Less(..) => ((&[first][..], true), (key, false)),
        Filter::AtMost(..) => ((&[first][..], true), (key, true)),
        Filter::More(..) => ((key, false), (&[last][..], true)),
        _ => ((key, true), (&[last][..], true)),
    };
    let inverted = |prefix: &[u8]| {
        let mut prefix = prefix.to_vec();
        invert(&mut prefix);
        prefix
    };
    let start = |prefix: &[u8], with: bool| {
        if with { Some(Bytes::copy_from_slice(prefix)) } else { prefix_end(prefix) }
    };
    let end = |prefix: &[u8], with: bool| {
        if with { prefix_end(prefix) } else { Some(Bytes::copy_from_slice(prefix)) }
    };
    if descending {
        KeyRange { from: start(&inverted(high.0), high.1), to: end(&inverted(low.0), low.1) }
    } else {
        KeyRange { from: start(low.0, low.1), to: end(high.0, high.1) }
    }
}
