//! How an adapter's author lets the suite open stores.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use annals::{BoxError, SequenceNumber, StorageAdapter, StreamId};
use async_trait::async_trait;

#[cfg(doc)]
use crate::NotRun;

/// A store under test.
pub type Store = Arc<dyn StorageAdapter>;

/// A store, or why there is none. [`NotRun`] as the error means that the environment lacks something, such as
/// the address of a server: checks are then reported as not run instead of failed.
pub type Opened = Result<Store, BoxError>;

/// Lets the suite open stores. Only [`open`](Self::open) is required; each hook unlocks checks of its own, which
/// are otherwise reported as not run.
///
/// Every check works in a random namespace of its own, never assumes an empty store and never empties one. A
/// namespace is made of ASCII letters and digits, so it can name a schema, a file or a prefix; or it can be
/// ignored, because all names that a check uses begin with it.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// Opens the store of a namespace, made if need be. A second call for the same namespace returns another handle
    /// to the same data; where `durable` or `shared` is declared, from another process as well.
    async fn open(&self, namespace: &str) -> Opened;

    /// Opens the store of a namespace for a check that closes it. Closing it must close no other store: where
    /// [`open`](Self::open) returns handles to one adapter, this makes an adapter of its own.
    async fn open_to_close(&self, namespace: &str) -> Opened {
        self.open(namespace).await
    }

    /// The hooks that this harness offers.
    fn hooks(&self) -> &[Hook] {
        &[]
    }

    /// Opens the store of a namespace in a special way. Asked only for what [`hooks`](Self::hooks) names.
    async fn open_as(&self, namespace: &str, variant: Variant) -> Opened {
        let _ = namespace;
        Err(format!("the harness offers no {variant:?}").into())
    }

    /// Opens the store of a namespace with a gate in its appends; for [`Hook::Gate`].
    async fn open_gated(&self, namespace: &str) -> Result<(Store, Arc<dyn Gate>), BoxError> {
        let _ = namespace;
        Err("the harness offers no gate".into())
    }

    /// Disturbs the store of a namespace for as long as the value returned lives; for [`Hook::Disturb`].
    async fn disturb(
        &self,
        namespace: &str,
        disturbance: Disturbance,
    ) -> Result<Box<dyn Any + Send>, BoxError> {
        let _ = namespace;
        Err(format!("the harness offers no {disturbance:?}").into())
    }

    /// Keeps what the store of a namespace holds now, in place of what was kept of it before; for [`Hook::TakeBack`].
    async fn remember(&self, namespace: &str) -> Result<(), BoxError> {
        let _ = namespace;
        Err("the harness remembers no store".into())
    }

    /// Takes the store of a namespace back to what was [remembered](Self::remember), under the handles that are open
    /// and without their help, as a restore or a fail-over does; for [`Hook::TakeBack`].
    async fn take_back(&self, namespace: &str) -> Result<(), BoxError> {
        let _ = namespace;
        Err("the harness takes no store back".into())
    }

    /// Holds what an append to `stream` needs, as an append of another program does that does not end, until the value
    /// returned is dropped; for [`Hook::HoldScope`]. Whether that append is made then is of no matter.
    async fn hold_scope(
        &self,
        namespace: &str,
        stream: &StreamId,
    ) -> Result<Box<dyn Any + Send>, BoxError> {
        let _ = (namespace, stream);
        Err("the harness holds no scope".into())
    }

    /// Every file that the store of a namespace may consist of, whether it is there or not; for [`Hook::Files`].
    async fn files(&self, namespace: &str) -> Result<Vec<PathBuf>, BoxError> {
        let _ = namespace;
        Err("the harness names no files".into())
    }

    /// The address of the server behind the store; for [`Hook::Proxy`].
    async fn server(&self) -> Result<SocketAddr, BoxError> {
        Err("the harness names no server".into())
    }

    /// Variables of the environment that a child process of the same test binary needs to reach the same data, such as
    /// the address of a server that this harness has started.
    fn environment(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// What the store of a namespace uses now, such as connections and open transactions; for [`Hook::Usage`].
    /// After a check every count must be back at or below what it was before.
    async fn usage(&self, namespace: &str) -> Result<BTreeMap<String, u64>, BoxError> {
        let _ = namespace;
        Err("the harness tells no usage".into())
    }
}

/// A special way to open a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variant {
    /// Reads pages of at most so many events; for [`Hook::PageSize`].
    PageSize(NonZeroUsize),
    /// An empty store whose next event gets the sequence number after this one; for [`Hook::StartAfter`].
    StartAfter(SequenceNumber),
    /// With a single connection for everything; for [`Hook::PoolOfOne`].
    PoolOfOne,
    /// On a server that no other namespace uses, where the harness shares one; for [`Disturbance::RestartServer`] and
    /// [`Disturbance::KillServer`].
    OwnServer,
    /// Connected through this address instead of the server's own; for [`Hook::Proxy`].
    Via(SocketAddr),
}

/// Something that a harness can do beside opening a store.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[non_exhaustive]
pub enum Hook {
    /// [`Variant::PageSize`].
    PageSize,
    /// [`Variant::StartAfter`].
    StartAfter,
    /// [`Variant::PoolOfOne`].
    PoolOfOne,
    /// [`Harness::server`] and [`Variant::Via`].
    Proxy,
    /// [`Harness::open_gated`].
    Gate,
    /// [`Harness::disturb`] with this disturbance.
    Disturb(Disturbance),
    /// [`Harness::remember`] and [`Harness::take_back`], where no other namespace uses the same store.
    TakeBack,
    /// [`Harness::hold_scope`]: appends to a category or stream that is held keep up no others. Not for an order of the
    /// log, and not for an adapter that has one lock for all.
    HoldScope,
    /// [`Harness::files`]: the processes that use the store write these files themselves, and make them durable by
    /// `fsync` or `fdatasync` alone. What they did not make durable is then taken away, as a loss of power does.
    Files,
    /// [`Harness::usage`].
    Usage,
    /// `open` reaches the same data from a child process that runs the same test binary, although neither
    /// `durable` nor `shared` is declared.
    Processes,
}

/// Something that happens to a store from outside.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[non_exhaustive]
pub enum Disturbance {
    /// All connections are cut, once.
    CutConnections,
    /// The server is stopped in order and started again.
    RestartServer,
    /// The server is killed (`kill -9`) and started again.
    KillServer,
    /// Somebody holds the lock that appends need.
    HoldLock,
}

/// A point inside an append at which a test can hold it.
#[async_trait]
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// Lets the next append stop after it has done everything but commit: numbers are taken, nothing is visible.
    fn arm(&self);

    /// Resolves when an append waits at the gate.
    async fn held(&self);

    /// Lets the held append go on.
    fn release(&self);

    /// For the adapter: called where an append is just before its commit. Returns at once unless armed.
    async fn pass(&self);
}
