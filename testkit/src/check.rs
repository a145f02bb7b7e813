//! A check as data: what it proves, what it needs, and the function.

use std::fmt;

use annals::{Capabilities, Order};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::harness::{Disturbance, Hook};

/// A numbered rule of the contract; see [`annals::StorageAdapter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the rules are explained in one place, on the trait")]
pub enum Rule {
    A1,
    A2,
    A3,
    A4,
    A5,
    A6,
    A7,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    C1,
    D1,
    C2,
}

impl Rule {
    /// All rules, in the order of the contract.
    pub const ALL: [Self; 16] = [
        Self::A1,
        Self::A2,
        Self::A3,
        Self::A4,
        Self::A5,
        Self::A6,
        Self::A7,
        Self::R1,
        Self::R2,
        Self::R3,
        Self::R4,
        Self::R5,
        Self::R6,
        Self::C1,
        Self::D1,
        Self::C2,
    ];

    /// The rule in few words, for headings.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::A1 => "all or nothing",
            Self::A2 => "positions without holes",
            Self::A3 => "numbers rise in commit order",
            Self::A4 => "conditions hold when it is written",
            Self::A5 => "an error wrote nothing",
            Self::A6 => "safe to drop",
            Self::A7 => "guards and known events",
            Self::R1 => "read your writes",
            Self::R2 => "never skips",
            Self::R3 => "read back equal",
            Self::R4 => "pages hold nothing",
            Self::R5 => "pages say how far",
            Self::R6 => "follows go on",
            Self::C1 => "undeclared is refused",
            Self::D1 => "survives",
            Self::C2 => "closes",
        }
    }
}

/// How binding the verdict of a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Deterministic: a right adapter passes always, a wrong one fails always.
    Required,
    /// Deterministic, of something that a right adapter may lack.
    Optional,
    /// A right adapter passes always; a wrong one fails with high probability in each run.
    Stochastic,
}

/// A capability that a check can depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the capability of that name, declared or limited")]
pub enum Feature {
    Durable,
    Shared,
    ContiguousSequence,
    MultiStreamAppend,
    QueryConditions,
    CustomConditions,
    Tags,
    ExactPayloadBytes,
    LogOrder,
    CategoryOrder,
    MaxEventsPerAppend,
    MaxPayloadBytes,
    /// [`annals::KnownIds::Forever`].
    KnownIds,
}

impl Feature {
    /// Whether `capabilities` declare it.
    #[must_use]
    pub fn is_declared(self, capabilities: &Capabilities) -> bool {
        match self {
            Self::Durable => capabilities.durable,
            Self::Shared => capabilities.shared,
            Self::ContiguousSequence => capabilities.contiguous_sequence,
            Self::MultiStreamAppend => capabilities.multi_stream_append,
            Self::QueryConditions => capabilities.query_conditions,
            Self::CustomConditions => capabilities.custom_conditions,
            Self::Tags => capabilities.tags,
            Self::ExactPayloadBytes => capabilities.exact_payload_bytes,
            Self::LogOrder => capabilities.order >= Order::Log,
            Self::CategoryOrder => capabilities.order >= Order::Category,
            Self::MaxEventsPerAppend => capabilities.max_events_per_append.is_some(),
            Self::MaxPayloadBytes => capabilities.max_payload_bytes.is_some(),
            Self::KnownIds => capabilities.known_ids == annals::KnownIds::Forever,
        }
    }
}

/// What must be given for a check to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The capability is declared.
    Has(Feature),
    /// The capability is not declared: the check proves that it is refused.
    Lacks(Feature),
    /// The harness offers the hook.
    Hook(Hook),
    /// The harness offers this disturbance.
    Disturb(Disturbance),
    /// A child process can reach the same data: `durable`, `shared` or [`Hook::Processes`].
    Processes,
}

