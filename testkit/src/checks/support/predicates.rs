//! Predicates of custom conditions that several checks use.

use std::panic::resume_unwind;

use annals::{Predicate, StoredEvent};

/// A predicate that unwinds.
#[derive(Debug)]
pub(crate) struct Panics;

impl Predicate for Panics {
    fn expectation(&self) -> String {
        "no panic".to_owned()
    }

    fn holds(&self, _: Option<&StoredEvent>) -> bool {
        // Unwinds like a panic, and prints nothing.
        resume_unwind(Box::new("a predicate of the test kit"))
    }
}
