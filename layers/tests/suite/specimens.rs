//! Layers with one fault each, and the checks that catch them. Each check passes over the layers of this crate and over a
//! toy layer without a fault, and fails over the toy with the fault that it is for.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::key;
use annals::adapter::async_trait;
use annals::{
    Append, Encoding, Error, EventPages, Metadata, NewEvent, Payload, Position, Predicate, Query,
    ReadOptions, Result, StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use annals_layers::{Chained, Codec, Encoded, Key, KeyId, KeyRing};
use annals_memory::MemoryAdapter;
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

const EARTH: StreamId = StreamId::from_static("worlds", "earth");
const MARS: StreamId = StreamId::from_static("worlds", "mars");

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// What is sealed is bound to nothing.
    ForgetsAssociatedData,
    /// Opens all events of a page with the key of the first.
    KeyOfAnotherEvent,
    /// Returns the bytes of a version that it does not know.
    UnknownVersion,
    /// Hands predicates what lies in the store.
    PredicateSeesCiphertext,
    LosesMetadata,
    /// One nonce for all events of a call.
    NonceTwice,
    /// Compares links inside a page only.
    ChainOfPageOnly,
    /// Appends behind the head that it remembers, under no condition.
    CachedHead,
}

const FRAME: Encoding = Encoding::from_static("annals-frame");

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Seals with a stream of hashes and a tag: a double, and no cipher. Frames begin as those of this crate do: version,
/// algorithm, id of the key, nonce.
#[derive(Debug, Clone)]
struct Toy {
    inner: MemoryAdapter,
    fault: Fault,
    keys: Arc<HashMap<u32, [u8; 4]>>,
    active: u32,
    nonce: Arc<AtomicU32>,
}

impl Toy {
    fn bound(&self, stream: &StreamId, event: &NewEvent) -> Vec<u8> {
        if self.fault == Fault::ForgetsAssociatedData {
            return Vec::new();
        }
        let id = event.id.as_uuid();
        let (stream, name) = (stream.name.as_str(), event.name.as_str());
        hash(&[stream.as_bytes(), name.as_bytes(), id.as_bytes()]).to_vec()
    }

    fn crypt(key: [u8; 4], nonce: &[u8], bytes: &[u8]) -> Vec<u8> {
        let block = |nth: usize| hash(&[&key, nonce, &(nth as u64).to_be_bytes()]);
        let byte = |(nth, byte): (usize, &u8)| byte ^ block(nth / 32)[nth % 32];
        bytes.iter().enumerate().map(byte).collect()
    }

    fn seal(&self, stream: &StreamId, mut event: NewEvent, nonce: u32) -> NewEvent {
        let mut frame = vec![1, 1];
        frame.extend(self.active.to_be_bytes());
        frame.extend(nonce.to_be_bytes().repeat(3));
        let metadata = event.metadata.take().filter(|_| self.fault != Fault::LosesMetadata);
        let metadata = metadata.map(|it| it.as_bytes().to_vec());
        let encoding = event.payload.encoding().as_str().to_owned();
        let plain = (encoding, metadata, event.payload.as_bytes().to_vec());
        let plain = serde_json::to_vec(&plain).unwrap();
        let key = self.keys[&self.active];
        let sealed = Self::crypt(key, &frame[6..18], &plain);
        let tag = hash(&[&key, &frame, &sealed, &self.bound(stream, &event)]);
        frame.extend(sealed);
        frame.extend(tag);
        event.payload = Payload::from_store(FRAME, frame);
        event
    }

    fn open(&self, key: u32, event: &StoredEvent) -> Result<StoredEvent> {
        let bytes = event.payload().as_bytes();
        if bytes[0] != 1 {
            return if self.fault == Fault::UnknownVersion {
                Ok(event.clone())
            } else {
                Err(Error::backend("an unknown version"))
            };
        }
        let (frame, rest) = bytes.split_at(18);
        let (sealed, tag) = rest.split_at(rest.len() - 32);
        let key = self.keys[&key];
        if tag != hash(&[&key, frame, sealed, &self.bound(&event.stream, &event.event)]) {
            return Err(Error::corrupt("forged"));
        }
        let plain = Self::crypt(key, &frame[6..18], sealed);
        let (encoding, metadata, payload): (String, Option<Vec<u8>>, Vec<u8>) =
            serde_json::from_slice(&plain).unwrap();
        let mut record = event.clone().into_record();
        record.event.payload = Payload::from_store(Encoding::new(encoding).unwrap(), payload);
        record.event.metadata = metadata.map(Metadata::from_store);
        Ok(record.into())
    }

