//! Bare code that does only what cannot be avoided.

mod disk;
mod memory;
mod postgres;
mod sqlite;

pub use disk::Fsync;
pub use memory::Memcpy;
pub use postgres::{Bare, Insert};
pub use sqlite::Rusqlite;
