//! What distinguishes two logs, by events.

use std::collections::HashMap;
use std::sync::Arc;

use annals::{
    EventId, EventPages, Query, QueryItem, ReadOptions, Result, SequenceNumber, Source,
    StorageAdapter, StoredEvent,
};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};

/// An event by which two logs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// Only the left log has it.
    Left(StoredEvent),
    /// Only the right log has it.
    Right(StoredEvent),
    /// Both have an event of this id, which says something else or is at another position.
    Changed {
        /// The event in the left log.
        left: StoredEvent,
        /// The event in the right log.
        right: StoredEvent,
    },
}

/// The events after `after` by which two logs differ: first those of the left one in its order, then those that only the
/// right one has. Times of recording and numbers do not count. It keeps a page of each in memory. Both need
/// [`KnownIds::Forever`](annals::KnownIds::Forever).
///
/// The stream ends with the first error of an adapter.
pub fn difference(
    left: &Arc<dyn StorageAdapter>,
    right: &Arc<dyn StorageAdapter>,
    after: SequenceNumber,
) -> BoxStream<'static, Result<Difference>> {
    let options = ReadOptions::default().after(after);
    let of_left =
        compared(left.read(Query::all(), options), Arc::clone(right), |left, right| match right {
            None => Some(Difference::Left(left)),
            Some(right) if is_same(&left, &right) => None,
            Some(right) => Some(Difference::Changed { left, right }),
        });
    let of_right = compared(right.read(Query::all(), options), Arc::clone(left), |right, left| {
        left.is_none().then_some(Difference::Right(right))
    });
    let mut failed = false;
    of_left
        .chain(of_right)
        .take_while(move |found| {
            std::future::ready(!std::mem::replace(&mut failed, found.is_err()))
        })
        .boxed()
}

fn is_same(one: &StoredEvent, other: &StoredEvent) -> bool {
    one.event == other.event && one.stream == other.stream && one.position == other.position
}

type Judge = fn(StoredEvent, Option<StoredEvent>) -> Option<Difference>;

fn compared(
    pages: EventPages,
    other: Arc<dyn StorageAdapter>,
    judge: Judge,
) -> impl futures_util::Stream<Item = Result<Difference>> + Send {
    pages
        .then(move |page| {
            let other = Arc::clone(&other);
            async move {
                let found = match page {
                    Ok(page) => differing(page.events, &*other, judge).await,
                    Err(error) => Err(error),
                };
                let items: Vec<Result<Difference>> = match found {
                    Ok(found) => found.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                };
                stream::iter(items)
            }
        })
        .flatten()
}

async fn differing(
    events: Vec<StoredEvent>,
    other: &dyn StorageAdapter,
    judge: Judge,
) -> Result<Vec<Difference>> {
    let ids = events.iter().map(StoredEvent::id);
    let query = QueryItem::new(Source::Log).with_ids(ids).into();
    let mut there: HashMap<EventId, StoredEvent> = HashMap::new();
    let mut pages = other.read(query, ReadOptions::default());
    while let Some(page) = pages.next().await {
        there.extend(page?.events.into_iter().map(|event| (event.id(), event)));
    }
    Ok(events
        .into_iter()
        .filter_map(|event| {
            let other = there.remove(&event.id());
            judge(event, other)
        })
        .collect())
}
