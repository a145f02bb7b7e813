//! The conformance suite over the PostgreSQL adapter, in the order of each stream.

mod common;
mod harness;

use std::process::ExitCode;

use annals::Order;

fn main() -> ExitCode {
    harness::run("annals-postgres-stream", Order::Stream)
}
