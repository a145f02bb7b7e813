//! Worlds whose events are encrypted and chained by hashes: what is done to a stream behind the application's back is found
//! and named. Each step is asserted.

use std::num::NonZeroU64;
use std::sync::Arc;

use annals::adapter::StorageAdapter;
use annals::{
    Append, BoxError, EventId, EventStore, NewEvent, Payload, Position, ReadOptions, StreamId,
    WriteCondition,
};
use annals_domain::{Application, LogReader, Repository, Root};
use annals_layers::{
    Chained, Clear, Codec, Compression, Encoded, Finding, Hash, Head, Key, KeyId, KeyRing, Link,
};
use annals_memory::MemoryAdapter;
use futures_util::TryStreamExt;
use uuid::Uuid;

use crate::story::Say;
use crate::universe::{World, WorldEvent};

type Chain = Chained<Arc<dyn StorageAdapter>>;

/// The last event of a world's chain.
async fn head(chain: &Chain, id: Uuid) -> Result<Head, BoxError> {
    Ok(chain.head(&stream(id)?).await?.ok_or("the world has events")?)
}

fn stream(id: Uuid) -> Result<StreamId, BoxError> {
    Ok(StreamId::new("worlds", id.to_string())?)
}

async fn create(worlds: &Repository<World>, whats: &[&str]) -> Result<Uuid, BoxError> {
    let id = EventId::generate().as_uuid();
    let mut world: Root<World> =
        Root::create(id, WorldEvent::Created { name: "a world".to_owned() })?;
    for what in whats {
        world.execute(|_| WorldEvent::SomethingHappened { what: (*what).to_owned() })?;
    }
    worlds.save(&mut world).await?;
    Ok(id)
}

/// Plays the story on an empty store, and passes what happens to `say`.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// If the store does not do what a step of the story expects.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn story(store: &EventStore, say: Say<'_>) -> Result<(), BoxError> {
    // Encrypted, and what is encrypted is chained.
    let chain = Chained::new(Arc::clone(store.adapter()))?;
    let keys = KeyRing::new(KeyId(1), &Key::generate()?);
    let codec = Codec::new().with_compression(Compression::Zlib(6)).with_keys(keys);
    let sealed = EventStore::new(Encoded::new(chain.clone(), codec.with_clear(Clear::Refused))?);
    let application = Application::new("Worlds", sealed);
    let worlds: Repository<World> = application.repository();

    let nobody = EventId::generate().as_uuid();
    assert!(!worlds.contains(&nobody).await?);
    assert!(worlds.get(&nobody).await.is_err_and(|error| error.is_not_found()));
    let earth = create(&worlds, &["dinosaurs", "trucks", "internet"]).await?;
    assert!(worlds.contains(&earth).await?);
    assert_eq!(worlds.get(&earth).await?.history(), ["dinosaurs", "trucks", "internet"]);
    let version = 3;

    worlds.discard(&earth).await?;
    assert!(!worlds.contains(&earth).await?);
    assert!(worlds.get(&earth).await.is_err_and(|error| error.is_not_found()));
    let mut old = worlds.get_at(&earth, version).await?;
    assert_eq!(old.history(), ["dinosaurs", "trucks"]);
    old.execute(|_| WorldEvent::SomethingHappened { what: "future".to_owned() })?;
    assert!(worlds.save(&mut old).await.expect_err("it is old").is_conflict());
    say("a world that was discarded still has its past, and no other future".to_owned());

    // The chain: the first event follows nothing, each other one the one before it.
    let report = chain.verify(&stream(earth)?, None).await?;
    let known = head(&chain, earth).await?;
    assert_eq!((report.events, report.head, report.findings), (5, Some(known), Vec::new()));
    assert_eq!(known.position, Position::new(4));
    let links: Vec<Link> = chain.links(&stream(earth)?).try_concat().await?;
    let mut last = Hash::GENESIS;
    for link in &links {
        assert_eq!(link.previous, last, "{:?}", link.position);
        last = link.hash;
    }
    assert_eq!((links.len(), last), (5, known.hash), "the last link is the head");
    assert_ne!(known.hash, Hash::GENESIS);
    let raw = store.stream(stream(earth)?).read(ReadOptions::default()).into_vec().await?;
    for row in &raw {
        let bytes = String::from_utf8_lossy(row.payload().as_bytes()).into_owned();
        let hidden = ["dinosaurs", "trucks", "internet", "a world"];
        assert!(hidden.iter().all(|word| !bytes.contains(word)), "a word is in a row");
        assert_eq!(row.stream.name.as_str(), earth.to_string());
    }
    say(format!("{} events end with {}", report.events, known.hash));

    let mut reader = LogReader::new(application.log(NonZeroU64::new(10).ok_or("not 0")?), 1);
    let mut numbers = async || -> Result<Vec<u64>, BoxError> {
        let new = reader.read().await?;
        Ok(new.iter().map(|event| event.sequence_number.value()).collect())
    };
    assert_eq!(numbers().await?, [1, 2, 3, 4, 5]);
    for _ in 0..2 {
        create(&worlds, &[]).await?;
    }
    assert_eq!(numbers().await?, [6, 7], "what was refused took no number");

    let rows: Vec<NewEvent> = raw.iter().map(|row| row.event.clone()).collect();
    for (what, rows, expected) in tampered(&rows, known)? {
        let damaged = damaged(&stream(earth)?, rows).await?;
        let found = damaged.verify(&stream(earth)?, Some(known)).await?.findings;
        assert_eq!(found, expected, "{what}");
        say(format!("{what}: found"));
    }
    Ok(())
}

