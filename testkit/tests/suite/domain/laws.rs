//! The laws hold for an aggregate that keeps them, and each catches one that breaks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{BoxError, EventStore, InvalidPayload, Payload};
use annals_domain::{Aggregate, Event, Kind};
use annals_memory::MemoryAdapter;
use annals_testkit::domain::{BrokenLaw, Law, Laws};
use serde::{Deserialize, Serialize};

#[derive(Event, Debug, Clone, PartialEq)]
enum Happened {
    #[event(name = "opened", alias = "begun")]
    Opened { owner: String },
    #[event(name = "added", version = 2, upcast(keep))]
    Added { amount: u64 },
}

fn keep(_: &mut serde_json::Value) {}

fn history() -> [Happened; 4] {
    [
        Happened::Opened { owner: "Ann".to_owned() },
        Happened::Added { amount: 1 },
        Happened::Added { amount: 2 },
        Happened::Opened { owner: "Bob".to_owned() },
    ]
}

fn store() -> EventStore {
    EventStore::new(MemoryAdapter::new())
}

fn caught(result: Result<(), BrokenLaw>) -> Law {
    let broken = result.expect_err("a broken law");
    assert!(!broken.seen.is_empty());
    broken.law
}

/// An aggregate of these events, with `apply` as given.
macro_rules! aggregate {
    ($name:ident, $event:ty, |$state:ident, $happened:ident| $apply:expr) => {
        impl Aggregate for $name {
            const CATEGORY: &'static str = "accounts";
            type Id = String;
            type Event = $event;
            fn apply(&mut self, $happened: $event) {
                let $state = self;
                $apply
            }
        }
    };
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    owner: String,
    balance: u64,
}
aggregate!(Account, Happened, |state, event| match event {
    Happened::Opened { owner } => state.owner = owner,
    Happened::Added { amount } => state.balance += amount,
});

fn laws() -> Laws<Account> {
    Laws::new("ann".to_owned(), history())
}

#[tokio::test]
async fn an_aggregate_that_keeps_them() {
    laws().check(&store()).await.expect("lawful");
    laws().with_snapshots().check(&store()).await.expect("lawful");
    let store = store();
    laws().check(&store).await.expect("lawful");
    assert_eq!(caught(laws().check(&store).await), Law::Store, "it is in the store");
}

#[tokio::test]
async fn a_kind_that_never_happens() {
    let laws = Laws::<Account>::new("ann".to_owned(), [Happened::Added { amount: 1 }]);
    assert_eq!(caught(laws.check(&store()).await), Law::Complete);
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Counted(u64);
static APPLIED: AtomicU64 = AtomicU64::new(0);
aggregate!(Counted, Happened, |state, _event| state.0 = APPLIED.fetch_add(1, Ordering::Relaxed));

#[tokio::test]
async fn state_of_more_than_the_events() {
    let laws = Laws::<Counted>::new("ann".to_owned(), history());
    assert_eq!(caught(laws.check(&store()).await), Law::Replay);
}

#[derive(Event, Debug, Clone, PartialEq)]
#[event(name = "said")]
struct Forgetful {
    what: String,
    #[serde(skip)]
    who: String,
}
#[derive(Debug, Clone, Default, PartialEq)]
struct Talk(u64);
aggregate!(Talk, Forgetful, |state, _event| state.0 += 1);

#[tokio::test]
async fn an_event_that_forgets_a_field() {
    let said = Forgetful { what: "a".to_owned(), who: "b".to_owned() };
    let laws = Laws::<Talk>::new("ann".to_owned(), [said]);
    assert_eq!(caught(laws.check(&store()).await), Law::Encoding);
}

/// Written by hand: `FAULT` says what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
struct ByHand<const FAULT: u8>(u64);

impl<const FAULT: u8> Event for ByHand<FAULT> {
    const KINDS: &'static [Kind] = &[Kind::new("hand")];

    fn kind(&self) -> &'static Kind {
        const OTHER: &Kind = &Kind::new("other");
        if FAULT == 1 { OTHER } else { &Self::KINDS[0] }
    }

    fn encode(self) -> Result<(Self, Payload), InvalidPayload> {
        let payload = Payload::json(&self.0)?;
        Ok((Self(self.0 + u64::from(FAULT == 2)), payload))
    }

    fn decode(_: &str, payload: &Payload) -> Result<Self, BoxError> {
        let value: u64 = payload.to_json()?;
        if FAULT == 3 { Err("no".into()) } else { Ok(Self(value)) }
    }
}
#[derive(Debug, Clone, Default, PartialEq)]
struct Hands<const FAULT: u8>(u64);
impl<const FAULT: u8> Aggregate for Hands<FAULT> {
    const CATEGORY: &'static str = "hands";
    type Id = String;
    type Event = ByHand<FAULT>;
    fn apply(&mut self, event: ByHand<FAULT>) {
        self.0 += event.0;
    }
}

#[tokio::test]
async fn events_that_are_written_by_hand() {
    async fn check<const FAULT: u8>() -> Result<(), BrokenLaw> {
        Laws::<Hands<FAULT>>::new("ann".to_owned(), [ByHand(1), ByHand(2)]).check(&store()).await
    }
    check::<0>().await.expect("lawful");
    assert_eq!(caught(check::<1>().await), Law::Complete);
    assert_eq!(caught(check::<2>().await), Law::Encoding);
    assert_eq!(caught(check::<3>().await), Law::Encoding);
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<AtomicU64>);
impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        self.0.load(Ordering::Relaxed) == other.0.load(Ordering::Relaxed)
    }
}
/// Copies have the counter in common, which `Unequal` does not show.
#[derive(Debug, Clone, Default)]
struct Unequal(Shared);
impl PartialEq for Unequal {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
aggregate!(Unequal, Happened, |state, _event| {
    state.0.0.fetch_add(1, Ordering::Relaxed);
});

#[tokio::test]
async fn copies_that_share_something() {
    let laws = Laws::<Unequal>::new("ann".to_owned(), history());
    assert_eq!(caught(laws.check(&store()).await), Law::Cache);
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Partial {
    owner: String,
    #[serde(skip)]
    balance: u64,
}
aggregate!(Partial, Happened, |state, event| match event {
    Happened::Opened { owner } => state.owner = owner,
    Happened::Added { amount } => state.balance += amount,
});

#[tokio::test]
async fn state_that_a_snapshot_loses() {
    let laws = || Laws::<Partial>::new("ann".to_owned(), history());
    laws().check(&store()).await.expect("lawful without snapshots");
    assert_eq!(caught(laws().with_snapshots().check(&store()).await), Law::Snapshots);
}
