//! The keys of subjects as documents of a state store, each wrapped by a master key that is not in it.
//!
//! ```text
//! annals.subjects/<subject>   {"key": id or null, "forgotten": time or null}
//! annals.subject_keys/<id>    version 01 | master key id u32 | nonce 12 | key 32 | tag 16, or nothing once it is destroyed
//! bound                       "annals-subject-key", version, master key id, nonce, id; each behind its length as u32
//! ```

use std::fmt;
use std::sync::Arc;

use annals::adapter::async_trait;
use annals::{Clock, Encoding, Error, Payload, Result, SystemClock};
use annals_state::{
    CollectionName, Commit, Document, DocumentId, DocumentKey, Expected, Scan, StateError,
    StateStore, Write, get_all,
};
use bytes::{BufMut, Bytes};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::cipher::NONCE_BYTES;
use crate::cursor::Cursor;
use crate::decode::DecodeError;
use crate::key::{Key, KeyId, random};
use crate::ring::KeyRing;
use crate::shred::keys::{DataKey, DataKeyId, Forgotten, IsForgotten, SubjectKeys};
use crate::shred::personal::Subject;
use crate::state::of_state;

const SUBJECTS: CollectionName = CollectionName::from_static("annals.subjects");
const KEYS: CollectionName = CollectionName::from_static("annals.subject_keys");
const WRAPPED: Encoding = Encoding::from_static("annals-subject-key");
const VERSION: u8 = 1;
/// How often a call begins anew because another one changed the same subject.
const ATTEMPTS: usize = 32;

/// Keys of subjects in any [`StateStore`], wrapped by the active key of a ring that comes from outside the database. For
/// keys in memory, give it a store in memory.
///
/// Who reads the database without the ring opens nothing. Who has both, and a backup from before [`forget`] was called,
/// still can: let backups expire, and see what the report of an [`Erasure`](crate::Erasure) says remains.
///
/// [`forget`]: SubjectKeys::forget
#[derive(Clone)]
pub struct StoredKeys {
    state: Arc<dyn StateStore>,
    master: KeyRing,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKeys")
            .field("state", &self.state.name())
            .field("master", &self.master)
            .finish_non_exhaustive()
    }
}

/// A subject's document.
#[derive(Default, Serialize, Deserialize)]
struct Entry {
    key: Option<DataKeyId>,
    #[serde(with = "time::serde::rfc3339::option")]
    forgotten: Option<OffsetDateTime>,
}

impl StoredKeys {
    /// Keys in `state`, wrapped by `master`.
    #[must_use]
    pub fn new(state: Arc<dyn StateStore>, master: KeyRing) -> Self {
        Self { state, master, clock: Arc::new(SystemClock) }
    }

    /// Takes the times of what it destroys from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Wraps anew every key that is not under the active master key, and returns how many that were: then the old master key
    /// may go. No event changes.
    ///
    /// # Errors
    /// Those of the store; [`Error::Backend`] if the ring lacks a key. What was wrapped before the error stays so; call it
    /// again.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn rewrap(&self) -> Result<u64> {
        let mut wrapped = 0;
        let mut pages = self.state.scan(Scan::along_ids(KEYS));
        while let Some(page) = pages.next().await {
            for document in page.map_err(of_state)?.into_iter().map(|scanned| scanned.document) {
                let id = key_id(&document)?;
                let Some((master, key)) = self.unwrap(id, &document)? else { continue };
                if master == self.master.active() {
                    continue;
                }
                let expected = Expected::Is(document.revision);
                let write = Write::put(document.key.clone(), self.wrap(id, &key)?, expected);
                match self.state.commit(Commit::new([write])).await {
                    Ok(()) => wrapped += 1,
                    // It was destroyed or wrapped meanwhile.
                    Err(StateError::Conflict(_)) => {}
                    Err(error) => return Err(of_state(error)),
                }
            }
        }
        Ok(wrapped)
    }

    async fn entry(&self, subject: &Subject) -> Result<(DocumentKey, Entry, Expected)> {
        let key = DocumentKey { collection: SUBJECTS, id: document_id(subject.as_str())? };
        let found = get_all(&*self.state, vec![key.clone()]).await.map_err(of_state)?;
        let Some(document) = found.into_iter().flatten().next() else {
            return Ok((key, Entry::default(), Expected::Absent));
        };
        let entry = document.body.to_json().map_err(|cause| self.corrupt(&key, cause))?;
        Ok((key, entry, Expected::Is(document.revision)))
    }

    /// Whether the writes were made; `false` if others changed their documents first.
    async fn commit(&self, writes: impl IntoIterator<Item = Write> + Send) -> Result<bool> {
        match self.state.commit(Commit::new(writes)).await {
            Ok(()) => Ok(true),
            Err(StateError::Conflict(_)) => Ok(false),
            Err(error) => Err(of_state(error)),
        }
    }

    fn wrap(&self, id: DataKeyId, key: &Key) -> Result<Payload> {
        let lacks = || Error::backend("the ring has no active key");
        let (master, ready) = self.master.sealing().ok_or_else(lacks)?;
        let mut bytes = vec![VERSION];
        bytes.put_u32(master.0);
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        bytes.extend_from_slice(&nonce);
        let start = bytes.len();
        let bound = bound(master, nonce, id);
        bytes.extend_from_slice(key.expose());
        let sealed = ready.cipher.seal(&nonce, &bound, &mut bytes, start);
        sealed.map_err(|_| Error::backend("a key is too long"))?;
        Ok(Payload::from_store(WRAPPED, bytes))
    }

    /// The key in a document and the master key that wrapped it; `None` if it was destroyed.
    fn unwrap(&self, id: DataKeyId, document: &Document) -> Result<Option<(KeyId, Key)>> {
        if document.body.as_bytes().is_empty() {
            return Ok(None);
        }
        let (master, nonce, sealed) =
            parts(document.body.as_bytes()).map_err(|cause| self.corrupt(&document.key, cause))?;
        let Some(ready) = self.master.get(master) else {
            return Err(self.named(Error::backend(DecodeError::UnknownKey(master.0))));
        };
        let opened = ready.cipher.open(&nonce, &bound(master, nonce, id), &sealed);
        let forged = || self.corrupt(&document.key, DecodeError::Forged);
        let opened = Zeroizing::new(opened.ok_or_else(forged)?);
        let key = Key::from_bytes(opened.as_slice().try_into().map_err(|_| forged())?);
        Ok(Some((master, key)))
    }

    fn corrupt(&self, key: &DocumentKey, cause: impl fmt::Display) -> Error {
        self.named(Error::corrupt(format!("{key}: {cause}")))
    }

    fn named(&self, error: Error) -> Error {
        error.at(self.state.name(), "keys")
    }

    fn lost(&self) -> Error {
        self.named(Error::unavailable("others change the subject all the time"))
    }
}

