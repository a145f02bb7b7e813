//! Checks of state stores: each proves rules of [`StateStore`] on any store, by the way to open it alone.
//!
//! Each check works in a collection of its own with a random name and never assumes an empty store, so that all of
//! them run at once on one store, and on servers that others use too. A check fails by panicking.

#![allow(clippy::unwrap_used, reason = "a check that panics fails, as it should")]

mod bounds;
mod commits;
mod handles;
mod history;
mod model;
mod races;
mod reads;
mod runner;

use std::fmt;
use std::sync::Arc;

use crate::generate::valid;
use annals::Payload;
use annals_state::{
    CollectionName, Commit, DocumentId, DocumentKey, Expected, IndexName, Revision, Scan, Scanned,
    StateStore, Write, get_all,
};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;

pub use crate::state::runner::{Flavour, main};

/// A state store of any kind.
pub type Store = Arc<dyn StateStore>;

/// How checks get at a store.
#[async_trait]
pub trait Open: Send + Sync + 'static {
    /// A handle to the store: each time to the same one, and to what it kept if all handles were closed. A store that
    /// is not `durable` may be empty then.
    async fn open(&self) -> Store;
}

/// What a check works with: a store, and a collection of its own.
#[derive(Clone)]
pub struct Context {
    opener: Arc<dyn Open>,
    things: CollectionName,
    cases: u32,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("things", &self.things).finish_non_exhaustive()
    }
}

/// The index of all checks.
const BY: IndexName = IndexName::from_static("by");

impl Context {
    /// A collection of its own in the store of `opener`. Random checks take so many `cases`.
    #[must_use]
    pub fn new(opener: Arc<dyn Open>, cases: u32) -> Self {
        let name = format!("things-{}", annals::EventId::generate().as_uuid().simple());
        Self { opener, things: valid(CollectionName::new(name)), cases }
    }

    /// The same with another collection.
    fn fresh(&self) -> Self {
        Self::new(Arc::clone(&self.opener), self.cases)
    }

    async fn open(&self) -> Store {
        self.opener.open().await
    }

    fn key(&self, id: &str) -> DocumentKey {
        DocumentKey { collection: self.things.clone(), id: DocumentId::new(id).unwrap() }
    }

    fn put(&self, id: &str, expected: Expected) -> Write {
        Write::put(self.key(id), body(id), expected)
    }

    fn guard(&self, id: &str, expected: Expected) -> Write {
        Write::guard(self.key(id), expected)
    }

    fn delete(&self, id: &str, expected: Expected) -> Write {
        Write::delete(self.key(id), expected)
    }

    fn ids(&self) -> Scan {
        Scan::along_ids(self.things.clone())
    }

    fn by(&self) -> Scan {
        Scan::along(self.things.clone(), BY)
    }

    async fn revision(&self, store: &Store, id: &str) -> Option<Revision> {
        let got = get_all(store, vec![self.key(id)]).await.unwrap();
        got[0].as_ref().map(|document| document.revision)
    }
}

fn body(text: &str) -> Payload {
    Payload::bytes(text.as_bytes().to_vec())
}

async fn commit(store: &Store, writes: impl IntoIterator<Item = Write>) -> Revision {
    let commit = Commit::new(writes);
    let revision = commit.revision;
    store.commit(commit).await.unwrap();
    revision
}

/// All that a scan returns.
async fn scanned(store: &Store, scan: Scan) -> Vec<Scanned> {
    let pages: Vec<Vec<Scanned>> = store.scan(scan).try_collect().await.unwrap();
    assert!(pages.iter().all(|page| !page.is_empty()), "a scan has an empty page");
    pages.into_iter().flatten().collect()
}

/// The ids that a scan returns.
async fn found(store: &Store, scan: Scan) -> Vec<String> {
    let found = scanned(store, scan).await;
    found.into_iter().map(|one| one.document.key.id.as_str().to_owned()).collect()
}

/// One check.
#[derive(Clone, Copy)]
pub struct Check {
    /// What it is called.
    pub id: &'static str,
    /// The rules that it proves, such as `ST1`.
    pub rules: &'static [&'static str],
    run: fn(Context) -> BoxFuture<'static, ()>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("id", &self.id)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Check {
    /// Runs it.
    ///
    /// # Errors
    /// What it says of the store that broke a promise.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves documents of the check's own collection behind.
    pub async fn run(&self, opener: Arc<dyn Open>, cases: u32) -> Result<(), String> {
        let checking = tokio::spawn((self.run)(Context::new(opener, cases)));
        checking.await.map_err(|failed| match failed.try_into_panic() {
            Ok(panic) => match panic.downcast::<String>() {
                Ok(text) => *text,
                Err(panic) => panic
                    .downcast::<&'static str>()
                    .map_or_else(|_| "the check panicked".to_owned(), |text| (*text).to_owned()),
            },
            Err(error) => error.to_string(),
        })
    }
}

macro_rules! checks {
    ($($id:literal [$($rule:ident)+] $module:ident::$function:ident;)*) => {
        /// All checks.
        pub const CHECKS: &[Check] = &[$(Check {
            id: $id,
            rules: &[$(stringify!($rule)),+],
            run: |context| Box::pin($module::$function(context)),
        }),*];
    };
}

checks! {
    "commit.expectations" [ST1 ST2 ST4] commits::expectations;
    "commit.first_conflict" [ST2] commits::first_conflict;
    "commit.revisions" [ST3] commits::revisions;
    "commit.sent_again" [ST1 ST3] commits::sent_again;
    "commit.guards" [ST1 ST2] commits::guards;
    "commit.invalid" [ST4 ST11] bounds::invalid;
    "commit.dropped" [ST5] handles::dropped;
    "race.one_winner" [ST2] races::one_winner;
    "race.write_skew" [ST1 ST2] races::write_skew;
    "race.absent" [ST1 ST2] races::absent;
    "race.counters" [ST1 ST2] races::counters;
    "race.shared_guards" [ST2] races::shared_guards;
    "race.serialisable" [ST1 ST2] history::serialisable;
    "get.order" [ST6] reads::order;
    "get.pages" [ST6] bounds::pages;
    "get.whole" [ST1 ST6] races::whole;
    "get.visible" [ST7] handles::visible;
    "scan.equal_keys" [ST8] reads::equal_keys;
    "scan.beside_commits" [ST8] reads::beside_commits;
    "scan.entries" [ST9] reads::entries;
    "body.exact" [ST10] reads::exact;
    "name.exact" [ST8 ST10] reads::names;
    "close.ends" [ST12] handles::closed;
    "scan.holds_nothing" [ST12] handles::holds_nothing;
    "open.again" [ST3 ST13] handles::again;
    "model.follows" [ST1 ST3 ST8 ST9] model::follows;
}
