//! The layer that seals personal values under the keys of their subjects.

mod fields;
mod keys;
mod personal;
mod seal;
mod stored;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use annals::adapter::async_trait;
use annals::{
    Append, Capabilities, Error, EventPages, Page, Query, ReadOptions, Result, StorageAdapter,
    StoredEvent,
};
use futures_util::{StreamExt, stream};

use crate::cipher::Cipher;
use crate::condition::Predicates;
use crate::decode::of_append;
use crate::encoded::returned;
use crate::pages::{self, Claims, Rest};
pub use keys::{DataKey, DataKeyId, Forgotten, IsForgotten, SubjectKeys};
pub use personal::{Personal, Subject};
use seal::{Openers, Sealers};
pub use stored::StoredKeys;

/// How often an append begins anew because a predicate met keys that it had not fetched.
const ATTEMPTS: usize = 16;
/// A sealed value is never more than four times as long as the value: the shortest of 27 bytes grows to 92.
const GROWTH: u32 = 4;

/// Wraps any adapter: stores each [`Personal`] value of JSON payloads and of metadata sealed under the key of its subject.
/// Put it outermost. Once the subject is [forgotten](SubjectKeys::forget), every read returns the value as redacted, in
/// every process and at once, because no key is kept from one call to the next; a page of a read costs one `find` of keys.
///
/// Everything else of an event stays byte for byte. The subject's id stays readable, as names and tags do. Values that were
/// appended without this layer are returned as they are, and are not forgotten.
///
/// A predicate of a [`WriteCondition::Custom`](annals::WriteCondition::Custom) sees the opened event.
///
/// # Errors
/// - [`Error::Invalid`] of an append: a value is about somebody [forgotten](IsForgotten); is sealed already, misspelt or
///   inside another one; or is in a payload that is not JSON.
/// - [`Error::Corrupt`] of a read: a sealed value was changed or moved. [`Error::Backend`]: the key store never had its key.
/// - Those of the key store. Nothing was appended then.
#[derive(Debug, Clone)]
pub struct Shredding<A> {
    inner: A,
    keys: Arc<dyn SubjectKeys>,
    name: Arc<str>,
}

impl<A: StorageAdapter> Shredding<A> {
    /// Seals personal values under `keys`, and stores events in `inner`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if `inner` does not keep payloads and metadata byte for byte.
    pub fn new(inner: A, keys: Arc<dyn SubjectKeys>) -> Result<Self> {
        if !inner.capabilities().exact_payload_bytes {
            let what = "personal values: it changes the bytes of events";
            return Err(Error::unsupported(inner.name(), what));
        }
        let name = format!("shredding({})", inner.name()).into();
        Ok(Self { inner, keys, name })
    }

    /// The adapter inside.
    pub const fn inner(&self) -> &A {
        &self.inner
    }

    /// The keys of the subjects of these writes.
    async fn sealers(&self, writes: &[Append]) -> Result<Sealers> {
        let mut subjects = BTreeSet::new();
        for event in writes.iter().flat_map(|write| &write.events) {
            subjects.extend(seal::subjects(event)?);
        }
        let mut sealers = HashMap::with_capacity(subjects.len());
        for subject in subjects {
            let (id, key) = self.keys.current(&subject).await.map_err(of_append)?;
            sealers.insert(subject, (id, Cipher::new(&key)));
        }
        Ok(sealers)
    }

    /// Appends; a predicate reads events with the keys of `known`, and puts those that it lacks into `missing`.
    async fn attempt(&self, writes: Vec<Append>, known: &Known) -> Result<Vec<StoredEvent>> {
        let (known, name) = (known.clone(), Arc::clone(&self.name));
        let decode = move |event: StoredEvent| {
            let mut known = known.0.lock().unwrap_or_else(PoisonError::into_inner);
            let lacks: Vec<_> = seal::needed(&event.event)
                .into_iter()
                .filter(|id| !known.openers.contains_key(id))
                .collect();
            if !lacks.is_empty() {
                known.missing.extend(lacks);
                return Err(Error::unavailable("the keys of the last event are not there yet"));
            }
            seal::open(&known.openers, event).map_err(|error| error.at(&name, "append"))
        };
        let mut predicates = Predicates::new(Arc::new(decode));
        let wrap = |write: Append| {
            Ok(Append::new(write.stream, write.events, predicates.wrap(write.condition)?))
        };
        let writes = writes.into_iter().map(wrap).collect::<Result<_>>()?;
        self.inner.append(writes).await.map_err(|error| predicates.unwrap(error))
    }
}

