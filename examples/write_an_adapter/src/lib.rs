//! An event store in a plain append-only file: the adapter that the guide `docs/write-an-adapter.md` writes.
//!
//! Small on purpose, and real: appends are atomic and on disk before they are acknowledged, a torn end of the file
//! heals itself, and several processes may use one file at once. It needs a tokio runtime with time enabled.
//!
//! ```
//! # use annals::*;
//! # use annals_file::FileAdapter;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("orders.log");
//! let store = EventStore::new(FileAdapter::open(&path)?);
//! let placed = NewEvent::json("order-placed", &serde_json::json!({ "total": 12 }))?;
//! let order = StreamId::new("orders", "o-1")?;
//! store.stream(order.clone()).append([placed], WriteCondition::StreamIsEmpty).await?;
//!
//! let again = EventStore::new(FileAdapter::open(&path)?);
//! assert_eq!(again.stream(order).latest().await?.unwrap().event.name.as_str(), "order-placed");
//! # Ok(())
//! # }
//! ```

mod index;
mod log;
mod record;

use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::adapter::{Bell, Wake, async_trait, follow};
use annals::{
    Append, Capabilities, Clock, Error, EventPages, KnownIds, Order, Query, ReadOptions, Result,
    StorageAdapter, StoredEvent, SystemClock,
};
use futures_util::{StreamExt, stream};
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use crate::log::{Log, Scan};

const NAME: &str = "file";

/// How long a call waits for its turn, before it is `Unavailable`.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a call asks whether another handle is done; a lock of a file wakes nobody when it is free.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// How often a follow looks for what other handles appended; nobody rings for those.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An event store in a file. Clones are handles to the same store, and so is a second `open` of the same path.
#[derive(Debug, Clone)]
pub struct FileAdapter {
    /// `None` once it is closed.
    log: Arc<Mutex<Option<Log>>>,
    is_closed: Arc<AtomicBool>,
    bell: Bell,
}

impl FileAdapter {
    /// Opens the store at `path`, made if need be. What is in it is read by the first call that needs it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let log = Arc::new(Mutex::new(Some(Log::open(path.as_ref())?)));
        Ok(Self { log, is_closed: Arc::default(), bell: Bell::default() })
    }

    /// Runs `work` on the log as it is now, alone among all handles of all processes.
    ///
    /// Dropped before its turn, nothing happened; after that, `work` runs to its end all the same.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = tokio::time::timeout(PATIENCE, self.turn()).await;
        let mut turn = turn.map_err(Error::unavailable)??;
        let done = tokio::task::spawn_blocking(move || {
            turn.catch_up()?;
            work(&mut turn)
        });
        match done.await {
            Ok(outcome) => outcome,
            Err(ended) => match ended.try_into_panic() {
                // A predicate of the caller's panicked, before anything was written.
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ended before the work began.
                Err(ended) => Err(Error::unavailable(ended)),
            },
        }
    }

    fn follow(&self, query: Query, options: ReadOptions) -> EventPages {
        let adapter = self.clone();
        let (bell, rung_for) = (self.bell.clone(), query.clone());
        let read = move |query, options| adapter.read(query, options);
        follow(query, options, read, move || {
            let ring = bell.register(&rung_for);
            async move {
                let _ = tokio::time::timeout(LOOK_EVERY, ring).await;
                // A file that went back is noticed by the read itself.
                Ok(Wake::Changed)
            }
        })
    }

    async fn turn(&self) -> Result<Turn> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(Error::closed(NAME));
        }
        let log = Arc::clone(&self.log).lock_owned().await;
        let open = OwnedMutexGuard::try_map(log, Option::as_mut);
        let log = open.map_err(|_| Error::closed(NAME))?;
        while !log.try_lock()? {
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(Turn(log))
    }
}

/// The log while nobody else may use it.
struct Turn(OwnedMappedMutexGuard<Option<Log>, Log>);

impl Deref for Turn {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.0
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Log {
        &mut self.0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

#[async_trait]
impl StorageAdapter for FileAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
            .with_durable(true)
            .with_shared(true)
            .with_contiguous_sequence(true)
            .with_multi_stream_append(true)
            .with_query_conditions(true)
            .with_custom_conditions(true)
            .with_tags(true)
            .with_exact_payload_bytes(true)
            .with_known_ids(KnownIds::Forever)
            .with_order(Order::Log)
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(NAME, &writes)?;
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let appended = self.alone(move |log| log.append(writes, SystemClock.now())).await;
        let stored = appended.map_err(|error| error.at(NAME, "append"))?;
        self.bell.ring(stored.iter().map(|event| &event.stream));
        Ok(stored)
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        if let Err(error) = self.capabilities().check_read(NAME, &query, &options) {
            return stream::iter([Err(error)]).boxed();
        }
        if options.follow {
            return self.follow(query, options);
        }
        let state = (self.clone(), Some(Scan::new(query, options)));
        stream::try_unfold(state, |(adapter, scan)| async move {
            let Some(scan) = scan else { return Ok(None) };
            let page = adapter.alone(move |log| log.page(scan)).await;
            let (page, left) = page.map_err(|error| error.at(NAME, "read"))?;
            Ok(Some((page, (adapter, left))))
        })
        .boxed()
    }

    async fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.bell.ring_all(annals::adapter::Wake::Changed);
        // Behind all that wait for their turn: these appends were taken.
        drop(self.log.lock().await.take());
    }
}
