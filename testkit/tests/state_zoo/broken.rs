//! A state store that is right but for one fault.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use annals::Payload;
use annals_memory::MemoryState;
use annals_state::{
    Along, Change, Commit, Conflict, DocumentId, DocumentKey, DocumentPages, Expected, Got, Place,
    Result, Revision, Scan, Scanned, StateCapabilities, StateError, StateStore, Write, async_trait,
    get_all,
};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use crate::Fault;
use crate::parts::{Locks, bodies, connection, counted, split};

#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) inner: MemoryState,
    fault: Fault,
    /// What some faults remember.
    kept: Mutex<HashMap<DocumentKey, Vec<Write>>>,
    revisions: Mutex<HashMap<DocumentKey, Revision>>,
    stale: Mutex<Option<Got>>,
    busy: tokio::sync::Mutex<()>,
    /// The documents that commits have locked.
    locked: Mutex<HashSet<DocumentKey>>,
    connections: Arc<Semaphore>,
    /// What was acknowledged, where a crash loses the last of it.
    made: Mutex<Vec<Commit>>,
}

/// How many commits are not durable yet, where they are acknowledged before.
const LATE: usize = 2;

impl Broken {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            inner: MemoryState::new(),
            fault,
            kept: Mutex::default(),
            revisions: Mutex::default(),
            stale: Mutex::default(),
            busy: tokio::sync::Mutex::default(),
            locked: Mutex::default(),
            connections: Arc::new(Semaphore::new(8)),
            made: Mutex::default(),
        }
    }

    /// What is there after a crash.
    pub(crate) fn crashed(&self) -> Self {
        if self.fault != Fault::AcknowledgesBeforeSync {
            return Self { inner: self.inner.clone(), ..Self::new(self.fault) };
        }
        let mut made = self.made.lock().unwrap().clone();
        made.truncate(made.len().saturating_sub(LATE));
        let left = Self { made: Mutex::new(made.clone()), ..Self::new(self.fault) };
        for commit in made {
            left.inner.commit(commit).now_or_never().unwrap().unwrap();
        }
        left
    }

    async fn found(&self, commit: &Commit) -> Result<Vec<Option<Revision>>> {
        let keys = commit.writes.iter().map(|write| write.key.clone()).collect();
        let found = get_all(&self.inner, keys).await?;
        Ok(found.into_iter().map(|found| found.map(|found| found.revision)).collect())
    }

    /// Makes the writes whatever was expected.
    async fn force(&self, mut commit: Commit) -> Result<()> {
        commit.writes.iter_mut().for_each(|write| write.expected = Expected::Any);
        self.inner.commit(commit).await
    }

    async fn all(&self, scan: Scan) -> Result<Vec<Scanned>> {
        let pages: Vec<Vec<Scanned>> = self.inner.scan(scan).try_collect().await?;
        Ok(pages.concat())
    }

    async fn bent(&self, scan: Scan) -> Result<Vec<Vec<Scanned>>> {
        let found = match self.fault {
            Fault::LosesEqualKeys => {
                // Goes on after the key, not after the place.
                let (mut rest, mut found) = (scan.clone(), Vec::new());
                loop {
                    let page = self.all(rest.clone().limit(100)).await?;
                    let Some(last) = page.last() else { break };
                    let place = last.place();
                    let id = DocumentId::from_static("\u{10FFFF}");
                    let id = if scan.along == Along::Ids { place.id.clone() } else { id };
                    rest = rest.after(Place { key: place.key, id });
                    found.extend(page);
                }
                found
            }
            Fault::AfterInclusive => {
                let mut found = self.all(scan.clone()).await?;
                if let Some(place) = &scan.after {
                    let mut whole = scan.clone();
                    (whole.after, whole.limit) = (None, None);
                    let at = self.all(whole).await?.into_iter().find(|one| one.place() == *place);
                    found.splice(0..0, at);
                }
                found
            }
            Fault::LimitBeforeRange => {
                let mut whole = Scan::new(scan.collection.clone(), scan.along.clone());
                (whole.direction, whole.limit) = (scan.direction, scan.limit);
                let first: Vec<_> = self.all(whole).await?.iter().map(Scanned::place).collect();
                let mut found = self.all(scan).await?;
                found.retain(|one| first.contains(&one.place()));
                found
            }
            Fault::BackwardNotMirrored if scan.direction == annals::Direction::Backward => {
                // By id within a key, whatever the direction.
                let mut found = self.all(scan).await?;
                found.sort_by(|a, b| {
                    (&b.key, &a.document.key.id).cmp(&(&a.key, &b.document.key.id))
                });
                found
            }
            Fault::FoldsOrder => {
                let mut found = self.all(scan).await?;
                found.sort_by_key(|one| {
                    (one.key.clone(), one.document.key.id.as_str().to_lowercase())
                });
                found
            }
            Fault::OpenUpperBoundInclusive => {
                let mut wide = scan.clone();
                wide.to = scan.to.map(|to| [&to[..], &[0][..]].concat().into());
                if scan.along == Along::Ids {
                    wide.to = None;
                }
                self.all(wide).await?
            }
            _ => self.all(scan.clone()).await?,
        };
        let mut pages = vec![found];
        if self.fault == Fault::EmptyPages {
            pages.push(Vec::new());
        } else {
            pages.retain(|page| !page.is_empty());
        }
        Ok(pages)
    }
}

