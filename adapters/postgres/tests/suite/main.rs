//! The adapter beside its conformance suites: options, schemas, faults of servers and networks, and follows.

#[path = "../common/mod.rs"]
mod common;
mod connect;
mod deadlocks;
mod encoding;
mod env;
mod faults;
mod fixtures;
mod follows;
mod listing;
#[path = "../common/log.rs"]
mod log;
mod moments;
mod network;
mod never_skips;
mod pieces;
mod schema;
mod scopes;
#[cfg(feature = "state")]
mod state_faults;
#[cfg(feature = "state")]
mod state_pages;
#[cfg(feature = "state")]
mod together;
#[cfg(feature = "views")]
mod views;
