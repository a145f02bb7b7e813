//! What a state store can do, and the checks that it makes before anything else.

use serde::Serialize;

use crate::document::DocumentKey;
use crate::error::{Result, StateError};
use crate::scan::{Along, Scan};
use crate::write::{Change, Commit};

/// What a stack of state stores can do, and how much of it at once. What goes beyond is rejected with
/// [`StateError::Invalid`].
///
/// ```
/// use annals_state::StateCapabilities;
/// const MINE: StateCapabilities = StateCapabilities::NONE.with_durable(true).with_max_writes(500);
/// assert!(MINE.durable && !MINE.shared);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StateCapabilities {
    /// What was acknowledged survives the end of the process, a kill and, as far as the database promises it, power
    /// loss.
    pub durable: bool,
    /// Several processes may use one store at once.
    pub shared: bool,
    /// The most writes of one commit, guards included.
    pub max_writes: u32,
    /// The largest commit, in bytes as [`Commit::bytes`] counts them.
    pub max_commit_bytes: u64,
    /// The most keys of one `get`.
    pub max_get_keys: u32,
    /// The most bytes of bodies that one answer of `get` or one page of a scan holds, unless one document alone is
    /// larger.
    pub max_page_bytes: u64,
    /// The most entries of one document, over all indexes.
    pub max_entries: u32,
    /// The longest key of an entry, in bytes.
    pub max_entry_key_bytes: u32,
}

macro_rules! builders {
    ($($with:ident($field:ident: $type:ty);)*) => {
        impl StateCapabilities {$(
            #[doc = concat!("Declares [`Self::", stringify!($field), "`].")]
            #[must_use]
            pub const fn $with(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )*}
    };
}

builders! {
    with_durable(durable: bool);
    with_shared(shared: bool);
    with_max_writes(max_writes: u32);
    with_max_commit_bytes(max_commit_bytes: u64);
    with_max_get_keys(max_get_keys: u32);
    with_max_page_bytes(max_page_bytes: u64);
    with_max_entries(max_entries: u32);
    with_max_entry_key_bytes(max_entry_key_bytes: u32);
}

impl StateCapabilities {
    /// The least that a store can be: of one process and its memory, with the bounds that callers may rely on.
    /// A store may declare more; below these, documents with indexes may not work.
    pub const NONE: Self = Self {
        durable: false,
        shared: false,
        max_writes: 1_000,
        max_commit_bytes: 16 << 20,
        max_get_keys: 1_000,
        max_page_bytes: 4 << 20,
        max_entries: 64,
        max_entry_key_bytes: 1_000,
    };

    /// For implementors: the first line of every `commit`.
    ///
    /// # Errors
    /// [`StateError::Invalid`]: no writes, a document or an entry twice, or more than is declared of writes, bytes,
    /// entries of a document or bytes of an entry's key.
    pub fn check_commit(&self, commit: &Commit) -> Result<()> {
        let writes = &commit.writes;
        if writes.is_empty() {
            return Err(StateError::invalid("a commit has at least one write"));
        }
        within("writes in one commit", self.max_writes.into(), writes.len())?;
        if let Some(key) = repeated(writes.iter().map(|write| &write.key)) {
            return Err(StateError::invalid(format!("document {key} is twice in one commit")));
        }
        for write in writes {
            let Change::Put { entries, .. } = &write.change else { continue };
            within("entries of one document", self.max_entries.into(), entries.len())?;
            for entry in entries {
                let most = self.max_entry_key_bytes.into();
                within("bytes in the key of an entry", most, entry.key.len())?;
            }
            if let Some(entry) = repeated(entries.iter()) {
                let (key, index) = (&write.key, &entry.index);
                let text = format!("document {key} has one entry twice in index {index}");
                return Err(StateError::invalid(text));
            }
        }
        let bytes = commit.bytes();
        if bytes > self.max_commit_bytes {
            let most = self.max_commit_bytes;
            return Err(StateError::invalid(format!(
                "at most {most} bytes in one commit, got {bytes}"
            )));
        }
        Ok(())
    }

    /// For implementors: the first line of every `get`.
    ///
    /// # Errors
    /// [`StateError::Invalid`] for more keys than declared.
    pub fn check_get(&self, keys: &[DocumentKey]) -> Result<()> {
        within("keys in one get", self.max_get_keys.into(), keys.len())
    }

    /// For implementors: the first line of every `scan`.
    ///
    /// # Errors
    /// [`StateError::Invalid`] for a bound along ids that is no text, or a place along ids with the key of an entry.
    pub fn check_scan(&self, scan: &Scan) -> Result<()> {
        if scan.along != Along::Ids {
            return Ok(());
        }
        for bound in [&scan.from, &scan.to].into_iter().flatten() {
            if bound.contains(&0) || std::str::from_utf8(bound).is_err() {
                return Err(StateError::invalid("a bound along ids is UTF-8 without U+0000"));
            }
        }
        match &scan.after {
            Some(place) if !place.key.is_empty() => {
                Err(StateError::invalid("a place along ids has no key of an entry"))
            }
            _ => Ok(()),
        }
    }
}

fn within(what: &str, most: u64, count: usize) -> Result<()> {
    if count as u64 <= most {
        return Ok(());
    }
    Err(StateError::invalid(format!("at most {most} {what}, got {count}")))
}

/// An item that occurs again.
fn repeated<'a, T: Ord>(items: impl Iterator<Item = &'a T>) -> Option<&'a T> {
    let mut sorted: Vec<&T> = items.collect();
    sorted.sort_unstable();
    sorted.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    })
}
