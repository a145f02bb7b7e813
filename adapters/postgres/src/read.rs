//! Reads, and lists of categories and streams.

mod listing;
pub(crate) mod reader;