    fn key_of(event: &StoredEvent) -> u32 {
        u32::from_be_bytes(event.payload().as_bytes()[2..6].try_into().unwrap())
    }
}

#[derive(Debug)]
struct Opened(Toy, Arc<dyn Predicate>);

impl Predicate for Opened {
    fn expectation(&self) -> String {
        self.1.expectation()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        let open = |last: &StoredEvent| self.0.open(Toy::key_of(last), last).unwrap();
        self.1.holds(last.map(open).as_ref())
    }
}

#[async_trait]
impl StorageAdapter for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn capabilities(&self) -> annals::Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        let mut sealed = Vec::new();
        let call = self.nonce.fetch_add(1, Ordering::SeqCst);
        for write in writes {
            let events = write.events.into_iter().map(|event| {
                let nonce = match self.fault {
                    Fault::NonceTwice => call,
                    _ => self.nonce.fetch_add(1, Ordering::SeqCst),
                };
                self.seal(&write.stream, event, nonce)
            });
            let events: Vec<_> = events.collect();
            let condition = write.condition.map_leaves(|leaf| match leaf {
                WriteCondition::Custom(own) if self.fault != Fault::PredicateSeesCiphertext => {
                    Ok(WriteCondition::Custom(Arc::new(Opened(self.clone(), own))))
                }
                leaf => Ok(leaf),
            })?;
            sealed.push(Append::new(write.stream, events, condition));
        }
        self.inner.append(sealed).await
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let this = self.clone();
        let open = move |page: annals::Page| {
            let first = page.events.first().map(Self::key_of);
            page.try_map(|event| {
                let own = Self::key_of(&event);
                let key = if this.fault == Fault::KeyOfAnotherEvent { first } else { Some(own) };
                this.open(key.unwrap_or(own), &event)
            })
        };
        self.inner.read(query, options).map(move |page| page.and_then(&open)).boxed()
    }

    async fn close(&self) {}
}

/// Something that seals in `memory` under the key of this id.
type Sealing<'a> = &'a dyn Fn(MemoryAdapter, u32) -> Arc<dyn StorageAdapter>;

fn toy(fault: Fault) -> impl Fn(MemoryAdapter, u32) -> Arc<dyn StorageAdapter> {
    let nonce = Arc::new(AtomicU32::new(1));
    move |inner, active| {
        let keys = Arc::new(HashMap::from([(1, [1; 4]), (2, [2; 4])]));
        Arc::new(Toy { inner, fault, keys, active, nonce: Arc::clone(&nonce) })
    }
}

fn ours(inner: MemoryAdapter, active: u32) -> Arc<dyn StorageAdapter> {
    let keys = KeyRing::new(KeyId(1), &key());
    keys.add(KeyId(2), &Key::from_bytes(&[8; 32])).unwrap();
    keys.activate(KeyId(active)).unwrap();
    Arc::new(Encoded::new(inner, Codec::new().with_keys(keys)).unwrap())
}

fn event(text: &str) -> NewEvent {
    NewEvent::json("said", text).unwrap()
}

async fn append(
    to: &dyn StorageAdapter,
    stream: StreamId,
    events: Vec<NewEvent>,
) -> Result<Vec<StoredEvent>> {
    to.append(vec![Append::new(stream, events, WriteCondition::Always)]).await
}

async fn all(from: &dyn StorageAdapter, query: Query) -> Result<Vec<StoredEvent>> {
    let pages: Vec<_> = from.read(query, ReadOptions::default()).try_collect().await?;
    Ok(pages.into_iter().flat_map(|page| page.events).collect())
}

/// What a check says of a layer: whether it is right.
async fn moved_frames_are_found(layer: Sealing<'_>) -> bool {
    let memory = MemoryAdapter::new();
    append(&*layer(memory.clone(), 1), EARTH, vec![event("x")]).await.unwrap();
    let stored = all(&memory, Query::all()).await.unwrap().remove(0).event.clone();
    let mut other_name = stored.clone();
    other_name.name = "heard".try_into().unwrap();
    let mut is_right = true;
    for (stream, event) in [
        (MARS, stored.clone()),
        (EARTH, other_name),
        (EARTH, stored.with_id(annals::EventId::generate())),
    ] {
        let memory = MemoryAdapter::new();
        append(&memory, stream, vec![event]).await.unwrap();
        is_right &= all(&*layer(memory, 1), Query::all()).await.is_err();
    }
    is_right
}