type Case = (&'static str, Vec<NewEvent>, Vec<Finding>);

/// What somebody who can write to the database may do to these rows, and what is found then.
fn tampered(rows: &[NewEvent], known: Head) -> Result<Vec<Case>, BoxError> {
    let at = Position::new;
    let with = |change: &dyn Fn(&mut Vec<NewEvent>)| {
        let mut rows = rows.to_vec();
        change(&mut rows);
        rows
    };
    let flip = |row: &mut NewEvent| {
        let mut bytes = row.payload.as_bytes().to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        row.payload = Payload::from_store(row.payload.encoding().clone(), bytes);
    };
    let stranger = NewEvent::json("World.SomethingHappened", "nothing")?;
    let copy = rows.get(1).ok_or("five events")?.clone();
    Ok(vec![
        ("nothing", rows.to_vec(), vec![]),
        (
            "a byte of an event was changed",
            with(&|rows| rows.iter_mut().skip(1).take(1).for_each(flip)),
            vec![Finding::Changed(at(1))],
        ),
        (
            "an event was deleted",
            with(&|rows| drop(rows.remove(1))),
            vec![Finding::Removed { first: at(1), last: at(1) }],
        ),
        (
            "two events were swapped",
            with(&|rows| rows.swap(1, 2)),
            vec![Finding::Moved { at: at(1), was: at(2) }],
        ),
        (
            "an event was inserted",
            with(&|rows| rows.insert(2, stranger.clone())),
            vec![Finding::Inserted(at(2))],
        ),
        (
            "an event was copied",
            with(&|rows| rows.push(copy.clone().with_id(EventId::generate()))),
            vec![Finding::Inserted(at(5))],
        ),
        (
            "the first events were deleted",
            with(&|rows| drop(rows.drain(..2))),
            vec![Finding::LostPrefix(at(2))],
        ),
        (
            "the last event was deleted",
            with(&|rows| drop(rows.pop())),
            vec![Finding::CutTail { head: known }],
        ),
    ])
}

/// A database that holds these rows.
async fn damaged(
    stream: &StreamId,
    rows: Vec<NewEvent>,
) -> Result<Chained<MemoryAdapter>, BoxError> {
    let memory = MemoryAdapter::new();
    memory.append(vec![Append::new(stream.clone(), rows, WriteCondition::Always)]).await?;
    Ok(Chained::new(memory)?)
}