#[async_trait]
#[expect(clippy::too_many_lines, reason = "an arm for each fault")]
impl StateStore for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> StateCapabilities {
        self.inner.capabilities().with_durable(self.fault == Fault::LosesOnClose)
    }

    async fn commit(&self, mut commit: Commit) -> Result<()> {
        match self.fault {
            Fault::InventsRevisions => {
                commit.revision = Revision::generate();
                self.inner.commit(commit).await
            }
            Fault::CutsRevisions => {
                let short = commit.revision.as_uuid().as_u128() & u128::from(u64::MAX);
                commit.revision = Revision::from_uuid(uuid::Uuid::from_u128(short));
                self.inner.commit(commit).await
            }
            Fault::RevisionPerDocument => {
                let found = self.found(&commit).await?;
                annals_state::judge(&commit.writes, &found)?;
                for mut one in split(&commit) {
                    one.revision = Revision::generate();
                    self.force(one).await?;
                }
                Ok(())
            }
            Fault::RevisionPerDocumentCounted => {
                let found = self.found(&commit).await?;
                annals_state::judge(&commit.writes, &found)?;
                for (mut one, found) in split(&commit).zip(found) {
                    let next = found.map_or(1, |found| found.as_uuid().as_u128() + 1);
                    one.revision = Revision::from_uuid(uuid::Uuid::from_u128(next));
                    self.force(one).await?;
                }
                Ok(())
            }
            Fault::ForgetsDeletes => {
                // Judges `Is` on the last revision that it ever gave.
                let mut found = self.found(&commit).await?;
                {
                    let mut given = self.revisions.lock().unwrap();
                    for (write, found) in commit.writes.iter().zip(&mut found) {
                        if let (Expected::Is(_), None) = (write.expected, &found) {
                            *found = given.get(&write.key).copied();
                        }
                    }
                    annals_state::judge(&commit.writes, &found)?;
                    for write in &commit.writes {
                        if matches!(write.change, Change::Put { .. }) {
                            given.insert(write.key.clone(), commit.revision);
                        }
                    }
                }
                self.force(commit).await
            }
            Fault::TwoTransactions => {
                for one in split(&commit) {
                    self.inner.commit(one).await?;
                }
                Ok(())
            }
            Fault::JudgesBefore => {
                let found = self.found(&commit).await?;
                annals_state::judge(&commit.writes, &found)?;
                annals_testkit::polls(3).await;
                self.force(commit).await
            }
            Fault::IgnoresGuards => {
                commit.writes.retain(|write| write.change != Change::Guard);
                if commit.writes.is_empty() { Ok(()) } else { self.inner.commit(commit).await }
            }
            Fault::GuardsOfManyOutside if commit.writes.len() <= 2 => {
                self.inner.commit(commit).await
            }
            Fault::GuardsOutside | Fault::GuardsOfManyOutside => {
                let (guards, writes): (Vec<_>, Vec<_>) =
                    commit.writes.into_iter().partition(|write| write.change == Change::Guard);
                if !guards.is_empty() {
                    self.inner.commit(Commit::new(guards)).await?;
                    let wait = if self.fault == Fault::GuardsOutside { 3 } else { 12 };
                    annals_testkit::polls(wait).await;
                }
                if writes.is_empty() {
                    return Ok(());
                }
                self.inner.commit(Commit::with_revision(commit.revision, writes)).await
            }
            Fault::AbsentGuardNotJudged => {
                for write in &mut commit.writes {
                    if write.change == Change::Guard && write.expected == Expected::Absent {
                        write.expected = Expected::Any;
                    }
                }
                self.inner.commit(commit).await
            }
            Fault::PutsOnIsOfAbsent => {
                let found = self.found(&commit).await?;
                for (write, found) in commit.writes.iter_mut().zip(found) {
                    if matches!(write.expected, Expected::Is(_)) && found.is_none() {
                        write.expected = Expected::Absent;
                    }
                }
                self.inner.commit(commit).await
            }
            Fault::DriverErrorForLostRace => {
                self.inner.commit(commit).await.map_err(|error| match error {
                    StateError::Conflict(_) => StateError::backend("could not serialize access"),
                    other => other,
                })
            }
            Fault::NamesTheLastConflict => {
                let found = self.found(&commit).await?;
                let failed = commit
                    .writes
                    .iter()
                    .zip(found)
                    .filter(|(write, found)| !write.expected.holds(*found));
                if let Some((write, found)) = failed.max_by(|(a, _), (b, _)| a.key.cmp(&b.key)) {
                    return Err(Conflict::new(write.key.clone(), write.expected, found).into());
                }
                self.inner.commit(commit).await
            }
            Fault::RefusesSharedGuards => {
                let guarded = commit.writes.iter().find(|write| write.change == Change::Guard);
                let Some(guarded) = guarded else { return self.inner.commit(commit).await };
                let Ok(_held) = self.busy.try_lock() else {
                    return Err(Conflict::new(guarded.key.clone(), guarded.expected, None).into());
                };
                annals_testkit::polls(3).await;
                self.inner.commit(commit).await
            }
            Fault::GuardMovesDocument => {
                let keys = commit.writes.iter().map(|write| write.key.clone()).collect();
                let found = get_all(&self.inner, keys).await?;
                for (write, found) in commit.writes.iter_mut().zip(found) {
                    if let (Change::Guard, Some(found)) = (&write.change, found) {
                        write.change = Change::Put { body: found.body, entries: Vec::new() };
                    }
                }
                self.inner.commit(commit).await
            }
            Fault::KeepsOldEntries | Fault::DeleteLeavesEntries => {
                let mut changed = commit.clone();
                let deleting = self.fault == Fault::DeleteLeavesEntries;
                for write in &mut changed.writes {
                    let mut kept = self.kept.lock().unwrap();
                    let before = kept.entry(write.key.clone()).or_default();
                    if deleting && write.change == Change::Delete {
                        // The document is gone for `get`, and its entries are not.
                        if let Some(last) = before.last() {
                            write.change = last.change.clone();
                        }
                        continue;
                    }
                    if let Change::Put { entries, .. } = &mut write.change {
                        let old = before.last().cloned();
                        if let Some(Write { change: Change::Put { entries: old, .. }, .. }) = old
                            && !deleting
                        {
                            entries.extend(old);
                            entries.sort();
                            entries.dedup();
                        }
                    }
                    before.push(write.clone());
                }
                self.inner.commit(changed).await
            }
            Fault::NormalisesJson => {
                bodies(&mut commit, |body| match body.to_json::<serde_json::Value>() {
                    Ok(value) => Payload::json(&value).unwrap(),
                    Err(_) => body.clone(),
                });
                self.inner.commit(commit).await
            }
            Fault::DropsEncoding => {
                bodies(&mut commit, |body| Payload::bytes(body.as_bytes().clone()));
                self.inner.commit(commit).await
            }
            Fault::FoldsIds => {
                for write in &mut commit.writes {
                    write.key.id =
                        DocumentId::new(write.key.id.as_str().trim().to_owned()).unwrap();
                }
                let mut seen = std::collections::BTreeSet::new();
                commit.writes.retain(|write| seen.insert(write.key.clone()));
                self.inner.commit(commit).await
            }
            Fault::TakesTwiceInCommit => {
                let mut seen = std::collections::BTreeSet::new();
                commit.writes.retain(|write| seen.insert(write.key.clone()));
                self.inner.commit(commit).await
            }
            Fault::CutsLongKeys => {
                let most = self.capabilities().max_entry_key_bytes as usize;
                for write in &mut commit.writes {
                    if let Change::Put { entries, .. } = &mut write.change {
                        for entry in entries {
                            entry.key.truncate(most);
                        }
                    }
                }
                self.inner.commit(commit).await
            }
            Fault::HalfOnDrop => {
                let found = self.found(&commit).await?;
                annals_state::judge(&commit.writes, &found)?;
                for one in split(&commit) {
                    self.force(one).await?;
                    annals_testkit::polls(1).await;
                }
                Ok(())
            }
            Fault::AbsentJudgedBefore => {
                let found = self.found(&commit).await?;
                annals_state::judge(&commit.writes, &found)?;
                annals_testkit::polls(3).await;
                for write in &mut commit.writes {
                    if write.expected == Expected::Absent && write.change != Change::Guard {
                        write.expected = Expected::Any;
                    }
                }
                self.inner.commit(commit).await
            }
            Fault::DeadlockSurfaced => {
                let mut locks = Locks::new(&self.locked);
                for write in &commit.writes {
                    locks.take(&write.key).await?;
                }
                self.inner.commit(commit).await
            }
            Fault::ScanHoldsConnection => {
                let _connection = connection(Arc::clone(&self.connections)).await?;
                self.inner.commit(commit).await
            }
            Fault::SentAgainIsMade => {
                // Takes a commit that it knows for one that it has made: it is made once more.
                let again = commit.writes.iter().any(|write| {
                    self.revisions.lock().unwrap().insert(write.key.clone(), commit.revision)
                        == Some(commit.revision)
                });
                if again { self.force(commit).await } else { self.inner.commit(commit).await }
            }
            Fault::AcknowledgesBeforeSync => {
                self.inner.commit(commit.clone()).await?;
                self.made.lock().unwrap().push(commit);
                Ok(())
            }
            _ => self.inner.commit(commit).await,
        }
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got> {
        match self.fault {
            Fault::GetOutOfOrder => {
                let mut got = self.inner.get(keys).await?;
                got.documents.sort_by_key(|found| found.as_ref().map(|found| found.key.clone()));
                Ok(got)
            }
            Fault::GetDropsAbsent => {
                let mut got = self.inner.get(keys).await?;
                if got.documents.len() > 1 {
                    got.documents.retain(Option::is_some);
                }
                Ok(got)
            }
            Fault::GetInTwoMoments => {
                let mut got = Got::default();
                for key in keys {
                    got.documents.extend(self.inner.get(vec![key]).await?.documents);
                    tokio::task::yield_now().await;
                    std::thread::yield_now();
                }
                Ok(got)
            }
            Fault::ForgetsTheRest => {
                let mut got = self.inner.get(keys).await?;
                got.rest.clear();
                Ok(got)
            }
            Fault::NeverCuts => {
                self.capabilities().check_get(&keys)?;
                Ok(Got { documents: get_all(&self.inner, keys).await?, rest: Vec::new() })
            }
            Fault::StaleReads => {
                let now = self.inner.get(keys).await?;
                let before = self.stale.lock().unwrap().replace(now.clone());
                Ok(before
                    .filter(|before| before.documents.len() == now.documents.len())
                    .unwrap_or(now))
            }
            _ => self.inner.get(keys).await,
        }
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        if self.capabilities().check_scan(&scan).is_err() {
            return self.inner.scan(scan);
        }
        if self.fault == Fault::PagesByNumber {
            return counted(self.inner.clone(), scan);
        }
        if self.fault == Fault::ScanHoldsConnection {
            let (inner, connections) = (self.inner.clone(), Arc::clone(&self.connections));
            return stream::once(connection(connections))
                .map_ok(move |held| {
                    inner.scan(scan.clone()).map(move |page| {
                        let _ = &held;
                        page
                    })
                })
                .try_flatten()
                .boxed();
        }
        let bends = [
            Fault::LosesEqualKeys,
            Fault::AfterInclusive,
            Fault::LimitBeforeRange,
            Fault::BackwardNotMirrored,
            Fault::FoldsOrder,
            Fault::OpenUpperBoundInclusive,
            Fault::EmptyPages,
        ];
        if !bends.contains(&self.fault) {
            return self.inner.scan(scan);
        }
        let same = Self { inner: self.inner.clone(), ..Self::new(self.fault) };
        stream::once(async move { same.bent(scan).await })
            .map_ok(|pages| stream::iter(pages.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn close(&self) {
        if self.fault != Fault::GoesOnAfterClose {
            self.inner.close().await;
        }
    }
}
