//! Random appends under random conditions.

use annals::Capabilities;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::model::{Condition, Event, Item, Mark, NAMES, Op, Program, Scope, Write};

const STREAMS: u8 = 4;
const TAGS: u8 = 3;
const OPERATIONS: u8 = 40;

/// A program of appends only, for two handles. With `queries` most leaves ask for matches.
pub(crate) fn decisions(seed: u64, capabilities: Capabilities, queries: bool) -> Program {
    Maker { random: StdRng::seed_from_u64(seed), capabilities, queries }.program()
}

struct Maker {
    random: StdRng,
    capabilities: Capabilities,
    queries: bool,
}

impl Maker {
    fn program(mut self) -> Program {
        let mut known = 0;
        Program(
            (0..OPERATIONS)
                .map(|_| (self.random.random_range(0..2), self.append(&mut known)))
                .collect(),
        )
    }

    fn append(&mut self, known: &mut u32) -> Op {
        let several = self.capabilities.multi_stream_append && self.random.random_bool(0.3);
        let first = self.random.random_range(0..STREAMS);
        let most = self.capabilities.max_events_per_append.map_or(u32::MAX, Into::into);
        let mut room = most;
        let writes = (0..if several { self.random.random_range(2..=3) } else { 1 }).map(|nth| {
            let size = self.random.random_range(0..=2).min(room);
            room -= size;
            let events = (0..size).map(|_| {
                *known += 1;
                let tags = if self.capabilities.tags { self.some(TAGS) } else { Vec::new() };
                Event { id: *known, name: self.random.random_range(0..NAMES), tags }
            });
            let events = events.collect();
            // Others mostly hold, so that each decides of the whole call.
            let condition = if nth == 0 || self.random.random_bool(0.4) {
                self.condition(0)
            } else {
                Condition::AsSeen
            };
            Write { stream: (first + nth) % STREAMS, events, condition }
        });
        Op::Append(writes.collect())
    }

    /// Some of the numbers below `end`, ascending.
    fn some(&mut self, end: u8) -> Vec<u8> {
        (0..end).filter(|_| self.random.random_bool(0.4)).collect()
    }

    fn condition(&mut self, depth: u8) -> Condition {
        if depth < 4 && self.random.random_bool(if depth == 0 { 0.7 } else { 0.4 }) {
            let count = [0, 1, 2, 2, 3, 4].choose(&mut self.random).copied().unwrap_or(2);
            let parts = (0..count).map(|_| self.condition(depth + 1)).collect();
            return if self.random.random_bool(0.5) {
                Condition::All(parts)
            } else {
                Condition::Any(parts)
            };
        }
        if self.queries && self.random.random_bool(0.8) {
            return Condition::NoMatch { query: self.query(), after: self.mark() };
        }
        match self.random.random_range(0..8) {
            0 => Condition::Always,
            1 => Condition::StreamIsEmpty,
            2 => Condition::StreamExists,
            3..=4 => Condition::AsSeen,
            _ => Condition::PositionIs(self.random.random_range(0..8)),
        }
    }

    /// Mostly near the end of what was appended, where a number too many or too few shows.
    fn mark(&mut self) -> Mark {
        match self.random.random_range(0..10) {
            0 => Mark::Start,
            1..=2 => Mark::Seen,
            _ => Mark::At(self.random.random_range(0..u64::from(OPERATIONS) / 2)),
        }
    }

    fn query(&mut self) -> Vec<Item> {
        let count = [0, 1, 1, 1, 2, 3].choose(&mut self.random).copied().unwrap_or(1);
        let item = |_| {
            let source = match self.random.random_range(0..4) {
                0 => Scope::Log,
                1 => Scope::Category(self.random.random_range(0..STREAMS / 2)),
                _ => Scope::Stream(self.random.random_range(0..STREAMS)),
            };
            let names = if self.random.random_bool(0.6) { self.some(NAMES) } else { Vec::new() };
            let tags = self.capabilities.tags && self.random.random_bool(0.6);
            Item { source, names, tags: if tags { self.some(TAGS) } else { Vec::new() } }
        };
        (0..count).map(item).collect()
    }
}