impl Need {
    /// Why the check does not apply, if it does not.
    #[must_use]
    pub fn missing(&self, capabilities: &Capabilities, hooks: &[Hook]) -> Option<Missing> {
        let hooked = |hook| hooks.contains(&hook);
        match *self {
            Self::Has(feature) if !feature.is_declared(capabilities) => {
                Some(Missing::Capability(format!("{feature:?} is not declared")))
            }
            Self::Lacks(feature) if feature.is_declared(capabilities) => {
                Some(Missing::Capability(format!("{feature:?} is declared")))
            }
            Self::Hook(hook) if !hooked(hook) => {
                Some(Missing::Hook(format!("the harness offers no {hook:?}")))
            }
            Self::Disturb(disturbance) if !hooked(Hook::Disturb(disturbance)) => {
                Some(Missing::Hook(format!("the harness offers no {disturbance:?}")))
            }
            Self::Processes
                if !capabilities.durable && !capabilities.shared && !hooked(Hook::Processes) =>
            {
                let text = "no other process can reach the data";
                Some(Missing::Capability(text.to_owned()))
            }
            _ => None,
        }
    }
}

/// Why a check was not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It does not apply to what the adapter declares.
    Capability(String),
    /// It would apply, and the harness or the environment lacks something.
    Hook(String),
}

/// Something that an adapter must get right, and how to find out.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its stable name, `group.what`.
    pub id: &'static str,
    /// What it proves, in words.
    pub about: &'static str,
    /// The rules of the contract that it proves.
    pub rules: &'static [Rule],
    /// How binding its verdict is.
    pub class: Class,
    /// What must be given for it to apply.
    pub needs: &'static [Need],
    pub(crate) run: fn(Context) -> BoxFuture<'static, Outcome>,
}

impl Check {
    /// Whether it waits for servers that start and connections that are found to be cut.
    pub(crate) fn is_slow(&self) -> bool {
        self.needs.iter().any(|need| matches!(need, Need::Disturb(_) | Need::Hook(Hook::Proxy)))
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("id", &self.id)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// What the function of a check gives.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a check did not pass.
#[derive(Debug, Clone)]
pub struct Failure {
    pub(crate) message: String,
    /// Something that reproduces it: Rust source, or a history as JSON.
    pub(crate) counterexample: Option<String>,
    /// The environment lacks something; nothing is known about the adapter.
    pub(crate) not_run: bool,
}

impl Failure {
    /// The adapter is wrong: `message` tells what was expected and what happened.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), counterexample: None, not_run: false }
    }

    /// Nothing could be found out, because the environment lacks something.
    pub fn not_run(reason: impl Into<String>) -> Self {
        Self { not_run: true, ..Self::new(reason) }
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

impl From<annals::Error> for Failure {
    fn from(error: annals::Error) -> Self {
        Self::new(format!("unexpected error: {}", chain(&error)))
    }
}

/// An error and its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// Fails the check unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::check::Failure::new(format!($($message)+)));
        }
    };
}

/// Fails the check if a store-side error does not name an adapter and the operation.
pub(crate) fn is_named(error: &annals::Error, operation: &str) -> Outcome {
    let Some(failure) = error.failure() else { return Ok(()) };
    ensure!(
        !failure.adapter.is_empty() && failure.operation == operation,
        "an error of {operation} names the adapter {:?} and the operation {:?}: {}",
        failure.adapter,
        failure.operation,
        chain(error)
    );
    Ok(())
}

/// Fails the check unless both are equal, showing both.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($message:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) if found == expected => {}
            (found, expected) => {
                let message = format!($($message)+);
                return Err($crate::check::Failure::new(format!(
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
                let (message, other) = (format!($($message)+), $crate::check::chain(other));
                let expected = stringify!($pattern);
                return Err($crate::check::Failure::new(format!(
                    "{message}: expected {expected}, found the error: {other}"
                )));
            }
            Ok(value) => {
                let (message, expected) = (format!($($message)+), stringify!($pattern));
                return Err($crate::check::Failure::new(format!(
                    "{message}: expected {expected}, found {value:?}"
                )));
            }
        }
    };
}

/// A row of the list of checks.
macro_rules! check {
    ($id:literal, [$($rule:ident)+], $class:ident, [$($need:expr),*], $run:path, $about:literal) => {
        $crate::check::Check {
            id: $id,
            about: $about,
            rules: &[$($crate::check::Rule::$rule),+],
            class: $crate::check::Class::$class,
            needs: &[$($need),*],
            run: |context| Box::pin($run(context)),
        }
    };
}

pub(crate) use {check, ensure, ensure_eq, ensure_err};
