//! The adapter beside its conformance suites: its limits, options, listing, threads and views.

mod limits;
mod listing;
mod options;
mod threads;
#[cfg(feature = "views")]
mod views;
