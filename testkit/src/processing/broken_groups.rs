//! Groups and locks that are known to be wrong, each with the check that must catch it: the proof that the suites work.
//! They are right programs over a store that bends what one wrong program would do wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use annals::{Payload, StorageAdapter};
use annals_processing::Timer;
use annals_state::{
    Change, CollectionName, Commit, Document, DocumentId, DocumentKey, DocumentPages, Expected,
    Got, Result, Scan, Scanned, StateStore, Write, get_all,
};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::bent::{
    Bend, HOLDERS, LOCKS, MARKS, MEMBERS, PROCESSORS, TRACKING, Through, is_of, owner, owner_of,
};
use super::group_bench::{DEAD_AFTER, GroupHarness, Seat};
use super::lock_suite::LockHarness;

/// What a group or a program that locks does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NoFence,
    FenceByOwner,
    NoGuard,
    WallClock,
    OneId,
    KeepsDead,
    BeatsForEachPart,
    AnyDefinition,
    SplitForgets,
    Backward,
    TakesAnyway,
    NeverReleases,
    TimeoutFrees,
    NoLockFence,
}

/// A group, or a program that locks, that is known to be wrong, or the right one to compare with.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BrokenGroup {
    /// What it does wrong.
    pub about: &'static str,
    /// The checks that must catch it; none: it is right.
    pub caught_by: &'static [&'static str],
    fault: Fault,
}

impl BrokenGroup {
    /// A harness of it, of groups and of locks, over the stores that these functions make.
    pub fn harness(
        &self,
        log: impl Fn() -> Arc<dyn StorageAdapter> + Send + Sync + 'static,
        state: impl Fn() -> Arc<dyn StateStore> + Send + Sync + 'static,
    ) -> impl GroupHarness + LockHarness {
        let written = Arc::default();
        Cage { fault: self.fault, log: Box::new(log), state: Box::new(state), written }
    }
}

macro_rules! broken {
    ($($fault:ident $about:literal [$($check:literal),*];)*) => {
        &[$(BrokenGroup { about: $about, caught_by: &[$($check),*], fault: Fault::$fault }),*]
    };
}

/// All wrong groups, after the right one.
#[must_use]
pub fn broken_groups() -> &'static [BrokenGroup] {
    broken! {
        None "is right" [];
        NoFence "commits although another node has the part by now" ["g1.late", "g1.schedules", "g2.paused"];
        FenceByOwner "fences by the name of the owner, not by the revision" ["g1.late"];
        NoGuard "claims without a guard on the beat of who is dead" ["g3.returns"];
        WallClock "compares times that others have stored with its own clock" ["g4.clocks"];
        OneId "has the id of another node" ["g1.shares", "g9.singleton"];
        KeepsDead "beats for those that are dead" ["g3.takeover"];
        BeatsForEachPart "beats for each part" ["g5.beats"];
        AnyDefinition "does not look at what the others have defined" ["g6.definition"];
        SplitForgets "splits without the trackings" ["g7.split"];
        Backward "applies the events of a batch from the last to the first" ["g8.order"];
    }
}

/// All wrong programs that lock, after the right one.
#[must_use]
pub fn broken_locks() -> &'static [BrokenGroup] {
    broken! {
        None "is right" [];
        TakesAnyway "takes a lock without the expectation that it is free" ["lock.race"];
        NeverReleases "does not release what is dropped" ["lock.dropped"];
        TimeoutFrees "frees the lock of the holder when it has waited long enough" ["lock.exclusive"];
        KeepsDead "beats for those that are dead" ["lock.crash"];
        NoLockFence "has a fence that always holds" ["lock.fence"];
        NoGuard "takes a lock without a guard on the beat of who is dead" ["lock.returns"];
        WallClock "compares times that others have stored with its own clock" ["lock.clocks"];
    }
}

type Make<T> = Box<dyn Fn() -> Arc<T> + Send + Sync>;
/// When a member wrote its document, by its own clock.
type Written = Arc<Mutex<HashMap<DocumentKey, Duration>>>;

struct Cage {
    fault: Fault,
    log: Make<dyn StorageAdapter>,
    state: Make<dyn StateStore>,
    written: Written,
}

impl Cage {
    fn bent(&self, seat: &Seat, state: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        if self.fault == Fault::None {
            return state;
        }
        let own = Mutex::default();
        let (seat, written) = (seat.clone(), Arc::clone(&self.written));
        Through::store(state, Arc::new(Wrong { fault: self.fault, seat, written, own }))
    }
}

