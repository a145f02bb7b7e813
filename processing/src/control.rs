//! The control task: one for all processors of a [`Services`](crate::Services), so that what is seen and asked from outside
//! costs one scan and at most one commit a beat for each state store, however many processors there are.

use std::collections::HashMap;
use std::sync::Arc;

use annals_state::{DocumentKey, Expected, Scan, StateError, StateStore, Write, prefix_end};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::claim::STATUS;
use crate::error::Result;
use crate::handle::{Asked, Handle};
use crate::requests;
use crate::status::{Phase, Status};
use crate::tracking::{commit, decode};

/// For so many beats the answer to a request waits for who asked.
const ANSWER_BEATS: u32 = 600;

/// The status of a processor as it was stored: at most one beat old while it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reported {
    /// `processor/source/part`.
    pub claim: String,
    /// The program that stored it: another one after each start.
    pub node: Uuid,
    /// What the processor does.
    pub status: Status,
}

/// What the processors of this name, or of all names, last stored of their status: at most so many.
///
/// # Errors
/// Those of the state store.
///
/// # Cancel safety
/// It changes nothing and may be dropped at any await.
pub async fn reported(
    state: &dyn StateStore,
    processor: Option<&str>,
    limit: u64,
) -> Result<Vec<Reported>> {
    let mut scan = Scan::along_ids(STATUS).limit(limit);
    if let Some(processor) = processor {
        let prefix = format!("{processor}/");
        scan.to = prefix_end(prefix.as_bytes());
        scan.from = Some(prefix.into());
    }
    let mut found = Vec::new();
    let mut pages = state.scan(scan);
    while let Some(page) = pages.try_next().await? {
        for scanned in page {
            found.push(decode(&scanned.document)?);
        }
    }
    Ok(found)
}

pub(crate) struct Control {
    node: Uuid,
    stores: Vec<Store>,
}

/// The processors that keep their state in one store.
struct Store {
    state: Arc<dyn StateStore>,
    handles: HashMap<String, Handle>,
    /// Those of them that are parts of groups, which come and go.
    parts: Vec<String>,
    stored: HashMap<String, Status>,
    /// For how many beats an answer was seen.
    answered: HashMap<DocumentKey, u32>,
}

impl Control {
    pub(crate) fn new(handles: Vec<Handle>) -> Self {
        let node = annals::EventId::generate().as_uuid();
        let mut control = Self { node, stores: Vec::new() };
        for handle in handles {
            control.add(handle, false);
        }
        control
    }

    fn add(&mut self, handle: Handle, is_part: bool) {
        let known = self.stores.iter_mut().find(|store| Arc::ptr_eq(&store.state, &handle.state));
        if let Some(store) = known {
            store.add(handle, is_part);
            return;
        }
        let mut store = Store {
            state: Arc::clone(&handle.state),
            handles: HashMap::new(),
            parts: Vec::new(),
            stored: HashMap::new(),
            answered: HashMap::new(),
        };
        store.add(handle, is_part);
        self.stores.push(store);
    }

    /// These are the parts that nodes of groups work on now.
    fn set_parts(&mut self, parts: Vec<Handle>) {
        for store in &mut self.stores {
            for claim in std::mem::take(&mut store.parts) {
                store.handles.remove(&claim);
            }
        }
        for handle in parts {
            self.add(handle, true);
        }
        for store in &mut self.stores {
            // Who has a part again says so again.
            let Store { stored, handles, .. } = store;
            stored.retain(|claim, _| handles.contains_key(claim));
        }
    }

    /// Takes requests up and stores what has changed, of these parts of groups, too. What fails is tried again at the next
    /// beat.
    pub(crate) async fn beat(&mut self, parts: Vec<Handle>) {
        self.set_parts(parts);
        for store in &mut self.stores {
            if let Err(error) = store.beat(self.node).await {
                tracing::warn!(name: "annals.control_failed", state = store.state.name(), %error);
            }
        }
    }
}

impl Store {
    fn add(&mut self, handle: Handle, is_part: bool) {
        let claim = handle.claim().to_string();
        if is_part {
            self.parts.push(claim.clone());
        }
        self.handles.insert(claim, handle);
    }

    async fn beat(&mut self, node: Uuid) -> Result<(), StateError> {
        self.take_up().await?;
        self.report(node).await
    }

    async fn take_up(&mut self) -> Result<(), StateError> {
        let is_ours = |claim: &str| self.handles.contains_key(claim);
        let found = requests::of_claims(&*self.state, is_ours).await?;
        let mut answered = HashMap::new();
        let mut late = Vec::new();
        for requests::Stored { claim, key, revision, request } in found {
            if request.answer.is_some() {
                let beats = self.answered.get(&key).copied().unwrap_or(0) + 1;
                if beats > ANSWER_BEATS {
                    late.push(Write::delete(key, Expected::Any));
                } else {
                    answered.insert(key, beats);
                }
                continue;
            }
            let Some(handle) = self.handles.get(&claim) else { continue };
            // One that stands by leaves it to the one that works.
            if handle.status().phase != Phase::Standby {
                let document = Some((key, revision));
                // If it is full or has ended, the request waits.
                let _full = handle.shared.push(Asked { ask: request.ask, document, slot: None });
            }
        }
        self.answered = answered;
        if !late.is_empty() {
            commit(&*self.state, late).await?;
        }
        Ok(())
    }

    async fn report(&mut self, node: Uuid) -> Result<(), StateError> {
        let most = self.state.capabilities().max_writes.min(1_000) as usize;
        let mut writes = Vec::new();
        let mut changed = Vec::new();
        for (claim, handle) in &self.handles {
            let status = handle.status();
            let is_silent = matches!(status.phase, Phase::Waiting | Phase::Standby);
            if is_silent || self.stored.get(claim) == Some(&status) || writes.len() >= most {
                continue;
            }
            let reported = Reported { claim: claim.clone(), node, status: status.clone() };
            let body = annals::Payload::json(&reported)?;
            writes.push(Write::put(handle.claim().status(), body, Expected::Any));
            changed.push((claim.clone(), status));
        }
        if writes.is_empty() {
            return Ok(());
        }
        commit(&*self.state, writes).await?;
        self.stored.extend(changed);
        Ok(())
    }
}
