//! A check of a suite whose time and order of tasks a seed draws.

use std::fmt;
use std::ops::Range;

/// A check of a suite over the stores that a harness of type `H` makes.
#[non_exhaustive]
pub struct SeededCheck<H: ?Sized> {
    /// Its name, which begins with the rule or the subject.
    pub name: &'static str,
    /// What it proves.
    pub about: &'static str,
    run: fn(&H, u64) -> Result<(), String>,
}

impl<H: ?Sized> SeededCheck<H> {
    pub(super) const fn new(
        name: &'static str,
        about: &'static str,
        run: fn(&H, u64) -> Result<(), String>,
    ) -> Self {
        Self { name, about, run }
    }

    /// Runs it with each of these seeds, up to the first failure.
    ///
    /// # Errors
    /// What was wrong, with the seed.
    pub fn run(&self, harness: &H, seeds: Range<u64>) -> Result<(), String> {
        for seed in seeds {
            (self.run)(harness, seed)
                .map_err(|wrong| format!("{} (seed {seed}): {wrong}", self.name))?;
        }
        Ok(())
    }
}

impl<H: ?Sized> Clone for SeededCheck<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: ?Sized> Copy for SeededCheck<H> {}

impl<H: ?Sized> fmt::Debug for SeededCheck<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeededCheck").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Checks as lines: the name, the function, what it proves.
macro_rules! checks {
    ($check:ident: $($name:literal $run:ident $about:literal;)*) => {{
        const ALL: &[$check] = &[$($check::new($name, $about, $run)),*];
        ALL
    }};
}
pub(super) use checks;
