//! Proves storage adapters of [Annals](annals) right, and helps to test what is built on them.
//!
//! - **Adapter authors** run the [conformance suite](#the-conformance-suite): a list of checks, each of which proves
//!   rules of the contract ([`annals::StorageAdapter`]) on any adapter.
//! - **Test writers** of applications take [builders, generators, strategies and
//!   wrappers](#for-tests-of-applications).
//!
//! # The conformance suite
//!
//! An adapter's test is a [`Harness`], which opens stores, and [`main`], which makes each check a test of `cargo
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
//! - A check is [required, optional or stochastic](Class), and ends in one of four [verdicts](Verdict): passed,
//!   failed, not applicable, or not run because the harness or the environment lacks something. The last is never
//!   taken for passed.
//! - Checks of random operations shrink what fails and print it as Rust source ([`model::Program`]); those of
//!   concurrent clients record a history and look for an order of commits that explains it ([`history`]).
//!
//! [`Suite`] is the same as a library: it runs checks and gives a [`Report`].
//!
//! ## Environment
//!
//! | variable | meaning |
//! |---|---|
//! | `ANNALS_TESTKIT_SEED` | the seed of all random cases; a failure prints it |
//! | `ANNALS_TESTKIT_PROFILE` | `quick` (the default, seconds), `full` (twenty times as many cases, for CI), or `soak:SECONDS` for each random check |
//! | `ANNALS_TESTKIT_RUNTIME` | `current`, or a number of worker threads; 2 unless told otherwise |
//! | `ANNALS_TESTKIT_LIMIT` | seconds after which a check hangs, and fails; 30 unless told otherwise |
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
//! Who checks the checks? [`zoo::specimens`] are adapters that are known to be wrong, each with the checks that must
//! catch it in every run, and odd ones that are right and must pass. `docs/promises.md` lists for each rule its checks,
//! and how many specimens each of them catches.
//!
//! # For tests of applications
//!
//! | to | take |
//! |---|---|
//! | make events without naming every field | [`NewEventBuilder`], [`StoredEventBuilder`] |
//! | draw people, companies, sentences, names and JSON from a seed | [`generate`] |
//! | draw everything an adapter can be given, and whole logs, and shrink it | [`strategy`] (feature `proptest`, on by default) |
//! | know times and ids in advance | [`FixedClock`], [`ManualClock`], [`SequentialIds`], [`SeededIds`] |
//! | see how a store was called | [`Recording`] |
//! | let a store fail or wait at a chosen point | [`Faulty`] |
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
mod pages;
#[cfg(unix)]
mod postgres;
mod projection;
mod proxy;
mod recording;
mod report;
mod rewriting;
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
#[cfg(unix)]
pub use postgres::PostgresServer;
pub use projection::ProjectionBuilder;
pub use proxy::{Proxy, Side};
pub use recording::{Call, Recording, Request};
pub use report::{Entry, Report, SUITE_VERSION, Tally, Verdict};
pub use rewriting::Rewriting;
pub use runner::main;
pub use scratch::scratch;
pub use suite::{Flavour, Profile, Suite};
