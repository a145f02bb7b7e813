//! Helpers of the tests.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "no test file needs all of them")]

#[path = "../../../../sql/tests/common/mod.rs"]
mod shared;

use std::path::Path;
use std::process::{Command, Stdio};

#[allow(unused_imports, reason = "no test file needs all of them")]
pub(crate) use shared::*;

/// Tells a child process which file to work on.
pub(crate) const PATH: &str = "ANNALS_TEST_PATH";

/// Runs the ignored test `name` of this binary in a process of its own, on the file `path`.
pub(crate) fn child(name: &str, path: &Path) -> Command {
    command(Command::new(std::env::current_exe().unwrap()), name, path)
}

/// The same under limits that the shell sets before.
pub(crate) fn child_under(limits: &str, name: &str, path: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]);
    shell.arg(std::env::current_exe().unwrap());
    command(shell, name, path)
}

fn command(mut command: Command, name: &str, path: &Path) -> Command {
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(PATH, path).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The path that the parent gave to this child.
pub(crate) fn path_of_child() -> std::path::PathBuf {
    std::env::var_os(PATH).expect("a child is started by its parent").into()
}
