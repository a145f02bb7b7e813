//! What programs tell on the terminal.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use annals::BoxError;

/// Prints `text`. The reader may go before its end, as `head` does: that is no error.
///
/// # Errors
/// It cannot be written.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// How `program` ends: an error is shown with its causes.
#[must_use]
pub fn end(program: &str, outcome: Result<(), BoxError>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("{program}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because {cause}");
        source = cause.source();
    }
    ExitCode::FAILURE
}