/// What the predicates of a call know of keys, and which they lacked.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<Keys>>);

#[derive(Default)]
struct Keys {
    openers: Openers,
    missing: BTreeSet<DataKeyId>,
}

impl Known {
    /// The keys that a predicate lacked, which are asked for once.
    fn missing(&self) -> Vec<DataKeyId> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut known.missing).into_iter().collect()
    }

    fn learn(&self, openers: Openers) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).openers.extend(openers);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Shredding<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        let less =
            |most: NonZeroU32| NonZeroU32::new(most.get() / GROWTH).unwrap_or(NonZeroU32::MIN);
        inner.with_max_payload_bytes(inner.max_payload_bytes.map(less))
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(&self.name, &writes)?;
        let given: Vec<_> = writes.iter().flat_map(|write| write.events.iter().cloned()).collect();
        let sealers = self.sealers(&writes).await?;
        let seal = |write: Append| {
            let seal = |event| seal::seal(&sealers, &write.stream, event);
            let events = write.events.into_iter().map(seal).collect::<Result<Vec<_>>>()?;
            Ok(Append::new(write.stream, events, write.condition))
        };
        let sealed: Vec<Append> = writes.into_iter().map(seal).collect::<Result<_>>()?;
        let known = Known::default();
        for _ in 0..ATTEMPTS {
            let outcome = self.attempt(sealed.clone(), &known).await;
            let missing = known.missing();
            match outcome {
                // Nothing was appended, and a predicate could not say whether it holds.
                Err(Error::ConditionFailed(_) | Error::Unavailable(_)) if !missing.is_empty() => {
                    known.learn(find(&*self.keys, missing).await.map_err(of_append)?);
                }
                outcome => {
                    return outcome
                        .and_then(|stored| returned(stored, given))
                        .map_err(|error| error.at(&self.name, "append"));
                }
            }
        }
        let lost = "others append to the stream all the time";
        Err(Error::unavailable(lost).at(&self.name, "append"))
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let can = self.capabilities();
        if let Err(error) = can.check_read(&self.name, &query, &options) {
            return pages::fail(error);
        }
        let claims = Claims::new(can, &query, &options);
        let (keys, name) = (Arc::clone(&self.keys), Arc::clone(&self.name));
        let state = (Some(self.inner.read(query, options)), Rest::Next);
        stream::unfold(state, move |(pages, rest)| {
            let (keys, name) = (Arc::clone(&keys), Arc::clone(&name));
            async move {
                let mut pages = match rest {
                    Rest::Failed(error) => return Some((Err(error), (None, Rest::Next))),
                    Rest::Next | Rest::Part(_) => pages?,
                };
                let page = match pages.next().await? {
                    Ok(page) => page,
                    Err(error) => return Some((Err(error), (None, Rest::Next))),
                };
                let opened = openers(&*keys, &page).await.and_then(|openers| {
                    let open = |event| seal::open(&openers, event);
                    // Sealed values are longer than open ones: pages stay whole.
                    pages::changed(page, claims, usize::MAX, open)
                });
                match opened {
                    Ok((page, Rest::Failed(error))) => {
                        Some((Ok(page), (None, Rest::Failed(error.at(&name, "read")))))
                    }
                    Ok((page, rest)) => Some((Ok(page), (Some(pages), rest))),
                    Err(error) => Some((Err(error.at(&name, "read")), (None, Rest::Next))),
                }
            }
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// What is known of the keys that a page needs.
async fn openers(keys: &dyn SubjectKeys, page: &Page) -> Result<Openers> {
    let ids: BTreeSet<_> = page.events.iter().flat_map(|it| seal::needed(&it.event)).collect();
    if ids.is_empty() {
        return Ok(Openers::new());
    }
    find(keys, ids.into_iter().collect()).await
}

async fn find(keys: &dyn SubjectKeys, ids: Vec<DataKeyId>) -> Result<Openers> {
    let found = keys.find(&ids).await?;
    if found.len() != ids.len() {
        return Err(Error::backend("the key store returned other keys than were asked for"));
    }
    Ok(ids.into_iter().zip(found.into_iter().map(Into::into)).collect())
}