impl GroupHarness for Cage {
    fn state(&self) -> Arc<dyn StateStore> {
        (self.state)()
    }

    fn log(&self) -> Arc<dyn StorageAdapter> {
        (self.log)()
    }

    fn seen(&self, seat: &Seat, state: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        self.bent(seat, state)
    }
}

impl LockHarness for Cage {
    fn state(&self) -> Arc<dyn StateStore> {
        (self.state)()
    }

    fn seen(&self, seat: &Seat, state: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        self.bent(seat, state)
    }
}

#[derive(Debug)]
struct Wrong {
    fault: Fault,
    seat: Seat,
    written: Written,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// The document in which this node beats.
    key: Option<DocumentKey>,
    /// How often the lock of somebody else was looked at.
    looks: u32,
}

/// The id that all nodes have.
const ONE_ID: &str = "00000000-0000-4000-8000-000000000001";

impl Wrong {
    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_id(&self) -> Option<String> {
        let own = self.own();
        let id = own.key.as_ref()?.id.as_str();
        Some(id.rsplit_once('/').map_or(id, |(_, node)| node).to_owned())
    }

    /// Notes the beat of this node; whether the commit is one.
    fn beats(&self, commit: &Commit) -> bool {
        let is_beat = |write: &&Write| {
            let is_put = matches!(write.change, Change::Put { .. });
            is_put && (is_of(write, MEMBERS) || is_of(write, HOLDERS))
        };
        let Some(beat) = commit.writes.iter().find(is_beat) else { return false };
        self.own().key.get_or_insert_with(|| beat.key.clone());
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(beat.key.clone(), self.seat.clock.elapsed());
        true
    }

    /// The members beside this node.
    async fn others(&self, inner: &Arc<dyn StateStore>) -> Result<Vec<Document>> {
        let Some(own) = self.own().key.clone() else { return Ok(Vec::new()) };
        let found = inner.scan(Scan::along_ids(own.collection.clone())).try_concat().await?;
        let documents = found.into_iter().map(|one| one.document);
        Ok(documents.filter(|document| document.key != own).collect())
    }
}

fn renamed(document: Document, from: &str, to: &str) -> Document {
    let Document { key, revision, body } = document;
    Document { key: renamed_key(key, from, to), revision, body: renamed_body(&body, from, to) }
}

fn renamed_key(key: DocumentKey, from: &str, to: &str) -> DocumentKey {
    let id = DocumentId::new(key.id.as_str().replace(from, to)).unwrap_or(key.id);
    DocumentKey { collection: key.collection, id }
}

fn renamed_body(body: &Payload, from: &str, to: &str) -> Payload {
    match std::str::from_utf8(body.as_bytes()) {
        Ok(text) if text.contains(from) => {
            Payload::from_store(body.encoding().clone(), text.replace(from, to).into_bytes())
        }
        _ => body.clone(),
    }
}

#[async_trait]
impl Bend for Wrong {
    async fn commit(&self, inner: &Arc<dyn StateStore>, mut commit: Commit) -> Result<()> {
        let is_beat = self.beats(&commit);
        let writes = &mut commit.writes;
        match self.fault {
            Fault::NoFence => {
                for write in writes.iter_mut().filter(|write| is_of(write, TRACKING)) {
                    write.expected = Expected::Any;
                }
            }
            Fault::FenceByOwner => {
                for write in writes.iter_mut().filter(|write| is_of(write, TRACKING)) {
                    let found = get_all(inner, vec![write.key.clone()]).await?.pop().flatten();
                    let there = found.and_then(|document| owner_of(&document.body));
                    if there.is_some() && there == owner(write) {
                        write.expected = Expected::Any;
                    }
                }
            }
            Fault::NoGuard => writes.retain(|write| {
                let is_guard = write.change == Change::Guard;
                !(is_guard && (is_of(write, MEMBERS) || is_of(write, HOLDERS)))
            }),
            Fault::OneId => {
                if let Some(own) = self.own_id() {
                    for write in writes {
                        write.key = renamed_key(write.key.clone(), &own, ONE_ID);
                        if let Change::Put { body, .. } = &mut write.change {
                            *body = renamed_body(body, &own, ONE_ID);
                        }
                    }
                }
            }
            Fault::KeepsDead if is_beat => {
                for other in self.others(inner).await? {
                    let put = Write::put(other.key, other.body, Expected::Is(other.revision));
                    // It may live, and be faster.
                    let _kept = inner.commit(Commit::new([put])).await;
                }
            }
            Fault::BeatsForEachPart if is_beat => {
                for part in 0..4 {
                    let key = DocumentKey::new("beats", format!("{}/{part}", self.seat.nth))?;
                    let put = Write::put(key, Payload::bytes(""), Expected::Any);
                    inner.commit(Commit::new([put])).await?;
                }
            }
            Fault::SplitForgets => {
                let is_put = |write: &Write| matches!(write.change, Change::Put { .. });
                if writes.iter().any(|write| is_of(write, PROCESSORS) && is_put(write)) {
                    writes.retain(|write| !(is_of(write, TRACKING) && is_put(write)));
                }
            }
            Fault::Backward => {
                let (mut marks, others): (Vec<Write>, Vec<Write>) =
                    writes.drain(..).partition(|write| is_of(write, MARKS));
                marks.reverse();
                *writes = others.into_iter().chain(marks).collect();
            }
            Fault::TakesAnyway | Fault::NoLockFence => {
                let concerns = |write: &&mut Write| {
                    let is_guard = write.change == Change::Guard;
                    is_of(write, LOCKS) && is_guard == (self.fault == Fault::NoLockFence)
                };
                for write in writes.iter_mut().filter(concerns) {
                    write.expected = Expected::Any;
                }
            }
            Fault::NeverReleases => {
                let is_release =
                    |write: &Write| is_of(write, LOCKS) && write.change == Change::Delete;
                if writes.iter().any(is_release) {
                    return Ok(());
                }
            }
            _ => {}
        }
        inner.commit(commit).await
    }

