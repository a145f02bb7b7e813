//! Reset: everything that a processor made is removed, and it begins from the first event.
//!
//! The first commit forgets the trackings of all parts and marks the definition, whose revision every commit of each part
//! is guarded by: from then on no processor of this name can commit anything. A process that reads the mark removes what is
//! left, guarded by the mark, and takes it away at the end. So a reset that is killed goes on.

use std::collections::BTreeSet;

use annals_state::{
    CollectionName, DocumentKey, Expected, Revision, Scan, StateError, StateStore, Write,
    prefix_end,
};
use futures_util::TryStreamExt;

use crate::claim::{Claim, PARKED, TRACKING};
use crate::error::{ProcessingError, Result};
use crate::halt::Halt;
use crate::partition::Partitions;
use crate::sink::{Sink, SinkError};
use crate::tracking::{CANNOT_RESET, Definition, Held, commit, get_one, put};

/// How many documents are removed in one commit.
const REMOVED_AT_ONCE: u64 = 256;

/// Begins a reset of all parts of a processor, from anywhere: a processor of this name that runs, or the next one, removes
/// what was made and begins from the first event, with its own definition. Nothing is done if there is no such processor.
///
/// # Errors
/// [`Misuse`](ProcessingError::Misuse) if what the processor made cannot be taken back: nothing is changed then. Those of the
/// state store; a conflict if it is reset or split at the same moment: call it again.
///
/// # Cancel safety
/// If it is dropped, the reset was begun or not.
pub async fn reset(state: &dyn StateStore, claim: &Claim) -> Result<()> {
    let stored = get_one::<Definition>(state, claim.definition()).await?;
    let Some(Held { value, revision }) = stored else { return Ok(()) };
    if value.cannot_reset {
        return Err(ProcessingError::misuse(CANNOT_RESET));
    }
    let wanted = Definition { at_least: None, ..value };
    let writes = begin(state, claim, &wanted, revision, &wanted.partitions).await?;
    commit(state, writes).await?;
    Ok(())
}

/// The writes that begin a reset of what is stored with the definition of this revision, whose streams are divided as
/// `partitions`; afterwards `wanted` is the definition.
///
/// They expect nothing of the trackings: a commit of a part is made before them, or fails because the definition has
/// changed. So a processor that commits all the time does not keep a reset from beginning.
pub(crate) async fn begin(
    state: &dyn StateStore,
    claim: &Claim,
    wanted: &Definition,
    stored: Option<Revision>,
    partitions: &str,
) -> Result<Vec<Write>, StateError> {
    let marked = Definition { resetting: true, ..wanted.clone() };
    // Also of parts that have no tracking yet: one may be made before the commit.
    let divided = Partitions::described(partitions);
    let parts = divided.iter().flat_map(Partitions::parts);
    let mut keys: BTreeSet<DocumentKey> =
        parts.map(|part| claim.clone().with_partition(part).tracking()).collect();
    let mut pages = state.scan(all_parts(TRACKING, claim));
    while let Some(page) = pages.try_next().await? {
        keys.extend(page.into_iter().map(|one| one.document.key));
    }
    let mut writes = vec![put(claim.definition(), &marked, stored)?];
    writes.extend(keys.into_iter().map(|key| Write::delete(key, Expected::Any)));
    Ok(writes)
}

/// Removes what is left of a reset that was begun, and ends it.
pub(crate) async fn finish(
    state: &dyn StateStore,
    claim: &Claim,
    sink: &mut dyn Sink,
    wanted: &Definition,
    revision: Revision,
) -> Result<(), Halt> {
    let guard = Write::guard(claim.definition(), Expected::Is(revision));
    sink.forget();
    sink.clear(&guard).await.map_err(|error| match error {
        SinkError::State(error) => error.into(),
        SinkError::Log(error) => error.into(),
        error => Halt::Fatal(ProcessingError::misuse(error.to_string())),
    })?;
    clear(state, all_parts(PARKED, claim), &guard).await?;
    commit(state, [put(claim.definition(), wanted, Some(revision))?]).await?;
    Ok(())
}

/// The documents of all parts of a processor.
fn all_parts(collection: CollectionName, claim: &Claim) -> Scan {
    let prefix = format!("{}/{}/", claim.processor(), claim.source());
    let mut scan = Scan::along_ids(collection).from(prefix.clone());
    scan.to = prefix_end(prefix.as_bytes());
    scan
}

/// Removes all documents of a scan, in commits with this guard.
pub(crate) async fn clear(
    state: &dyn StateStore,
    scan: Scan,
    guard: &Write,
) -> Result<(), StateError> {
    let scan = scan.limit(REMOVED_AT_ONCE);
    loop {
        let page = state.scan(scan.clone()).try_concat().await?;
        if page.is_empty() {
            return Ok(());
        }
        let deletes = page.into_iter().map(|one| Write::delete(one.document.key, Expected::Any));
        commit(state, deletes.chain([guard.clone()])).await?;
    }
}
