//! Programs of appends and reads, which shrink.

use annals::Capabilities;
use proptest::prelude::*;
use proptest::strategy::{NewTree, ValueTree};
use proptest::test_runner::TestRunner;

use crate::model::Program;

/// Sequences of appends and reads that `capabilities` allow, for so many handles to one store. They shrink to the
/// fewest and simplest operations, and print as Rust source; [`Program::run`] compares the answers with a model's.
///
/// ```
/// use annals::StorageAdapter;
/// use annals_memory::MemoryAdapter;
/// use annals_testkit::strategy;
/// use proptest::prelude::*;
///
/// let runtime = tokio::runtime::Runtime::new().unwrap();
/// let capabilities = MemoryAdapter::new().capabilities();
/// proptest!(ProptestConfig::with_cases(32), |(program in strategy::programs(capabilities, 2, 30))| {
///     let store = MemoryAdapter::new();
///     let outcome = runtime.block_on(program.run(&[store.clone(), store]));
///     prop_assert_eq!(outcome, Ok(()));
/// });
/// ```
#[must_use]
pub const fn programs(capabilities: Capabilities, handles: usize, length: usize) -> Programs {
    Programs { capabilities, handles, length }
}

/// The strategy that [`programs`] returns.
#[derive(Debug, Clone)]
pub struct Programs {
    capabilities: Capabilities,
    handles: usize,
    length: usize,
}

impl Strategy for Programs {
    type Tree = ProgramTree;
    type Value = Program;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let seed = any::<u64>().new_tree(runner)?.current();
        let program = Program::random(seed, self.capabilities, self.handles, self.length);
        Ok(ProgramTree { failed: program.clone(), tried: program, smaller: Vec::new().into_iter() })
    }
}

/// A program that shrinks.
#[derive(Debug, Clone)]
pub struct ProgramTree {
    /// The smallest program known to fail.
    failed: Program,
    /// The one that is tried.
    tried: Program,
    /// Those to try next.
    smaller: std::vec::IntoIter<Program>,
}

impl ProgramTree {
    fn next(&mut self) -> bool {
        let next = self.smaller.next();
        let found = next.is_some();
        self.tried = next.unwrap_or_else(|| self.failed.clone());
        found
    }
}

impl ValueTree for ProgramTree {
    type Value = Program;

    fn current(&self) -> Program {
        self.tried.clone()
    }

    fn simplify(&mut self) -> bool {
        self.failed = self.tried.clone();
        self.smaller = self.failed.smaller().into_iter();
        self.next()
    }

    fn complicate(&mut self) -> bool {
        self.next()
    }
}
