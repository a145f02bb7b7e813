//! Rule L7: what lengths that lie, and what is packed to become enormous, cost in memory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

use std::num::NonZeroU32;

use allocation_counter::measure;
use annals::{
    Append, Encoding, Error, NewEvent, Payload, Query, ReadOptions, StorageAdapter, StoredEvent,
    StreamId, WriteCondition,
};
use annals_layers::{Codec, Compression, DecodeError, Dictionary, Encoded, Undecodable};
use annals_memory::MemoryAdapter;
use futures_executor::block_on;
use futures_util::StreamExt;

const STREAM: StreamId = StreamId::from_static("worlds", "earth");
const FRAME: Encoding = Encoding::from_static("annals-frame");
/// The most that a payload may have.
const BOUND: u32 = 100_000;

async fn append(to: &dyn StorageAdapter, payload: Payload) {
    let event = NewEvent::new("kept".try_into().unwrap(), payload);
    to.append(vec![Append::new(STREAM, [event], WriteCondition::Always)]).await.unwrap();
}

async fn read(from: &dyn StorageAdapter) -> annals::Result<StoredEvent> {
    let mut pages = from.read(Query::all(), ReadOptions::default());
    loop {
        // What precedes an unreadable event may be nothing.
        if let Some(event) = pages.next().await.unwrap()?.events.into_iter().next() {
            return Ok(event);
        }
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7F {
        bytes.push(u8::try_from(value & 0x7F).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn compressions() -> Vec<Compression> {
    let words = b"{\"city\":\"Ulm\",\"sum\":12} a dictionary of raw content".repeat(9);
    vec![
        Compression::Zlib(6),
        Compression::Zstd(3),
        Compression::Dictionary(Dictionary::new(9, &words, 3)),
    ]
}

#[test]
fn l7_no_length_that_lies_takes_more_memory_than_the_bound() {
    const ENORMOUS: usize = 32 << 20;
    for compression in compressions() {
        let codec = Codec::new().with_compression(compression);
        let bounded = codec.clone().with_max_payload(NonZeroU32::new(BOUND).unwrap());
        // Zeros, which become a thousandth.
        let memory = MemoryAdapter::new();
        let layer = Encoded::new(memory.clone(), codec).unwrap();
        block_on(append(&layer, Payload::bytes(vec![0; ENORMOUS])));
        let bytes = block_on(read(&memory)).unwrap().payload().as_bytes().to_vec();
        assert!(bytes.len() < ENORMOUS / 100, "{}", bytes.len());
        // Version, algorithm, compression, the id of a dictionary; then the length.
        let at = if bytes[2] == 3 { 7 } else { 3 };
        let length = bytes[at..].iter().position(|byte| *byte < 0x80).unwrap() + 1;
        let (head, packed) = (&bytes[..at], &bytes[at + length..]);
        for lie in [0, 1, 1_000, u64::from(BOUND), ENORMOUS as u64, 1 << 40, u64::MAX] {
            let frame = [head, &varint(lie), packed].concat();
            let memory = MemoryAdapter::new();
            block_on(append(&memory, Payload::from_store(FRAME, frame)));
            let layer = Encoded::new(memory, bounded.clone()).unwrap();
            let mut outcome = None;
            let used = measure(|| outcome = Some(block_on(read(&layer))));
            let error = outcome.unwrap().unwrap_err();
            let cause = &Undecodable::of(&error).unwrap().cause;
            assert!(
                matches!(cause, DecodeError::Damaged(_) | DecodeError::TooLarge(_)),
                "{lie}: {cause:?}"
            );
            assert!(matches!(error, Error::Corrupt(_)), "{lie}: {error:?}");
            assert!(used.bytes_max < u64::from(BOUND) + (1 << 20), "{lie}: {used:?}");
        }
        // The same without a lie would take all of it.
        let memory = MemoryAdapter::new();
        block_on(append(&memory, Payload::from_store(FRAME, bytes)));
        let patient = bounded.with_max_payload(NonZeroU32::new(64 << 20).unwrap());
        let layer = Encoded::new(memory, patient).unwrap();
        let used = measure(|| drop(block_on(read(&layer)).unwrap()));
        assert!(used.bytes_max > ENORMOUS as u64, "it is measured: {used:?}");
    }
}
