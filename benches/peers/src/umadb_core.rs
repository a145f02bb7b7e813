//! The engine of `UmaDB` without its server: its writer thread, and its reads.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use annals::BoxError;
use annals_benches::contestant::{About, Appended, Contestant, Missing, Store};
use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_core::writer_thread_blocking::writer_thread_blocking;
use umadb_core::writer_thread_request::WriterThreadRequest;
use umadb_dcb::{DcbEventStoreSync, DcbQuery, DcbResult};

use crate::umadb::{appended, condition, events, of};
use crate::version;

/// The engine with a file in this folder, and the default options.
pub(crate) struct UmaDbCore(pub(crate) PathBuf);

/// Requests that wait for the writer, events that it commits at once, and events of a page: all as in its server.
const WAITING: usize = 1_024;
const BATCH: usize = 2_048;
const PAGE: u32 = 1_024;

#[async_trait]
impl Contestant for UmaDbCore {
    fn about(&self) -> About {
        About {
            peer: "umadb-core",
            version: version::of("umadb-core"),
            backend: "umadb",
            promises: "a file format of its own, one writer that commits many appends at once; one order, \
                       no reader skips, conditions are queries, a repeated append is found by ids",
        }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let folder = TempDir::new_in(&self.0)?;
        let options = StorageOptions::default().db_path(folder.path());
        let files = Arc::new(Mvcc::new(false, options)?);
        let (writer, requests) = mpsc::channel(WAITING);
        let (head, _) = watch::channel(None);
        let written = Arc::clone(&files);
        thread::spawn(move || writer_thread_blocking(written, requests, head, BATCH));
        Ok(Arc::new(Events { files, writer, _folder: folder }))
    }
}

struct Events {
    files: Arc<Mvcc>,
    writer: mpsc::Sender<WriterThreadRequest>,
    _folder: TempDir,
}

impl Events {
    /// How many events a query finds, and the position of the last.
    fn count(&self, query: Option<&DcbQuery>) -> DcbResult<(u64, Option<u64>)> {
        let engine = UmaDb::from_arc(Arc::clone(&self.files));
        let (mut count, mut last) = (0, None);
        loop {
            let after = last.map(|last: u64| last + 1);
            let page = engine.read(query.cloned(), after, false, Some(PAGE))?;
            let mut read = 0;
            for event in page {
                last = Some(std::hint::black_box(event?).position);
                read += 1;
            }
            count += u64::from(read);
            if read < PAGE {
                return Ok((count, last));
            }
        }
    }

    /// The same from an async task: it reads files.
    fn counted(&self, query: Option<&DcbQuery>) -> Result<(u64, Option<u64>), Missing> {
        Ok(tokio::task::block_in_place(|| self.count(query))?)
    }
}

#[async_trait]
impl Store for Events {
    async fn append(
        &self,
        stream: &str,
        last: Option<u64>,
        count: usize,
    ) -> Result<Appended, Missing> {
        let (response_tx, response) = oneshot::channel();
        let request = WriterThreadRequest::Append {
            events: events(stream, count),
            condition: Some(condition(stream, last)),
            tracking_info: None,
            response_tx,
            cancel: None,
        };
        self.writer.send(request).await?;
        appended(response.await?)
    }

    async fn scan(&self) -> Result<u64, Missing> {
        Ok(self.counted(None)?.0)
    }

    async fn read(&self, stream: &str) -> Result<u64, Missing> {
        Ok(self.counted(Some(&of(stream)))?.0)
    }

    async fn last(&self, stream: &str) -> Result<Option<u64>, Missing> {
        Ok(self.counted(Some(&of(stream)))?.1)
    }

    async fn close(&self) {
        // The thread ends by it, or has ended before.
        drop(self.writer.send(WriterThreadRequest::Shutdown).await);
    }
}
