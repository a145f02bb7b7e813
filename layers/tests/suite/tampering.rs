//! What a chain promises beyond the contract of storage: rules L12 to L16.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

mod appends;
mod begun;

use std::sync::Arc;

use crate::common::{key, sealed};
use annals::{
    Append, Error, EventId, EventStore, NewEvent, Payload, Position, Query, ReadOptions,
    SequenceNumber, StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use annals_layers::{
    ChainKey, Chained, Codec, DecodeError, Encoded, Finding, Hash, Head, KeyId, KeyRing,
    Undecodable,
};
use annals_memory::MemoryAdapter;
use futures_util::StreamExt;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const EARTH: StreamId = StreamId::from_static("worlds", "earth");

fn event(text: &str) -> NewEvent {
    NewEvent::json("said", &text).unwrap()
}

fn at(position: u64) -> Position {
    Position::new(position)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Keyed,
}

fn chained<A: StorageAdapter>(inner: A, kind: Kind) -> annals::Result<Chained<A>> {
    match kind {
        Kind::Plain => Chained::new(inner),
        Kind::Keyed => Chained::keyed(inner, ChainKey::from_bytes(&[7; 32])),
    }
}

/// What lies in the store after these were appended one by one.
async fn rows(kind: Kind, texts: &[&str]) -> annals::Result<Vec<NewEvent>> {
    let memory = MemoryAdapter::new();
    let layer = chained(memory.clone(), kind)?;
    for (nth, text) in texts.iter().enumerate() {
        // Logs that begin with the same texts begin with the same events.
        let id = EventId::from_uuid(uuid::Uuid::from_u128(nth as u128 + 1));
        let event = event(text).with_id(id).with_occurred_at(time::OffsetDateTime::UNIX_EPOCH);
        layer.append(vec![Append::new(EARTH, [event], WriteCondition::Always)]).await?;
    }
    let rows =
        EventStore::new(memory).stream(EARTH).read(ReadOptions::default()).into_vec().await?;
    Ok(rows.iter().map(|row| row.event.clone()).collect())
}

/// An adapter that reads what a database would after somebody changed its rows.
#[derive(Debug, Clone)]
struct Tampered(Vec<StoredEvent>, MemoryAdapter);

impl Tampered {
    /// Rows at these positions.
    fn new(rows: &[(u64, NewEvent)]) -> Self {
        let stored = |(nth, (position, event)): (usize, &(u64, NewEvent))| {
            let number = SequenceNumber::new(nth as u64 + 1);
            StoredEvent::new(event.clone(), EARTH, at(*position), number, event.occurred_at)
        };
        Self(rows.iter().enumerate().map(stored).collect(), MemoryAdapter::new())
    }

    /// Rows numbered anew.
    fn renumbered(rows: &[NewEvent]) -> Self {
        Self::new(
            &rows
                .iter()
                .enumerate()
                .map(|(nth, row)| (nth as u64, row.clone()))
                .collect::<Vec<_>>(),
        )
    }
}

#[annals::adapter::async_trait]
impl StorageAdapter for Tampered {
    fn name(&self) -> &'static str {
        "tampered"
    }

    fn capabilities(&self) -> annals::Capabilities {
        self.1.capabilities()
    }

    async fn append(&self, _: Vec<Append>) -> annals::Result<Vec<StoredEvent>> {
        Err(Error::unavailable("it is only read"))
    }

    /// In pages of two.
    fn read(&self, _: Query, options: ReadOptions) -> annals::EventPages {
        let mut rows = self.0.clone();
        rows.retain(|row| options.allows_position(row.position));
        if options.direction == annals::Direction::Backward {
            rows.reverse();
        }
        rows.truncate(options.limit.map_or(usize::MAX, |limit| limit as usize));
        let page =
            |rows: &[StoredEvent]| Ok(annals::Page::new(rows.to_vec(), rows[0].sequence_number));
        futures_util::stream::iter(rows.chunks(2).map(page).collect::<Vec<_>>()).boxed()
    }

    async fn close(&self) {}
}

fn changed(row: &NewEvent) -> NewEvent {
    let mut bytes = row.payload.as_bytes().to_vec();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    let mut row = row.clone();
    row.payload = Payload::from_store(row.payload.encoding().clone(), bytes);
    row
}

async fn findings(kind: Kind, store: &Tampered, known: Option<Head>) -> Vec<Finding> {
    chained(store.clone(), kind).unwrap().verify(&EARTH, known).await.unwrap().findings
}

