//! The ids of all events of a log, and where the events are.

use annals::EventId;
use hashbrown::HashMap;

/// How far from its end the sorted list takes an id.
const NEAR: usize = 512;

/// Fresh ids ascend within a process (UUIDv7), or nearly so where several tasks append: these are a sorted list,
/// which is compact, and an id above all of them is new without a search. The others are in a table.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    sorted: Vec<(EventId, usize)>,
    others: HashMap<EventId, usize>,
}

impl Ids {
    pub(crate) fn contains(&self, id: &EventId) -> bool {
        self.get(id).is_some()
    }

    /// The place of the event with this id.
    pub(crate) fn get(&self, id: &EventId) -> Option<usize> {
        match self.sorted.get(self.slot(id)) {
            Some((known, place)) if known == id => Some(*place),
            _ => self.others.get(id).copied(),
        }
    }

    pub(crate) fn insert(&mut self, id: EventId, place: usize) {
        let slot = self.slot(&id);
        if self.sorted.len() - slot <= NEAR {
            self.sorted.insert(slot, (id, place));
        } else {
            self.others.insert(id, place);
        }
    }

    /// Where the list holds `id`, or would.
    fn slot(&self, id: &EventId) -> usize {
        match self.sorted.last() {
            Some((last, _)) if last >= id => self.sorted.partition_point(|(known, _)| known < id),
            _ => self.sorted.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
            let (mut ids, mut known) = (Ids::default(), HashMap::new());
            for step in 0..2_000 {
                let next = match seed % 3 {
                    0 => step * 2,
                    1 => 4_000 - step * 2,
                    _ => generator.below(4_000),
                };
                let place = usize::try_from(step).expect("small");
                assert_eq!(ids.get(&id(next)), known.get(&next).copied());
                if !ids.contains(&id(next)) {
                    ids.insert(id(next), place);
                    known.insert(next, place);
                }
            }
            for number in 0..=4_001 {
                assert_eq!(
                    ids.get(&id(number)),
                    known.get(&number).copied(),
                    "seed {seed}, {number}"
                );
            }
        }
    }
}
