//! A follow that is polled page by page while other things happen.

use std::time::Duration;

use annals::{Page, Query, ReadOptions, Source, StoredEvent, StreamId, WriteCondition};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Fuse};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::checks::support::ledger::{Ledger, most};
use crate::checks::support::read_world::select;
use crate::engine::{Failure, Outcome, ensure};
use crate::pages::Pages;
use crate::subject::{Subject, event, within};

/// What is appended arrives within so long, also if every notification is lost.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// How long after the first page of a fresh handle something happens: a handle looks at the store by itself only then.
pub(crate) const FIRST_LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::ZERO, Duration::from_millis(1), Duration::from_millis(8)];
/// What waits is left alone for so long.
const REST: Duration = Duration::from_millis(50);

type Next = Option<annals::Result<Page>>;
type Read = Fuse<BoxStream<'static, annals::Result<Page>>>;

/// What its pages claim is judged as they come. Between pages it rests, unless it [waits](Follow::wait): no read that
/// is under way is left without being polled.
pub(crate) struct Follow {
    store: Subject,
    query: Query,
    options: ReadOptions,
    /// `None` while it waits.
    pages: Option<Read>,
    waiting: Option<JoinHandle<(Next, Read)>>,
    shape: Pages,
    at_head: bool,
    ended: bool,
    /// The events of this check so far.
    pub(crate) found: Vec<StoredEvent>,
    /// How many events came, others' included.
    pub(crate) count: u64,
}

impl Follow {
    pub(crate) fn new(store: &Subject, query: &Query, options: ReadOptions) -> Self {
        let is_log = query.scope() == Some(Source::Log);
        let options = if is_log { options.after(store.start) } else { options };
        let (store, query) = (store.clone(), query.clone());
        let pages = store.adapter.read(query.clone(), options.follow()).fuse();
        let shape = Pages::new(&store.capabilities, &query, options.follow());
        let (at_head, ended, found, count) = Default::default();
        let (pages, waiting) = (Some(pages), None);
        Self { store, query, options, pages, waiting, shape, at_head, ended, found, count }
    }

    /// The options of the plain read that returns the same.
    pub(crate) fn options(&self) -> ReadOptions {
        self.options
    }

    fn what(&self) -> String {
        format!("a follow of {} ({:?})", self.query, self.options)
    }

    async fn next(&mut self) -> Outcome<Next> {
        if let Some(pages) = &mut self.pages {
            return Ok(pages.next().await);
        }
        let Some(task) = &mut self.waiting else { return Ok(None) };
        let ended = task.await;
        self.waiting = None;
        let (page, pages) = ended.map_err(|error| Failure::new(error.to_string()))?;
        self.pages = Some(pages);
        Ok(page)
    }

