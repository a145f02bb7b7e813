//! See the function.

#![no_main]

#[path = "../../examples/write_an_adapter/tests/fuzzed.rs"]
mod fuzzed;

use std::sync::LazyLock;

use tempfile::TempDir;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::file(&RUNTIME, FOLDER.path(), bytes));
