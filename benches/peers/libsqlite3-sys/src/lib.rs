//! `libsqlite3-sys` 0.30 by the name, the one that Annals links by the code.

#![no_std]

pub use current::*;
