//! `UmaDB`: its server as a process of its own, and its client.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use annals::BoxError;
use annals_benches::contestant::{About, Appended, Contestant, Missing, Store};
use annals_benches::sample::{self, PAYLOAD};
use async_trait::async_trait;
use tempfile::TempDir;
use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{
    DcbAppendCondition, DcbError, DcbEvent, DcbEventStoreAsync, DcbQuery, DcbQueryItem,
};
use uuid::Uuid;

use crate::version;

/// The first argument by which this program becomes the server.
pub(crate) const SERVER: &str = "umadb-server";

/// Is the server, as its own program is with these arguments, until the process that started it ends.
pub(crate) fn serve(arguments: impl Iterator<Item = String>) -> ExitCode {
    std::thread::spawn(|| {
        // The other end closes it when it ends, in whatever way.
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        std::process::exit(0);
    });
    let arguments = std::iter::once("umadb".to_owned()).chain(arguments);
    let served = umadb::parse_cli_options(arguments).and_then(umadb::start_server_with_cli_options);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the UmaDB server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `UmaDB` with its files in this folder, and the default options.
pub(crate) struct UmaDb(pub(crate) PathBuf);

#[async_trait]
impl Contestant for UmaDb {
    fn about(&self) -> About {
        About {
            peer: "umadb",
            version: version::of("umadb"),
            backend: "umadb",
            promises: "a server with files of its own, one writer that commits many appends at once; one order, \
                       no reader skips, conditions are queries, a repeated append is found by ids",
        }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let folder = TempDir::new_in(&self.0)?;
        // Free now, and so most likely a moment later.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let server = Command::new(std::env::current_exe()?)
            .arg(SERVER)
            .args(["--listen", &address.to_string(), "--db-path"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let server = Server(Mutex::new(server));
        // One connection, which serves many clients at once better than several do. It is tried for half a second.
        let client = UmaDbClient::new(format!("http://{address}")).connect_async().await?;
        Ok(Arc::new(Events { client, server, _folder: folder }))
    }
}

struct Server(Mutex<Child>);

impl Server {
    fn end(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It has ended before, at worst.
        drop(child.kill());
        drop(child.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

struct Events {
    client: AsyncUmaDbClient,
    server: Server,
    _folder: TempDir,
}

impl Events {
    /// How many events a query finds, and the position of the last.
    async fn count(&self, query: Option<DcbQuery>) -> Result<(u64, Option<u64>), Missing> {
        let mut events = self.client.read(query, None, false, None).await?;
        let (mut count, mut last) = (0, None);
        loop {
            let batch = events.next_batch().await?;
            let Some(event) = batch.last() else { return Ok((count, last)) };
            last = Some(event.position);
            count += batch.len() as u64;
            std::hint::black_box(batch);
        }
    }
}

/// The events of a stream are those with its name as a tag.
pub(crate) fn of(stream: &str) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().types([sample::NAME.as_str()]).tags([stream]))
}

/// Events for an append to this stream.
pub(crate) fn events(stream: &str, count: usize) -> Vec<DcbEvent> {
    let event = || {
        DcbEvent::new()
            .event_type(sample::NAME.as_str())
            .tags([stream])
            .data(PAYLOAD)
            .uuid(Uuid::new_v4())
    };
    (0..count).map(|_| event()).collect()
}

/// That the stream has no event after this one.
pub(crate) fn condition(stream: &str, last: Option<u64>) -> DcbAppendCondition {
    DcbAppendCondition::new(of(stream)).after(last)
}

/// How an append ended, which returns the position of its last event.
pub(crate) fn appended(outcome: Result<u64, DcbError>) -> Result<Appended, Missing> {
    match outcome {
        Ok(position) => Ok(Appended::Stored(position)),
        Err(DcbError::IntegrityError(_)) => Ok(Appended::Refused(None)),
        Err(error) => Err(error.into()),
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
        let (events, condition) = (events(stream, count), condition(stream, last));
        appended(self.client.append(events, Some(condition), None).await)
    }

    async fn scan(&self) -> Result<u64, Missing> {
        Ok(self.count(None).await?.0)
    }

    async fn read(&self, stream: &str) -> Result<u64, Missing> {
        Ok(self.count(Some(of(stream))).await?.0)
    }

    async fn last(&self, stream: &str) -> Result<Option<u64>, Missing> {
        Ok(self.count(Some(of(stream))).await?.1)
    }

    async fn close(&self) {
        self.server.end();
    }
}