async fn events_under_two_keys_on_one_page_are_opened(layer: Sealing<'_>) -> bool {
    let memory = MemoryAdapter::new();
    append(&*layer(memory.clone(), 1), EARTH, vec![event("one")]).await.unwrap();
    append(&*layer(memory.clone(), 2), EARTH, vec![event("two")]).await.unwrap();
    let read = all(&*layer(memory, 2), Query::all()).await;
    let text = |event: &StoredEvent| event.payload().to_json::<String>().unwrap();
    read.is_ok_and(|read| read.iter().map(text).eq(["one", "two"]))
}

async fn unknown_versions_are_errors(layer: Sealing<'_>) -> bool {
    let memory = MemoryAdapter::new();
    append(&*layer(memory.clone(), 1), EARTH, vec![event("x")]).await.unwrap();
    let mut stored = all(&memory, Query::all()).await.unwrap().remove(0).event.clone();
    let mut bytes = stored.payload.as_bytes().to_vec();
    bytes[0] = 99;
    stored.payload = Payload::from_store(FRAME, bytes);
    let memory = MemoryAdapter::new();
    append(&memory, EARTH, vec![stored]).await.unwrap();
    all(&*layer(memory, 1), Query::all()).await.is_err()
}

#[derive(Debug)]
struct SaysX;

impl Predicate for SaysX {
    fn expectation(&self) -> String {
        "the last event says x".to_owned()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        last.is_some_and(|last| last.payload().as_bytes() == "\"x\"")
    }
}

async fn predicates_see_what_was_appended(layer: Sealing<'_>) -> bool {
    let layer = layer(MemoryAdapter::new(), 1);
    append(&*layer, EARTH, vec![event("x")]).await.unwrap();
    let condition = WriteCondition::Custom(Arc::new(SaysX));
    layer.append(vec![Append::new(EARTH, [event("y")], condition)]).await.is_ok()
}

async fn metadata_comes_back(layer: Sealing<'_>) -> bool {
    let layer = layer(MemoryAdapter::new(), 1);
    let metadata = Metadata::json_bytes(r#"{"by": "ada"}"#).unwrap();
    let given = event("x").with_metadata(metadata);
    append(&*layer, EARTH, vec![given.clone()]).await.unwrap();
    all(&*layer, Query::all()).await.unwrap()[0].metadata() == given.metadata.as_ref()
}

async fn no_nonce_comes_twice(layer: Sealing<'_>) -> bool {
    let memory = MemoryAdapter::new();
    let layer = layer(memory.clone(), 1);
    for _ in 0..20 {
        append(&*layer, EARTH, (0..20).map(|_| event("x")).collect()).await.unwrap();
    }
    let rows = all(&memory, Query::all()).await.unwrap();
    let nonce = |row: &StoredEvent| row.payload().as_bytes()[6..18].to_vec();
    rows.iter().map(nonce).collect::<HashSet<_>>().len() == 400
}

/// Chains by the hash of the event before, in front of the payload.
#[derive(Debug, Clone)]
struct ToyChain {
    inner: MemoryAdapter,
    fault: Fault,
    head: Arc<Mutex<Option<[u8; 32]>>>,
}

impl ToyChain {
    fn hash(event: &StoredEvent) -> [u8; 32] {
        hash(&[event.payload().as_bytes()])
    }

    async fn last(&self) -> Option<StoredEvent> {
        all(&self.inner, EARTH.into()).await.unwrap().pop()
    }
}

#[async_trait]
impl StorageAdapter for ToyChain {
    fn name(&self) -> &'static str {
        "toy chain"
    }

    fn capabilities(&self) -> annals::Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        let write = writes.into_iter().next().unwrap();
        let known = *self.head.lock().unwrap();
        let (previous, condition) = match (known, self.last().await) {
            (Some(known), _) if self.fault == Fault::CachedHead => (known, WriteCondition::Always),
            (_, Some(last)) => (Self::hash(&last), WriteCondition::LastEventIs(last.id())),
            (_, None) => ([0; 32], WriteCondition::StreamIsEmpty),
        };
        let mut event = write.events.into_iter().next().unwrap();
        let bytes = [&previous[..], event.payload.as_bytes()].concat();
        event.payload = Payload::from_store(Encoding::from_static("annals-chain"), bytes);
        let stored = self.inner.append(vec![Append::new(EARTH, [event], condition)]).await?;
        *self.head.lock().unwrap() = stored.last().map(Self::hash);
        Ok(stored)
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let (fault, mut last) = (self.fault, None);
        let mut check = move |page: annals::Page| {
            if fault == Fault::ChainOfPageOnly {
                last = None;
            }
            for event in &page.events {
                let previous = event.payload().as_bytes().get(..32);
                let is_first = event.position == Position::FIRST;
                if last.is_some_and(|last: [u8; 32]| previous != Some(&last[..]))
                    || (is_first && previous != Some(&[0; 32]))
                {
                    return Err(Error::corrupt("the chain is broken"));
                }
                last = Some(Self::hash(event));
            }
            Ok(page)
        };
        self.inner.read(query, options).map(move |page| page.and_then(&mut check)).boxed()
    }

    async fn close(&self) {}
}

