//! The events that every contestant gets: about 250 bytes of JSON each.

use std::sync::LazyLock;

use annals::{CategoryName, EventName, NewEvent, Payload};

/// The name of every event.
pub const NAME: EventName = EventName::from_static("order-line-added");

/// The category of every stream.
pub const CATEGORY: CategoryName = CategoryName::from_static("orders");

/// The payload of every event, as JSON text.
pub const PAYLOAD: &str = r#"{"order":"o-20931","line":3,"article":{"number":"AX-4471-B","title":"Folding chair, beech, grey seat","weight_g":4350},"count":2,"price":{"amount":"129.90","currency":"EUR"},"customer":"c-88120","note":"Please ring twice, second floor on the left."}"#;

static CHECKED: LazyLock<Payload> =
    LazyLock::new(|| Payload::json_bytes(PAYLOAD).expect("the payload is JSON"));

/// An event with a new id. Its payload was checked before: making one is not what stores are measured by.
#[must_use]
pub fn event() -> NewEvent {
    NewEvent::new(NAME, CHECKED.clone())
}
