//! Follows made of plain reads and a way to wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::page::{EventPages, Page};
use crate::position::SequenceNumber;
use crate::query::{Query, QueryItem, ReadOptions};

/// Why a follow reads again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something may have been appended.
    Changed,
    /// The store may have gone back meanwhile, as after a reconnect: the follow first looks for the last event that it
    /// returned.
    Unsure,
}

/// For adapters: a follow (rule R6) of `query`, made of plain reads and a way to wait.
///
/// `read` begins a plain read. `wait` returns a future that completes once something may have been appended after the
/// *call* of `wait`: it registers at once, before the future is polled. It is called before each read, and its future is
/// awaited only after that read's page at the head, so nothing that is appended in between is missed. The future may
/// complete without a cause; it must complete within a bounded time also if a notification is lost. In an adapter that
/// has nothing but a timer, `wait` is a sleep:
///
/// ```
/// # use annals::adapter::{EventPages, StorageAdapter, Wake, follow};
/// # use annals::{Query, ReadOptions};
/// # use std::{sync::Arc, time::Duration};
/// # async fn sleep(_: Duration) {}
/// fn read(adapter: Arc<dyn StorageAdapter>, query: Query, options: ReadOptions) -> EventPages {
///     let read = move |query, options| adapter.read(query, options);
///     follow(query, options, read, || async {
///         sleep(Duration::from_millis(100)).await;
///         Ok(Wake::Unsure)
///     })
/// }
/// ```
///
/// The follow holds nothing while it waits but the future of `wait`. It ends with the first error of `read` or `wait`,
/// and with [`Error::AheadOfLog`] if the head is below a number that it returned, or if the last event that it returned
/// is no longer there: each read that goes on begins with that event and compares it, or looks it up at its place if the
/// query asks for names, tags or ids.
pub fn follow<R, W, F>(query: Query, options: ReadOptions, read: R, wait: W) -> EventPages
where
    R: FnMut(Query, ReadOptions) -> EventPages + Send + 'static,
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<Wake>> + Send + 'static,
{
    let left = ReadOptions { follow: false, ..options };
    let follow = Follow {
        query,
        left,
        read,
        wait,
        waiter: None,
        pages: None,
        last: None,
        begins_with: None,
        resumes: false,
    };
    Box::pin(Pages { step: Some(Box::pin(follow.step())) })
}

struct Follow<R, W, F> {
    query: Query,
    /// What is left to read: `after` is how far the follow has come.
    left: ReadOptions,
    read: R,
    wait: W,
    /// Registered before the read that is under way.
    waiter: Option<Pin<Box<F>>>,
    /// The read that is under way; `None` at the head.
    pages: Option<EventPages>,
    /// The last event that was returned.
    last: Option<StoredEvent>,
    /// The event that the read under way begins with, if the store has not gone back: the last one that was returned.
    begins_with: Option<StoredEvent>,
    /// Whether the read under way is another one than the first.
    resumes: bool,
}