    async fn get(&self, inner: &Arc<dyn StateStore>, mut keys: Vec<DocumentKey>) -> Result<Got> {
        let own = self.own_id().filter(|_| self.fault == Fault::OneId);
        if let Some(own) = &own {
            for key in &mut keys {
                *key = renamed_key(key.clone(), own, ONE_ID);
            }
        }
        let mut got = inner.get(keys).await?;
        if let Some(own) = &own {
            let back = |document| renamed(document, ONE_ID, own);
            got.documents = got.documents.into_iter().map(|one| one.map(back)).collect();
        }
        for document in got.documents.iter_mut().flatten() {
            match (self.fault, document.key.collection.as_str()) {
                (Fault::AnyDefinition, PROCESSORS) => {
                    let mut value: serde_json::Value = document.body.to_json().unwrap_or_default();
                    if let Some(version) = value.get_mut("version") {
                        *version = self.seat.version.into();
                    }
                    document.body = Payload::json(&value)?;
                }
                (Fault::TimeoutFrees, LOCKS) if self.seat.nth > 0 => {
                    let looks = {
                        let mut own = self.own();
                        own.looks += 1;
                        own.looks
                    };
                    if looks == 5 {
                        let delete = Write::delete(document.key.clone(), Expected::Any);
                        inner.commit(Commit::new([delete])).await?;
                    }
                }
                _ => {}
            }
        }
        Ok(got)
    }

    fn scan(self: Arc<Self>, inner: &Arc<dyn StateStore>, scan: Scan) -> DocumentPages {
        let is_of_members = |collection: &CollectionName| {
            collection.as_str() == MEMBERS || collection.as_str() == HOLDERS
        };
        let is_bent = matches!(self.fault, Fault::OneId | Fault::WallClock);
        if !is_bent || !is_of_members(&scan.collection) {
            return inner.scan(scan);
        }
        let inner = Arc::clone(inner);
        let pages = async move {
            let mut seen = Vec::new();
            for Scanned { key, document } in inner.scan(scan).try_concat().await? {
                let own = self.own().key.clone();
                match self.fault {
                    Fault::OneId => {
                        let own = self.own_id().unwrap_or_default();
                        let document = renamed(document, ONE_ID, &own);
                        seen.push(Scanned { key, document });
                    }
                    _ if own.as_ref() == Some(&document.key) || !self.is_old(&document.key) => {
                        seen.push(Scanned { key, document });
                    }
                    _ => {
                        let delete = Write::delete(document.key, Expected::Any);
                        inner.commit(Commit::new([delete])).await?;
                    }
                }
            }
            Ok(seen)
        };
        stream::once(pages).boxed()
    }
}

impl Wrong {
    /// Whether a member has not beaten for long, by its time and this clock.
    fn is_old(&self, key: &DocumentKey) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let at = written.get(key).copied().unwrap_or_default();
        self.seat.clock.elapsed().saturating_sub(at) > DEAD_AFTER
    }
}
