//! Views of the events of an enum.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::support::{World, number};
use annals::{BoxError, CategoryName, NewEvent, StoredEvent, StreamId, WriteCondition};
use annals_domain::{Event, new_event};
use annals_processing::{Decision, EventView, ProcessingError, Processor, events_of};
use annals_state::{Collection, DocumentId, Documents};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};

#[derive(Event, Debug)]
enum OrderEvent {
    #[event(name = "order-placed", alias = "order-made")]
    Placed { amount: u64 },
    #[event(name = "order-paid", version = 2, upcast(in_cents))]
    Paid { cents: u64 },
}

/// Version 1 had whole euros.
fn in_cents(payload: &mut serde_json::Value) {
    payload["cents"] = (payload["euros"].as_u64().unwrap_or_default() * 100).into();
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    amount: u64,
    cents: u64,
}

struct Orders;

impl EventView for Orders {
    type Event = OrderEvent;
    type State = Order;

    fn apply(
        &self,
        _: &DocumentId,
        order: &mut Option<Order>,
        event: OrderEvent,
        _: &StoredEvent,
    ) -> Result<(), BoxError> {
        let order = order.get_or_insert_default();
        match event {
            OrderEvent::Placed { amount } => order.amount += amount,
            OrderEvent::Paid { cents } => order.cents += cents,
        }
        Ok(())
    }
}

fn orders(world: &World) -> Documents<Order> {
    Collection::new("orders").unwrap().on(Arc::clone(&world.state))
}

fn processor(world: &World) -> Processor {
    Processor::event_view("orders", &world.store, orders(world), Orders, world.timer.clone())
        .unwrap()
}

async fn append(world: &World, name: &'static str, payload: serde_json::Value) {
    let stream = world.store.stream(StreamId::from_static("orders", "o-1"));
    let event = NewEvent::json(name, &payload).unwrap();
    stream.append([event], WriteCondition::Always).await.unwrap();
}

#[test]
fn events_arrive_under_their_current_names_and_versions() {
    block_on(async {
        let world = World::new();
        append(&world, "order-made", serde_json::json!({"amount": 7})).await;
        append(&world, "order-paid", serde_json::json!({"euros": 3})).await;
        append(&world, "order-noted", serde_json::json!("of no interest")).await;
        let stream = world.store.stream(StreamId::from_static("orders", "o-1"));
        let (_, paid) = new_event(OrderEvent::Paid { cents: 5 }).unwrap();
        stream.append([paid], WriteCondition::Always).await.unwrap();
        let mut processor = processor(&world);
        assert_eq!(processor.settle().await.unwrap(), number(4));
        let order = orders(&world).get("o-1").await.unwrap().unwrap();
        assert_eq!(order.value, Order { amount: 7, cents: 305 });
    });
}

#[test]
fn an_event_that_cannot_be_decoded_is_one_that_cannot_be_applied() {
    block_on(async {
        let world = World::new();
        append(&world, "order-placed", serde_json::json!({"amount": 7})).await;
        append(&world, "order-placed", serde_json::json!({"amount": "seven"})).await;
        append(&world, "order-placed", serde_json::json!({"amount": 1})).await;
        let error = processor(&world).settle().await.unwrap_err();
        let ProcessingError::Handler(failed) = &error else { panic!("{error}") };
        assert_eq!(failed.sequence_number, number(2));
        assert_eq!(orders(&world).get("o-1").await.unwrap().unwrap().value.amount, 7);
        let mut skipping = processor(&world).with_errors(|_| Decision::Skip);
        skipping.settle().await.unwrap();
        assert_eq!(orders(&world).get("o-1").await.unwrap().unwrap().value.amount, 8);
    });
}

#[test]
fn it_asks_for_the_events_of_its_enum_alone_and_of_one_source_if_told() {
    block_on(async {
        let world = World::new();
        append(&world, "order-placed", serde_json::json!({"amount": 7})).await;
        let others = events_of::<OrderEvent>(CategoryName::from_static("others")).unwrap();
        let mut processor = processor(&world).with_query(others).unwrap();
        assert_eq!(processor.settle().await.unwrap(), number(1));
        assert_eq!(orders(&world).get("o-1").await.unwrap(), None);
    });
}

#[test]
fn an_enum_without_events_is_misuse() {
    #[derive(Debug)]
    enum Nothing {}
    impl Event for Nothing {
        const KINDS: &'static [annals_domain::Kind] = &[];
        fn kind(&self) -> &'static annals_domain::Kind {
            match *self {}
        }
        fn encode(self) -> Result<(Self, annals::Payload), annals::InvalidPayload> {
            match self {}
        }
        fn decode(_: &str, _: &annals::Payload) -> Result<Self, BoxError> {
            Err("there is none".into())
        }
    }
    let error = events_of::<Nothing>(annals::Source::Log).unwrap_err();
    assert!(matches!(error, ProcessingError::Misuse(_)), "{error}");
}
