//! Documents and queries over the store in memory.

mod bad_input;
mod documents;
mod filters;
mod find;
