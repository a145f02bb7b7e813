//! The payload of all as a type, for those that store values of types: the same JSON.

use std::sync::LazyLock;

use annals_benches::sample::PAYLOAD;
use serde::{Deserialize, Serialize};

/// The fields of the payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AddedLine {
    pub(crate) order: String,
    pub(crate) line: u32,
    pub(crate) article: Article,
    pub(crate) count: u32,
    pub(crate) price: Price,
    pub(crate) customer: String,
    pub(crate) note: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Article {
    number: String,
    title: String,
    weight_g: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Price {
    amount: String,
    currency: String,
}

/// The events of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum OrderEvent {
    LineAdded(AddedLine),
}

static LINE: LazyLock<AddedLine> =
    LazyLock::new(|| serde_json::from_str(PAYLOAD).expect("the payload has these fields"));

/// The payload.
pub(crate) fn line() -> AddedLine {
    LINE.clone()
}

/// So many events with the payload.
pub(crate) fn events(count: usize) -> Vec<OrderEvent> {
    (0..count).map(|_| OrderEvent::LineAdded(line())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_has_the_same_json() {
        assert_eq!(serde_json::to_string(&line()).unwrap(), PAYLOAD);
    }
}
