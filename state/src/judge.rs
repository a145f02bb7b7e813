//! How commits are judged: one pure function for all stores.

use crate::document::Revision;
use crate::error::{Result, StateError};
use crate::write::{Conflict, Write};

/// For implementors: judges the expectations of a commit on the revisions that its documents have, in the order of the
/// writes. The one definition that every store shares.
///
/// # Errors
/// - [`StateError::Conflict`] of the first write, in the order of keys, whose expectation does not hold.
/// - [`StateError::Invalid`] if `found` has another length than `writes`, which is a bug of the store.
pub fn judge(writes: &[Write], found: &[Option<Revision>]) -> Result<()> {
    if writes.len() != found.len() {
        return Err(StateError::invalid("the store did not look all documents of the commit up"));
    }
    let failed = writes.iter().zip(found).filter(|(write, found)| !write.expected.holds(**found));
    match failed.min_by(|(a, _), (b, _)| a.key.cmp(&b.key)) {
        None => Ok(()),
        Some((write, found)) => {
            Err(Conflict::new(write.key.clone(), write.expected, *found).into())
        }
    }
}
