//! What a check returns, and the macros that make it fail.

use std::fmt;

use annals::BoxError;

use crate::error::{NotRun, chain};

/// What the function of a check returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a check did not pass.
#[derive(Debug, Clone)]
pub struct Failure {
    pub(crate) message: String,
    /// Something that reproduces it: Rust source, or a history as JSON.
    pub(crate) counterexample: Option<String>,
    /// The environment lacks something; nothing is known about the adapter.
    pub(crate) not_run: bool,
    /// Something was not in time: on a machine that is too busy nothing is known about the adapter.
    pub(crate) late: bool,
}

impl Failure {
    /// The adapter is wrong: `message` says what was expected and what happened.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), counterexample: None, not_run: false, late: false }
    }

    /// Nothing could be found out, because the environment lacks something.
    pub fn not_run(reason: impl Into<String>) -> Self {
        Self { not_run: true, ..Self::new(reason) }
    }

    /// Something did not happen in time: inconclusive if the machine is too busy to know why.
    pub fn late(message: impl Into<String>) -> Self {
        Self { late: true, ..Self::new(message) }
    }

    /// The store did not open: not run if the error is [`NotRun`].
    #[must_use]
    pub fn not_opened(error: &BoxError) -> Self {
        if error.is::<NotRun>() {
            return Self::not_run(error.to_string());
        }
        Self::new(format!("the store did not open: {}", chain(error.as_ref())))
    }

    /// Adds what reproduces it.
    #[must_use]
    pub fn with_counterexample(mut self, text: impl Into<String>) -> Self {
        self.counterexample = Some(text.into());
        self
    }

    /// Puts `context` before the message.
    #[must_use]
    pub fn in_context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `Unavailable` may come of a machine that is too busy for the store's own limits: it is late.
impl From<annals::Error> for Failure {
    fn from(error: annals::Error) -> Self {
        let late = matches!(error, annals::Error::Unavailable(_));
        Self { late, ..Self::new(format!("unexpected error: {}", chain(&error))) }
    }
}

/// Fails the check unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::engine::Failure::new(format!($($message)+)));
        }
    };
}

/// Fails the check unless both are equal, showing both.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($message:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) if found == expected => {}
            (found, expected) => {
                let message = format!($($message)+);
                return Err($crate::engine::Failure::new(format!(
                    "{message}: expected {expected:?}, found {found:?}"
                )));
            }
        }
    };
}

/// Fails the check unless the result is the error of this pattern, showing what it is instead.
macro_rules! ensure_err {
    ($result:expr, $pattern:pat, $($message:tt)+) => {
        match &$result {
            Err($pattern) => {}
            Err(other) => {
                let (message, other) = (format!($($message)+), $crate::error::chain(other));
                let expected = stringify!($pattern);
                return Err($crate::engine::Failure::new(format!(
                    "{message}: expected {expected}, found the error: {other}"
                )));
            }
            Ok(value) => {
                let (message, expected) = (format!($($message)+), stringify!($pattern));
                return Err($crate::engine::Failure::new(format!(
                    "{message}: expected {expected}, found {value:?}"
                )));
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq, ensure_err};
