//! The proxy, in front of a server that echoes.

use std::net::SocketAddr;
use std::time::Duration;

use annals_testkit::{Proxy, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    addr
}

/// Sends a byte; whether it came back.
async fn ping(socket: &mut TcpStream) -> bool {
    let mut answer = [0];
    socket.write_all(b"x").await.is_ok() && socket.read_exact(&mut answer).await.is_ok()
}

#[tokio::test]
async fn cuts_after_so_many_packets_of_a_side_and_heals() {
    for side in [Side::Client, Side::Server] {
        let proxy = Proxy::start(echo().await).await.expect("a proxy");
        let mut socket = TcpStream::connect(proxy.addr()).await.expect("a connection");
        assert!(ping(&mut socket).await);
        proxy.cut_after(side, 2);
        assert!(ping(&mut socket).await);
        assert!(ping(&mut socket).await);
        assert!(!ping(&mut socket).await, "{side:?}: the third passes");
        let refused = match TcpStream::connect(proxy.addr()).await {
            Ok(mut other) => !ping(&mut other).await,
            Err(_) => true,
        };
        assert!(refused, "{side:?}: a new connection works while it is down");
        assert!(proxy.heal());
        assert!(!proxy.heal());
        let mut socket = TcpStream::connect(proxy.addr()).await.expect("a connection");
        assert!(ping(&mut socket).await);
    }
}

#[tokio::test]
async fn a_cut_ends_idle_connections_and_is_waited_for() {
    let proxy = Proxy::start(echo().await).await.expect("a proxy");
    let connect = || TcpStream::connect(proxy.addr());
    let (mut idle, mut used) = (connect().await.expect("one"), connect().await.expect("another"));
    assert!(ping(&mut idle).await && ping(&mut used).await);
    proxy.cut_after(Side::Client, 0);
    let early = tokio::time::timeout(Duration::from_millis(50), proxy.until_cut()).await;
    assert!(early.is_err(), "nothing was cut yet");
    let (works, ()) = tokio::join!(ping(&mut used), proxy.until_cut());
    assert!(!works);
    assert!(matches!(idle.read(&mut [0]).await, Ok(0) | Err(_)), "it was idle, and is open");
    assert!(proxy.heal());
    assert!(ping(&mut connect().await.expect("a third")).await);
}

#[tokio::test]
async fn holds_packets_back_and_lets_them_go() {
    let proxy = Proxy::start(echo().await).await.expect("a proxy");
    let mut socket = TcpStream::connect(proxy.addr()).await.expect("a connection");
    assert!(ping(&mut socket).await);
    proxy.stall(true);
    let held = tokio::time::timeout(Duration::from_millis(100), ping(&mut socket)).await;
    assert!(held.is_err(), "a packet passed: {held:?}");
    proxy.stall(false);
    let mut answer = [0];
    socket.read_exact(&mut answer).await.expect("the answer that was held back");
}

#[tokio::test]
async fn dropped_it_ends_its_connections() {
    let proxy = Proxy::start(echo().await).await.expect("a proxy");
    let mut socket = TcpStream::connect(proxy.addr()).await.expect("a connection");
    assert!(ping(&mut socket).await);
    drop(proxy);
    assert!(!ping(&mut socket).await);
}
