//! Storage as a contract of the engine, by name: what its checks are made of.

use crate::engine::{self, Outcome, ensure};
use crate::error::chain;

pub use crate::needs::{Feature, Need};

/// The contract of [`annals::StorageAdapter`], whose documentation explains each rule.
#[derive(Debug, Clone, Copy)]
pub struct Storage;

/// A check of the contract of storage.
pub type Check = engine::Check<Storage>;

/// The conformance suite of storage adapters; see [`engine::Suite`].
///
/// ```
/// use annals_memory::MemoryAdapter;
/// use annals_testkit::{Harness, Opened, Suite, async_trait};
/// use std::sync::Arc;
///
/// struct Memory(MemoryAdapter);
///
/// #[async_trait]
/// impl Harness for Memory {
///     async fn open(&self, _namespace: &str) -> Opened {
///         Ok(Arc::new(self.0.clone()))
///     }
/// }
///
/// let suite = Suite::new("memory", Memory(MemoryAdapter::new()));
/// let report = suite.with_filter("append.").run();
/// assert!(report.is_pass(), "{}", report.to_markdown());
/// ```
pub type Suite = engine::Suite<Storage>;

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

/// A row of the list of checks.
macro_rules! check {
    ($id:literal, [$($rule:ident)+], $class:ident, [$($need:expr),*], $run:path, $about:literal) => {
        $crate::storage::Check {
            id: $id,
            about: $about,
            rules: &[$(stringify!($rule)),+],
            class: $crate::engine::Class::$class,
            needs: &[$($need),*],
            run: |context| Box::pin($run(context)),
        }
    };
}

pub(crate) use check;
