//! A read as a stream of pages, where the next pages are read while one is consumed.

use std::collections::VecDeque;

use annals::{Error, EventPages, Page, Result};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use crate::scan::Scan;

/// How many pages are read while one is consumed: one while the first is, so that a read which is given up there has cost
/// one page more than it returned; then two.
const PAGES_AHEAD: usize = 2;

/// A page, with what is left of the read behind it.
pub type Turn = Result<(Scan, Page)>;

/// Where pages come from.
pub trait PageSource: Send + Sync + 'static {
    /// The next page of `scan`. `ahead`: nobody waits for it yet; it must be read whether the future is polled or not,
    /// and must hold nothing once it was read.
    fn ask(&self, scan: Scan, ahead: bool) -> BoxFuture<'static, Turn>;

    /// The error of a read whose adapter was closed, if it was.
    fn closed(&self) -> Option<Error>;
}

/// The pages of `scan`, whose errors name `adapter`. Nothing happens before the first poll.
#[must_use]
pub fn pages(source: impl PageSource, scan: Scan, adapter: &'static str) -> EventPages {
    let read = Read { source, rest: scan, asked: VecDeque::new(), ahead: 0 };
    stream::unfold(Some(read), move |read| async move {
        let mut read = read?;
        match read.next().await {
            Ok(page) => page.map(|page| (Ok(page), Some(read))),
            Err(error) => Some((Err(error.at(adapter, "read")), None)),
        }
    })
    .boxed()
}

/// A read under way. It holds no connection: pages that were asked for are read whether it is polled or not.
struct Read<S> {
    source: S,
    /// What was not asked for yet.
    rest: Scan,
    /// Pages that come before it, in order.
    asked: VecDeque<BoxFuture<'static, Turn>>,
    /// How many of them there may be.
    ahead: usize,
}

impl<S: PageSource> Read<S> {
    /// The next page; `None` after the last.
    async fn next(&mut self) -> Result<Option<Page>> {
        if let Some(closed) = self.source.closed() {
            return Err(closed);
        }
        let next = match self.asked.pop_front() {
            Some(next) => next,
            None if self.rest.is_done() => return Ok(None),
            // Of the first page, which decides whether there is more to split, this is all.
            None => self.source.ask(self.rest.split(), false),
        };
        let (scan, page) = next.await?;
        if !scan.is_done() {
            if self.rest.is_done() && self.asked.is_empty() {
                self.rest = scan;
            } else {
                // A page that was cut short: its other part comes before what was asked for already.
                self.asked.push_front(self.source.ask(scan, true));
            }
        }
        self.ahead = (self.ahead + 1).min(PAGES_AHEAD);
        while self.asked.len() < self.ahead && !self.rest.is_done() {
            let next = self.source.ask(self.rest.split(), true);
            self.asked.push_back(next);
        }
        Ok(Some(page))
    }
}
