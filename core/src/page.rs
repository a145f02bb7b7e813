//! Pages: what a read returns at a time, and how far it has read.

use futures_core::stream::BoxStream;

use crate::error::Result;
use crate::event::StoredEvent;
use crate::position::SequenceNumber;

/// What a read returns: one page after another, in the order that was asked for. It ends after the page at the head, at
/// its limit, or after its first error; a follow goes on. See rules R5 and R6 of
/// [`StorageAdapter`](crate::StorageAdapter).
pub type EventPages = BoxStream<'static, Result<Page>>;

/// A page of a read: events, and how far the read has come. Any page may be empty.
///
/// ```
/// use annals::{Page, SequenceNumber};
/// let page = Page::new(Vec::new(), SequenceNumber::new(7)).at_head();
/// assert!(page.events.is_empty() && page.at_head);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The events, in the order that was asked for.
    pub events: Vec<StoredEvent>,
    /// Every event that the query matches from the start of the read up to this number, inclusive, has been returned
    /// with this page or one before it. A backward read counts down: it has returned everything from its upper bound
    /// down to this number, inclusive.
    pub through: SequenceNumber,
    /// Everything that the query matches up to the head, or up to `until`, has been returned. A plain read ends with
    /// such a page, unless its limit ends it.
    pub at_head: bool,
}

impl Page {
    /// A page within a read.
    #[must_use]
    pub fn new(events: Vec<StoredEvent>, through: SequenceNumber) -> Self {
        Self { events, through, at_head: false }
    }

    /// The page that completes a read up to the head or `until`.
    #[must_use]
    pub fn at_head(mut self) -> Self {
        self.at_head = true;
        self
    }

    /// The same page with each event replaced by what `change` makes of it: what a layer does to a read, also to a
    /// follow.
    ///
    /// # Errors
    /// The first error of `change`; the page is lost with it.
    pub fn try_map(
        mut self,
        change: impl FnMut(StoredEvent) -> Result<StoredEvent>,
    ) -> Result<Self> {
        self.events = self.events.into_iter().map(change).collect::<Result<_>>()?;
        Ok(self)
    }
}
