//! Realistic payloads of some size, from a seed: orders with lines, as JSON.

use std::fmt::Write as _;

/// Which sizes are measured, in bytes.
pub const SIZES: [usize; 3] = [200, 1_024, 10_240];

const TITLES: [&str; 12] = [
    "Folding chair, beech",
    "Desk lamp",
    "Oak table, round",
    "Wool blanket",
    "Kettle, 1.7 l",
    "Bookshelf, five boards",
    "Rug, grey",
    "Mirror with frame",
    "Cutlery for six",
    "Garden hose, 20 m",
    "Paint, white, 5 l",
    "Picture frame",
];
const CITIES: [&str; 8] = ["Ulm", "Graz", "Basel", "Lyon", "Porto", "Turku", "Gdynia", "Cork"];
const NOTES: [&str; 6] = [
    "Please ring twice.",
    "Second floor on the left.",
    "Leave it with the neighbours if nobody is in.",
    "The yard is open from eight.",
    "No deliveries on Friday.",
    "Call before you come.",
];

/// Draws numbers: xorshift, which needs no crate and is the same everywhere.
#[derive(Debug)]
pub struct Orders(u64);

impl Orders {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let nth = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of.get(nth).copied().unwrap_or_default()
    }

    /// The JSON of an order of about `bytes` bytes.
    pub fn order(&mut self, bytes: usize) -> String {
        let mut json = format!(
            r#"{{"order":"o-{}","customer":"c-{}","city":"{}","lines":["#,
            self.below(10_000_000),
            self.below(100_000),
            self.one_of(&CITIES)
        );
        let mut comma = "";
        while json.len() + 110 < bytes || comma.is_empty() {
            // Writing to a text cannot fail.
            let _ = write!(
                json,
                r#"{comma}{{"article":"AX-{}","title":"{}","count":{},"price":"{}.{:02}","note":"{}"}}"#,
                self.below(100_000),
                self.one_of(&TITLES),
                self.below(9) + 1,
                self.below(500),
                self.below(100),
                self.one_of(&NOTES)
            );
            comma = ",";
        }
        json.push_str("]}");
        json
    }
}

#[cfg(test)]
mod tests {
    use super::{Orders, SIZES};

    #[test]
    fn orders_are_json_of_about_their_size_and_repeat_by_seed() {
        for size in SIZES {
            let order = Orders::new(1).order(size);
            assert!(annals::Payload::json_bytes(order.clone()).is_ok(), "{order}");
            assert!((size * 2 / 3..size * 3 / 2).contains(&order.len()), "{size}: {}", order.len());
            assert_eq!(order, Orders::new(1).order(size));
            assert_ne!(order, Orders::new(2).order(size));
        }
    }
}
