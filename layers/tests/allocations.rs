//! Rule L7: what lengths that lie, what is packed to become enormous, and pages full of that cost in memory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

use std::num::NonZeroU32;

use allocation_counter::measure;
use annals::{
    Append, Encoding, Error, NewEvent, Payload, Query, ReadOptions, SequenceNumber, StorageAdapter,
    StoredEvent, StreamId, WriteCondition,
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

/// A log of 40 events, each of which becomes a million zeros, on one page of the store.
fn zeros() -> (MemoryAdapter, Encoded<MemoryAdapter>) {
    let memory = MemoryAdapter::new();
    let codec = Codec::new().with_compression(Compression::Zstd(3));
    let layer = Encoded::new(memory.clone(), codec).unwrap();
    for _ in 0..40 {
        block_on(append(&layer, Payload::bytes(vec![0; 1_000_000])));
    }
    let mut pages = memory.read(Query::all(), ReadOptions::default());
    assert_eq!(block_on(pages.next()).unwrap().unwrap().events.len(), 40);
    (memory, layer)
}

/// The numbers of a page, how far it claims to be, and whether it is at the head.
type Part = (Vec<u64>, u64, bool);

/// What a read returns, and its error.
fn parts(layer: &dyn StorageAdapter, options: ReadOptions) -> (Vec<Part>, Option<Error>) {
    let (mut parts, mut pages) = (Vec::new(), layer.read(Query::all(), options));
    while let Some(page) = block_on(pages.next()) {
        match page {
            Ok(page) => {
                let numbers = page.events.iter().map(|it| it.sequence_number.value()).collect();
                parts.push((numbers, page.through.value(), page.at_head));
            }
            Err(error) => {
                assert!(block_on(pages.next()).is_none());
                return (parts, Some(error));
            }
        }
    }
    (parts, None)
}

#[test]
fn l7_a_page_that_becomes_enormous_is_returned_in_parts() {
    let (memory, layer) = zeros();
    for options in [ReadOptions::default(), ReadOptions::default().backward()] {
        let mut read = (Vec::new(), None);
        let used = measure(|| read = parts(&layer, options));
        assert!(used.bytes_max < 12 << 20, "{used:?}");
        let (parts, failed) = read;
        assert!(failed.is_none(), "{failed:?}");
        let mut all: Vec<u64> = parts.iter().flat_map(|(numbers, ..)| numbers).copied().collect();
        if options == ReadOptions::default().backward() {
            all.reverse();
        }
        assert_eq!(all, (1..=40).collect::<Vec<_>>());
        let (last, before) = parts.split_last().unwrap();
        assert!(last.2 && before.len() >= 7);
        for (numbers, through, at_head) in before {
            assert!(numbers.len() <= 5 && !at_head);
            assert_eq!(numbers.last(), Some(through));
        }
    }
    // With a limit, and in front of what cannot be read.
    let (limited, failed) = parts(&layer, ReadOptions::default().limit(7));
    assert!(failed.is_none() && limited.iter().all(|(.., at_head)| !at_head));
    assert_eq!(limited.iter().map(|(numbers, ..)| numbers.len()).sum::<usize>(), 7);
    block_on(append(&memory, Payload::from_store(FRAME, &b"no frame"[..])));
    block_on(append(&layer, Payload::bytes(vec![0; 9])));
    let (cut, failed) = parts(&layer, ReadOptions::default());
    assert!(matches!(failed, Some(Error::Backend(_))), "{failed:?}");
    assert_eq!(cut.iter().map(|(numbers, ..)| numbers.len()).sum::<usize>(), 40);
    assert!(cut.iter().all(|(.., at_head)| !at_head));
    assert_eq!(cut.last().unwrap().1, 40);
}

#[test]
fn a_read_ends_between_the_parts_of_a_page_when_its_layer_is_closed() {
    let (_, layer) = zeros();
    let mut pages = layer.read(Query::all(), ReadOptions::default());
    let first = block_on(pages.next()).unwrap().unwrap();
    assert!(first.through < SequenceNumber::new(40));
    block_on(layer.clone().close());
    assert!(matches!(block_on(pages.next()), Some(Err(Error::Closed { .. }))));
    assert!(block_on(pages.next()).is_none());
}
