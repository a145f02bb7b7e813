//! The contract between Annals and a database that keeps mutable state.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

pub use async_trait::async_trait;
use futures_core::stream::BoxStream;

use crate::capability::StateCapabilities;
use crate::document::{Document, DocumentKey};
use crate::error::Result;
use crate::scan::{Scan, Scanned};
use crate::write::Commit;

/// Pages of a scan: in its order, none of them empty. The stream ends with the scan, or after its first error.
pub type DocumentPages = BoxStream<'static, Result<Vec<Scanned>>>;

/// What a `get` found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "`rest` may hold keys that were not looked at"]
pub struct Got {
    /// For each key from the first on, the document or `None` if there is none, all from one moment.
    pub documents: Vec<Option<Document>>,
    /// The keys that were not looked at, because the answer was full: get them again. Never all of them.
    pub rest: Vec<DocumentKey>,
}

/// A database that keeps documents. The conformance suite (`annals-testkit`) proves each rule below.
///
/// **Committing**
/// - **ST1** All writes of a commit are made, or none. Expectations are judged atomically with it, all on the store
///   before it, those of guards too: of two commits that each guard what the other writes, one fails.
/// - **ST2** Of racing commits that expect the same revision one is made. The others get `Conflict` with key,
///   expectation and what was found, the first in the order of keys if several fail; never an error of the driver,
///   never a deadlock. A commit whose expectations hold is never rejected with `Conflict`.
/// - **ST3** Each document that a commit puts has exactly the revision of the commit, all 128 bits. The store makes no
///   revision of its own, and forgets that of a document with the document.
/// - **ST4** Any error but `OutcomeUnknown` means that nothing was made.
/// - **ST5** A future that is dropped at any await leaves all or nothing made, and nothing locked or half open.
///
/// **Getting and scanning**
/// - **ST6** `get` answers in the order of the keys, from one moment: a commit is seen whole or not at all. A key may
///   be asked for twice. An answer that grows beyond `max_page_bytes` is cut, and says which keys are left.
/// - **ST7** A `get` or `scan` that begins after a commit returned sees it, on every handle to the same store.
/// - **ST8** A scan returns documents in the byte order of (key of the entry, id), or of ids, inside its range and
///   after its place; both directions mirror each other; `limit` counts last. The result does not depend on page sizes.
///   Each page is of one moment, pages may be of different ones: a document that keeps its entry is returned exactly
///   once, one whose entry moves meanwhile may be returned twice or not at all.
/// - **ST9** A put replaces all entries of its document and a delete removes them, in the same commit. No scan along an
///   index returns a document under an entry that it does not have.
/// - **ST10** Bodies come back byte for byte, with their encoding, and keys of entries too. Names and ids are compared
///   by bytes, case-sensitive, and never normalised.
///
/// **Everywhere**
/// - **ST11** A commit without writes, a document twice in a commit, an entry twice in a document, and whatever exceeds
///   a declared bound is `Invalid`; nothing is cut or ignored.
/// - **ST12** Between polls a scan holds no connection, lock or transaction that a commit of the same caller could
///   need: a pool of one must do. After `close` every call, and every open scan at its next poll, ends with `Closed`.
/// - **ST13** Where `durable` is declared, what `commit` acknowledged survives kill -9 of process or server, and power
///   loss as far as the database promises it. If the store goes back (a restore, a fail-over that lost commits),
///   expectations are judged on what it has then: nothing that a handle remembers counts.
///
/// # For implementors
/// 1. `commit`: call [`StateCapabilities::check_commit`]. In one transaction lock the documents in the order of keys,
///    in one pass (shared for guards, exclusive for the rest, also where there is no document yet), look their revisions
///    up, call [`judge`](crate::judge), then write.
/// 2. `get`: call [`StateCapabilities::check_get`]. One statement.
/// 3. `scan`: call [`StateCapabilities::check_scan`] and return its error as the only item. One statement a page, by
///    key after the last place. Do no I/O before the first poll.
/// 4. Give every lock, queue and wait a bound, and answer `Unavailable` when it runs out. Handles, futures and pages
///    may be dropped anywhere, also on a thread without a runtime.
///
/// A store around a store answers `capabilities` for what it makes of the inner one; all methods are required so that
/// it cannot forget one.
#[async_trait]
pub trait StateStore: fmt::Debug + Send + Sync + 'static {
    /// What to call it in errors and traces.
    fn name(&self) -> &str;

    /// What this store, with all that it wraps, can do. Constant over its life.
    fn capabilities(&self) -> StateCapabilities;

    /// Makes all writes of `commit` or none.
    async fn commit(&self, commit: Commit) -> Result<()>;

    /// The documents under these keys. No keys: nothing.
    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got>;

    /// Documents in order. Lazy: nothing happens before the first poll. It outlives this handle.
    fn scan(&self, scan: Scan) -> DocumentPages;

    /// Finishes what was taken, rejects what comes later, and returns when all is released. It may be called again, and
    /// dropped. It does not wait for scans that nobody polls.
    async fn close(&self);
}

/// Gets all of `keys`, in as many calls as the store's bounds need. What one call returns is of one moment, the calls
/// are of different ones.
///
/// # Errors
/// Those of [`StateStore::get`].
///
/// # Cancel safety
/// It changes nothing and may be dropped at any await.
pub async fn get_all(
    store: &(impl StateStore + ?Sized),
    mut keys: Vec<DocumentKey>,
) -> Result<Vec<Option<Document>>> {
    let most = usize::try_from(store.capabilities().max_get_keys).unwrap_or(usize::MAX).max(1);
    let mut documents = Vec::with_capacity(keys.len());
    while !keys.is_empty() {
        let later = keys.split_off(most.min(keys.len()));
        let got = store.get(keys).await?;
        documents.extend(got.documents);
        keys = got.rest;
        keys.extend(later);
    }
    Ok(documents)
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<S: StateStore + ?Sized> StateStore for $pointer<S> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn capabilities(&self) -> StateCapabilities {
                (**self).capabilities()
            }

            // Not `async fn`s: the inner futures are boxed already.
            fn commit<'a, 'f>(
                &'a self,
                commit: Commit,
            ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'f>>
            where
                'a: 'f,
                Self: 'f,
            {
                (**self).commit(commit)
            }

            fn get<'a, 'f>(
                &'a self,
                keys: Vec<DocumentKey>,
            ) -> Pin<Box<dyn Future<Output = Result<Got>> + Send + 'f>>
            where
                'a: 'f,
                Self: 'f,
            {
                (**self).get(keys)
            }

            fn scan(&self, scan: Scan) -> DocumentPages {
                (**self).scan(scan)
            }

            fn close<'a, 'f>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'f>>
            where
                'a: 'f,
                Self: 'f,
            {
                (**self).close()
            }
        }
    )*};
}

forward!(Arc Box);
