//! Proves storage adapters of [Annals](annals) right.

#![allow(clippy::indexing_slicing, reason = "a check that panics fails, as it should")]

mod calls;
mod check;
mod checks;
mod child;
mod context;
mod gate;
pub mod generate;
mod harness;
pub mod history;
mod html;
pub mod model;
mod op;
#[cfg(unix)]
mod postgres;
mod proxy;
mod report;
mod runner;
mod sequential;
mod suite;
pub mod zoo;

pub use async_trait::async_trait;
pub use check::{Check, Class, Failure, Feature, Missing, Need, Outcome, Rule};
pub use gate::Latch;
pub use harness::{Disturbance, Gate, Harness, Hook, NotRun, Opened, Store, Variant};
#[cfg(unix)]
pub use postgres::PostgresServer;
pub use proxy::{Proxy, Side};
pub use report::{Entry, Report, SUITE_VERSION, Verdict};
pub use runner::main;
pub use suite::{Flavour, Profile, Suite};
