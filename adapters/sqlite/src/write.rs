//! What the one writer makes: tasks that share a transaction.

mod log;
mod made;
mod task;
#[cfg(feature = "views")]
mod views;
mod wal;
mod writer;

#[cfg(feature = "state")]
pub(crate) use log::Log;
#[cfg(feature = "state")]
pub(crate) use made::{Made, Refused};
#[cfg(feature = "state")]
pub(crate) use task::Task;
pub(crate) use writer::Writer;
