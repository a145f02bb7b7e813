//! Checks of state stores: each proves rules of [`StateStore`](annals_state::StateStore) on any store, by the way to open it alone.
//!
//! Each check works in a collection of its own with a random name and never assumes an empty store, so that all of
//! them run at once on one store, and on servers that others use too. A check fails by panicking.
//!
//! They run on the [engine](crate::engine): [`main`] makes a test binary of them, with the
//! [environment](crate#environment) and the reports of the suite of storage. `docs/promises-state.md` in the repository
//! lists which checks prove which rule.
//!
//! ```no_run
//! use std::collections::HashMap;
//! use std::process::ExitCode;
//! use std::sync::{Arc, Mutex, PoisonError};
//!
//! use annals_memory::MemoryState;
//! use annals_state::StateStore;
//! use annals_testkit::async_trait;
//! use annals_testkit::state::{Open, Store, suite};
//! use futures_util::FutureExt;
//!
//! #[derive(Default)]
//! struct Memory(Mutex<HashMap<String, MemoryState>>);
//!
//! #[async_trait]
//! impl Open for Memory {
//!     async fn open(&self, namespace: &str) -> Store {
//!         let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
//!         let kept = stores.entry(namespace.to_owned()).or_default();
//!         // What a check has closed is opened again, and empty.
//!         if let Some(Err(_)) = kept.get(Vec::new()).now_or_never() {
//!             *kept = MemoryState::new();
//!         }
//!         Arc::new(kept.clone())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     annals_testkit::state::main([suite("memory", Memory::default())])
//! }
//! ```

#![allow(clippy::unwrap_used, reason = "a check that panics fails, as it should")]

mod bounds;
mod builder;
mod commits;
mod context;
mod contract;
mod disturbed;
mod handles;
mod history;
mod hook;
mod model;
mod races;
mod reads;
pub mod strategy;

pub use crate::state::builder::DocumentBuilder;
pub use crate::state::context::{Open, State, Store};
pub use crate::state::contract::{Check, Suite, main, suite};
pub use crate::state::hook::{Cut, Hook, Work};
