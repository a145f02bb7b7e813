//! Members: a document for each node, which the node replaces at each beat. A node judges another by its own timer over
//! beats that it has not seen to change. No time is ever stored, and no two clocks are compared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use annals_state::{
    CollectionName, DocumentId, DocumentKey, Expected, Revision, Scan, StateError, StateStore,
    Write, prefix_end,
};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::timer::Timer;
use crate::tracking::{commit, decode, get_one, put};

/// How often a beat is tried again because somebody removed the document of this node.
const MAX_TRIES: u32 = 3;

/// How often a node beats, and after what time without a beat it is dead to another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) beat: Duration,
    pub(crate) dead_after: Duration,
}

impl Times {
    pub(crate) const DEFAULT: Self =
        Self { beat: Duration::from_secs(1), dead_after: Duration::from_secs(5) };

    /// At least a millisecond, and two beats.
    pub(crate) fn new(beat: Duration, dead_after: Duration) -> Self {
        let beat = beat.max(Duration::from_millis(1));
        Self { beat, dead_after: dead_after.max(beat.saturating_mul(2)) }
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) node: Uuid,
    /// Counts, so that each beat is another document.
    beats: u64,
    /// Whether it takes work.
    pub(crate) ready: bool,
}

/// A member as a node sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) member: Member,
    pub(crate) key: DocumentKey,
    pub(crate) revision: Revision,
}

/// For how long a document was seen not to change.
#[derive(Debug, Clone, Copy)]
struct Watched {
    revision: Revision,
    still: Duration,
}

/// The members of one group, as one of them sees them.
#[derive(Debug)]
pub(crate) struct Members {
    state: Arc<dyn StateStore>,
    timer: Arc<dyn Timer>,
    collection: CollectionName,
    prefix: String,
    node: Uuid,
    pub(crate) times: Times,
    beats: u64,
    /// The revision of its own document, if that is known.
    own: Option<Revision>,
    is_known: bool,
    watched: HashMap<DocumentKey, Watched>,
    looked: Option<Duration>,
}

impl Members {
    /// Member `node` of the group whose documents of this collection begin with `prefix`.
    pub(crate) fn new(
        state: Arc<dyn StateStore>,
        timer: Arc<dyn Timer>,
        (collection, prefix): (CollectionName, String),
        node: Uuid,
    ) -> Self {
        Self {
            state,
            timer,
            collection,
            prefix,
            node,
            times: Times::DEFAULT,
            beats: 0,
            own: None,
            is_known: false,
            watched: HashMap::new(),
            looked: None,
        }
    }

    pub(crate) fn node(&self) -> Uuid {
        self.node
    }

    pub(crate) fn key(&self, node: Uuid) -> Result<DocumentKey, StateError> {
        let id = DocumentId::new(format!("{}{node}", self.prefix))?;
        Ok(DocumentKey { collection: self.collection.clone(), id })
    }

    /// That this node's last beat is still its last one: nobody has taken it for dead and removed it.
    pub(crate) fn guard(&self) -> Result<Write, StateError> {
        Ok(Write::guard(self.key(self.node)?, Expected::from(self.own)))
    }

    /// Says that this node lives, and returns all members that the store has.
    pub(crate) async fn beat(&mut self, ready: bool) -> Result<Vec<Seen>, StateError> {
        self.say(ready).await?;
        let mut scan = Scan::along_ids(self.collection.clone()).from(self.prefix.clone());
        scan.to = prefix_end(self.prefix.as_bytes());
        let mut members = Vec::new();
        for scanned in self.state.scan(scan).try_concat().await? {
            let member = decode(&scanned.document)?;
            let (key, revision) = (scanned.document.key, scanned.document.revision);
            members.push(Seen { member, key, revision });
        }
        Ok(members)
    }

    async fn say(&mut self, ready: bool) -> Result<(), StateError> {
        let key = self.key(self.node)?;
        for tries in 1.. {
            if !std::mem::take(&mut self.is_known) {
                let found = get_one::<Member>(&*self.state, key.clone()).await?;
                self.own = found.and_then(|held| held.revision);
            }
            self.beats += 1;
            let member = Member { node: self.node, beats: self.beats, ready };
            match commit(&*self.state, [put(key.clone(), &member, self.own)?]).await {
                Ok(revision) => {
                    self.own = Some(revision);
                    break;
                }
                Err(StateError::Conflict(_)) if tries < MAX_TRIES => {}
                Err(error) => return Err(error),
            }
        }
        self.is_known = true;
        Ok(())
    }

    /// Looks at documents that show that somebody lives: once a beat, at all of them.
    ///
    /// Time counts only as far as this node looked: what it slept through itself is no time in which it saw nothing.
    pub(crate) fn observe(&mut self, signs: impl IntoIterator<Item = (DocumentKey, Revision)>) {
        let now = self.timer.elapsed();
        let gap = self.looked.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        let gap = gap.min(self.times.beat.saturating_mul(2));
        self.looked = Some(now);
        let mut watched = HashMap::new();
        for (key, revision) in signs {
            let still = match self.watched.get(&key) {
                Some(before) if before.revision == revision => before.still.saturating_add(gap),
                _ => Duration::ZERO,
            };
            watched.insert(key, Watched { revision, still });
        }
        self.watched = watched;
    }

    /// The revision at which a document has not changed for so long that who it shows is dead.
    pub(crate) fn dead(&self, key: &DocumentKey) -> Option<Revision> {
        let watched = self.watched.get(key)?;
        (watched.still >= self.times.dead_after).then_some(watched.revision)
    }

    /// Removes the document of a dead member, if it is still dead. Best effort.
    pub(crate) async fn bury(&self, key: DocumentKey, revision: Revision) {
        let gone = commit(&*self.state, [Write::delete(key, Expected::Is(revision))]).await;
        if let Err(error) = gone {
            tracing::debug!(name: "annals.member_not_removed", %error);
        }
    }

    /// Removes the document of this node, so that nobody waits for it. Best effort.
    pub(crate) async fn leave(&mut self) {
        if let (Ok(key), Some(own)) = (self.key(self.node), self.own.take()) {
            self.bury(key, own).await;
        }
        self.is_known = false;
    }
}
