//! Event ids that a test knows in advance.

use annals::EventId;
use uuid::Uuid;

use crate::generate::Generator;

/// Ids that count: the first is `00000000-0000-0000-0000-000000000001`. Good to read in a failure; in a store that
/// keeps its events they come only once.
///
/// ```
/// use annals_testkit::SequentialIds;
/// let third = SequentialIds::default().nth(2).unwrap();
/// assert_eq!(third.to_string(), "00000000-0000-0000-0000-000000000003");
/// ```
#[derive(Debug, Clone, Default)]
pub struct SequentialIds(u128);

impl SequentialIds {
    /// Ids that follow `last`.
    #[must_use]
    pub const fn after(last: EventId) -> Self {
        Self(last.as_uuid().as_u128())
    }
}

impl Iterator for SequentialIds {
    type Item = EventId;

    fn next(&mut self) -> Option<EventId> {
        self.0 = self.0.checked_add(1)?;
        Some(EventId::from_uuid(Uuid::from_u128(self.0)))
    }
}

/// Ids with the form of random ones, the same for the same seed. They never end.
///
/// ```
/// use annals_testkit::SeededIds;
/// let ids: Vec<_> = SeededIds::new(42).take(3).collect();
/// assert!(SeededIds::new(42).zip(ids).all(|(a, b)| a == b));
/// ```
#[derive(Debug)]
pub struct SeededIds(Generator);

impl SeededIds {
    /// The ids of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Generator::new(seed))
    }
}

impl Iterator for SeededIds {
    type Item = EventId;

    fn next(&mut self) -> Option<EventId> {
        Some(self.0.event_id())
    }
}
