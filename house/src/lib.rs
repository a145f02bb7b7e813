//! What the tests of this crate need to look at the workspace: its packages, its files, and who imports what.
//!
//! It is never published. `cargo test -p annals-house` runs its tests, which read the sources and build nothing.

#![expect(
    clippy::indexing_slicing,
    reason = "only tests use it: a panic is a failure with its place"
)]

mod circles;
mod files;
mod foreign;
mod modules;
mod packages;
mod prose;

pub use circles::circles;
pub use files::{lines_of, rust_files, text_files};
pub use foreign::foreign_types;
pub use modules::{Module, Modules};
pub use packages::{Package, packages, root};
pub use prose::{Finding, ODD, odd_prose};
