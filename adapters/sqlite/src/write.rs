//! What the one writer makes: tasks that share a transaction.

mod log;
mod made;
mod task;
mod wal;
mod writer;

#[cfg(feature = "state")]
pub(crate) use made::{Made, Refused};
pub(crate) use writer::Writer;
