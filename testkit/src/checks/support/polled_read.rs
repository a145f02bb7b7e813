//! Reads that are polled page by page while other things happen.

use std::num::NonZeroUsize;
use std::time::Duration;

use annals::{
    Direction, EventPages, Order, Query, QueryItem, ReadOptions, Source, StoredEvent, StreamId,
    WriteCondition,
};
use futures_util::StreamExt;
use futures_util::stream::Fuse;

use crate::checks::support::ledger::{Ledger, light, most};
use crate::checks::support::read_world::{named, select};
use crate::engine::{Failure, Outcome, ensure};
use crate::harness::{Hook, Variant};
use crate::pages::Pages;
use crate::subject::{Context, Subject, event, events, within};

/// Longer than the usual limits of a page, which reach to 1 024.
pub(crate) const LONG: usize = 1_100;
/// What must not hang gets so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A stream of `length` events, with others in its category and beside it in the log.
pub(crate) async fn long(cx: &Context, length: usize) -> Outcome<Ledger> {
    let mut ledger = Ledger::open(cx).await?;
    let store = ledger.store.clone();
    let [stream, sibling, other] = streams(&store);
    let mut batch = light(length);
    for (nth, event) in batch.iter_mut().enumerate() {
        if nth % 97 == 41 {
            event.name = annals::EventName::from_static("rare");
            if store.capabilities.tags {
                event.tags = store.tags(&["rare"]);
            }
        } else if nth % 2 == 0 {
            event.name = annals::EventName::from_static("even");
        }
    }
    for part in batch.chunks(most(&store).min(length.div_ceil(8).max(1))) {
        ledger.one(&stream, part.to_vec(), WriteCondition::Always).await?;
        ledger.one(&sibling, events(2.min(most(&store))), WriteCondition::Always).await?;
        ledger.one(&other, vec![event("rare")], WriteCondition::Always).await?;
    }
    Ok(ledger)
}

/// The long stream, another of its category, and one of another category.
pub(crate) fn streams(store: &Subject) -> [StreamId; 3] {
    [("orders", "long"), ("orders", "other"), ("invoices", "long")]
        .map(|(category, name)| store.stream(category, name))
}

/// The long stream, its category, and the log, as far as they can be read.
pub(crate) fn sources(store: &Subject) -> Vec<Source> {
    let [stream, ..] = streams(store);
    let mut sources = vec![Source::from(stream.clone())];
    if store.capabilities.order >= Order::Category {
        sources.push(stream.category.into());
    }
    if store.capabilities.order >= Order::Log {
        sources.push(Source::Log);
    }
    sources
}

/// A read that is polled page by page while other things happen.
pub(crate) struct Scan {
    query: Query,
    options: ReadOptions,
    pub(crate) pages: Fuse<EventPages>,
    /// What it had to give when it was polled first.
    due: Option<Vec<StoredEvent>>,
    shape: Pages,
    found: Vec<StoredEvent>,
}

impl Scan {
    pub(crate) fn new(store: &Subject, query: impl Into<Query>, options: ReadOptions) -> Self {
        let query = query.into();
        let options =
            if query.scope() == Some(Source::Log) { options.after(store.start) } else { options };
        let pages = store.adapter.read(query.clone(), options).fuse();
        let shape = Pages::new(&store.capabilities, &query, options);
        Self { query, options, pages, due: None, shape, found: Vec::new() }
    }

    /// Scans of every source from both ends, of some of their events, and of two streams of which one is short.
    pub(crate) fn all(store: &Subject) -> Vec<Self> {
        let all = ReadOptions::default();
        let mut scans = Vec::new();
        for source in sources(store) {
            for options in [all, all.backward()] {
                scans.push(Self::new(store, source.clone(), options));
                scans.push(Self::new(store, named(&source, &["even", "rare"]), options));
            }
        }
        if store.capabilities.order >= Order::Category {
            let [long, short, _] = streams(store);
            let either = Query::any_of([long, short].map(QueryItem::new));
            scans.push(Self::new(store, either, all));
        }
        scans
    }

    fn given(&self, ledger: &Ledger) -> Vec<StoredEvent> {
        select(ledger.sorted(|event| self.query.matches(event)), self.options)
    }

    /// The next page; false at the end.
    pub(crate) async fn page(&mut self, ledger: &Ledger) -> Outcome<bool> {
        if self.due.is_none() {
            self.due = Some(self.given(ledger));
        }
        let what = format!("a page of {} ({:?})", self.query, self.options);
        let Some(page) = within(LIMIT, &what, self.pages.next()).await? else {
            self.shape.end()?;
            return Ok(false);
        };
        let page = page.map_err(|error| Failure::from(error).in_context(what))?;
        self.shape.take(&page)?;
        self.found.extend(page.events);
        Ok(true)
    }

    /// Reads to the end, and proves what was given: all that was due at the first poll, and after it nothing but
    /// what was appended next, without a gap.
    pub(crate) async fn finish(mut self, ledger: &Ledger, when: &str) -> Outcome {
        while self.page(ledger).await? {}
        let store = &ledger.store;
        let what = format!("{when}, {} ({:?})", self.query, self.options);
        let numbers: Vec<_> = self.found.iter().map(|event| event.sequence_number).collect();
        let ordered = numbers.windows(2).all(|pair| match self.options.direction {
            Direction::Forward => pair[0] < pair[1],
            Direction::Backward => pair[0] > pair[1],
        });
        ensure!(ordered, "{what}: sequence numbers out of order or twice: {numbers:?}");
        self.found.retain(|event| store.owns(event));
        let due = self.due.take().unwrap_or_default();
        let expected = match self.options.direction {
            Direction::Backward => due,
            Direction::Forward => {
                let mut now = self.given(ledger);
                now.truncate(self.found.len().max(due.len()));
                now
            }
        };
        store.same(&self.found, &expected, &what)
    }
}

/// The plain handle, and one with small pages where there is one.
pub(crate) async fn handles(cx: &Context) -> Outcome<Vec<Subject>> {
    let mut handles = vec![cx.open().await?];
    if cx.harness().hooks().contains(&Hook::PageSize) {
        let size = NonZeroUsize::MIN.saturating_add(63);
        handles.push(cx.open_as(Variant::PageSize(size)).await?);
    }
    Ok(handles)
}