#[tokio::test]
async fn l12_each_kind_of_tampering_has_its_own_finding() -> Outcome {
    for kind in [Kind::Plain, Kind::Keyed] {
        let rows = rows(kind, &["a", "b", "c", "d", "e", "f"]).await?;
        let intact = Tampered::renumbered(&rows);
        assert_eq!(findings(kind, &intact, None).await, []);
        let head = chained(intact, kind)?.head(&EARTH).await?.unwrap();
        assert_eq!(findings(kind, &Tampered::renumbered(&rows), Some(head)).await, []);

        let mut one = rows.clone();
        one[2] = changed(&one[2]);
        assert_eq!(
            findings(kind, &Tampered::renumbered(&one), Some(head)).await,
            [Finding::Changed(at(2))]
        );
        for field in 0..4 {
            let mut one = rows.clone();
            let row = &mut one[2];
            match field {
                0 => row.name = annals::EventName::from_static("shouted"),
                1 => row.occurred_at += time::Duration::microseconds(1),
                2 => row.tags = annals::Tags::parse(["x"])?,
                _ => row.metadata = Some(annals::Metadata::json(&serde_json::json!({}))?),
            }
            assert_eq!(
                findings(kind, &Tampered::renumbered(&one), Some(head)).await,
                [Finding::Changed(at(2))]
            );
        }

        let removed = Finding::Removed { first: at(2), last: at(3) };
        let kept = |range: &[usize]| {
            range.iter().map(|nth| (*nth as u64, rows[*nth].clone())).collect::<Vec<_>>()
        };
        let holes = kept(&[0, 1, 4, 5]);
        assert_eq!(findings(kind, &Tampered::new(&holes), Some(head)).await, [removed]);
        let closed: Vec<_> = holes.iter().map(|(_, row)| row.clone()).collect();
        assert_eq!(findings(kind, &Tampered::renumbered(&closed), Some(head)).await, [removed]);

        let prefix = [Finding::LostPrefix(at(2))];
        assert_eq!(findings(kind, &Tampered::new(&kept(&[2, 3, 4, 5])), Some(head)).await, prefix);
        assert_eq!(findings(kind, &Tampered::renumbered(&rows[2..]), Some(head)).await, prefix);

        let mut swapped = rows.clone();
        swapped.swap(1, 4);
        let moved = findings(kind, &Tampered::renumbered(&swapped), Some(head)).await;
        assert!(
            moved.iter().all(|finding| matches!(finding, Finding::Moved { .. }))
                && !moved.is_empty(),
            "{moved:?}"
        );
        let mut swapped = rows.clone();
        swapped.swap(2, 3);
        let moved = findings(kind, &Tampered::renumbered(&swapped), Some(head)).await;
        assert_eq!(moved.len(), 1, "{moved:?}");

        let mut twice = rows.clone();
        twice.insert(3, rows[2].clone());
        assert_eq!(
            findings(kind, &Tampered::renumbered(&twice), Some(head)).await,
            [Finding::Duplicated(at(3))]
        );

        let mut inserted = rows.clone();
        inserted.insert(3, event("x"));
        assert_eq!(
            findings(kind, &Tampered::renumbered(&inserted), Some(head)).await,
            [Finding::Inserted(at(3))]
        );

        let shifted: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(nth, row)| (nth as u64 + u64::from(nth > 3), row.clone()))
            .collect();
        let moved = findings(kind, &Tampered::new(&shifted), Some(head)).await;
        assert_eq!(moved[0], Finding::Moved { at: at(5), was: at(4) });

        let cut = Tampered::renumbered(&rows[..4]);
        assert_eq!(findings(kind, &cut, None).await, [], "only a head kept elsewhere shows it");
        assert_eq!(findings(kind, &cut, Some(head)).await, [Finding::CutTail { head }]);
        assert_eq!(
            findings(kind, &Tampered::renumbered(&[]), Some(head)).await,
            [Finding::CutTail { head }]
        );
        let other = Tampered::renumbered(&self::rows(kind, &["a", "b", "c", "d", "e", "F"]).await?);
        assert_eq!(findings(kind, &other, Some(head)).await, [Finding::OtherHead { head }]);
    }
    Ok(())
}