/// Something that chains the events of `EARTH` in `memory`.
type Chaining<'a> = &'a dyn Fn(MemoryAdapter) -> Arc<dyn StorageAdapter>;

fn toy_chain(fault: Fault) -> impl Fn(MemoryAdapter) -> Arc<dyn StorageAdapter> {
    move |inner| Arc::new(ToyChain { inner, fault, head: Arc::default() })
}

fn our_chain(inner: MemoryAdapter) -> Arc<dyn StorageAdapter> {
    Arc::new(Chained::new(inner).unwrap())
}

async fn a_break_between_two_pages_is_found(chain: Chaining<'_>) -> bool {
    let mut rows = Vec::new();
    // Two histories, of which the second half of one follows the first half of the other.
    for text in ["a", "b"] {
        let memory = MemoryAdapter::new();
        let layer = chain(memory.clone());
        for nth in 0..8 {
            append(&*layer, EARTH, vec![event(&format!("{text}{nth}"))]).await.unwrap();
        }
        rows.push(all(&memory, Query::all()).await.unwrap());
    }
    let [one, other] = [&rows[0][..4], &rows[1][4..]];
    let mixed: Vec<NewEvent> = one.iter().chain(other).map(|row| row.event.clone()).collect();
    let memory = MemoryAdapter::new().with_page_size(std::num::NonZeroUsize::new(4).unwrap());
    append(&memory, EARTH, mixed).await.unwrap();
    all(&*chain(memory), EARTH.into()).await.is_err()
}

async fn another_process_does_not_break_the_chain(chain: Chaining<'_>) -> bool {
    let memory = MemoryAdapter::new();
    let (one, other) = (chain(memory.clone()), chain(memory.clone()));
    for nth in 0..6 {
        let layer = if nth % 2 == 0 { &one } else { &other };
        append(&**layer, EARTH, vec![event("x")]).await.unwrap();
    }
    all(&*chain(memory), EARTH.into()).await.is_ok_and(|events| events.len() == 6)
}

macro_rules! caught {
    ($($test:ident: $fault:ident, $check:ident, $toy:ident, $ours:ident;)*) => {$(
        #[tokio::test]
        async fn $test() {
            assert!($check(&$ours).await, "the layer of this crate is right");
            assert!($check(&$toy(Fault::None)).await, "so is one without a fault");
            assert!(!$check(&$toy(Fault::$fault)).await, "the fault is caught");
        }
    )*};
}

caught! {
    specimen_that_forgets_associated_data: ForgetsAssociatedData, moved_frames_are_found, toy, ours;
    specimen_that_opens_with_the_key_of_another_event: KeyOfAnotherEvent, events_under_two_keys_on_one_page_are_opened, toy, ours;
    specimen_that_passes_unknown_versions_through: UnknownVersion, unknown_versions_are_errors, toy, ours;
    specimen_that_shows_predicates_ciphertext: PredicateSeesCiphertext, predicates_see_what_was_appended, toy, ours;
    specimen_that_loses_metadata: LosesMetadata, metadata_comes_back, toy, ours;
    specimen_that_uses_a_nonce_twice: NonceTwice, no_nonce_comes_twice, toy, ours;
    specimen_that_checks_the_chain_of_the_page_only: ChainOfPageOnly, a_break_between_two_pages_is_found, toy_chain, our_chain;
    specimen_that_trusts_a_cached_head: CachedHead, another_process_does_not_break_the_chain, toy_chain, our_chain;
}
