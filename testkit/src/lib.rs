//! Proves storage adapters of [Annals](annals) right, and helps to test what is built on them.
//!
//! - **Adapter authors** run the [conformance suite](#the-conformance-suite): a list of checks, each of which proves
//!   rules of the contract ([`annals::StorageAdapter`]) on any adapter.
//! - **Test writers** of applications take [builders, generators, strategies and
//!   wrappers](#for-tests-of-applications).
//!
//! # The conformance suite
//!
//! The suite needs the feature `conformance`. An adapter's test is a [`Harness`], which opens stores, and [`main`], which makes each check a test of `cargo
//! test` and nextest. Only `open` is required:
//!
//! ```
//! # use annals_memory::MemoryAdapter as MyAdapter;
//! use annals_testkit::{Harness, Opened, async_trait};
//! use std::sync::Arc;
//!
//! struct Mine(MyAdapter);
//!
//! #[async_trait]
//! impl Harness for Mine {
//!     async fn open(&self, _namespace: &str) -> Opened {
//!         Ok(Arc::new(self.0.clone()))
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     # std::process::exit(i32::from(!annals_testkit::Suite::new("mine", Mine(MyAdapter::new())).with_filter("pos.").run().is_pass()));
//!     annals_testkit::main("my-adapter", Mine(MyAdapter::new()))
//! }
//! ```
//!
//! ```toml
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//!
//! The guide `docs/write-an-adapter.md` goes on from here. Some things to know:
//!
//! - Each check works in a random **namespace** of its own and never assumes an empty log, so all of them run at once
//!   on one store, on servers that others use too, and on stores that cannot delete.
//! - What an adapter **declares** ([`annals::Capabilities`]) selects its checks. What it does not declare must be
//!   refused, which has checks too.
//! - **[Hooks](Hook)** of the harness unlock more: other page sizes, a single connection, a proxy that cuts
//!   connections ([`Proxy`]), a gate inside the commit ([`Latch`]), a server to restart or to kill.
//! - A check is [required, optional or stochastic](Class), and ends in one of five [verdicts](Verdict): passed,
//!   failed, not applicable, not run because the harness or the environment lacks something, or inconclusive because
//!   something was late on a machine that was too busy for a verdict. The last three are never taken for passed.
//! - Checks **of your own** run beside them: a [`Check`] is data with an async function of a [`Context`], which opens
//!   the store as a [`Subject`]. [`Suite::with_checks`] takes them, and [`engine::main`] runs such a suite.
//! - Checks of random operations shrink what fails and print it as Rust source ([`model::Program`]); those of
//!   concurrent clients record a history and look for an order of commits that explains it ([`history`]).
//!
//! [`Suite`] is the same as a library: it runs checks and returns a [`Report`]. The [`engine`] knows nothing of
//! storage: suites of other contracts are made of it too.
//!
//! ## Environment
//!
//! | variable | meaning |
//! |---|---|
//! | `ANNALS_TESTKIT_SEED` | the seed of all random cases; a failure prints it |
//! | `ANNALS_TESTKIT_PROFILE` | `quick` (the default, seconds), `full` (twenty times as many cases, for CI), or `soak:SECONDS` for each random check |
//! | `ANNALS_TESTKIT_RUNTIME` | `current`, or a number of worker threads; 2 unless told otherwise |
//! | `ANNALS_TESTKIT_LIMIT` | seconds after which a check hangs, and fails; 30 unless told otherwise |
//! | `ANNALS_TESTKIT_STRICT` | `1`: what is late fails, however busy the machine is |
//! | `ANNALS_TESTKIT_REQUIRE` | beginnings of check ids, separated by commas, or `all`: what applies and is not run fails |
//! | `ANNALS_TESTKIT_REPORT` | a folder for `report.html`, `report.md` and `report.json` |
//! | `ANNALS_TESTKIT_SCRATCH` | a folder for stores in files ([`scratch`]), kept; otherwise a temporary one |
//!
//! ## The report
//!
//! [`Report::to_html`] is a page to look at: the promises with how many of their checks passed, what failed with what
//! reproduces it, and every check. [`Report::to_markdown`] is for a README or a build's summary, [`Report::to_json`]
//! for machines, and [`Report::badge`] the line to claim.
//!
//! ## The zoo
//!
//! Who checks the checks? Adapters that are known to be wrong, each with the checks that must catch it in every run,
//! and odd ones that are right and must pass: `testkit/tests/zoo/` in the repository. `docs/promises.md` lists for each
//! rule its checks, and how many specimens each of them catches; a report names the checks that no specimen proves.
//! [`engine::Zoo`] proves checks of your own in the same way.
//!
//! # For tests of applications
//!
//! These need no feature; whole [programs](strategy::programs) of operations need `conformance`.
//!
//! | to | take |
//! |---|---|
//! | make events without naming every field | [`NewEventBuilder`], [`StoredEventBuilder`] |
//! | draw people, companies, sentences, names and JSON from a seed | [`generate`] |
//! | draw everything an adapter can be given, and whole logs, and shrink it | [`strategy`] (feature `proptest`, on by default) |
//! | make documents, and draw documents, commits and scans | `state::DocumentBuilder`, `state::strategy` (feature `state`) |
//! | know times and ids in advance | [`FixedClock`], [`ManualClock`], [`SequentialIds`], [`SeededIds`] |
//! | see how a store was called | [`Recording`] |
//! | let a store fail or wait at a chosen point | [`Faulty`] |
//! | keep released events readable, and prove an aggregate right | `domain` (a feature) |
//!
//! A handler that must not lose an event when its store is busy:
//!
//! ```
//! use annals::{Error, EventStore, StreamId, WriteCondition};
//! use annals_memory::MemoryAdapter;
//! use annals_testkit::{Fault, Faulty, NewEventBuilder, Point, Recording};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> annals::Result<()> {
//! let adapter = Faulty::new(Recording::new(MemoryAdapter::new()));
//! let order = EventStore::new(adapter.clone()).stream(StreamId::from_static("orders", "o-1"));
//! adapter.inject(Point::BeforeAppend, Fault::error(Error::unavailable("busy")));
//!
//! let event = NewEventBuilder::new().with_name("order-placed").build();
//! while let Err(error) = order.append([event.clone()], WriteCondition::StreamIsEmpty).await {
//!     assert!(error.is_retryable());
//! }
//! assert_eq!(order.latest().await?.unwrap().event, event);
//! assert_eq!(adapter.left(), 0, "the fault was met");
//! # Ok(())
//! # }
//! ```

