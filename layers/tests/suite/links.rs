//! The links of a chain: rules L12, L14 and L16, and what an aggregate's head is compared with.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

use std::num::NonZeroUsize;

use annals::{
    Append, Encoding, Error, NewEvent, Payload, Position, Query, ReadOptions, SequenceNumber,
    StorageAdapter, StreamId, WriteCondition,
};
use annals_layers::{ChainKey, Chained, Hash, Head, Link};
use annals_memory::MemoryAdapter;
use futures_util::{StreamExt, TryStreamExt};

const EARTH: StreamId = StreamId::from_static("worlds", "earth");
const MARS: StreamId = StreamId::from_static("worlds", "mars");

fn memory() -> MemoryAdapter {
    MemoryAdapter::new().with_page_size(NonZeroUsize::new(2).unwrap())
}

fn keyed(inner: MemoryAdapter) -> Chained<MemoryAdapter> {
    Chained::keyed(inner, ChainKey::from_bytes(&[4; 32])).unwrap()
}

async fn append(to: &dyn StorageAdapter, stream: StreamId, texts: &[&str]) -> Vec<NewEvent> {
    let mut appended = Vec::new();
    for text in texts {
        let event = NewEvent::json("said", text).unwrap();
        appended.push(event.clone());
        let write = Append::new(stream.clone(), [event], WriteCondition::Always);
        to.append(vec![write]).await.unwrap();
    }
    appended
}

async fn links(of: &Chained<MemoryAdapter>) -> Vec<Link> {
    let all: Vec<Vec<Link>> = of.links(&EARTH).try_collect().await.unwrap();
    assert!(all.iter().all(|links| !links.is_empty()));
    all.concat()
}

/// What each chain promises of the links of a stream of these events.
fn check(links: &[Link], events: &[NewEvent], head: Head) {
    assert_eq!(links.len(), events.len());
    assert_eq!(links[0].previous, Hash::GENESIS);
    for (nth, (link, event)) in links.iter().zip(events).enumerate() {
        assert_eq!((link.position, link.event), (Position::new(nth as u64), event.id));
        assert!(nth == 0 || link.previous == links[nth - 1].hash, "each follows the one before");
        assert!(links[..nth].iter().all(|other| other.hash != link.hash));
    }
    let last = links.last().unwrap();
    assert_eq!(Head { position: last.position, hash: last.hash }, head);
}

#[tokio::test]
async fn l14_each_link_follows_the_one_before_it_up_to_the_head() {
    let mut heads = Vec::new();
    for chain in [Chained::new(memory()).unwrap(), keyed(memory())] {
        assert!(chain.links(&EARTH).next().await.is_none(), "an empty stream has none");
        append(&chain, MARS, &["elsewhere"]).await;
        let events = append(&chain, EARTH, &["a", "b", "c", "d", "e"]).await;
        let head = chain.head(&EARTH).await.unwrap().unwrap();
        check(&links(&chain).await, &events, head);
        // Another handle of the same log finds the same.
        assert_eq!(chain.verify(&EARTH, Some(head)).await.unwrap().head, Some(head));
        heads.push(head.hash);
    }
    assert_ne!(heads[0], heads[1], "a keyed chain has other hashes");
}

#[tokio::test]
async fn l16_events_from_before_the_chain_have_links() {
    let store = memory();
    let mut events = append(&store, EARTH, &["a", "b", "c"]).await;
    let chain = Chained::new(store).unwrap().with_chained_after(SequenceNumber::new(3));
    let before = chain.head(&EARTH).await.unwrap().unwrap();
    check(&links(&chain).await, &events, before);
    events.extend(append(&chain, EARTH, &["d", "e"]).await);
    let after = links(&chain).await;
    assert_eq!(
        after[3].previous, before.hash,
        "the first link of the chain covers what was before"
    );
    check(&after, &events, chain.head(&EARTH).await.unwrap().unwrap());
}

#[tokio::test]
async fn l14_links_end_where_the_chain_is_broken() {
    let chain = Chained::new(memory()).unwrap();
    append(&chain, EARTH, &["a", "b", "c", "d", "e"]).await;
    let intact = links(&chain).await;
    let rows: Vec<_> =
        chain.inner().read(Query::all(), ReadOptions::default()).try_collect().await.unwrap();
    let rows: Vec<NewEvent> =
        rows.into_iter().flat_map(|page| page.events).map(|row| row.event.clone()).collect();
    for broken in 0..5 {
        let mut changed = rows.clone();
        let mut bytes = changed[broken].payload.as_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        changed[broken].payload = Payload::from_store(Encoding::from_static("annals-chain"), bytes);
        let store = memory();
        store.append(vec![Append::new(EARTH, changed, WriteCondition::Always)]).await.unwrap();
        let mut batches = Chained::new(store).unwrap().links(&EARTH);
        let mut found = Vec::new();
        let error = loop {
            match batches.next().await.unwrap() {
                Ok(links) => found.extend(links),
                Err(error) => break error,
            }
        };
        assert_eq!(found, intact[..broken], "those before it come first");
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
        assert!(batches.next().await.is_none(), "then it ends");
    }
}
