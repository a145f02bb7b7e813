//! What the examples are made of, so that tests can call it.

pub mod activity;
pub mod chart;
pub mod git;
pub mod import;
pub mod store;
pub mod tables;
pub mod terminal;
