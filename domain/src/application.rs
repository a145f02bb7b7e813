//! Applications: a name, a store that is chosen when the program runs, and what is done with it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use annals::{BoxError, Context, EventStore, StorageAdapter, StoredEvent, StreamId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::boundary::Boundary;
use crate::env::Env;
use crate::error::Result;
use crate::notifications::NotificationLog;
use crate::repository::Repository;
use crate::save::{Unsaved, save};
use crate::state::Aggregate;

/// The key that names the adapter.
pub const PERSISTENCE: &str = "PERSISTENCE";

type Open = Arc<dyn Fn(Env) -> BoxFuture<'static, Result<EventStore, BoxError>> + Send + Sync>;

/// The adapters that a program can open, by name. This crate knows none: each program registers those it is built with.
///
/// ```
/// use annals_domain::{Adapters, Application, Env};
/// use annals_memory::MemoryAdapter;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), annals::BoxError> {
/// let adapters = Adapters::default().with("memory", |_| async { Ok(MemoryAdapter::new()) });
/// let env = Env::process("Universe").with_default("PERSISTENCE", "memory");
/// let application = Application::open("Universe", &adapters, &env).await?;
/// assert_eq!(application.name(), "Universe");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Adapters(BTreeMap<String, Open>);

impl Adapters {
    /// Adds an adapter, or replaces it: `open` opens it as the environment says.
    #[must_use]
    pub fn with<A: StorageAdapter, F>(
        mut self,
        name: impl Into<String>,
        open: impl Fn(Env) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<A, BoxError>> + Send + 'static,
    {
        let open: Open =
            Arc::new(move |env| open(env).map(|opened| opened.map(EventStore::new)).boxed());
        self.0.insert(name.into(), open);
        self
    }

    /// Opens the adapter that the value of [`PERSISTENCE`] names.
    ///
    /// # Errors
    /// No name, a name that is not registered (the error lists those that are), or the error of the adapter.
    ///
    /// # Cancel safety
    /// That of the adapter's.
    pub async fn open(&self, env: &Env) -> Result<EventStore, BoxError> {
        let name = env.require(PERSISTENCE)?;
        let Some(open) = self.0.get(&name) else {
            let known: Vec<_> = self.0.keys().map(String::as_str).collect();
            return Err(format!("there is no adapter {name:?}, only {}", known.join(", ")).into());
        };
        open(env.clone()).await
    }
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A name, a store, and the context of what is appended. A clone costs a reference count.
#[derive(Debug, Clone)]
pub struct Application {
    name: Arc<str>,
    store: EventStore,
    context: Context,
}

impl Application {
    /// The application of this name on `store`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, store: EventStore) -> Self {
        Self { name: name.into(), store, context: Context::new() }
    }

    /// The same on the store that the environment names.
    ///
    /// # Errors
    /// As [`Adapters::open`].
    ///
    /// # Cancel safety
    /// As [`Adapters::open`].
    pub async fn open(
        name: impl Into<Arc<str>>,
        adapters: &Adapters,
        env: &Env,
    ) -> Result<Self, BoxError> {
        Ok(Self::new(name, adapters.open(env).await?))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its store.
    #[must_use]
    pub const fn store(&self) -> &EventStore {
        &self.store
    }

    /// The same application, whose events say what caused them. Repositories and boundaries that it makes inherit that.
    #[must_use]
    pub fn with(&self, context: Context) -> Self {
        Self { context, ..self.clone() }
    }

    /// The same application for the reaction to `event`: see [`Context::caused_by`].
    #[must_use]
    pub fn caused_by(&self, event: &StoredEvent) -> Self {
        self.with(Context::caused_by(event))
    }

    /// The aggregates of one type. Keep it if it has a cache: clones share the cache, two of these do not.
    #[must_use]
    pub fn repository<A: Aggregate>(&self) -> Repository<A> {
        Repository::new(self.store.clone()).with(self.context.clone())
    }

    /// Decisions over queries, whose events go to `stream`.
    #[must_use]
    pub fn boundary(&self, stream: StreamId) -> Boundary {
        Boundary::new(self.store.clone(), stream).with(self.context.clone())
    }

    /// Saves aggregates of any types in one append: see [`save`](crate::save()).
    ///
    /// # Errors
    /// As [`save`](crate::save()).
    ///
    /// # Cancel safety
    /// As [`save`](crate::save()).
    pub async fn save(&self, roots: &mut [&mut dyn Unsaved]) -> Result<Vec<StoredEvent>> {
        save(&self.store, &self.context, roots).await
    }

    /// The log in sections of this size.
    #[must_use]
    pub fn log(&self, size: NonZeroU64) -> NotificationLog {
        NotificationLog::new(self.store.clone(), size)
    }

    /// Closes the store.
    ///
    /// # Cancel safety
    /// If it is dropped, the store is closed all the same.
    pub async fn close(&self) {
        self.store.close().await;
    }
}
