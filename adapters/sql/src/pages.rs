//! A read as a stream of pages, where the next pages are read while one is consumed.

use std::collections::VecDeque;

use annals::{EventPages, Result, StoredEvent};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use crate::scan::Scan;

/// How many pages are read while one is consumed, from the third page on.
const PAGES_AHEAD: usize = 2;

/// A page, with the read as it stands behind it.
pub type Page = Result<(Scan, Vec<StoredEvent>)>;

/// Where pages come from.
pub trait PageSource: Send + Sync + 'static {
    /// The next page of `scan`; empty only when it is done. `ahead`: nobody waits for it yet; it must be read whether
    /// the future is polled or not, and must hold nothing once it was read.
    fn ask(&self, scan: Scan, ahead: bool) -> BoxFuture<'static, Page>;
}

/// The pages of `scan`. Nothing happens before the first poll.
#[must_use]
pub fn pages(source: impl PageSource, scan: Scan) -> EventPages {
    let read = Read { source, rest: scan, asked: VecDeque::new(), begun: false };
    stream::unfold(read, |mut read| async move { Some((read.turn().await?, read)) }).fuse().boxed()
}

/// A read under way. It holds no connection: pages that were asked for are read whether it is polled or not.
struct Read<S> {
    source: S,
    /// What was not asked for yet.
    rest: Scan,
    /// Pages that come before it, in order.
    asked: VecDeque<BoxFuture<'static, Page>>,
    begun: bool,
}

impl<S: PageSource> Read<S> {
    async fn turn(&mut self) -> Option<Result<Vec<StoredEvent>>> {
        match self.next_page().await {
            Ok(page) if page.is_empty() => None,
            Ok(page) => Some(Ok(page)),
            Err(error) => {
                self.asked.clear();
                self.rest.set_items(Vec::new());
                Some(Err(error))
            }
        }
    }

    /// The next page; empty when there is none.
    async fn next_page(&mut self) -> Result<Vec<StoredEvent>> {
        loop {
            let next = match self.asked.pop_front() {
                Some(next) => next,
                None if self.rest.is_done() => return Ok(Vec::new()),
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
            while self.begun && self.asked.len() < PAGES_AHEAD && !self.rest.is_done() {
                let next = self.source.ask(self.rest.split(), true);
                self.asked.push_back(next);
            }
            self.begun = true;
            if !page.is_empty() {
                return Ok(page);
            }
        }
    }
}
