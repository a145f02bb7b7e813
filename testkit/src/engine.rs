//! The engine of suites, for any contract: storage is one, see [`Storage`](crate::Storage).
//!
//! It runs [checks](Check), which are data, over stores that a harness opens, and makes a [`Report`]. It knows nothing
//! of what a store is: a [`Contract`] says that. Each check works in a thread, a runtime and a namespace of its own.
//!
//! # A contract of your own
//!
//! A unit struct that implements [`Contract`] names the rules, the checks, and how a store is opened. Checks are async
//! functions of a [`Context`]:
//!
//! ```
//! use annals_testkit::engine::{Check, Class, Context, Contract, Failure, Missing, Never, Outcome, Rule, Suite};
//! use futures_util::future::BoxFuture;
//! use std::sync::{Arc, Mutex};
//!
//! /// A counter is an `Arc<Mutex<u64>>` that begins at 0.
//! #[derive(Debug, Clone, Copy)]
//! struct Counters;
//!
//! impl Contract for Counters {
//!     const NAME: &'static str = "counters";
//!     const VERSION: u32 = 1;
//!     const RULES: &'static [Rule] = &[Rule::new("N1", "begins at zero")];
//!     type Harness = dyn Fn(&str) -> Arc<Mutex<u64>> + Send + Sync;
//!     type Capabilities = ();
//!     type Need = Never;
//!     type Shared = ();
//!
//!     fn checks() -> Vec<Check<Self>> {
//!         vec![Check {
//!             id: "start.zero",
//!             about: "a new counter is 0",
//!             rules: &["N1"],
//!             class: Class::Required,
//!             needs: &[],
//!             run: |context| Box::pin(zero(context)),
//!         }]
//!     }
//!
//!     fn declared(_: &Context<Self>) -> BoxFuture<'_, Outcome> {
//!         Box::pin(async { Ok(()) })
//!     }
//!
//!     fn missing(need: Never, _: &(), _: &Self::Harness) -> Option<Missing> {
//!         match need {}
//!     }
//! }
//!
//! async fn zero(context: Context<Counters>) -> Outcome {
//!     let counter = (context.harness())(context.namespace());
//!     let found = *counter.lock().map_err(|_| Failure::new("a test panicked"))?;
//!     if found == 0 { Ok(()) } else { Err(Failure::new(format!("expected 0, found {found}"))) }
//! }
//!
//! let right = Suite::<Counters>::over("right", Arc::new(|_: &str| Arc::new(Mutex::new(0))));
//! assert!(right.run().is_pass());
//! let wrong = Suite::<Counters>::over("wrong", Arc::new(|_: &str| Arc::new(Mutex::new(1))));
//! assert!(!wrong.run().is_pass());
//! ```
//!
//! [`main`](fn@main) makes a test binary of a suite. Prove the checks with a [`Zoo`]: stores that are known to be wrong,
//! each a [`Specimen`] with the checks that must catch it. `testkit/tests/toy_contract.rs` in the repository has both
//! for a key-value store.

mod arguments;
mod class;
mod contract;
mod env;
mod failure;
mod html;
mod machine;
mod markdown;
pub(crate) mod pace;
mod profile;
mod report;
mod runner;
mod scratch;
mod specimen;
mod suite;
mod zoo;

pub use class::{Class, Missing};
pub use contract::{Check, Context, Contract, Never, Rule};
pub use failure::{Failure, Outcome};
pub use profile::{Flavour, Profile};
pub use report::{Entry, Report, Tally, Verdict};
pub use runner::{main, main_of_each};
pub use scratch::scratch;
pub use specimen::Specimen;
pub use suite::Suite;
pub use zoo::Zoo;

pub(crate) use failure::{ensure, ensure_eq, ensure_err};
pub(crate) use html::page;
pub(crate) use scratch::{VARIABLE as SCRATCH, made as scratch_made};
pub(crate) use suite::runtime;
