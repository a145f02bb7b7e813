//! The rules of the layers, each in the file of its part; `docs/layers.md` has the table.

mod birds;
mod canary;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod erasure;
mod fork;
mod fuzz;
#[path = "../fuzzed/mod.rs"]
mod fuzzed;
mod links;
mod notary;
#[path = "../../../adapters/postgres/tests/common/mod.rs"]
mod postgres;
mod retry;
mod rules;
mod seals;
mod shredding;
mod specimens;
mod tampering;
