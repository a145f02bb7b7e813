//! Pages, with each event replaced by what a layer makes of it.

use annals::{
    Capabilities, Direction, EventPages, Page, Query, ReadOptions, Result, SequenceNumber,
    StorageAdapter, StoredEvent,
};
use futures_util::{StreamExt, stream};

/// The first event that a read returns.
pub(crate) async fn one<A: StorageAdapter + ?Sized>(
    of: &A,
    query: Query,
    options: ReadOptions,
) -> Result<Option<StoredEvent>> {
    let mut pages = of.read(query, options);
    while let Some(page) = pages.next().await {
        if let Some(event) = page?.events.into_iter().next() {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// What a page can say of how far a read has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims {
    direction: Direction,
    /// Whether a page says more than which event it returned last.
    is_ordered: bool,
}

impl Claims {
    pub(crate) fn new(can: Capabilities, query: &Query, options: &ReadOptions) -> Self {
        Self { direction: options.direction, is_ordered: can.keeps_order(query) }
    }

    /// How far a read has come that returned what precedes `unread`.
    pub(crate) fn before(self, unread: &StoredEvent) -> Option<SequenceNumber> {
        if !self.is_ordered {
            return None;
        }
        let number = unread.sequence_number;
        match self.direction {
            Direction::Forward => number.prev(),
            Direction::Backward => Some(SequenceNumber::new(number.value().saturating_add(1))),
        }
    }
}

/// One read as no adapter makes it: its only item is this error.
pub(crate) fn fail(error: annals::Error) -> EventPages {
    stream::iter([Err(error)]).boxed()
}

/// The pages with their events replaced. Before an event for which `change` fails comes what precedes it, in a page that
/// is not at the head; then the error; then the end.
pub(crate) fn map(
    pages: EventPages,
    claims: Claims,
    change: impl FnMut(StoredEvent) -> Result<StoredEvent> + Send + 'static,
) -> EventPages {
    let state = (Some(pages), change, None);
    stream::unfold(state, move |(pages, mut change, failed)| async move {
        if let Some(error) = failed {
            return Some((Err(error), (None, change, None)));
        }
        let mut pages = pages?;
        let page = match pages.next().await? {
            Ok(page) => page,
            Err(error) => return Some((Err(error), (None, change, None))),
        };
        match changed(page, claims, &mut change) {
            Ok(page) => Some((Ok(page), (Some(pages), change, None))),
            Err((Some(cut), error)) => Some((Ok(cut), (None, change, Some(error)))),
            Err((None, error)) => Some((Err(error), (None, change, None))),
        }
    })
    .boxed()
}

/// The page with its events replaced; else what precedes the first failure, if that says anything, and the failure.
pub(crate) fn changed(
    mut page: Page,
    claims: Claims,
    mut change: impl FnMut(StoredEvent) -> Result<StoredEvent>,
) -> Result<Page, (Option<Page>, annals::Error)> {
    let mut done = Vec::with_capacity(page.events.len());
    for event in page.events {
        // A handle costs a count.
        match change(event.clone()) {
            Ok(event) => done.push(event),
            Err(error) => {
                let last = done.last().map(|last: &StoredEvent| last.sequence_number);
                let cut = claims.before(&event).or(last).map(|through| Page::new(done, through));
                return Err((cut, error));
            }
        }
    }
    page.events = done;
    Ok(page)
}
