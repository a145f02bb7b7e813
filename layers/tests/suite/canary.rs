//! The canary: who is forgotten is in no row and in no file of a database any more, whatever kept copies of its events.
//! With `ANNALS_CANARY_EVENTS=100000` it takes minutes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

mod databases;
mod keepers;

use std::sync::Arc;

use crate::birds::{Bird, Seen, birds, signer, subject};
use annals::{
    Append, EventStore, NewEvent, Query, ReadOptions, StorageAdapter, StreamId, WriteCondition,
};
use annals_layers::{
    Erasure, ErasureReport, Key, KeyId, KeyRing, Personal, Shredding, StoredKeys, SubjectKeys,
};
use annals_state::{CollectionName, Expected, Scan, StateStore};
use databases::{Bytes, File, Schema, count};
use futures_util::TryStreamExt;
use keepers::{COLLECTIONS, Keepers};

type Outcome = Result<(), annals::BoxError>;

/// What the forgotten are called. The others are linnets.
const CANARY: &[u8] = b"canary";
const LINNET: &[u8] = b"linnet";

/// How many birds are seen: 400, or what `ANNALS_CANARY_EVENTS` says.
fn events() -> usize {
    std::env::var("ANNALS_CANARY_EVENTS").map_or(400, |text| text.parse().unwrap())
}

/// The bird that is seen at this tree: who, what it is called, and what happens to it. Even ones are canaries.
fn seen(nth: usize) -> (StreamId, String, NewEvent) {
    let kind = if nth.is_multiple_of(2) { "canary" } else { "linnet" };
    let name = format!("{kind}-{nth}");
    let what = match nth % 100 {
        // What fails is parked, each in a stream of its own; a processor parks 1,000 of them at most.
        50 | 51 if nth < 40_000 => "sick",
        _ if nth % 20 < 2 => "ringed",
        _ => "seen",
    };
    let stream = if what == "sick" { format!("sick-{nth}") } else { "all".to_owned() };
    let personal = Personal::new(subject(&format!("the-{}", nth % 2)), name.clone());
    let event = NewEvent::json(what, &Seen { name: personal, place: format!("tree {nth}") });
    (StreamId::new("birds", stream).unwrap(), name, event.unwrap())
}

/// The bytes of all documents of a collection.
async fn documents(state: &dyn StateStore, collection: &'static str) -> Vec<u8> {
    let scan = Scan::along_ids(CollectionName::from_static(collection));
    let pages: Vec<_> = state.scan(scan).try_collect().await.unwrap();
    let all = pages.into_iter().flatten().map(|scanned| scanned.document);
    all.flat_map(|document| document.body.as_bytes().to_vec()).collect()
}