impl<R, W, F> Follow<R, W, F>
where
    R: FnMut(Query, ReadOptions) -> EventPages + Send + 'static,
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<Wake>> + Send + 'static,
{
    /// The next page, and the follow if it goes on after it.
    async fn step(mut self) -> Step<R, W, F> {
        match self.next().await {
            Ok(Some(page)) => {
                let goes_on = !self.is_done(&page);
                (Some(Ok(page)), goes_on.then_some(self))
            }
            Ok(None) => (None, None),
            Err(error) => (Some(Err(error)), None),
        }
    }

    /// The next page that says something new; `None` if the limit ended the read.
    async fn next(&mut self) -> Result<Option<Page>> {
        loop {
            if self.pages.is_none() {
                self.resumes = self.waiter.is_some();
                if let Some(waiter) = self.waiter.take() {
                    let wake = waiter.await?;
                    if wake == Wake::Unsure || !self.is_dense() {
                        self.check_last().await?;
                    }
                }
                self.waiter = Some(Box::pin((self.wait)()));
                self.pages = Some(self.read_on());
            }
            let before = self.left.after;
            let Some(page) = self.poll().await? else { return Ok(None) };
            // A wake-up without a cause is no news, nor is what was read again to compare it.
            let says_nothing = page.events.is_empty() && page.through == before;
            if !says_nothing || !self.resumes || self.is_done(&page) {
                return Ok(Some(page));
            }
        }
    }

    /// The next page of the read that is under way, which takes the follow as far as it reaches.
    async fn poll(&mut self) -> Result<Option<Page>> {
        let Some(pages) = &mut self.pages else { return Ok(None) };
        let page = std::future::poll_fn(|context| pages.as_mut().poll_next(context)).await;
        let Some(mut page) = page.transpose()? else { return Ok(None) };
        if let Some(last) = self.begins_with.take() {
            match page.events.first() {
                Some(first) if is_same(first, &last) => drop(page.events.remove(0)),
                None if page.through < last.sequence_number && !page.at_head => {
                    self.begins_with = Some(last);
                }
                _ => return Err(self.gone(page.through)),
            }
        }
        if page.at_head && page.through < self.left.after {
            return Err(self.gone(page.through));
        }
        // A read that began at the last event may not have come as far as the follow yet.
        page.through = page.through.max(self.left.after);
        if page.at_head {
            self.pages = None;
        }
        self.left.after = page.through;
        self.left.limit = self.left.limit.map(|left| left.saturating_sub(page.events.len() as u64));
        if let Some(last) = page.events.last() {
            self.last = Some(last.clone());
        }
        Ok(Some(page))
    }

    /// Whether nothing can come after `page`.
    fn is_done(&self, page: &Page) -> bool {
        self.left.limit == Some(0)
            || (page.at_head && self.left.until.is_some_and(|until| page.through >= until))
    }

    /// Whether what lies between two events that match is looked at for nothing: not where the query is of whole sources.
    fn is_dense(&self) -> bool {
        let is_whole = |item: &QueryItem| *item == QueryItem::new(item.source.clone());
        self.query.items().iter().all(is_whole)
    }

    /// Begins to read what is left: from the last event that was returned on, so that it can be compared, if that costs
    /// no more than reading one event again.
    fn read_on(&mut self) -> EventPages {
        let mut options = self.left;
        if self.is_dense()
            && let Some(last) = &self.last
            && let Some(before) = last.sequence_number.prev()
        {
            options.after = before;
            options.limit = options.limit.map(|limit| limit.saturating_add(1));
            self.begins_with = Some(last.clone());
        }
        (self.read)(self.query.clone(), options)
    }

    /// The store has not what was returned, and ends at `head`.
    fn gone(&self, head: SequenceNumber) -> Error {
        Error::AheadOfLog { after: self.left.after, head: head.min(self.left.after) }
    }

    /// Looks for the last event that was returned, at its place in its stream.
    async fn check_last(&mut self) -> Result<()> {
        let Some(last) = self.last.clone() else { return Ok(()) };
        let place =
            ReadOptions::default().from_position(last.position).until_position(last.position);
        let mut pages = (self.read)(last.stream.clone().into(), place);
        let mut head = SequenceNumber::START;
        while let Some(page) =
            std::future::poll_fn(|context| pages.as_mut().poll_next(context)).await
        {
            let page = page?;
            head = page.through;
            let mut events = page.events.iter();
            if events.any(|event| is_same(event, &last)) {
                return Ok(());
            }
        }
        Err(self.gone(head))
    }
}

fn is_same(one: &StoredEvent, other: &StoredEvent) -> bool {
    one.id() == other.id() && one.sequence_number == other.sequence_number
}

/// The next page, and the follow if it goes on after it.
type Step<R, W, F> = (Option<Result<Page>>, Option<Follow<R, W, F>>);
type UnderWay<R, W, F> = Pin<Box<dyn Future<Output = Step<R, W, F>> + Send>>;

/// The follow as a stream: the step that is under way.
struct Pages<R, W, F> {
    step: Option<UnderWay<R, W, F>>,
}

// Nothing is pinned in place: what it holds is boxed.
impl<R, W, F> Unpin for Pages<R, W, F> {}

impl<R, W, F> Stream for Pages<R, W, F>
where
    R: FnMut(Query, ReadOptions) -> EventPages + Send + 'static,
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<Wake>> + Send + 'static,
{
    type Item = Result<Page>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(step) = &mut self.step else { return Poll::Ready(None) };
        let (page, follow) = ready!(step.as_mut().poll(context));
        self.step = follow.map(|follow| Box::pin(follow.step()) as _);
        Poll::Ready(page)
    }
}
