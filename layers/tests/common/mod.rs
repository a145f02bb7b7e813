//! The conformance suite over a layer: any harness, with its stores wrapped.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test takes some of it, and fails if it panics"
)]

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals::{BoxError, SequenceNumber, StreamId};
use annals_layers::{
    Backoff, Chained, Clear, Codec, Compression, Encoded, Key, KeyId, KeyRing, Retrying, Traced,
};
use annals_memory::MemoryAdapter;
use annals_testkit::{Disturbance, Gate, Harness, Hook, Opened, Store, Variant, async_trait};
use futures_util::FutureExt;

/// What a database under layers is asked that a store in memory is not.
pub(crate) const OF_DATABASES: &[&str] = &[
    "cap.",
    "close.",
    "cond.custom",
    "dur.",
    "fault.",
    "follow.",
    "history.",
    "lin.",
    "meta.",
    "model.",
    "payload.",
    "proc.",
    "r2.two_handles",
    "rt.",
];

/// The stores of a harness, each inside a layer. The layer is made with the last number of what the harness itself puts
/// into a store, without the layer.
pub(crate) struct Layered<H, W> {
    inner: H,
    wrap: W,
    bare: Mutex<HashMap<String, SequenceNumber>>,
    /// A further variable for child processes.
    variable: Option<(String, String)>,
}

impl<H: Harness, W: Fn(Store, SequenceNumber) -> Opened> Layered<H, W> {
    pub(crate) fn new(inner: H, wrap: W) -> Self {
        Self { inner, wrap, bare: Mutex::default(), variable: None }
    }

    /// Sets this variable for child processes.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variable = Some((name.to_owned(), value.to_owned()));
        self
    }

    fn layer(&self, namespace: &str, store: Store) -> Opened {
        let bare = self.bare.lock().unwrap_or_else(PoisonError::into_inner);
        (self.wrap)(store, bare.get(namespace).copied().unwrap_or_default())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods, reason = "a hook that is not passed on is missing inside")]
impl<H, W> Harness for Layered<H, W>
where
    H: Harness,
    W: Fn(Store, SequenceNumber) -> Opened + Send + Sync + 'static,
{
    async fn open(&self, namespace: &str) -> Opened {
        self.layer(namespace, self.inner.open(namespace).await?)
    }

    async fn open_to_close(&self, namespace: &str) -> Opened {
        self.layer(namespace, self.inner.open_to_close(namespace).await?)
    }

    fn hooks(&self) -> &[Hook] {
        self.inner.hooks()
    }

    async fn open_as(&self, namespace: &str, variant: Variant) -> Opened {
        if let Variant::StartAfter(last) = variant {
            let mut bare = self.bare.lock().unwrap_or_else(PoisonError::into_inner);
            bare.insert(namespace.to_owned(), last);
        }
        self.layer(namespace, self.inner.open_as(namespace, variant).await?)
    }

    async fn open_gated(&self, namespace: &str) -> Result<(Store, Arc<dyn Gate>), BoxError> {
        let (store, gate) = self.inner.open_gated(namespace).await?;
        Ok((self.layer(namespace, store)?, gate))
    }

    async fn disturb(
        &self,
        namespace: &str,
        disturbance: Disturbance,
    ) -> Result<Box<dyn Any + Send>, BoxError> {
        self.inner.disturb(namespace, disturbance).await
    }

    async fn remember(&self, namespace: &str) -> Result<(), BoxError> {
        self.inner.remember(namespace).await
    }

    async fn take_back(&self, namespace: &str) -> Result<(), BoxError> {
        self.inner.take_back(namespace).await
    }

    async fn hold_scope(
        &self,
        namespace: &str,
        stream: &StreamId,
    ) -> Result<Box<dyn Any + Send>, BoxError> {
        self.inner.hold_scope(namespace, stream).await
    }

    async fn files(&self, namespace: &str) -> Result<Vec<PathBuf>, BoxError> {
        self.inner.files(namespace).await
    }

    async fn server(&self) -> Result<SocketAddr, BoxError> {
        self.inner.server().await
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.inner.environment().into_iter().chain(self.variable.clone()).collect()
    }

    async fn usage(&self, namespace: &str) -> Result<BTreeMap<String, u64>, BoxError> {
        self.inner.usage(namespace).await
    }
}

/// Stores in memory, one for each namespace: a check that reads the whole log decodes its own events only.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<String, MemoryAdapter>>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn get(&self, namespace: &str) -> MemoryAdapter {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.entry(namespace.to_owned()).or_default().clone()
    }
}

#[async_trait]
impl Harness for Memory {
    async fn open(&self, namespace: &str) -> Opened {
        Ok(Arc::new(self.get(namespace)))
    }

    async fn open_to_close(&self, _namespace: &str) -> Opened {
        Ok(Arc::new(MemoryAdapter::new()))
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::PageSize, Hook::StartAfter]
    }

    async fn open_as(&self, namespace: &str, variant: Variant) -> Opened {
        match variant {
            Variant::PageSize(events) => Ok(Arc::new(self.get(namespace).with_page_size(events))),
            Variant::StartAfter(last) => Ok(Arc::new(MemoryAdapter::starting_after(last))),
            other => Err(format!("no {other:?} in memory").into()),
        }
    }
}

/// A key that every process of a test has.
pub(crate) fn key() -> Key {
    Key::from_bytes(&std::array::from_fn(|nth| u8::try_from(nth * 7).unwrap()))
}

pub(crate) fn ring() -> KeyRing {
    KeyRing::new(KeyId(7), &key())
}

/// zstd and AES-256-GCM-SIV. The bound on payloads is small enough for the suite to reach it.
pub(crate) fn sealed() -> Codec {
    compressed(Compression::Zstd(3)).with_keys(ring())
}

pub(crate) fn compressed(compression: Compression) -> Codec {
    let most = NonZeroU32::new(1 << 20).unwrap();
    Codec::new().with_compression(compression).with_max_payload(most)
}

pub(crate) fn encoded(store: Store, codec: Codec) -> Opened {
    Ok(Arc::new(Encoded::new(store, codec)?))
}

/// Calls again twice after what passes, without a wait that a check would notice.
pub(crate) fn retrying(store: Store) -> Opened {
    let sleep = |time: Duration| tokio::time::sleep(time).boxed();
    let waits = Backoff::new(NonZeroU32::new(3).unwrap());
    let waits = waits.with_waits(Duration::from_millis(1), Duration::from_millis(4));
    Ok(Arc::new(Retrying::new(store, sleep, waits)?))
}

pub(crate) fn traced(store: Store) -> Store {
    Arc::new(Traced::new(store))
}

#[cfg(feature = "shredding")]
pub(crate) fn shredding(store: Store) -> Opened {
    use annals_layers::{Shredding, StoredKeys};
    let keys = StoredKeys::new(Arc::new(annals_memory::MemoryState::new()), ring());
    Ok(Arc::new(Shredding::new(store, Arc::new(keys))?))
}

/// All layers in their order: chained directly around the store, then sealed, and so on outwards.
#[cfg(feature = "shredding")]
pub(crate) fn stack(store: Store, bare: SequenceNumber) -> Opened {
    let chained = Chained::new(store)?.with_chained_after(bare);
    let sealed = encoded(Arc::new(chained), sealed().with_clear(Clear::Until(bare)))?;
    retrying(traced(shredding(sealed)?))
}

/// What the stack is called around the store of this name.
pub(crate) fn stack_of(name: &str) -> String {
    format!("retrying(traced(shredding(zstd+aes(chained({name})))))")
}
