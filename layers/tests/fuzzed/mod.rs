//! What the fuzz targets in `fuzz/` and the tests beside this file run: bytes that nobody checked are an event or an error.

#![allow(clippy::unwrap_used, reason = "a target that panics fails")]

use std::num::NonZeroU32;
use std::sync::Arc;

use annals::{
    Append, Encoding, Error, EventName, NewEvent, Payload, Query, ReadOptions, StorageAdapter,
    StoredEvent, StreamId, WriteCondition,
};
use annals_layers::{
    Chained, Codec, Compression, Dictionary, Encoded, Key, KeyId, KeyRing, Shredding, StoredKeys,
};
use annals_memory::{MemoryAdapter, MemoryState};
use futures_util::StreamExt;

/// The most that the codec takes of a frame.
const MOST: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

fn ring() -> KeyRing {
    KeyRing::new(KeyId(1), &Key::from_bytes(&[3; 32]))
}

fn event(encoding: &'static str, bytes: &[u8]) -> NewEvent {
    let payload = Payload::from_store(Encoding::from_static(encoding), bytes.to_vec());
    NewEvent::new(EventName::from_static("said"), payload)
}

async fn append(to: &dyn StorageAdapter, event: NewEvent) -> annals::Result<Vec<StoredEvent>> {
    let stream = StreamId::from_static("worlds", "earth");
    to.append(vec![Append::new(stream, [event], WriteCondition::Always)]).await
}

async fn read(from: &dyn StorageAdapter) -> annals::Result<StoredEvent> {
    let mut pages = from.read(Query::all(), ReadOptions::default());
    loop {
        if let Some(event) = pages.next().await.unwrap()?.events.into_iter().next() {
            return Ok(event);
        }
    }
}

fn checked(outcome: annals::Result<StoredEvent>) {
    match outcome {
        Ok(event) => assert!(event.payload().as_bytes().len() <= 2 * 1_000 + 320),
        Err(Error::Corrupt(_) | Error::Backend(_)) => {}
        Err(other) => panic!("no error of a read: {other:?}"),
    }
}

/// Reads the bytes as a frame, with and without keys and a dictionary, and as an event of a chain.
pub(crate) fn frame(bytes: &[u8]) {
    let dictionary =
        Dictionary::new(9, &b"{\"city\":\"Ulm\",\"sum\":12} of raw content".repeat(9), 3);
    let plain = Codec::new().with_max_payload(MOST);
    let codecs = [
        plain.clone(),
        plain.clone().with_keys(ring()),
        plain.with_compression(Compression::Dictionary(dictionary)).with_sealed_reads(),
    ];
    futures_executor::block_on(async {
        for codec in codecs {
            let memory = MemoryAdapter::new();
            append(&memory, event("annals-frame", bytes)).await.unwrap();
            checked(read(&Encoded::new(memory, codec).unwrap()).await);
        }
        let memory = MemoryAdapter::new();
        append(&memory, event("annals-chain", bytes)).await.unwrap();
        let chain = Chained::new(memory).unwrap();
        checked(read(&chain).await);
        let stream = StreamId::from_static("worlds", "earth");
        assert_eq!(chain.verify(&stream, None).await.unwrap().events, 1);
    });
}

/// Appends and reads the bytes as JSON that may have personal values.
pub(crate) fn personal(bytes: &[u8]) {
    futures_executor::block_on(async {
        let keys = Arc::new(StoredKeys::new(Arc::new(MemoryState::new()), ring()));
        let memory = MemoryAdapter::new();
        let layer = Shredding::new(memory.clone(), Arc::clone(&keys) as _).unwrap();
        let given = event("json", bytes);
        match append(&layer, given.clone()).await {
            Ok(_) if serde_json::from_slice::<serde_json::Value>(bytes).is_ok() => {
                assert_eq!(read(&layer).await.unwrap().event, given);
            }
            Ok(_) | Err(Error::Invalid(_)) => {}
            Err(other) => panic!("no error of such an append: {other:?}"),
        }
        let memory = MemoryAdapter::new();
        append(&memory, given).await.unwrap();
        match read(&Shredding::new(memory, keys).unwrap()).await {
            Ok(_) | Err(Error::Corrupt(_) | Error::Backend(_)) => {}
            Err(other) => panic!("no error of a read: {other:?}"),
        }
    });
}
