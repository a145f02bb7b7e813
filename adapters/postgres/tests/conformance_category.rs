//! The conformance suite over the PostgreSQL adapter, in the order of each category.

mod common;
mod harness;

use std::process::ExitCode;

use annals::Order;

fn main() -> ExitCode {
    harness::run("annals-postgres-category", Order::Category)
}
