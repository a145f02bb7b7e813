//! A store that is known to be wrong, or odd and right.

use std::fmt;

use crate::engine::{Contract, Suite};

/// A member of a [`Zoo`](crate::engine::Zoo): a store whose verdict is known.
#[derive(Clone, Copy)]
pub struct Specimen<C: Contract> {
    /// Its name.
    pub name: &'static str,
    /// What it does wrong, or oddly.
    pub about: &'static str,
    /// The checks that must catch it; none, when it is right.
    pub caught_by: &'static [&'static str],
    suite: fn(&'static str) -> Suite<C>,
}

impl<C: Contract> Specimen<C> {
    /// A specimen. `suite` makes a suite of that name over it, with a fresh store for each namespace.
    #[must_use]
    pub const fn new(
        name: &'static str,
        about: &'static str,
        caught_by: &'static [&'static str],
        suite: fn(&'static str) -> Suite<C>,
    ) -> Self {
        Self { name, about, caught_by, suite }
    }

    /// Whether it keeps the contract.
    #[must_use]
    pub const fn is_right(&self) -> bool {
        self.caught_by.is_empty()
    }

    /// A suite over it, with a fresh store for each check.
    #[must_use]
    pub fn suite(&self) -> Suite<C> {
        (self.suite)(self.name)
    }
}

impl<C: Contract> fmt::Debug for Specimen<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Specimen").field("name", &self.name).finish_non_exhaustive()
    }
}
