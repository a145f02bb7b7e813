//! What the SQL adapters of [Annals](annals) share: for authors of adapters, without a stable API.
//!
//! A SQL adapter keeps one row per event. Names and streams are rows of their own, and events refer to them by
//! number. This crate holds what does not depend on the engine: the [queue] that commits many appends
//! together, the [plan] of a transaction on the [facts] that it is judged on, the [placing] of an append under its conditions, queries as SQL ([`select()`]), pages by key
//! ([`Scan`]), rows as events ([`RawEvent`]), versions of the [schema] and classes of [faults](fault).
//! An adapter adds statements, connections and transactions. With the feature `state` there is also what stores of
//! documents share.

mod cache;
#[cfg(feature = "state")]
pub mod documents;
pub mod facts;
pub mod fault;
mod known;
mod listing;
pub mod lookup;
mod names;
mod options;
mod pages;
pub mod placing;
pub mod plan;
pub mod queue;
mod resolve;
mod row;
mod scan;
pub mod schema;
mod select;

pub use annals::Clock;
pub use cache::{CACHE_BOUND, Cache};
pub use known::{Head, Known, Numbered};
pub use listing::{Listed, Listing};
pub use names::{Dictionary, Lookup, Name, NameIds};
pub use options::{CommonOptions, check_at_most, check_timeout};
pub use pages::{PageSource, Turn, pages};
pub use resolve::{Ids, Item, Scope, resolve};
pub use row::{COLUMNS, RawEvent, from_column, from_micros, to_column, to_micros};
pub use scan::{Bounds, PAGE_SIZE, Scan};
pub use select::{Dialect, Parameter, Select, Want, select};
/// Channels that wake a task of any executor: one carries one answer, the other shows whether its receivers live.
pub use tokio::sync::{oneshot, watch};
