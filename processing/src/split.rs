//! Split: the streams of a processor are divided into more parts, each of which goes on where the part was that it is of.
//!
//! A hash modulo a multiple of `n` refines the hash modulo `n`. The first commit replaces the definition, whose revision
//! every commit of each part is guarded by: from then on nothing moves. Who reads the mark assigns each new part the tracking
//! of its old one, and takes the mark away in the same commit. So a split that is killed goes on.

use annals_state::{Expected, Revision, Scan, StateError, StateStore, Write, get_all, prefix_end};
use futures_util::TryStreamExt;

use crate::claim::{Claim, PARKED};
use crate::error::{ProcessingError, Result};
use crate::parked::{self, Parked};
use crate::partition::Partitions;
use crate::tracking::{Definition, Held, Tracking, commit, decode, get_one, put};

/// How many documents are moved in one commit.
const MOVED_AT_ONCE: usize = 256;

/// Divides the streams of a processor by hash into so many parts, from anywhere. Nothing is applied twice or left out: each
/// new part goes on where the part was that its streams were in, and what is parked stays so. Processors of the old division
/// end with [`DefinitionChanged`](ProcessingError::DefinitionChanged); start those of the new one.
///
/// # Errors
/// [`Misuse`](ProcessingError::Misuse) if there is no such processor, if it is divided by prefixes, if the number of parts is
/// no multiple of what it was, or if it is being reset. Those of the state store.
///
/// # Cancel safety
/// If it is dropped, the split was begun or not. Once it was begun, any processor of this name carries it to its end.
pub async fn split(state: &dyn StateStore, claim: &Claim, parts: u16) -> Result<()> {
    let stored = get_one::<Definition>(state, claim.definition()).await?;
    let Some(Held { value, revision }) = stored else {
        return Err(ProcessingError::misuse(format!("there is no processor {claim}")));
    };
    let marked = begin(&value, parts)?;
    if marked.partitions == value.partitions {
        return Ok(());
    }
    let revision = commit(state, [put(claim.definition(), &marked, revision)?]).await?;
    match finish(state, claim, &marked, revision).await {
        // A processor that found the mark was faster, or is about to be.
        Err(StateError::Conflict(_)) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// The definition that begins a split of what is stored as `stored`.
pub(crate) fn begin(stored: &Definition, parts: u16) -> Result<Definition> {
    let wanted = Partitions::hash(parts)?;
    if stored.resetting || stored.splitting.is_some() {
        return Err(ProcessingError::misuse("the processor is being reset or split"));
    }
    let is_finer = Partitions::described(&stored.partitions)
        .is_some_and(|before| parts.is_multiple_of(before.len().max(1)));
    if !is_finer {
        return Err(ProcessingError::misuse(format!(
            "a processor whose streams are divided as {} cannot be split into {parts} parts by hash",
            stored.partitions
        )));
    }
    let splitting = Some(stored.partitions.clone());
    Ok(Definition { partitions: wanted.describe(), parts, splitting, ..stored.clone() })
}

/// Carries a split to its end that was begun with the definition of this revision.
pub(crate) async fn finish(
    state: &dyn StateStore,
    claim: &Claim,
    marked: &Definition,
    revision: Revision,
) -> Result<(), StateError> {
    let divisions = marked.splitting.as_deref().and_then(Partitions::described);
    let (Some(before), Some(after)) = (divisions, Partitions::described(&marked.partitions)) else {
        return Err(StateError::invalid("the mark of a split cannot be read"));
    };
    let guard = Write::guard(claim.definition(), Expected::Is(revision));
    move_parked(state, claim, &before, &after, &guard).await?;
    let old: Vec<Claim> = before.parts().map(|part| claim.clone().with_partition(part)).collect();
    let found = get_all(state, old.iter().map(Claim::tracking).collect()).await?;
    let done = Definition { splitting: None, ..marked.clone() };
    let mut writes = vec![put(claim.definition(), &done, Some(revision))?];
    for document in found.iter().flatten() {
        writes.push(Write::delete(document.key.clone(), Expected::Is(document.revision)));
    }
    // Nobody reports of the old parts any more.
    writes.extend(old.iter().map(|one| Write::delete(one.status(), Expected::Any)));
    for (nth, part) in after.parts().enumerate() {
        // Of a part that never began there is nothing to give.
        let Some(Some(document)) = found.get(nth % old.len()) else { continue };
        let tracking: Tracking = decode(document)?;
        // What was counted stays with one of them, so that the sum is what it was.
        let (events, skipped) =
            if nth < old.len() { (tracking.events, tracking.skipped) } else { (0, 0) };
        let next = Tracking { owner: None, events, skipped, ..tracking };
        writes.push(put(claim.clone().with_partition(part).tracking(), &next, None)?);
    }
    commit(state, writes).await?;
    Ok(())
}

/// Assigns what is parked to the new part of its stream.
async fn move_parked(
    state: &dyn StateStore,
    claim: &Claim,
    before: &Partitions,
    after: &Partitions,
    guard: &Write,
) -> Result<(), StateError> {
    for part in before.parts() {
        let old = claim.clone().with_partition(part);
        let prefix = old.own_prefix();
        let mut scan = Scan::along_ids(PARKED).from(prefix.clone());
        scan.to = prefix_end(prefix.as_bytes());
        let found = state.scan(scan).try_concat().await?;
        for chunk in found.chunks(MOVED_AT_ONCE) {
            let mut writes = vec![guard.clone()];
            for scanned in chunk {
                let parked: Parked = decode(&scanned.document)?;
                let part = after.part(after.part_of(&parked.stream));
                let to = parked::key(&claim.clone().with_partition(part), &parked.sequence);
                let from = scanned.document.key.clone();
                writes.push(put(to, &parked, None)?);
                writes.push(Write::delete(from, Expected::Is(scanned.document.revision)));
            }
            commit(state, writes).await?;
        }
    }
    Ok(())
}
