//! What a check is given.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::engine::{Contract, Profile};

/// What a check is given: a namespace of its own, a seed, and the harness that opens stores.
pub struct Context<C: Contract> {
    pub(crate) harness: Arc<C::Harness>,
    pub(crate) namespace: String,
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) cases: Arc<AtomicU64>,
    pub(crate) shared: Arc<C::Shared>,
}

impl<C: Contract> Context<C> {
    /// The harness, which opens stores and has the hooks.
    #[must_use]
    pub fn harness(&self) -> &C::Harness {
        self.harness.as_ref()
    }

    /// The random namespace of this run of the check: ASCII letters and digits, at most 16 of them. All names that the
    /// check uses begin with it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What all randomness of the check comes from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What all openings of this run of the check share.
    #[must_use]
    pub fn shared(&self) -> &C::Shared {
        &self.shared
    }

    /// The same, but that it shares nothing with what was opened before.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { shared: Arc::default(), ..self.clone() }
    }

    /// Seeds for the cases of a check with many: `quick` of them in the quick profile, more in the others. Each
    /// case is counted for the report.
    pub fn cases(&self, quick: u64) -> impl Iterator<Item = u64> + use<C> {
        let (most, until) = match self.profile {
            Profile::Quick => (quick, None),
            Profile::Full => (quick.saturating_mul(20), None),
            Profile::Soak(duration) => (u64::MAX, Some(Instant::now() + duration)),
        };
        let (seed, counter) = (self.seed, Arc::clone(&self.cases));
        // Steps of the golden ratio keep the seeds of all cases apart, as in SplitMix64 (Steele, Lea, Flood 2014).
        (0..most).take_while(move |_| until.is_none_or(|end| Instant::now() < end)).map(
            move |nth| {
                counter.fetch_add(1, Ordering::Relaxed);
                seed.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            },
        )
    }

    /// The same check in a namespace of its own, for a case that needs a fresh one.
    #[must_use]
    pub fn nested(&self, name: impl fmt::Display) -> Self {
        let namespace = format!("{}{name}", self.namespace);
        Self { namespace, ..self.apart() }
    }
}

impl<C: Contract> Clone for Context<C> {
    fn clone(&self) -> Self {
        Self {
            harness: Arc::clone(&self.harness),
            namespace: self.namespace.clone(),
            seed: self.seed,
            profile: self.profile,
            cases: Arc::clone(&self.cases),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C: Contract> fmt::Debug for Context<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("namespace", &self.namespace)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
