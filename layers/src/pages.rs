//! Pages, with each event replaced by what a layer makes of it.

use annals::{
    Capabilities, Direction, Error, EventPages, Page, Query, ReadOptions, Result, SequenceNumber,
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

    /// How far a read has come that returned what precedes the event of this number.
    fn before(self, unread: SequenceNumber) -> Option<SequenceNumber> {
        if !self.is_ordered {
            return None;
        }
        match self.direction {
            Direction::Forward => unread.prev(),
            Direction::Backward => Some(SequenceNumber::new(unread.value().saturating_add(1))),
        }
    }
}

/// One read as no adapter makes it: its only item is this error.
pub(crate) fn fail(error: Error) -> EventPages {
    stream::iter([Err(error)]).boxed()
}

/// What comes behind the part of a page that was changed.
pub(crate) enum Rest {
    /// The next page.
    Next,
    /// The other part of the page, as the adapter inside returned it.
    Part(Page),
    /// An error, which ends the read.
    Failed(Error),
}

/// The pages with their events replaced. Before an event for which `change` fails comes what precedes it, in a page that
/// is not at the head; then the error; then the end. A page whose payloads become more than `most` bytes is returned in
/// parts, unless `closed` ends the read before the next one.
pub(crate) fn map(
    pages: EventPages,
    claims: Claims,
    most: usize,
    closed: impl Fn() -> Option<Error> + Send + 'static,
    change: impl FnMut(StoredEvent) -> Result<StoredEvent> + Send + 'static,
) -> EventPages {
    let state = (Some(pages), change, closed, Rest::Next);
    stream::unfold(state, move |(mut pages, mut change, closed, rest)| async move {
        let page = match rest {
            Rest::Next => pages.as_mut()?.next().await?,
            Rest::Part(page) => closed().map_or(Ok(page), Err),
            Rest::Failed(error) => Err(error),
        };
        match page.and_then(|page| changed(page, claims, most, &mut change)) {
            Ok((page, rest)) => {
                if let Rest::Failed(_) = rest {
                    pages = None;
                }
                Some((Ok(page), (pages, change, closed, rest)))
            }
            Err(error) => Some((Err(error), (None, change, closed, Rest::Next))),
        }
    })
    .boxed()
}

/// The page with its events replaced, up to `most` bytes of payloads or the first failure; and what comes behind it.
///
/// # Errors
/// The first failure, if no page can be made of what precedes it.
pub(crate) fn changed(
    mut page: Page,
    claims: Claims,
    most: usize,
    mut change: impl FnMut(StoredEvent) -> Result<StoredEvent>,
) -> Result<(Page, Rest)> {
    let mut events = std::mem::take(&mut page.events).into_iter();
    let (mut done, mut bytes) = (Vec::with_capacity(events.len()), 0);
    while let Some(event) = events.next() {
        let number = event.sequence_number;
        match change(event) {
            Ok(event) => {
                bytes += event.payload().as_bytes().len();
                done.push(event);
            }
            Err(error) => {
                let last = done.last().map(|last: &StoredEvent| last.sequence_number);
                let Some(through) = claims.before(number).or(last) else { return Err(error) };
                return Ok((Page::new(done, through), Rest::Failed(error)));
            }
        }
        if bytes >= most && events.len() > 0 {
            page.events = events.collect();
            return Ok((Page::new(done, number), Rest::Part(page)));
        }
    }
    page.events = done;
    Ok((page, Rest::Next))
}
