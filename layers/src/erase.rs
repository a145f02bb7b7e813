//! Erasure of a subject: its keys, then all copies, and a signed report.

use std::sync::Arc;

use annals::{BoxError, Clock, Error, Result, SystemClock};
use annals_state::Sweep;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::note::{InvalidNote, Signer, Verifier};
use crate::shred::{Forgotten, Subject, SubjectKeys};
use crate::state::of_state;

/// What the first line of a report says, so that no other note is taken for one.
const TITLE: &str = "annals-erasure/1";

/// Forgets subjects: destroys their keys, then asks every keeper of copies to remove them, and signs what was done.
///
/// ```
/// # use std::sync::Arc;
/// # use annals_layers::{Erasure, ErasureReport, Key, KeyId, KeyRing, Signer, StoredKeys, Subject};
/// # futures_executor::block_on(async {
/// let master = KeyRing::new(KeyId(1), &Key::generate()?);
/// let keys = StoredKeys::new(Arc::new(annals_memory::MemoryState::new()), master);
/// let erasure = Erasure::new(Arc::new(keys)).with_remains("backups", time::Duration::days(30));
/// let signer = Signer::generate("example.com/erasures")?;
/// let note = erasure.forget(&Subject::new("p-17")?, &signer).await?;
/// let report = ErasureReport::open(&note, &signer.verifier())?;
/// assert_eq!(report.forgotten.subject.as_str(), "p-17");
/// # Ok::<(), annals::BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Erasure {
    keys: Arc<dyn SubjectKeys>,
    sweeps: Vec<(String, Arc<dyn Sweep>)>,
    remains: Vec<(String, Duration)>,
    clock: Arc<dyn Clock>,
}

/// What one keeper of copies removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SweptBy {
    /// What the keeper was called.
    pub name: String,
    /// How many documents it looked at.
    pub looked_at: u64,
    /// How many of them it deleted or made again without the subject.
    pub removed: u64,
}

/// What no sweep reaches, and when it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Remains {
    /// What may still hold something, such as `backups`.
    pub what: String,
    /// When it expires, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// What was done to forget a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErasureReport {
    /// The evidence that its key was destroyed.
    pub forgotten: Forgotten,
    /// What each keeper of copies removed, in the order of the sweeps.
    pub swept: Vec<SweptBy>,
    /// When the last sweep had ended, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub swept_at: OffsetDateTime,
    /// What was out of reach.
    pub remains: Vec<Remains>,
}

impl ErasureReport {
    /// The report in a note that [`Erasure::forget`] made.
    ///
    /// # Errors
    /// [`InvalidNote`] if this signer did not sign it, or it is no report.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, InvalidNote> {
        let text = verifier.open(note)?.strip_prefix(TITLE).and_then(|it| it.strip_prefix('\n'));
        let json = text.ok_or(InvalidNote::Malformed("it is no report of an erasure"))?;
        let unreadable = InvalidNote::Malformed("the report cannot be read");
        serde_json::from_str(json).map_err(|_| unreadable)
    }
}

impl Erasure {
    /// Destroys keys in `keys`.
    #[must_use]
    pub fn new(keys: Arc<dyn SubjectKeys>) -> Self {
        Self { keys, sweeps: Vec::new(), remains: Vec::new(), clock: Arc::new(SystemClock) }
    }

    /// Asks `sweep` too, which the report calls `name`: views, snapshots, parked events, effects, caches.
    #[must_use]
    pub fn with_sweep(mut self, name: impl Into<String>, sweep: Arc<dyn Sweep>) -> Self {
        self.sweeps.push((name.into(), sweep));
        self
    }

    /// Says in reports what no sweep reaches, such as backups, replicas or a write-ahead log, and how long after the sweeps
    /// it is kept.
    #[must_use]
    pub fn with_remains(mut self, what: impl Into<String>, kept: Duration) -> Self {
        self.remains.push((what.into(), kept));
        self
    }

    /// Takes times from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Forgets `subject`, and returns the [report](ErasureReport) as a note signed by `signer`: keep it. First the key is
    /// destroyed, so that nobody makes further copies; then all sweeps are made, also if one of them fails.
    ///
    /// # Errors
    /// - Those of the key store, as it returns them: nothing was swept.
    /// - The first error of a sweep, which it names. Call it again: what is done already is harmless.
    ///
    /// # Cancel safety
    /// Dropped, it leaves some of it done. Call it again.
    pub async fn forget(&self, subject: &Subject, signer: &Signer) -> Result<String> {
        let forgotten = self.keys.forget(subject).await?;
        let (mut swept, mut failed) = (Vec::with_capacity(self.sweeps.len()), None);
        for (name, sweep) in &self.sweeps {
            match sweep.forget(subject.as_str()).await {
                Ok(done) => swept.push(SweptBy {
                    name: name.clone(),
                    looked_at: done.looked_at,
                    removed: done.removed,
                }),
                Err(error) => {
                    failed.get_or_insert_with(|| match of_state(error) {
                        Error::Unavailable(failure) => {
                            Error::unavailable(format!("sweep {name}: {}", failure.source))
                        }
                        other => Error::backend(format!("sweep {name}: {other}")),
                    });
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let swept_at = annals::adapter::cut_to_micros(self.clock.now());
        let remains = |(what, kept): &(String, Duration)| {
            let until = swept_at.checked_add(*kept).ok_or("a time beyond all times")?;
            Ok::<_, BoxError>(Remains { what: what.clone(), until })
        };
        let remains: Result<_, _> = self.remains.iter().map(remains).collect();
        let remains = remains.map_err(Error::Invalid)?;
        let report = ErasureReport { forgotten, swept, swept_at, remains };
        let json = serde_json::to_string(&report).map_err(Error::invalid)?;
        Ok(signer.sign(&format!("{TITLE}\n{json}\n"))?)
    }
}