async fn canary<A: StorageAdapter + Clone>(
    log: A,
    state: Arc<dyn StateStore>,
    database: &impl Bytes,
) -> Outcome {
    let master = KeyRing::new(KeyId(1), &Key::from_bytes(&[5; 32]));
    let keys = Arc::new(StoredKeys::new(Arc::clone(&state), master));
    let layer = Shredding::new(log, Arc::clone(&keys) as _)?;
    let store = EventStore::new(layer.clone());
    let (view, keepers) = (birds(&state), Keepers::new(store, Arc::clone(&state)));
    let total = events();
    for first in (0..total).step_by(100) {
        let (mut appends, mut writes): (Vec<Append>, _) = (Vec::new(), Vec::new());
        for nth in first..total.min(first + 100) {
            let (stream, name, event) = seen(nth);
            match appends.iter_mut().find(|append| append.stream == stream) {
                Some(append) => append.events.push(event),
                None => appends.push(Append::new(stream, [event], WriteCondition::Always)),
            }
            let bird = Bird { subject: format!("the-{}", nth % 2), name };
            writes.push(view.0.write(format!("b-{nth}"), &bird, Expected::Absent)?);
        }
        layer.append(appends).await?;
        view.0.commit(writes).await?;
    }
    let (forgotten, other) = (subject("the-0"), subject("the-1"));
    keepers.build([(&forgotten, "canary"), (&other, "linnet")], total.div_ceil(200)).await?;
    keepers.settle().await?;
    // The test would find them: in what each keeper has, in rows, in files, and the wrapped key.
    for collection in COLLECTIONS {
        let kept = documents(&*state, collection).await;
        assert!(count(&kept, CANARY) > 0 && count(&kept, LINNET) > 0, "{collection}");
    }
    let wrapped = wrapped(&*state, keys.current(&forgotten).await?.0).await;
    let of_another = self::wrapped(&*state, keys.current(&other).await?.0).await;
    for bytes in [database.rows().await, database.files(false).await] {
        assert!(count(&bytes, CANARY) >= total && count(&bytes, &wrapped) > 0);
    }
    let before = count(&database.rows().await, LINNET);

    let erasure =
        Erasure::new(Arc::clone(&keys) as _).with_remains("backups", time::Duration::days(30));
    let note = keepers.forgotten_by(erasure)?.forget(&forgotten, &signer()).await?;
    let report = ErasureReport::open(&note, &signer().verifier())?;
    let removed: Vec<u64> = report.swept.iter().map(|by| by.removed).collect();
    let (birds, rings) = (total.div_ceil(2) as u64, total.div_ceil(20) as u64);
    assert!(removed[0] == birds && removed[2] == rings, "{report:?}");
    assert!(removed[1] >= rings && removed[3] > 0, "{report:?}");

    // At once in what can be read, and in the files once the database has made its tables anew. What goes on does not bring
    // them back.
    for goes_on in [false, true] {
        if goes_on {
            keepers.settle().await?;
        }
        let rows = database.rows().await;
        assert_eq!((count(&rows, CANARY), count(&rows, &wrapped)), (0, 0), "in rows");
        assert!(count(&rows, LINNET) >= before, "nobody else is forgotten");
        let files = database.files(true).await;
        assert_eq!((count(&files, CANARY), count(&files, &wrapped)), (0, 0), "in files");
        assert!(count(&files, LINNET) >= total && count(&files, &of_another) > 0);
    }
    let mut known = 0;
    let mut pages = layer.read(Query::all(), ReadOptions::default());
    while let Some(page) = pages.try_next().await? {
        for event in page.events.iter().filter(|event| event.stream.category.as_str() == "birds") {
            let seen: Seen = event.payload().to_json()?;
            assert!(seen.name.value().is_none_or(|name| name.starts_with("linnet")));
            known += usize::from(seen.name.value().is_some());
        }
    }
    assert_eq!(known, total / 2);
    Ok(())
}

/// The key of this id as it is stored, sealed by the master key.
async fn wrapped(state: &dyn StateStore, id: annals_layers::DataKeyId) -> Vec<u8> {
    let scan = Scan::along_ids(CollectionName::from_static("annals.subject_keys"));
    let pages: Vec<_> = state.scan(scan).try_collect().await.unwrap();
    let mut documents = pages.into_iter().flatten().map(|scanned| scanned.document);
    let document = documents.find(|document| document.key.id.as_str() == id.to_string()).unwrap();
    document.body.as_bytes()[17..].to_vec()
}

#[tokio::test]
async fn no_canary_is_left_in_sqlite() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("log.db");
    let log = annals_sqlite::SqliteAdapter::open(&file).await?;
    let state: Arc<dyn StateStore> = Arc::new(log.state());
    canary(log, state, &File(&file)).await
}

#[tokio::test]
async fn no_canary_is_left_in_postgres() -> Outcome {
    let Some(url) = crate::postgres::server().await else { return Ok(()) };
    let name = crate::postgres::fresh();
    let log = crate::postgres::open(crate::postgres::options(&url, &name)?).await;
    let state: Arc<dyn StateStore> = Arc::new(log.state());
    let client = crate::postgres::admin(&url).await?;
    canary(log, state, &Schema { client, name }).await
}
