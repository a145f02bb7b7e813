//! Proves storage adapters of [Annals](annals) right.

#![allow(clippy::indexing_slicing, reason = "a check that panics fails, as it should")]

mod builder;
mod calls;
mod check;
mod checks;
mod child;
mod clock;
mod context;
mod faulty;
mod gate;
pub mod generate;
mod harness;
pub mod history;
mod html;
mod id;
mod markdown;
pub mod model;
mod op;
mod proxy;
mod recording;
mod report;
mod runner;
mod scratch;
mod sequential;
#[cfg(feature = "proptest")]
pub mod strategy;
mod suite;
pub mod zoo;

pub use async_trait::async_trait;
pub use builder::{NewEventBuilder, StoredEventBuilder};
pub use check::{Check, Class, Failure, Feature, Missing, Need, Outcome, Rule};
pub use clock::{FixedClock, ManualClock};
pub use faulty::{Fault, Faulty, Point, polls};
pub use gate::Latch;
pub use harness::{Disturbance, Gate, Harness, Hook, NotRun, Opened, Store, Variant};
pub use id::{SeededIds, SequentialIds};
pub use proxy::{Proxy, Side};
pub use recording::{Call, Recording, Request};
pub use report::{Entry, Report, SUITE_VERSION, Tally, Verdict};
pub use runner::main;
pub use scratch::scratch;
pub use suite::{Flavour, Profile, Suite};
