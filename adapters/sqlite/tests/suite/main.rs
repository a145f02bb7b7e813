//! The adapter beside its conformance suites: files, processes, faults, and what one release leaves to the next.

mod common;
mod differential;
mod env;
mod faults;
mod file;
mod fixtures;
mod history;
mod listing;
mod processes;
#[cfg(feature = "state")]
mod state_processes;
#[cfg(feature = "state")]
mod together;
#[cfg(feature = "views")]
mod views;
