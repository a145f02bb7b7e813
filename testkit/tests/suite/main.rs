//! What the kit offers, beside its zoos: builders, strategies, wrappers, and the suites of what is above storage.

mod builders;
#[cfg(feature = "processing")]
mod decided;
#[cfg(feature = "domain")]
mod domain;
#[cfg(feature = "processing")]
mod flows;
#[cfg(feature = "processing")]
mod groups;
mod histories;
mod namespaces;
mod proxy;
mod regression;
#[cfg(feature = "processing")]
mod sinks;
mod strategies;
mod wrappers;
