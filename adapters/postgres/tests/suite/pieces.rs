//! Answers of the server that come in pieces: two batches on their way on one connection never wait for each other.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{fresh, open, options, server};
use annals::{EventStore, NewEvent, StreamId, WriteCondition};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The least message of the protocol has so many bytes.
const PIECE: usize = 5;

/// Forwards to `to`, and what comes back in pieces, so that the client reads nearly every message alone.
async fn in_pieces(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = TcpStream::connect(to).await.unwrap();
                client.set_nodelay(true).unwrap();
                let (mut asks, mut hears) = client.into_split();
                let (mut answers, mut takes) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut asks, &mut takes).await });
                let mut bytes = vec![0; 16 << 10];
                while let Ok(count @ 1..) = answers.read(&mut bytes).await {
                    for piece in bytes.iter().take(count).copied().collect::<Vec<_>>().chunks(PIECE)
                    {
                        if hears.write_all(piece).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_micros(1)).await;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_judged_does_not_hold_up_the_one_ahead_of_it() {
    let Some(url) = server().await else { return };
    let to = url.split('@').next_back().unwrap().split('/').next().unwrap();
    let to = tokio::net::lookup_host(to).await.unwrap().next().unwrap();
    let through = url.replace(&to.to_string(), &in_pieces(to).await.to_string());
    assert_ne!(through, url);
    let store = EventStore::new(open(options(&through, &fresh()).unwrap()).await);
    // All at once: enough for two batches, and streams that nobody remembers, so that each batch looks them up.
    for round in 0..4 {
        let appends = (0..200).map(|nth| {
            let stream = StreamId::new("orders", format!("o-{round}-{nth}")).unwrap();
            let stream = store.stream(stream);
            async move {
                let event = NewEvent::json("placed", &nth).unwrap();
                stream.append([event], WriteCondition::StreamIsEmpty).await
            }
        });
        let appended = tokio::time::timeout(Duration::from_secs(60), join_all(appends)).await;
        for made in appended.expect("two batches wait for each other") {
            made.unwrap();
        }
    }
}