#[tokio::test]
async fn l12_who_knows_no_key_can_only_forge_a_chain_without_one() -> Outcome {
    // An event of another chain in the place of the one that was appended: its link is right in itself.
    let (own, other) = (
        rows(Kind::Plain, &["a", "b", "c", "d"]).await?,
        rows(Kind::Plain, &["a", "B", "c", "d"]).await?,
    );
    let mut forged = own.clone();
    forged[1] = other[1].clone();
    assert_eq!(
        findings(Kind::Plain, &Tampered::renumbered(&forged), None).await,
        [Finding::BrokenLink(at(2))]
    );
    // Beside the one that was appended, it is the one that nothing follows.
    let mut forged = own.clone();
    forged.insert(2, other[1].clone());
    assert_eq!(
        findings(Kind::Plain, &Tampered::renumbered(&forged), None).await,
        [Finding::Inserted(at(2))]
    );
    // All of the chain computed anew: only a key or a known head shows it.
    assert_eq!(findings(Kind::Plain, &Tampered::renumbered(&other), None).await, []);
    let changed = findings(Kind::Keyed, &Tampered::renumbered(&other), None).await;
    assert_eq!(changed.len(), 4, "{changed:?}");
    let keyed = Chained::keyed(
        Tampered::renumbered(&rows(Kind::Keyed, &["a", "b"]).await?),
        ChainKey::from_bytes(&[8; 32]),
    )?;
    assert_eq!(
        keyed.verify(&EARTH, None).await?.findings,
        [Finding::Changed(at(0)), Finding::Changed(at(1))]
    );
    Ok(())
}

