//! The checks as tests of `cargo test`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::state::{CHECKS, Open};

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(120);

/// One kind of store: its name, the opener for each check, and how many cases random checks take.
pub type Flavour = (&'static str, Arc<dyn Fn() -> Arc<dyn Open> + Send + Sync>, u32);

/// Runs all checks over each flavour, as `main` of a test with `harness = false`.
#[must_use]
pub fn main(flavours: &[Flavour]) -> ExitCode {
    let mut trials = Vec::new();
    for (name, opener, cases) in flavours {
        for check in CHECKS {
            let (opener, cases, check) = (Arc::clone(opener), *cases, *check);
            trials.push(Trial::test(format!("{name}::{}", check.id), move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?;
                let run = async { tokio::time::timeout(LIMIT, check.run(opener(), cases)).await };
                match runtime.block_on(run) {
                    Ok(result) => Ok(result?),
                    Err(_) => Err("the check hangs".into()),
                }
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
