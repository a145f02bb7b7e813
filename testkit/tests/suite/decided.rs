//! The tests of policies and workflows see what is wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{BoxError, EventStore, NewEvent, StoredEvent, StreamId, WriteCondition};
use annals_memory::MemoryAdapter;
use annals_processing::{LogUpTo, Out, Policy, async_trait};
use annals_testkit::processing::GivenPolicy;

/// Bills what is placed, as its fault says.
struct Bill {
    fault: Fault,
    asked: AtomicU64,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Counts,
    Changes,
    Reserved,
    Fails,
}

#[async_trait]
impl Policy for Bill {
    async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if *event.name() != "placed" {
            return Ok(());
        }
        if self.fault == Fault::Fails {
            return Err("no paper".into());
        }
        let name = match self.fault {
            Fault::Changes if asked % 2 == 1 => "charged",
            _ => "billed",
        };
        let payload = if self.fault == Fault::Counts { asked } else { 0 };
        let category = if self.fault == Fault::Reserved { "annals.bills" } else { "bills" };
        let stream = StreamId::new(category, event.stream.name.as_str())?;
        Ok(out.append(stream, [NewEvent::json(name, &payload)?], WriteCondition::Always)?)
    }
}

fn given(fault: Fault) -> GivenPolicy<Bill> {
    let store = EventStore::new(MemoryAdapter::new());
    GivenPolicy::new(&store, "bills", Bill { fault, asked: AtomicU64::new(0) })
}

fn placed() -> (StreamId, NewEvent) {
    (StreamId::from_static("orders", "o-1"), NewEvent::json("placed", &1).unwrap())
}

#[test]
fn y2_a_decision_that_is_not_the_same_when_it_is_made_again_fails_the_test() {
    let (order, event) = placed();
    let _given = given(Fault::None).when(&order, event.clone()).then("bills/o-1", &["billed"]);
    for fault in [Fault::Counts, Fault::Changes] {
        let event = event.clone();
        let tested = catch_unwind(AssertUnwindSafe(|| drop(given(fault).when(&order, event))));
        assert!(tested.is_err());
    }
}

#[test]
fn y1_what_cannot_be_decided_or_appended_is_an_error_that_a_test_sees() {
    let (order, event) = placed();
    let _given = given(Fault::Fails).when(&order, event.clone()).then_error("no paper");
    let _given = given(Fault::Reserved).when(&order, event.clone()).then_error("reserved");
    let other = NewEvent::json("closed", &1).unwrap();
    let _given = given(Fault::None).event(&order, event).when(&order, other).then_nothing();
}
