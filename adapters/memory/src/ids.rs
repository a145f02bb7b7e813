//! The ids of all events of a log.

use annals::EventId;
use hashbrown::HashSet;

/// Fresh ids ascend within a process (UUIDv7). Those that do are a sorted list: compact, and an id above all of
/// them is new without a search. The others are in a table.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    ascending: Vec<EventId>,
    others: HashSet<EventId>,
}

impl Ids {
    pub(crate) fn contains(&self, id: &EventId) -> bool {
        let listed = !self.is_above_all(id) && self.ascending.binary_search(id).is_ok();
        listed || self.others.contains(id)
    }

    pub(crate) fn insert(&mut self, id: EventId) {
        if self.is_above_all(&id) {
            self.ascending.push(id);
        } else {
            self.others.insert(id);
        }
    }

    fn is_above_all(&self, id: &EventId) -> bool {
        self.ascending.last().is_none_or(|last| last < id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use annals_testkit::generate::Generator;
    use uuid::Uuid;

    use super::*;

    fn id(number: u64) -> EventId {
        EventId::from_uuid(Uuid::from_u128(number.into()))
    }

    /// Ascending, descending and in no order.
    #[test]
    fn it_knows_just_the_ids_that_were_inserted() {
        for seed in 0..50 {
            let mut generator = Generator::new(seed);
            let (mut ids, mut known) = (Ids::default(), HashSet::new());
            for step in 0..100 {
                let next = match seed % 3 {
                    0 => step * 2,
                    1 => 200 - step * 2,
                    _ => generator.below(200),
                };
                assert_eq!(ids.contains(&id(next)), !known.insert(next));
                ids.insert(id(next));
            }
            for number in 0..=201 {
                assert_eq!(
                    ids.contains(&id(number)),
                    known.contains(&number),
                    "seed {seed}, {number}"
                );
            }
        }
    }
}
