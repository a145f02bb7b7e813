//! A TCP proxy in this process that loses connections on purpose.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Which side of a connection sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client, to the server.
    Client,
    /// The server, to the client.
    Server,
}

/// What the proxy does now.
#[derive(Debug, Clone, Copy, Default)]
struct Plan {
    /// After so many more packets of that side everything is cut.
    cut: Option<(bool, u64)>,
    /// Connections are cut, and new ones refused, until it is healed.
    down: bool,
    /// Packets are held back.
    stalled: bool,
}

/// A TCP proxy between an adapter and its server, for tests of lost connections.
///
/// A packet is what one read of the sending side returns, at most 16 KiB; nothing more is buffered. Dropped, it
/// ends with all its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    /// Signals connections that the plan has changed.
    changed: watch::Sender<u64>,
}

impl Proxy {
    /// Listens on a free port of this machine, and passes connections on to `server`.
    ///
    /// # Errors
    /// When it cannot listen.
    ///
    /// # Cancel safety
    /// Dropped before it is done, nothing listens.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (changed, receiver) = watch::channel(0);
        let plan = Arc::new(Mutex::new(Plan::default()));
        let shared = Shared { plan: Arc::clone(&plan), changes: receiver };
        tokio::spawn(accept(listener, server, shared));
        Ok(Self { addr, plan, changed })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets so many more packets of `side` pass, over all connections, and then cuts everything until
    /// [`heal`](Self::heal).
    pub fn cut_after(&self, side: Side, packets: u64) {
        self.change(|plan| plan.cut = Some((side == Side::Client, packets)));
    }

    /// Holds all packets back, or lets them go on.
    pub fn stall(&self, stalled: bool) {
        self.change(|plan| plan.stalled = stalled);
    }

    /// Lets everything pass again; returns whether connections were cut.
    #[must_use]
    pub fn heal(&self) -> bool {
        self.change(|plan| std::mem::take(plan).down)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        let outcome = change(&mut lock(&self.plan));
        self.changed.send_modify(|nth| *nth += 1);
        outcome
    }
}

#[derive(Clone)]
struct Shared {
    plan: Arc<Mutex<Plan>>,
    changes: watch::Receiver<u64>,
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts until the proxy is dropped.
async fn accept(listener: TcpListener, server: SocketAddr, shared: Shared) {
    let mut changes = shared.changes.clone();
    loop {
        tokio::select! {
            ended = changes.changed() => if ended.is_err() { return },
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if !lock(&shared.plan).down {
                    tokio::spawn(connect(client, server, shared.clone()));
                }
            }
        }
    }
}

async fn connect(client: TcpStream, server: SocketAddr, shared: Shared) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever direction ends first ends the connection.
    tokio::select! {
        () = pass(from_client, to_server, true, shared.clone()) => {}
        () = pass(from_server, to_client, false, shared) => {}
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    is_client: bool,
    mut shared: Shared,
) {
    let mut packet = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = until(&mut shared, |plan| plan.down) => return,
            read = from.read(&mut packet) => read,
        };
        let Ok(length @ 1..) = read else { return };
        until(&mut shared, |plan| !plan.stalled || plan.down).await;
        if !may_pass(&shared, is_client) {
            return;
        }
        let Some(bytes) = packet.get(..length) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Counts a packet; false when it is cut off.
fn may_pass(shared: &Shared, is_client: bool) -> bool {
    let mut plan = lock(&shared.plan);
    match &mut plan.cut {
        Some((side, left)) if *side == is_client && *left == 0 => plan.down = true,
        Some((side, left)) if *side == is_client => *left -= 1,
        _ => {}
    }
    !plan.down
}

/// Waits for a plan that is `wanted`; for ever, or as long as the proxy lives.
async fn until(shared: &mut Shared, wanted: impl Fn(&Plan) -> bool) {
    loop {
        let is_wanted = wanted(&lock(&shared.plan));
        if is_wanted || shared.changes.changed().await.is_err() {
            return;
        }
    }
}
