//! The keys of a codec, by id.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use annals::adapter::async_trait;
use annals::{Error, Result};

use crate::cipher::Cipher;
use crate::key::{Algorithm, Key, KeyId};

/// Why a ring rejects a change. Nothing is changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The ring has no key of this id.
    #[error("the ring has no key {0}")]
    Unknown(KeyId),
    /// The ring has another key under this id: an id names one key for ever.
    #[error("the ring has another key {0}")]
    Taken(KeyId),
    /// The key is the active one: activate another one first.
    #[error("key {0} is the active one")]
    Active(KeyId),
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::invalid(error)
    }
}

/// Where keys come from, such as a key management service.
#[async_trait]
pub trait KeyProvider: fmt::Debug + Send + Sync + 'static {
    /// All keys that are needed to read the log.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not answer now.
    async fn keys(&self) -> Result<Vec<(KeyId, Key)>>;

    /// The id of the key that encrypts from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not answer now.
    async fn active(&self) -> Result<KeyId>;
}

/// Keys by id, one of which is active: it seals what is appended, the others open what was sealed before.
///
/// Clones share the keys, so that a key is added to or removed from all layers at once. To change keys, [`add`](Self::add)
/// the new one in every process, then [`activate`](Self::activate) it in every process; the other way round, a process
/// meets events of a key that it does not have. `Debug` shows ids only.
///
/// ```
/// use annals_layers::{Key, KeyId, KeyRing};
/// let keys = KeyRing::new(KeyId(1), &Key::generate()?);
/// keys.add(KeyId(2), &Key::generate()?)?;
/// keys.activate(KeyId(2))?;
/// assert_eq!(format!("{keys:?}"), "KeyRing { active: KeyId(2), ids: [KeyId(1), KeyId(2)] }");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<RwLock<Keys>>);

struct Keys {
    active: KeyId,
    by_id: BTreeMap<KeyId, Arc<Ready>>,
}

/// A key, and what is made of it once.
pub(crate) struct Ready {
    pub(crate) algorithm: Algorithm,
    pub(crate) cipher: Cipher,
    key: Key,
}

impl Ready {
    fn new(key: &Key) -> Arc<Self> {
        let key = key.clone();
        Arc::new(Self { algorithm: key.algorithm(), cipher: Cipher::new(&key), key })
    }
}

impl KeyRing {
    /// A ring of one key, which is active.
    #[must_use]
    pub fn new(id: KeyId, key: &Key) -> Self {
        let by_id = BTreeMap::from([(id, Ready::new(key))]);
        Self(Arc::new(RwLock::new(Keys { active: id, by_id })))
    }

    /// Adds a key for reading. The same key again is no change.
    ///
    /// # Errors
    /// [`KeyError::Taken`] if the ring has another key under this id.
    pub fn add(&self, id: KeyId, key: &Key) -> Result<(), KeyError> {
        self.write().add(id, key)
    }

    /// Seals with this key from now on.
    ///
    /// # Errors
    /// [`KeyError::Unknown`] if the ring does not have it.
    pub fn activate(&self, id: KeyId) -> Result<(), KeyError> {
        let mut keys = self.write();
        if !keys.by_id.contains_key(&id) {
            return Err(KeyError::Unknown(id));
        }
        keys.active = id;
        Ok(())
    }

    /// Removes a key; what it sealed can no longer be read. It is wiped once no call uses it.
    ///
    /// # Errors
    /// [`KeyError::Active`] of the active key, and [`KeyError::Unknown`] if the ring does not have it.
    pub fn remove(&self, id: KeyId) -> Result<(), KeyError> {
        let mut keys = self.write();
        if keys.active == id {
            return Err(KeyError::Active(id));
        }
        keys.by_id.remove(&id).map(|_| ()).ok_or(KeyError::Unknown(id))
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn active(&self) -> KeyId {
        self.read().active
    }

    /// The ids of all keys, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<KeyId> {
        self.read().by_id.keys().copied().collect()
    }

    /// Adds the keys of `from` and activates the one that it names. Keys that it no longer has stay until they are
    /// [removed](Self::remove).
    ///
    /// # Errors
    /// Those of the provider, and [`Error::Invalid`] with a [`KeyError`] if it names an active key that it does not have,
    /// or another key under an id of the ring. Nothing is changed then.
    ///
    /// # Cancel safety
    /// All or nothing is changed.
    pub async fn refresh(&self, from: &dyn KeyProvider) -> Result<()> {
        let (given, active) = (from.keys().await?, from.active().await?);
        let mut keys = self.write();
        let mut changed = Keys { active, by_id: keys.by_id.clone() };
        for (id, key) in &given {
            changed.add(*id, key)?;
        }
        if !changed.by_id.contains_key(&active) {
            return Err(KeyError::Unknown(active).into());
        }
        *keys = changed;
        Ok(())
    }

    pub(crate) fn get(&self, id: KeyId) -> Option<Arc<Ready>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The active key and its id.
    pub(crate) fn sealing(&self) -> Option<(KeyId, Arc<Ready>)> {
        let keys = self.read();
        keys.by_id.get(&keys.active).map(|ready| (keys.active, Arc::clone(ready)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn add(&mut self, id: KeyId, key: &Key) -> Result<(), KeyError> {
        match self.by_id.get(&id) {
            Some(present) if present.key.is_same(key) => Ok(()),
            Some(_) => Err(KeyError::Taken(id)),
            None => {
                self.by_id.insert(id, Ready::new(key));
                Ok(())
            }
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.read();
        let ids: Vec<&KeyId> = keys.by_id.keys().collect();
        f.debug_struct("KeyRing").field("active", &keys.active).field("ids", &ids).finish()
    }
}