#![allow(clippy::indexing_slicing, reason = "a check that panics fails, as it should")]

mod builder;
mod clock;
#[cfg(feature = "domain")]
pub mod domain;
mod error;
mod faulty;
pub mod generate;
mod id;
#[cfg(feature = "processing")]
pub mod processing;
mod projection;
mod recording;
mod rewriting;
#[cfg(feature = "state")]
pub mod state;
#[cfg(feature = "proptest")]
pub mod strategy;

#[cfg(feature = "conformance")]
pub mod engine;

// Storage as a contract of the engine.
#[cfg(feature = "conformance")]
mod calls;
#[cfg(feature = "conformance")]
mod checks;
#[cfg(feature = "conformance")]
mod child;
#[cfg(feature = "conformance")]
mod gate;
#[cfg(feature = "conformance")]
mod harness;
#[cfg(feature = "conformance")]
pub mod history;
#[cfg(feature = "conformance")]
pub mod model;
#[cfg(feature = "conformance")]
mod needs;
#[cfg(feature = "conformance")]
mod op;
#[cfg(feature = "conformance")]
mod pages;
#[cfg(feature = "conformance")]
mod promises;
#[cfg(feature = "conformance")]
mod proxy;
#[cfg(feature = "conformance")]
mod sequential;
#[cfg(feature = "conformance")]
mod storage;
#[cfg(feature = "conformance")]
mod subject;
#[cfg(feature = "conformance")]
mod synced;

pub use async_trait::async_trait;
pub use builder::{NewEventBuilder, StoredEventBuilder};
pub use clock::{FixedClock, ManualClock};
pub use error::NotRun;
pub use faulty::{Fault, Faulty, Point, polls};
pub use id::{SeededIds, SequentialIds};
pub use projection::ProjectionBuilder;
pub use recording::{Call, Recording, Request};
pub use rewriting::Rewriting;

#[cfg(feature = "conformance")]
pub use engine::{
    Class, Contract, Entry, Failure, Flavour, Missing, Outcome, Profile, Report, Rule, Tally,
    Verdict, scratch,
};
#[cfg(feature = "conformance")]
pub use gate::Latch;
#[cfg(feature = "conformance")]
pub use harness::{Disturbance, Gate, Harness, Hook, Opened, Store, Variant};
#[cfg(feature = "conformance")]
pub use promises::main;
#[cfg(feature = "conformance")]
pub use proxy::{Proxy, Side};
#[cfg(feature = "conformance")]
pub use storage::{Check, Feature, Need, Storage, Suite};
#[cfg(feature = "conformance")]
pub use subject::{Context, Start, Subject};
