//! The comparison of whole systems; see the documentation of the library for how to read it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    annals_benches::command::execute(None).await
}
