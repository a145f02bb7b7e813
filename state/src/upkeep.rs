//! What concerns all documents of a collection: reindexing and clearing.

use annals::Payload;
use futures_util::TryStreamExt;

use crate::definition::Definition;
use crate::document::{DocumentKey, Revision};
use crate::documents::{Documents, Known};
use crate::envelope::open;
use crate::error::{Result, StateError};
use crate::scan::{Scan, Scanned};
use crate::store::get_all;
use crate::write::{Commit, Expected, Write};

/// How many documents are read before they are written again.
const BATCH: u64 = 256;
/// How often the definition is tried to be replaced while others replace it.
const MAX_TRIES: u32 = 8;

impl<T> Documents<T> {
    /// What a scan returns, as far as its limit.
    pub(crate) async fn page(&self, scan: Scan) -> Result<Vec<Scanned>> {
        self.store.scan(scan).try_concat().await
    }

    /// How many writes a commit may have beside a guard.
    fn batch(&self) -> u64 {
        u64::from(self.store.capabilities().max_writes).saturating_sub(1).clamp(1, BATCH)
    }

    /// Removes all documents of the collection that are there when it comes to them. Returns how many there were.
    ///
    /// # Errors
    /// Those of the store. What was removed before stays removed; call it again.
    ///
    /// # Cancel safety
    /// It may be dropped at any await; call it again to go on.
    pub async fn clear(&self) -> Result<u64> {
        let mut scan = Scan::along_ids(self.collection.name.clone()).limit(self.batch());
        let mut removed = 0;
        loop {
            let page = self.page(scan.clone()).await?;
            let Some(last) = page.last() else { return Ok(removed) };
            scan.after = Some(last.place());
            removed += page.len() as u64;
            let delete = |one: Scanned| Write::delete(one.document.key, Expected::Any);
            self.store.commit(Commit::new(page.into_iter().map(delete))).await?;
        }
    }

    /// Stores this program's definition, and makes all documents again with the entries and in the schema that it wants.
    /// Returns how many were made again.
    ///
    /// From its beginning on, programs with another definition get [`StateError::DefinitionChanged`] from every put and
    /// every find along an index, and until its end so does this one from finds. Programs with this definition may put
    /// documents meanwhile. Documents get new revisions, so an update that began before is a conflict. If it ends with
    /// an error or is dropped, finds along indexes stay rejected: call it again.
    ///
    /// # Errors
    /// [`StateError::Undecodable`] of a document that cannot be read, [`StateError::DefinitionChanged`] if another
    /// reindexing began meanwhile, and those of the store.
    ///
    /// # Cancel safety
    /// It may be dropped at any await; call it again, it begins anew.
    pub async fn reindex(&self) -> Result<u64> {
        let key = Definition::key(&self.collection.name)?;
        let started = self.start(&key).await?;
        self.remember(Some(Known { revision: started, reindexing: true }));
        let mut scan = Scan::along_ids(self.collection.name.clone()).limit(self.batch());
        let mut made = 0;
        loop {
            let page = self.page(scan.clone()).await?;
            let Some(last) = page.last() else { break };
            scan.after = Some(last.place());
            let mut writes = Vec::with_capacity(page.len());
            for Scanned { document, .. } in page {
                let state = open(&self.collection, &document)?;
                let expected = Expected::Is(document.revision);
                writes.push(self.sealed(document.key, &state.value, expected, state.at)?);
            }
            made += self.make(writes, &Write::guard(key.clone(), Expected::Is(started))).await?;
        }
        let body = self.definition.body(false)?;
        let finish = Commit::new([Write::put(key, body, Expected::Is(started))]);
        let revision = finish.revision;
        self.store.commit(finish).await.map_err(|error| self.overtaken(error))?;
        self.remember(Some(Known { revision, reindexing: false }));
        Ok(made)
    }

    /// Stores the definition as one that is being carried out, whatever is stored now.
    async fn start(&self, key: &DocumentKey) -> Result<Revision> {
        let body: Payload = self.definition.body(true)?;
        for _ in 0..MAX_TRIES {
            let found = get_all(&self.store, vec![key.clone()]).await?.pop().flatten();
            let expected = Expected::from(found.map(|document| document.revision));
            let commit = Commit::new([Write::put(key.clone(), body.clone(), expected)]);
            let revision = commit.revision;
            match self.store.commit(commit).await {
                Ok(()) => return Ok(revision),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(StateError::unavailable("the definition of the collection changes all the time"))
    }

    /// Makes these documents again, in commits of permitted size. One that was put or deleted meanwhile is left alone:
    /// its writer had the new definition.
    async fn make(&self, mut writes: Vec<Write>, guard: &Write) -> Result<u64> {
        let most = self.store.capabilities().max_commit_bytes;
        let mut made = 0;
        while !writes.is_empty() {
            let mut bytes = Commit::new([guard.clone()]).bytes();
            let fits = writes.iter().take_while(|write| {
                bytes += Commit::new([(*write).clone()]).bytes();
                bytes <= most
            });
            let later = writes.split_off(fits.count().max(1).min(writes.len()));
            while !writes.is_empty() {
                let all = writes.iter().chain([guard]).cloned();
                match self.store.commit(Commit::new(all)).await {
                    Ok(()) => {
                        made += writes.len() as u64;
                        writes.clear();
                    }
                    Err(StateError::Conflict(conflict)) if conflict.key != guard.key => {
                        writes.retain(|write| write.key != conflict.key);
                    }
                    Err(error) => return Err(self.overtaken(error)),
                }
            }
            writes = later;
        }
        Ok(made)
    }

    fn overtaken(&self, error: StateError) -> StateError {
        if error.is_conflict() {
            let text = "another reindexing began meanwhile";
            return StateError::definition_changed(&self.collection.name, text);
        }
        error
    }
}
