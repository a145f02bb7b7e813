//! What a node does at each beat: says that it lives, looks at who else does, and takes or leaves parts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use annals_state::{Expected, StateError, StateStore, Write, get_all};
use uuid::Uuid;

use super::member::Members;
use super::plan::{Owner, plan};
use crate::claim::Claim;
use crate::measure;
use crate::partition::Partitions;
use crate::reset;
use crate::tracking::{Definition, Held, Tracking, commit, decode, get_one, put};

/// One node of a group.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) members: Members,
    pub(crate) state: Arc<dyn StateStore>,
    /// Of no part.
    pub(crate) claim: Claim,
    pub(crate) partitions: Partitions,
    pub(crate) wanted: Definition,
    /// A newer version than the stored one takes the group.
    pub(crate) newest_wins: bool,
}

/// What has to be done after a beat.
#[derive(Debug, Default)]
pub(crate) struct Beat {
    /// Parts that this node has and does not work on yet; whether the last owner of one ended without a word.
    pub(crate) start: Vec<(u16, bool)>,
    /// Parts that it should not work on any more.
    pub(crate) stop: Vec<u16>,
    /// How many nodes live.
    pub(crate) nodes: usize,
    /// Why it takes no part.
    pub(crate) waits_for: Option<String>,
}

impl Node {
    fn part(&self, nth: u16) -> Option<Claim> {
        let part = self.partitions.nth(nth).ok()?;
        Some(self.claim.clone().with_partition(part))
    }

    /// The claims of all parts with what is tracked of them, and the definition.
    async fn look(&self) -> Result<(Option<Held<Definition>>, Vec<Part>), StateError> {
        let claims = (0..self.partitions.len()).filter_map(|nth| self.part(nth));
        let claims: Vec<Claim> = claims.collect();
        let definition = self.claim.definition();
        let keys = std::iter::once(definition).chain(claims.iter().map(Claim::tracking)).collect();
        let mut found = get_all(&*self.state, keys).await?.into_iter();
        let definition = found.next().flatten();
        let definition = definition.map(|document| {
            let value = decode(&document)?;
            Ok::<_, StateError>(Held { value, revision: Some(document.revision) })
        });
        let mut parts = Vec::new();
        for (claim, document) in claims.into_iter().zip(found) {
            let tracking = match document {
                Some(document) => {
                    Held { value: decode(&document)?, revision: Some(document.revision) }
                }
                None => Held::default(),
            };
            parts.push(Part { claim, tracking });
        }
        Ok((definition.transpose()?, parts))
    }

    /// One beat. `running` are the parts that it works on. `is_leaving`: it takes none any more.
    ///
    /// It may be dropped at any await: a part that was taken meanwhile is seen at the next beat.
    pub(crate) async fn beat(
        &mut self,
        running: &BTreeSet<u16>,
        is_leaving: bool,
    ) -> Result<Beat, StateError> {
        let (mut definition, mut parts) = self.look().await?;
        if !is_leaving && self.win(definition.as_ref()).await? {
            (definition, parts) = self.look().await?;
        }
        let waits_for = definition.as_ref().and_then(|held| {
            let checked = self.wanted.check(&self.claim, &held.value);
            checked.err().map(|error| error.to_string())
        });
        let is_ready = waits_for.is_none() && !is_leaving;
        let seen = self.members.beat(is_ready).await?;
        let me = self.members.node();
        let by_node: HashMap<Uuid, _> = seen.iter().map(|one| (one.member.node, one)).collect();
        // Who has no document, such as a processor that is in no group, shows that it lives by its tracking.
        let is_strange = |part: &&Part| {
            let owner = part.tracking.value.owner;
            owner.is_some_and(|owner| owner != me && !by_node.contains_key(&owner))
        };
        let strange = parts.iter().filter(is_strange).filter_map(Part::sign);
        let members = seen.iter().map(|one| (one.key.clone(), one.revision));
        self.members.observe(members.chain(strange).collect::<Vec<_>>());

        let mut owners = Vec::new();
        let mut guards: BTreeMap<u16, Write> = BTreeMap::new();
        for (nth, part) in (0..).zip(&parts) {
            let Some(owner) = part.tracking.value.owner else {
                owners.push(Owner::Free);
                continue;
            };
            let dead = match by_node.get(&owner) {
                _ if owner == me => None,
                Some(one) => self
                    .members
                    .dead(&one.key)
                    .map(|revision| Write::guard(one.key.clone(), Expected::Is(revision))),
                None => match self.members.dead(&part.claim.tracking()) {
                    Some(_) => Some(Write::guard(self.members.key(owner)?, Expected::Absent)),
                    None => None,
                },
            };
            owners.push(if dead.is_some() { Owner::Free } else { Owner::Held(owner) });
            guards.extend(dead.map(|guard| (nth, guard)));
        }
        let is_live = |one: &&super::member::Seen| {
            one.member.node == me || self.members.dead(&one.key).is_none()
        };
        let live: Vec<_> = seen.iter().filter(is_live).collect();
        let ready: Vec<Uuid> =
            live.iter().filter(|one| one.member.ready).map(|one| one.member.node).collect();
        let mut beat = Beat { nodes: live.len(), waits_for, ..Beat::default() };
        for nth in running {
            let is_mine = owners.get(usize::from(*nth)) == Some(&Owner::Held(me));
            if !is_ready || !is_mine {
                beat.stop.push(*nth);
            }
        }
        if is_ready {
            let mine = (0..).zip(&owners).filter(|(_, owner)| **owner == Owner::Held(me));
            let idle = mine.filter(|(nth, _)| !running.contains(nth));
            beat.start.extend(idle.map(|(nth, _)| (nth, true)));
            let plan = plan(me, &ready, &owners);
            beat.start.retain(|(nth, _)| !plan.leave.contains(nth));
            for nth in &plan.leave {
                if running.contains(nth) {
                    beat.stop.push(*nth);
                } else if let Some(part) = parts.get(usize::from(*nth)) {
                    self.free(part).await?;
                }
            }
            let found = definition.and_then(|held| held.revision);
            let definition = Write::guard(self.claim.definition(), Expected::from(found));
            for nth in plan.take {
                let Some(part) = parts.get(usize::from(nth)) else { continue };
                let guard = guards.remove(&nth);
                let was_dead = guard.is_some();
                if self.take(part, definition.clone(), guard).await? {
                    beat.start.push((nth, was_dead));
                }
            }
        }
        self.bury(&seen, &parts).await;
        Ok(beat)
    }