/// A long stream of which nothing but the damage is kept in memory is judged as one that is kept whole.
#[tokio::test]
async fn l12_copies_of_events_that_are_no_longer_kept_are_told_from_inserted_ones() -> Outcome {
    let texts: Vec<String> = (0..40).map(|nth| format!("text {nth}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let rows = rows(Kind::Keyed, &texts).await?;
    let mut copied = rows.clone();
    copied.insert(30, rows[4].clone());
    let found = findings(Kind::Keyed, &Tampered::renumbered(&copied), None).await;
    assert_eq!(found, [Finding::Duplicated(at(30))]);
    // The same place, and not the same event.
    let mut forged = rows.clone();
    forged.insert(30, changed(&rows[4]));
    let found = findings(Kind::Keyed, &Tampered::renumbered(&forged), None).await;
    assert_eq!(found, [Finding::Inserted(at(30))]);
    // Heads from the middle of what is no longer kept.
    let known = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        async move {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let rows = self::rows(Kind::Keyed, &texts).await.unwrap();
            chained(Tampered::renumbered(&rows), Kind::Keyed).unwrap().head(&EARTH).await.unwrap()
        }
    };
    let store = Tampered::renumbered(&rows);
    let right = known(&texts[..11]).await;
    assert_eq!(findings(Kind::Keyed, &store, right).await, []);
    let mut others = texts.clone();
    others[3] = "another text";
    let wrong = known(&others[..11]).await;
    let expected = [Finding::OtherHead { head: wrong.unwrap() }];
    assert_eq!(findings(Kind::Keyed, &store, wrong).await, expected);
    Ok(())
}

/// Chained rows of version 1, plain and keyed, as this crate first wrote them.
const FIXTURES: &str = include_str!("../fixtures/chains.txt");

#[tokio::test]
async fn l23_chains_of_every_version_are_read_for_ever() -> Outcome {
    let mut made =
        String::from("# Chains of version 1 in tampering.rs: how, head, rows in hexadecimal.\n");
    for (name, kind) in [("plain", Kind::Plain), ("keyed", Kind::Keyed)] {
        let rows = rows(kind, &["one", "two", "three"]).await?;
        let layer = chained(Tampered::renumbered(&rows), kind)?;
        let head = layer.head(&EARTH).await?.unwrap();
        made.extend([name.to_owned(), " ".to_owned(), head.hash.to_string()]);
        for row in &rows {
            made.push(' ');
            made.extend(row.payload.as_bytes().iter().map(|byte| format!("{byte:02x}")));
        }
        made.push('\n');
        let line = FIXTURES.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let mut parts = line.split(' ').skip(1);
        let hash: Option<Hash> = parts.next().and_then(|text| text.parse().ok());
        // What is stored of them, with the bytes as they were.
        let stored: Vec<NewEvent> = rows
            .iter()
            .zip(parts)
            .map(|(row, hex)| {
                let bytes: Vec<u8> = (0..hex.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                    .collect();
                let mut row = row.clone();
                row.payload = Payload::from_store(row.payload.encoding().clone(), bytes);
                row
            })
            .collect();
        let layer = chained(Tampered::renumbered(&stored), kind)?;
        let read = EventStore::new(layer.clone()).stream(EARTH).read(ReadOptions::default());
        let texts: Vec<String> =
            read.into_vec().await?.iter().map(|row| row.payload().to_json().unwrap()).collect();
        assert_eq!(texts, ["one", "two", "three"], "{made}");
        assert_eq!(layer.head(&EARTH).await?.map(|head| head.hash), hash);
    }
    assert_eq!(FIXTURES, made, "a new version gets new lines, and keeps these");
    Ok(())
}

#[tokio::test]
async fn l14_a_read_of_a_stream_verifies_it_over_all_pages() -> Outcome {
    let (own, other) = (
        rows(Kind::Plain, &["a", "b", "c", "d"]).await?,
        rows(Kind::Plain, &["a", "B", "c", "d"]).await?,
    );
    // Replaced by an event whose link is right in itself, on another page than the one that follows it.
    let mut replaced = own.clone();
    replaced[1] = other[1].clone();
    let removed: Vec<_> = [0, 1, 3].map(|nth: usize| (nth as u64, own[nth].clone())).to_vec();
    let late: Vec<_> = [1, 2, 3].map(|nth: usize| (nth as u64, own[nth].clone())).to_vec();
    let mut twisted = own.clone();
    twisted.swap(1, 2);
    let mut loose = own.clone();
    loose[2] = event("x");
    let cases = [
        (Tampered::renumbered(&replaced), 2, 2),
        (Tampered::new(&removed), 2, 1),
        (Tampered::new(&late), 0, 3),
        (Tampered::renumbered(&twisted), 1, 1),
        (Tampered::renumbered(&loose), 2, 1),
        (
            Tampered::renumbered(&{
                let mut rows = own.clone();
                rows[3] = changed(&rows[3]);
                rows
            }),
            3,
            0,
        ),
    ];
    for (nth, (store, forward, backward)) in cases.into_iter().enumerate() {
        let layer = Chained::new(store)?;
        for (options, expected) in
            [(ReadOptions::default(), forward), (ReadOptions::default().backward(), backward)]
        {
            let mut pages = layer.read(EARTH.into(), options);
            let (mut read, mut failed) = (0, None);
            while let Some(page) = pages.next().await {
                match page {
                    Ok(page) => read += page.events.len(),
                    Err(error) => failed = Some(error),
                }
            }
            let is_intact = nth == 2 && options.direction == annals::Direction::Backward;
            assert_eq!(read, expected, "case {nth}, {options:?}");
            assert_eq!(failed.is_none(), is_intact, "case {nth}");
            if let Some(error) = failed {
                assert!(
                    matches!(Undecodable::of(&error).unwrap().cause, DecodeError::BrokenChain(_)),
                    "case {nth}"
                );
                assert!(matches!(error, Error::Corrupt(_)));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn l15_a_chain_is_verified_without_the_keys_of_encryption() -> Outcome {
    let memory = MemoryAdapter::new();
    let chain = Chained::new(memory.clone())?;
    let store = EventStore::new(Encoded::new(chain.clone(), sealed())?);
    store.stream(EARTH).append([event("a"), event("b")], WriteCondition::Always).await?;
    let report = chain.verify(&EARTH, None).await?;
    assert_eq!(Chained::new(memory.clone())?.verify(&EARTH, report.head).await?, report);
    let other = KeyRing::new(KeyId(8), &key());
    let blind = EventStore::new(Encoded::new(Arc::new(chain), Codec::new().with_keys(other))?);
    assert!(blind.stream(EARTH).latest().await.is_err());
    Ok(())
}

#[test]
fn a_hash_is_read_from_its_text() {
    let hash = Hash(std::array::from_fn(|nth| u8::try_from(nth * 8).unwrap()));
    assert_eq!(hash.to_string().parse(), Ok(hash));
    for wrong in ["", "00", &"g".repeat(64), &format!("+{}", "0".repeat(63)), &"ä".repeat(32)] {
        assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
    }
    assert_eq!(format!("{:?}", ChainKey::from_bytes(&[65; 32])), "ChainKey(..)");
}
