//! A TCP proxy in this process that loses connections on purpose.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

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
#[derive(Debug, Default)]
struct Plan {
    /// After so many more packets of that side everything is cut.
    cut: Option<(Side, u64)>,
    /// How often everything was cut: a connection lives as long as this stays.
    cuts: u64,
    /// New connections are refused until it is healed.
    down: bool,
    /// Packets are held back.
    stalled: bool,
    /// The proxy is gone.
    ended: bool,
}

/// A TCP proxy between an adapter and its server, for tests of lost connections.
///
/// A packet is what one read of the sending side returns, at most 16 KiB; nothing more is buffered. Dropped, it
/// ends with all its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    plan: Arc<watch::Sender<Plan>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.plan.send_modify(|plan| plan.ended = true);
    }
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
        let plan = Arc::new(watch::Sender::new(Plan::default()));
        tokio::spawn(accept(listener, server, Arc::clone(&plan)));
        Ok(Self { addr, plan })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets so many more packets of `side` pass, over all connections, and then cuts everything until
    /// [`heal`](Self::heal).
    pub fn cut_after(&self, side: Side, packets: u64) {
        self.plan.send_modify(|plan| plan.cut = Some((side, packets)));
    }

    /// Holds all packets back, or lets them go on.
    pub fn stall(&self, stalled: bool) {
        self.plan.send_modify(|plan| plan.stalled = stalled);
    }

    /// Waits until everything is cut.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn until_cut(&self) {
        until(&mut self.plan.subscribe(), |plan| plan.down).await;
    }

    /// Lets everything pass again; returns whether connections were cut.
    #[must_use]
    pub fn heal(&self) -> bool {
        let mut was_down = false;
        self.plan.send_modify(|plan| {
            was_down = plan.down;
            *plan = Plan { cuts: plan.cuts, ..Plan::default() };
        });
        was_down
    }
}

/// Accepts until the proxy is dropped.
async fn accept(listener: TcpListener, server: SocketAddr, plan: Arc<watch::Sender<Plan>>) {
    let mut changes = plan.subscribe();
    loop {
        tokio::select! {
            () = until(&mut changes, |plan| plan.ended) => return,
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (is_down, cuts) = {
                    let plan = plan.borrow();
                    (plan.down, plan.cuts)
                };
                if !is_down {
                    tokio::spawn(connect(client, server, Arc::clone(&plan), cuts));
                }
            }
        }
    }
}

/// A connection that was accepted after so many cuts; it lives until the next one.
async fn connect(client: TcpStream, server: SocketAddr, plan: Arc<watch::Sender<Plan>>, cuts: u64) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut changes = plan.subscribe();
    // Whichever direction ends first ends the connection.
    tokio::select! {
        biased;
        () = until(&mut changes, |plan| plan.cuts != cuts || plan.ended) => {}
        () = pass(from_client, to_server, Side::Client, &plan) => {}
        () = pass(from_server, to_client, Side::Server, &plan) => {}
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    side: Side,
    plan: &watch::Sender<Plan>,
) {
    let mut packet = vec![0; 16 * 1024];
    let mut changes = plan.subscribe();
    while let Ok(length @ 1..) = from.read(&mut packet).await {
        until(&mut changes, |plan| !plan.stalled).await;
        let Some(bytes) = packet.get(..length) else { return };
        if !may_pass(plan, side) || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Counts a packet; false when everything is cut.
fn may_pass(plan: &watch::Sender<Plan>, side: Side) -> bool {
    let mut may_pass = true;
    plan.send_if_modified(|plan| {
        let was_down = plan.down;
        match &mut plan.cut {
            Some((of, 0)) if *of == side => plan.down = true,
            Some((of, left)) if *of == side => *left -= 1,
            _ => {}
        }
        may_pass = !plan.down;
        let is_cut = plan.down && !was_down;
        plan.cuts += u64::from(is_cut);
        is_cut
    });
    may_pass
}

/// Waits for a plan that is `wanted`.
async fn until(changes: &mut watch::Receiver<Plan>, wanted: impl FnMut(&Plan) -> bool) {
    // It fails if all senders are gone, with the proxy and what it accepted: then nothing waits any more.
    let _ = changes.wait_for(wanted).await;
}