    /// Waits for its next page in a task of its own from now on.
    pub(crate) async fn wait(&mut self) {
        if let Some(mut pages) = self.pages.take() {
            self.waiting = Some(tokio::spawn(async move { (pages.next().await, pages) }));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    fn take(&mut self, page: Next) -> Outcome<Option<usize>> {
        let Some(page) = page else {
            self.ended = true;
            return Ok(None);
        };
        let page = page.map_err(|error| Failure::from(error).in_context(self.what()))?;
        self.shape.take(&page)?;
        self.at_head = page.at_head;
        self.count += page.events.len() as u64;
        let foreign = page.events.iter().find(|event| !self.query.matches(event));
        if let Some(event) = foreign {
            return Err(Failure::new(format!("{} returned {event}", self.what())));
        }
        let before = self.found.len();
        let own = page.events.into_iter().filter(|event| self.store.owns(event));
        self.found.extend(own);
        Ok(Some(self.found.len() - before))
    }

    /// The next page: how many events of this check it has. It must come, and the follow must not end.
    pub(crate) async fn page(&mut self) -> Outcome<usize> {
        let what = self.what();
        let page = within(LIMIT, &format!("a page of {what}"), self.next()).await??;
        self.take(page)?.ok_or(Failure::new(format!("{what} ended")))
    }

    /// The same without a limit, for a task that others wait for.
    pub(crate) async fn eventually(&mut self) -> Outcome {
        loop {
            let page = self.next().await?;
            let what = self.what();
            if self.take(page)?.ok_or(Failure::new(format!("{what} ended")))? > 0 {
                return Ok(());
            }
        }
    }

    /// Goes on until a page has events of this check.
    pub(crate) async fn page_with_events(&mut self) -> Outcome {
        let what = format!("events of {}", self.what());
        let events = async {
            while self.page().await? == 0 {}
            Ok(())
        };
        within(LIMIT, &what, events).await?
    }

    /// Goes on to a page at the head.
    pub(crate) async fn reach_head(&mut self) -> Outcome {
        let what = format!("the head of {}", self.what());
        let head = async {
            while !self.at_head {
                self.page().await?;
            }
            Ok(())
        };
        within(LIMIT, &what, head).await?
    }

    /// Goes on until it has everything, and proves that it has nothing else.
    pub(crate) async fn catch_up(&mut self, ledger: &Ledger) -> Outcome {
        let due = self.due(ledger).len();
        while self.found.len() < due {
            self.page_with_events().await.map_err(|failure| {
                let (has, what) = (self.found.len(), self.what());
                failure.in_context(format!("{what} has {has} events of {due}"))
            })?;
        }
        self.same(ledger)
    }

    fn due(&self, ledger: &Ledger) -> Vec<StoredEvent> {
        select(ledger.sorted(|event| self.query.matches(event)), self.options)
    }

    /// Proves that it has all of the ledger, once and in order.
    pub(crate) fn same(&self, ledger: &Ledger) -> Outcome {
        self.store.same(&self.found, &self.due(ledger), &self.what())
    }

    /// Proves that it has what a read up to its last event returns, once and in order.
    pub(crate) async fn same_as_read(&mut self) -> Outcome {
        let last = self.found.last().map_or(self.store.start, |last| last.sequence_number);
        let mut whole = self.store.read(self.query.clone(), self.options.until(last)).await?;
        whole.retain(|event| self.store.owns(event));
        self.store.same(&self.found, &whole, &self.what())
    }

    /// Goes on to its end.
    pub(crate) async fn reach_end(&mut self) -> Outcome {
        let what = format!("the end of {}", self.what());
        let end = async {
            while !self.ended {
                let page = self.next().await?;
                self.take(page)?;
            }
            Ok::<_, Failure>(())
        };
        within(LIMIT, &what, end).await??;
        self.shape.end()
    }

    /// Proves that it neither ends nor returns events while nothing is appended.
    pub(crate) async fn waits(&mut self) -> Outcome {
        let until = tokio::time::Instant::now() + REST;
        self.wait().await;
        while let Ok(page) = tokio::time::timeout_at(until, self.next()).await {
            let what = self.what();
            let own = self.take(page?)?.ok_or(Failure::new(format!("{what} ended")))?;
            ensure!(own == 0, "{what} returned {own} events again");
            self.wait().await;
        }
        Ok(())
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        if let Some(task) = &self.waiting {
            task.abort();
        }
    }
}

/// Appends so many events of this name to one stream, one by one where a call takes no more.
pub(crate) async fn feed(
    ledger: &mut Ledger,
    stream: &StreamId,
    name: &'static str,
    count: usize,
) -> Outcome {
    let mut left = count;
    while left > 0 {
        let batch: Vec<_> = (0..left.min(most(&ledger.store))).map(|_| event(name)).collect();
        left -= batch.len();
        ledger.one(stream, batch, WriteCondition::Always).await?;
    }
    Ok(())
}

/// A follow in a task of its own, which sends how many own events it has so far after each page.
pub(crate) fn task(
    tasks: &mut JoinSet<Outcome>,
    store: &Subject,
    query: &Query,
    events: usize,
) -> watch::Receiver<usize> {
    let mut follow = Follow::new(store, query, ReadOptions::default());
    let (sender, receiver) = watch::channel(0);
    tasks.spawn(async move {
        while follow.found.len() < events {
            follow.eventually().await?;
            let _ = sender.send(follow.found.len());
        }
        Ok(())
    });
    receiver
}

/// Waits until all tasks of followers have ended well.
pub(crate) async fn join(mut tasks: JoinSet<Outcome>) -> Outcome {
    let ended = async {
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| Failure::new(error.to_string()))??;
        }
        Ok(())
    };
    within(LIMIT * 2, "the tasks of followers", ended).await?
}
