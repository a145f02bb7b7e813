//! Reads that give too much, too little, or in another order.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals::{
    Append, Direction, Error, Page, Query, QueryItem, ReadOptions, Result, SequenceNumber, Source,
    StoredEvent, Tags,
};

use super::bent::{Bend, Log, Shared, but, within};
use super::numbers::Plain;

/// Selects as if the options were these.
fn with(log: &Log, query: &Query, options: ReadOptions) -> Result<Vec<StoredEvent>> {
    Plain.select(log, query, &options)
}

/// Selects as if the items of the query were these.
fn with_items(
    log: &Log,
    query: &Query,
    options: &ReadOptions,
    item: impl Fn(QueryItem) -> QueryItem,
) -> Result<Vec<StoredEvent>> {
    let query = Query::any_of(query.items().iter().cloned().map(item));
    Plain.select(log, &query, options)
}

fn lower(number: SequenceNumber) -> SequenceNumber {
    SequenceNumber::new(number.value().saturating_sub(1))
}

fn higher(number: SequenceNumber) -> SequenceNumber {
    SequenceNumber::new(number.value().saturating_add(1))
}

bent_specimens! {
    /// `after` is taken as inclusive.
    AfterInclusive caught by ["scan.bounds"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut options = *options;
            options.after = lower(options.after);
            with(log, query, options)
        }
    }

    /// The first event after `after` is left out.
    AfterOneTooFar caught by ["scan.bounds"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut options = *options;
            if options.after > SequenceNumber::START {
                options.after = higher(options.after);
            }
            with(log, query, options)
        }
    }

    /// `after` is ignored in reads of a category.
    AfterIgnoredInCategory caught by ["scan.bounds"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut options = *options;
            if matches!(query.scope(), Some(Source::Category(_))) {
                options.after = SequenceNumber::START;
            }
            with(log, query, options)
        }
    }

    /// In reads of a stream `after` is compared with the position.
    AfterIsPosition caught by ["scan.bounds"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            if !matches!(query.scope(), Some(Source::Stream(_))) || options.after == SequenceNumber::START {
                return Plain.select(log, query, options);
            }
            let mut found = with(log, query, but(options, |it| it.after = SequenceNumber::START))?;
            found.retain(|event| event.position.value() > options.after.value());
            Ok(found)
        }
    }

    /// `until` is taken as exclusive.
    UntilExclusive caught by ["scan.bounds"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut options = *options;
            options.until = options.until.map(lower);
            with(log, query, options)
        }
    }

    /// `until` is one too high.
    UntilOneTooFar caught by ["scan.bounds"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut options = *options;
            options.until = options.until.map(higher);
            with(log, query, options)
        }
    }

    /// `until` is ignored.
    UntilIgnored caught by ["scan.bounds"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            with(log, query, but(options, |it| it.until = None))
        }
    }

    /// `until` of 0 is taken for none.
    UntilZeroIsNone caught by ["scan.extremes"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let until = options.until.filter(|until| *until > SequenceNumber::START);
            with(log, query, but(options, |it| it.until = until))
        }
    }

    /// A number beyond 63 bits is an error of the driver.
    ExtremesFail caught by ["scan.extremes"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            if options.after > SequenceNumber::MAX {
                return Err(Error::backend("out of range"));
            }
            Plain.select(log, query, options)
        }
    }

    /// The limit is ignored.
    LimitIgnored caught by ["scan.limit"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            with(log, query, but(options, |it| it.limit = None))
        }
    }

    /// A limit of 0 is taken for none.
    LimitZeroIsNone caught by ["scan.limit"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            with(log, query, but(options, |it| it.limit = options.limit.filter(|limit| *limit > 0)))
        }
    }

    /// The limit counts events that the query does not match.
    LimitBeforeFilter caught by ["scan.names_then_limit"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = with(log, &query.scope().unwrap_or(Source::Log).into(), *options)?;
            found.retain(|event| query.matches(event));
            Ok(found)
        }
    }

    /// With several items the limit holds for each.
    LimitPerItem caught by ["scan.items"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = Vec::new();
            for item in query.items() {
                found.extend(Plain.select(log, &item.clone().into(), options)?);
            }
            found.sort_by_key(|event| event.sequence_number);
            found.dedup();
            if options.direction == Direction::Backward {
                found.reverse();
            }
            Ok(found)
        }
    }

    /// The direction is ignored.
    BackwardIgnored caught by ["scan.backward"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            with(log, query, but(options, |it| it.direction = Direction::Forward))
        }
    }

    /// A read backward takes the first events that fit, and turns them round.
    BackwardTakesFirst caught by ["scan.backward"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = with(log, query, but(options, |it| it.direction = Direction::Forward))?;
            if options.direction == Direction::Backward {
                found.reverse();
            }
            Ok(found)
        }
    }

    /// A read backward takes `after` as its upper bound.
    BackwardSwapsBounds caught by ["scan.backward"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut options = *options;
            if options.direction == Direction::Backward && options.after > SequenceNumber::START {
                options.until = Some(lower(options.after));
                options.after = SequenceNumber::START;
            }
            with(log, query, options)
        }
    }

    /// Each page of a read backward is in ascending order.
    BackwardInPages caught by ["scan.pages_large"] {
        fn pages(&self, events: Vec<StoredEvent>, size: usize) -> Vec<Vec<StoredEvent>> {
            let mut pages = Plain.pages(events, size);
            if pages.len() > 1 && pages[0][0].sequence_number > pages[1][0].sequence_number {
                pages.iter_mut().skip(1).for_each(|page| page.reverse());
            }
            pages
        }
    }

    /// Only the first page is given.
    FirstPageOnly caught by ["scan.pages_large"] {
        fn pages(&self, events: Vec<StoredEvent>, size: usize) -> Vec<Vec<StoredEvent>> {
            Plain.pages(events, size).into_iter().take(1).collect()
        }
    }

    /// The first event of each further page is lost.
    PageEdgeLost caught by ["scan.pages_large"] {
        fn pages(&self, events: Vec<StoredEvent>, size: usize) -> Vec<Vec<StoredEvent>> {
            let mut pages = Plain.pages(events, size);
            pages.iter_mut().skip(1).for_each(|page| drop(page.remove(0)));
            pages.retain(|page| !page.is_empty());
            pages
        }
    }

    /// The last event of each page begins the next.
    PageEdgeRepeated caught by ["scan.pages_large"] {
        fn pages(&self, events: Vec<StoredEvent>, size: usize) -> Vec<Vec<StoredEvent>> {
            let mut pages = Plain.pages(events, size);
            for nth in 1..pages.len() {
                let edge = pages[nth - 1].last().cloned();
                pages[nth].splice(0..0, edge);
            }
            pages
        }
    }

    /// A read whose events fill its pages exactly ends one page early.
    FullLastPageLost caught by ["scan.page_sweep"] {
        fn pages(&self, events: Vec<StoredEvent>, size: usize) -> Vec<Vec<StoredEvent>> {
            let mut pages = Plain.pages(events, size);
            if pages.len() > 1 && pages.last().is_some_and(|page| page.len() == size) {
                pages.pop();
            }
            pages
        }
    }

    /// A read of nothing has no page.
    NothingHasNoPage caught by ["scan.empty"] {
        fn paged(&self, cut: Vec<Vec<StoredEvent>>, query: &Query, options: &ReadOptions, head: SequenceNumber) -> Vec<Page> {
            if cut.is_empty() { Vec::new() } else { Plain.paged(cut, query, options, head) }
        }
    }

    /// A category holds every category whose name begins like its own.
    CategoryByPrefix caught by ["name.pairs"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let Some(Source::Category(category)) = query.scope() else { return Plain.select(log, query, options) };
            let mut found = with(log, &Query::all(), but(options, |it| it.limit = None))?;
            found.retain(|event| event.stream.category.as_str().starts_with(category.as_str()));
            found.truncate(usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
            Ok(found)
        }
    }

    /// Percent signs in the name of a category match anything.
    CategoryByPattern caught by ["name.wildcard"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let Some(Source::Category(category)) = query.scope() else { return Plain.select(log, query, options) };
            let Some((before, after)) = category.as_str().split_once('%') else {
                return Plain.select(log, query, options);
            };
            let mut found = with(log, &Query::all(), *options)?;
            found.retain(|event| {
                let name = event.stream.category.as_str();
                name.starts_with(before) && name.ends_with(after)
            });
            Ok(found)
        }
    }

    /// A category is read stream by stream.
    CategoryByStream caught by ["scan.order"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = Plain.select(log, query, options)?;
            if matches!(query.scope(), Some(Source::Category(_))) {
                found.sort_by(|a, b| a.stream.name.cmp(&b.stream.name));
            }
            Ok(found)
        }
    }

    /// The log is read category by category.
    LogByCategory caught by ["scan.order"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = Plain.select(log, query, options)?;
            if query.scope() == Some(Source::Log) {
                found.sort_by(|a, b| a.stream.category.cmp(&b.stream.category));
            }
            Ok(found)
        }
    }

    /// Events are read in the order in which they occurred.
    ByOccurredAt caught by ["time.order"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = Plain.select(log, query, options)?;
            found.sort_by_key(|event| event.event.occurred_at);
            if options.direction == Direction::Backward {
                found.reverse();
            }
            Ok(found)
        }
    }

    /// Event names of a query are ignored.
    NamesIgnored caught by ["scan.names"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            with_items(log, query, options, |item| but(&item, |it| it.names = None))
        }
    }

    /// Only the first event name of an item counts.
    FirstNameOnly caught by ["scan.names"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            with_items(log, query, options, |mut item| {
                item.names.iter_mut().for_each(|names| names.truncate(1));
                item
            })
        }
    }

    /// Any of an item's tags is enough.
    AnyTag caught by ["scan.tags"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = with_items(log, query, &but(options, |it| it.limit = None), |item| item.with_tags(Tags::NONE))?;
            found.retain(|event| {
                query.items().iter().any(|item| {
                    let shared = item.tags.iter().any(|tag| event.event.tags.iter().any(|own| own == tag));
                    item.clone().with_tags(Tags::NONE).matches(event) && (item.tags.is_empty() || shared)
                })
            });
            found.truncate(usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
            Ok(found)
        }
    }

    /// Tags of a query are ignored.
    TagsIgnored caught by ["scan.tags"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            with_items(log, query, options, |item| item.with_tags(Tags::NONE))
        }
    }

    /// Only the first item of a query counts.
    FirstItemOnly caught by ["scan.items"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            Plain.select(log, &Query::any_of(query.items().iter().take(1).cloned()), options)
        }
    }

    /// An event that two items ask for comes twice.
    ItemsNotMerged caught by ["scan.items"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = Vec::new();
            for event in with(log, query, but(options, |it| it.limit = None))? {
                let times = query.items().iter().filter(|item| item.matches(&event)).count();
                found.extend(std::iter::repeat_n(event, times.max(1)));
            }
            found.truncate(usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
            Ok(found)
        }
    }

    /// The items of a query are read one after the other.
    ItemsInTurn caught by ["scan.items"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = with(log, query, but(options, |it| it.limit = None))?;
            let first = |event: &StoredEvent| query.items().iter().position(|item| item.matches(event));
            found.sort_by_key(first);
            found.truncate(usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
            Ok(found)
        }
    }

    /// The query without items matches nothing.
    AllIsNone caught by ["scan.all"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            if *query == Query::All { Ok(Vec::new()) } else { Plain.select(log, query, options) }
        }
    }

    /// A stream that was never written to is an error.
    UnknownStreamFails caught by ["scan.empty"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            match query.scope() {
                Some(Source::Stream(stream)) if log.len_of(&stream) == 0 => {
                    Err(Error::backend("no such stream"))
                }
                _ => Plain.select(log, query, options),
            }
        }
    }

    /// Reads with a limit of one are answered from a cache that appends do not renew.
    LatestCached { cached: std::sync::Mutex<std::collections::HashMap<String, Vec<StoredEvent>>> } caught by ["vis.read_your_writes"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let found = Plain.select(log, query, options)?;
            if options.limit != Some(1) || found.is_empty() {
                return Ok(found);
            }
            let mut cached = self.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Ok(cached.entry(format!("{query:?} {options:?}")).or_insert(found).clone())
        }
    }

    /// A reader sees an append only after the next one.
    ReadsLagBehind caught by ["append.roundtrip"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let last = log.last;
            let mut found = with(log, query, but(options, |it| it.limit = None))?;
            found.retain(|event| event.sequence_number.value() < last && within(event, options));
            found.truncate(usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
            Ok(found)
        }
    }

    /// Reads of events by name see only what was appended when the store was opened.
    FilteredReadsLag { seen: std::sync::atomic::AtomicU64 } caught by ["scan.names"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.seen.store(shared.log().last, Ordering::SeqCst);
            Plain.append(shared, writes).await
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = Plain.select(log, query, options)?;
            if query.items().iter().any(|item| item.names.is_some()) {
                let seen = self.seen.load(Ordering::SeqCst);
                found.retain(|event| event.sequence_number.value() <= seen);
            }
            Ok(found)
        }
    }
}
