//! The ids of all events of a log.

use annals::EventId;
use hashbrown::HashSet;

/// How far from its end the sorted list takes an id.
const NEAR: usize = 512;

/// Fresh ids ascend within a process (UUIDv7), or nearly so where several tasks append: these are a sorted list,
/// which is compact, and an id above all of them is new without a search. The others are in a table.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    sorted: Vec<EventId>,
    others: HashSet<EventId>,
}

impl Ids {
    pub(crate) fn contains(&self, id: &EventId) -> bool {
        self.sorted.get(self.place(id)) == Some(id) || self.others.contains(id)
    }

    pub(crate) fn insert(&mut self, id: EventId) {
        let place = self.place(&id);
        if self.sorted.len() - place <= NEAR {
            self.sorted.insert(place, id);
        } else {
            self.others.insert(id);
        }
    }

    /// Where the list holds `id`, or would.
    fn place(&self, id: &EventId) -> usize {
        match self.sorted.last() {
            Some(last) if last >= id => self.sorted.partition_point(|known| known < id),
            _ => self.sorted.len(),
        }
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
        for seed in 0..12 {
            let mut generator = Generator::new(seed);
            let (mut ids, mut known) = (Ids::default(), HashSet::new());
            for step in 0..2_000 {
                let next = match seed % 3 {
                    0 => step * 2,
                    1 => 4_000 - step * 2,
                    _ => generator.below(4_000),
                };
                assert_eq!(ids.contains(&id(next)), !known.insert(next));
                if !ids.contains(&id(next)) {
                    ids.insert(id(next));
                }
            }
            for number in 0..=4_001 {
                assert_eq!(
                    ids.contains(&id(number)),
                    known.contains(&number),
                    "seed {seed}, {number}"
                );
            }
        }
    }
}