    /// If this program is of a newer version than the stored one and may do that, it begins a reset that only its version or
    /// a newer one ends: no commit of an older program succeeds from then on.
    async fn win(&self, stored: Option<&Held<Definition>>) -> Result<bool, StateError> {
        let is_older = |held: &&Held<Definition>| {
            let Held { value, .. } = held;
            let ended_by = value.at_least.unwrap_or(0).max(value.version);
            ended_by < self.wanted.version && !value.cannot_reset && value.splitting.is_none()
        };
        let Some(held) = stored.filter(is_older) else { return Ok(false) };
        if !self.newest_wins || self.wanted.cannot_reset {
            return Ok(false);
        }
        let marked = Definition { at_least: Some(self.wanted.version), ..self.wanted.clone() };
        let divided = &held.value.partitions;
        let writes =
            reset::begin(&*self.state, &self.claim, &marked, held.revision, divided).await?;
        match commit(&*self.state, writes).await {
            Ok(_) => {
                tracing::info!(name: "annals.newest_wins", processor = %self.claim, version = self.wanted.version);
                Ok(true)
            }
            // Somebody else resets or splits it at the same moment.
            Err(StateError::Conflict(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Makes this node the owner of a part. `false` if somebody was faster, or if the old owner lives after all.
    async fn take(
        &self,
        part: &Part,
        definition: Write,
        dead: Option<Write>,
    ) -> Result<bool, StateError> {
        let owner = Some(self.members.node());
        let next = Tracking { owner, ..part.tracking.value.clone() };
        let tracking = put(part.claim.tracking(), &next, part.tracking.revision)?;
        let writes = [tracking, definition, self.members.guard()?];
        match commit(&*self.state, writes.into_iter().chain(dead)).await {
            Ok(_) => {
                measure::part_taken(&self.claim);
                tracing::info!(name: "annals.part_taken", part = %part.claim, node = %self.members.node());
                Ok(true)
            }
            Err(StateError::Conflict(conflict)) => {
                tracing::debug!(name: "annals.part_not_taken", part = %part.claim, %conflict);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn free(&self, part: &Part) -> Result<(), StateError> {
        let next = Tracking { owner: None, ..part.tracking.value.clone() };
        let tracking = put(part.claim.tracking(), &next, part.tracking.revision)?;
        match commit(&*self.state, [tracking]).await {
            Ok(_) | Err(StateError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the documents of dead nodes that have no part.
    async fn bury(&self, seen: &[super::member::Seen], parts: &[Part]) {
        for one in seen {
            let node = one.member.node;
            let has_part = parts.iter().any(|part| part.tracking.value.owner == Some(node));
            if let Some(revision) = self.members.dead(&one.key)
                && node != self.members.node()
                && !has_part
            {
                self.members.bury(one.key.clone(), revision).await;
            }
        }
    }

    /// Leaves the group: gives back what its processors could not give back themselves. Best effort.
    pub(crate) async fn leave(&mut self) {
        let me = Some(self.members.node());
        for nth in 0..self.partitions.len() {
            let Some(claim) = self.part(nth) else { continue };
            let found = get_one::<Tracking>(&*self.state, claim.tracking()).await;
            let Ok(Some(tracking)) = found else { continue };
            if tracking.value.owner == me {
                let freed = self.free(&Part { claim, tracking }).await;
                if let Err(error) = freed {
                    tracing::warn!(name: "annals.part_not_freed", %error);
                }
            }
        }
        self.members.leave().await;
    }
}

/// A part as the store has it.
#[derive(Debug)]
struct Part {
    claim: Claim,
    tracking: Held<Tracking>,
}

impl Part {
    fn sign(&self) -> Option<(annals_state::DocumentKey, annals_state::Revision)> {
        self.tracking.revision.map(|revision| (self.claim.tracking(), revision))
    }
}
