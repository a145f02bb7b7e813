//! Erasure: what every keeper of copies does if a subject is forgotten.

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;

/// What one sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// How many documents it looked at.
    pub looked_at: u64,
    /// How many of them it deleted or made again without the subject.
    pub removed: u64,
}

impl Swept {
    /// A sweep that looked at so many documents and removed so many.
    #[must_use]
    pub const fn new(looked_at: u64, removed: u64) -> Self {
        Self { looked_at, removed }
    }
}

/// A keeper of copies that were made from a subject's data: views, snapshots, parked events, caches.
///
/// Erasure destroys the subject's keys first, and then asks each of a list of these.
#[async_trait]
pub trait Sweep: fmt::Debug + Send + Sync + 'static {
    /// Removes all copies of what belongs to `subject`. It may be called again, and then finds nothing.
    ///
    /// # Errors
    /// Those of the store. What was removed before the error stays removed; call it again.
    async fn forget(&self, subject: &str) -> Result<Swept>;
}
