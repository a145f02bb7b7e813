//! Erasure: what a report says, and what happens if a keeper of copies fails.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::birds::{Bird, Seen, birds, signer, subject};
use annals::{Append, Error, NewEvent, StorageAdapter, StreamId, WriteCondition};
use annals_layers::{
    Erasure, ErasureReport, InvalidNote, Key, KeyId, KeyRing, Personal, Shredding, Signer,
    StoredKeys, SubjectKeys, Verifier,
};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_state::{Expected, StateError, StateStore, Sweep, Swept};

type Outcome = Result<(), annals::BoxError>;

const STREAM: StreamId = StreamId::from_static("birds", "all");

/// A sweep that fails until it is repaired.
#[derive(Debug, Default)]
struct Broken(AtomicBool);

#[annals::adapter::async_trait]
impl Sweep for Broken {
    async fn forget(&self, _: &str) -> annals_state::Result<Swept> {
        if self.0.load(Ordering::SeqCst) {
            return Ok(Swept::new(3, 2));
        }
        Err(StateError::unavailable("the disk is away"))
    }
}

#[tokio::test]
async fn a_sweep_that_fails_is_named_and_the_others_are_made_all_the_same() -> Outcome {
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::new());
    let master = KeyRing::new(KeyId(1), &Key::generate()?);
    let keys = Arc::new(StoredKeys::new(Arc::clone(&state), master));
    let view = birds(&state);
    let bird = Bird { subject: "ada".to_owned(), name: "canary".to_owned() };
    view.0.put("b-1", &bird, Expected::Absent).await?;
    let broken = Arc::new(Broken::default());
    let erasure = Erasure::new(Arc::clone(&keys) as _)
        .with_sweep("snapshots", Arc::clone(&broken) as _)
        .with_sweep("birds", Arc::new(birds(&state)));
    let failed = erasure.forget(&subject("ada"), &signer()).await.unwrap_err();
    assert!(
        matches!(&failed, Error::Unavailable(failure) if failure.source.to_string().contains("snapshots")),
        "{failed:?}"
    );
    assert!(view.0.get("b-1").await?.is_none(), "the other sweep was made");
    assert!(keys.current(&subject("ada")).await.is_err(), "the key is destroyed first");
    broken.0.store(true, Ordering::SeqCst);
    let note = erasure.forget(&subject("ada"), &signer()).await?;
    let report = ErasureReport::open(&note, &signer().verifier())?;
    let swept: Vec<_> =
        report.swept.iter().map(|it| (it.name.as_str(), it.looked_at, it.removed)).collect();
    assert_eq!(swept, [("snapshots", 3, 2), ("birds", 0, 0)]);
    Ok(())
}

#[derive(Debug)]
struct At(time::OffsetDateTime);

impl annals::Clock for At {
    fn now(&self) -> time::OffsetDateTime {
        self.0
    }
}

#[tokio::test]
async fn a_report_is_signed_and_says_what_remains() -> Outcome {
    let now = time::macros::datetime!(2026-02-03 04:05:06 UTC);
    let master = KeyRing::new(KeyId(1), &Key::generate()?);
    let keys = StoredKeys::new(Arc::new(MemoryState::new()), master).with_clock(At(now));
    let keys = Arc::new(keys);
    let layer = Shredding::new(MemoryAdapter::new(), Arc::clone(&keys) as _)?;
    let seen = Seen { name: Personal::new(subject("ada"), "x".to_owned()), place: String::new() };
    let seen = [NewEvent::json("seen", &seen)?];
    layer.append(vec![Append::new(STREAM, seen, WriteCondition::Always)]).await?;
    let (id, _) = keys.current(&subject("ada")).await?;
    let erasure = Erasure::new(keys)
        .with_clock(At(now))
        .with_remains("write-ahead log", time::Duration::days(7));
    let note = erasure.forget(&subject("ada"), &signer()).await?;
    let report = ErasureReport::open(&note, &signer().verifier())?;
    assert_eq!((report.forgotten.key, report.forgotten.at), (Some(id), now));
    assert_eq!(report.remains[0].what, "write-ahead log");
    assert_eq!(report.remains[0].until, now + time::Duration::days(7));
    assert_eq!(report.swept_at, now);
    // No byte of it can be changed, and nobody else has signed it.
    let text = signer().verifier().to_string();
    assert_eq!(text.parse::<Verifier>()?, signer().verifier());
    for at in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(changed) = String::from_utf8(bytes) {
            assert!(ErasureReport::open(&changed, &signer().verifier()).is_err(), "{at}");
        }
    }
    let other = Signer::from_bytes("example.com/erasures", &[8; 32])?;
    let unsigned = ErasureReport::open(&note, &other.verifier());
    assert_eq!(unsigned, Err(InvalidNote::NotSigned));
    let another = signer().sign("a note about something else\n")?;
    assert!(ErasureReport::open(&another, &signer().verifier()).is_err());
    assert!(!format!("{:?}", signer()).contains('9'), "no secret is shown");
    Ok(())
}