#[async_trait]
impl SubjectKeys for StoredKeys {
    async fn current(&self, subject: &Subject) -> Result<(DataKeyId, Key)> {
        for _ in 0..ATTEMPTS {
            let (document, entry, expected) = self.entry(subject).await?;
            if entry.forgotten.is_some() {
                return Err(Error::invalid(IsForgotten(subject.clone())));
            }
            if let Some(id) = entry.key {
                match self.find(&[id]).await?.pop() {
                    Some(DataKey::Known(key)) => return Ok((id, key)),
                    // It was forgotten since the subject was read.
                    Some(DataKey::Destroyed) => continue,
                    _ => return Err(self.corrupt(&document, "its key is missing")),
                }
            }
            let (id, key) = (DataKeyId::generate(), Key::generate()?);
            let entry = Entry { key: Some(id), forgotten: None };
            let writes = [
                Write::put(document, Payload::json(&entry).map_err(Error::invalid)?, expected),
                Write::put(key_document(id)?, self.wrap(id, &key)?, Expected::Absent),
            ];
            if self.commit(writes).await? {
                return Ok((id, key));
            }
        }
        Err(self.lost())
    }

    async fn find(&self, ids: &[DataKeyId]) -> Result<Vec<DataKey>> {
        let keys = ids.iter().map(|id| key_document(*id)).collect::<Result<Vec<_>>>()?;
        let found = get_all(&*self.state, keys).await.map_err(of_state)?;
        let known = |(id, document): (&DataKeyId, Option<Document>)| {
            let Some(document) = document else { return Ok(DataKey::Unknown) };
            let key = self.unwrap(*id, &document)?;
            Ok(key.map_or(DataKey::Destroyed, |(_, key)| DataKey::Known(key)))
        };
        ids.iter().zip(found).map(known).collect()
    }

    async fn forget(&self, subject: &Subject) -> Result<Forgotten> {
        for _ in 0..ATTEMPTS {
            let (document, mut entry, expected) = self.entry(subject).await?;
            if let Some(at) = entry.forgotten {
                return Ok(Forgotten::new(subject.clone(), entry.key, at));
            }
            let at = annals::adapter::cut_to_micros(self.clock.now());
            entry.forgotten = Some(at);
            let body = Payload::json(&entry).map_err(Error::invalid)?;
            let mut writes = vec![Write::put(document, body, expected)];
            if let Some(id) = entry.key {
                // The document stays: a key that was destroyed is another thing than one that nobody knows.
                let nothing = Payload::from_store(WRAPPED, Bytes::new());
                writes.push(Write::put(key_document(id)?, nothing, Expected::Any));
            }
            if self.commit(writes).await? {
                return Ok(Forgotten::new(subject.clone(), entry.key, at));
            }
        }
        Err(self.lost())
    }

    async fn readmit(&self, subject: &Subject) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let (document, entry, expected) = self.entry(subject).await?;
            if entry.forgotten.is_none() {
                return Ok(());
            }
            let body = Payload::json(&Entry::default()).map_err(Error::invalid)?;
            if self.commit([Write::put(document, body, expected)]).await? {
                return Ok(());
            }
        }
        Err(self.lost())
    }
}

fn parts(bytes: &Bytes) -> Result<(KeyId, [u8; NONCE_BYTES], Bytes), DecodeError> {
    let mut rest = Cursor::new(bytes);
    match rest.byte()? {
        VERSION => {
            let (master, nonce) = (KeyId(rest.u32()?), rest.array()?);
            Ok((master, nonce, bytes.slice(rest.place()..)))
        }
        version => Err(DecodeError::Unknown("key version", version)),
    }
}

fn bound(master: KeyId, nonce: [u8; NONCE_BYTES], id: DataKeyId) -> Vec<u8> {
    let (master, id) = (master.0.to_be_bytes(), id.as_uuid());
    crate::cipher::bound(&[b"annals-subject-key", &[VERSION], &master, &nonce, id.as_bytes()])
}

fn document_id(text: &str) -> Result<DocumentId> {
    DocumentId::new(text).map_err(Error::invalid)
}

fn key_document(id: DataKeyId) -> Result<DocumentKey> {
    Ok(DocumentKey { collection: KEYS, id: document_id(&id.to_string())? })
}

fn key_id(document: &Document) -> Result<DataKeyId> {
    let id = document.key.id.as_str().parse();
    id.map(DataKeyId::from_uuid)
        .map_err(|_| Error::corrupt(format!("{}: no id of a key", document.key)))
}
