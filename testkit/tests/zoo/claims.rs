//! Pages that claim too much or too little, and queries whose newer parts are read wrongly.

use std::num::NonZeroUsize;
use std::sync::Arc;

use annals::{
    Append, Capabilities, Direction, EventPages, KnownIds, Order, Page, Query, QueryItem,
    ReadOptions, Result, SequenceNumber, Source, StoredEvent, WriteCondition,
};
use futures_util::{StreamExt, stream};

use super::bent::{Log, Shared, but};
use super::numbers::Plain;

/// The right pages, each after a change.
fn changed(pages: Vec<Page>, change: impl Fn(&mut Page)) -> Vec<Page> {
    let change = |page| but(&page, &change);
    pages.into_iter().map(change).collect()
}

/// The query with each item as if it had no list of this kind, if the list is empty.
fn without_empty_names(query: &Query) -> Query {
    let unrestricted = |item: &QueryItem| {
        but(item, |it| it.names = it.names.take().filter(|names| !names.is_empty()))
    };
    Query::any_of(query.items().iter().map(unrestricted))
}

bent_specimens! {
    /// Every page claims the head, however far it has come.
    ThroughBeyond caught by ["through.long", "through.appending"] {
        fn paged(&self, cut: Vec<Vec<StoredEvent>>, query: &Query, options: &ReadOptions, head: SequenceNumber) -> Vec<Page> {
            changed(Plain.paged(cut, query, options, head), |page| {
                if options.direction == Direction::Forward && options.limit.is_none() {
                    page.through = options.end(head);
                }
            })
        }
    }

    /// A whole read claims no more than its last event: who waits for others learns nothing.
    ThroughIsLastEvent caught by ["through.shapes", "through.bounds"] {
        fn at_head(&self, events: Vec<StoredEvent>, _: &Query, _: &ReadOptions, through: SequenceNumber, _: SequenceNumber) -> Page {
            Page::new(events, through).at_head()
        }
    }

    /// No page is at the head.
    NeverAtHead caught by ["through.shapes", "follow.head"] {
        fn paged(&self, cut: Vec<Vec<StoredEvent>>, query: &Query, options: &ReadOptions, head: SequenceNumber) -> Vec<Page> {
            changed(Plain.paged(cut, query, options, head), |page| page.at_head = false)
        }
    }

    /// Every page is at the head.
    AlwaysAtHead caught by ["through.long", "follow.head"] {
        fn paged(&self, cut: Vec<Vec<StoredEvent>>, query: &Query, options: &ReadOptions, head: SequenceNumber) -> Vec<Page> {
            changed(Plain.paged(cut, query, options, head), |page| page.at_head = true)
        }
    }

    /// A read that its limit ends says that it is at the head.
    LimitIsHead caught by ["through.shapes"] {
        fn paged(&self, cut: Vec<Vec<StoredEvent>>, query: &Query, options: &ReadOptions, head: SequenceNumber) -> Vec<Page> {
            let mut pages = Plain.paged(cut, query, options, head);
            pages.iter_mut().last().into_iter().for_each(|page| page.at_head = true);
            pages
        }
    }

    /// A read of no events claims everything.
    LimitZeroClaims caught by ["through.shapes", "through.bounds"] {
        fn paged(&self, cut: Vec<Vec<StoredEvent>>, query: &Query, options: &ReadOptions, head: SequenceNumber) -> Vec<Page> {
            let pages = Plain.paged(cut, query, options, head);
            changed(pages, |page| if options.limit == Some(0) { page.through = options.end(head) })
        }
    }

    /// Where the upper bound is below the lower one, a page claims the upper one.
    CrossedBoundsClaimUntil caught by ["through.bounds"] {
        fn at_head(&self, events: Vec<StoredEvent>, query: &Query, options: &ReadOptions, through: SequenceNumber, head: SequenceNumber) -> Page {
            let page = Plain.at_head(events, query, options, through, head);
            but(&page, |page| match options.until {
                Some(until) if until < options.after && options.direction == Direction::Forward => page.through = until,
                _ => {}
            })
        }
    }

    /// A read that begins beyond the head claims where it began.
    BeyondHeadClaimsAfter caught by ["through.bounds", "follow.ahead"] {
        fn at_head(&self, events: Vec<StoredEvent>, query: &Query, options: &ReadOptions, through: SequenceNumber, head: SequenceNumber) -> Page {
            let page = Plain.at_head(events, query, options, through, head);
            but(&page, |page| page.through = page.through.max(options.after))
        }
    }

    /// A whole read backward claims its first number.
    BackwardEndsAtAfter caught by ["through.shapes", "through.bounds"] {
        fn at_head(&self, events: Vec<StoredEvent>, query: &Query, options: &ReadOptions, through: SequenceNumber, head: SequenceNumber) -> Page {
            let page = Plain.at_head(events, query, options, through, head);
            but(&page, |page| if options.direction == Direction::Backward { page.through = options.after })
        }
    }

    /// The events are those of the first poll, and the head is that of the last page.
    HeadAfterEvents caught by ["through.appending"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (shared, asked) = (Arc::clone(shared), query.clone());
            let pages = Plain::read(&Arc::new(Plain), &shared, size, query, options);
            let pages = pages.map(move |page| {
                let head = Plain.head(&shared.log(), &asked, &options);
                page.map(|page| but(&page, |page| if page.at_head { page.through = options.end(head) }))
            });
            pages.boxed()
        }
    }

    /// The head of a category is that of the log, which is not in order.
    HeadOfLogInCategory caught by ["through.shapes"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_order(Order::Category)
        }

        fn head(&self, log: &Log, query: &Query, options: &ReadOptions) -> SequenceNumber {
            Plain.head(log, query, options)
        }
    }

    /// A read ends where its events have four mebibytes.
    LargeReadsEnd caught by ["through.bytes"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut bytes = 0;
            let found = Plain.select(log, query, options)?.into_iter().take_while(|event| {
                bytes += event.payload().as_bytes().len();
                bytes <= 4 << 20
            });
            Ok(found.collect())
        }
    }

    /// Bounds on positions are ignored.
    PositionsIgnored caught by ["scan.positions"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            Plain.select(log, query, &but(options, |it| (it.from_position, it.until_position) = (None, None)))
        }
    }

    /// The first position of a read is left out.
    FromPositionExclusive caught by ["scan.positions"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            Plain.select(log, query, &but(options, |it| it.from_position = it.from_position.and_then(annals::Position::next)))
        }
    }

    /// Who says from which position on gets what is before the number, too.
    PositionForNumber caught by ["scan.positions"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let after = if options.from_position.is_some() { SequenceNumber::START } else { options.after };
            Plain.select(log, query, &but(options, |it| it.after = after))
        }
    }

    /// Bounds on positions are taken for any query.
    PositionsOfAnything caught by ["scan.positions"] {
        fn check_read(&self, query: &Query, options: &ReadOptions) -> Result<()> {
            Plain.check_read(query, &but(options, |it| (it.from_position, it.until_position) = (None, None)))
        }
    }

    /// A query without items matches everything.
    NoItemsMatchAll caught by ["scan.nothing", "cond.nothing", "follow.queries"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            Plain.select(log, if query.items().is_empty() { &Query::All } else { query }, options)
        }

        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(if query.items().is_empty() { &Query::All } else { query }, after)
        }
    }

    /// An item with an empty list of ids is not restricted to any in a read.
    NoIdsReadAll caught by ["scan.nothing"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            if query.items().is_empty() {
                return Plain.select(log, query, options);
            }
            let items = query.items().iter();
            let whole = items.map(|item| but(item, |it| it.ids = it.ids.take().filter(|ids| !ids.is_empty())));
            Plain.select(log, &Query::any_of(whole), options)
        }
    }

    /// A query without items matches everything in a condition.
    NoItemsForbidAll caught by ["cond.nothing"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(if query.items().is_empty() { &Query::All } else { query }, after)
        }
    }

    /// An item without names is not restricted to any.
    NoNamesMatchAll caught by ["scan.nothing", "cond.nothing", "through.shapes"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            Plain.select(log, &without_empty_names(query), options)
        }

        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(&without_empty_names(query), after)
        }
    }

    /// An event that is asked for by its id is found wherever it is.
    IdsIgnoreSource caught by ["scan.ids", "cond.ids"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let anywhere = query.items().iter().map(|item| but(item, |it| if it.ids.is_some() { it.source = Source::Log }));
            Plain.select(log, &Query::any_of(anywhere), options)
        }

        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let anywhere = query.items().iter().map(|item| but(item, |it| if it.ids.is_some() { it.source = Source::Log }));
            log.first_match(&Query::any_of(anywhere), after)
        }
    }

    /// A condition on a few ids is judged wherever the events are.
    IdsJudgedAnywhere caught by ["cond.ids"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let anywhere = query.items().iter().map(|item| but(item, |it| {
                if it.ids.as_ref().is_some_and(|ids| ids.len() < 100) {
                    it.source = Source::Log;
                }
            }));
            log.first_match(&Query::any_of(anywhere), after)
        }
    }

    /// Of several ids only the first is looked for.
    FirstIdOnly caught by ["scan.ids", "cond.ids"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let first = query.items().iter().map(|item| but(item, |it| it.ids.iter_mut().for_each(|ids| ids.truncate(1))));
            Plain.select(log, &Query::any_of(first), options)
        }

        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let first = query.items().iter().map(|item| but(item, |it| it.ids.iter_mut().for_each(|ids| ids.truncate(1))));
            log.first_match(&Query::any_of(first), after)
        }
    }

    /// Ids need the order of the log like everything else.
    IdsNeedOrder caught by ["scan.ids"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_order(Order::Category)
        }

        fn check_read(&self, query: &Query, options: &ReadOptions) -> Result<()> {
            let without = query.items().iter().map(|item| but(item, |it| it.ids = None));
            self.capabilities().check_read(super::bent::NAME, &Query::any_of(without), options)
        }
    }

    /// Queries for ids are taken, though only recent ids are known.
    IdsUndeclared caught by ["cap.ids_refused"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_known_ids(KnownIds::Recent)
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }
    }

    /// Queries for ids are rejected in conditions, and taken in reads.
    IdsUndeclaredInReads caught by ["cap.ids_refused"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_known_ids(KnownIds::Recent)
        }

        fn check_read(&self, query: &Query, options: &ReadOptions) -> Result<()> {
            Plain.check_read(query, options)
        }
    }

    /// The last event is told by its position.
    LastEventByPosition caught by ["cond.last_event"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let last = log.last_of(&write.stream);
            let like = |id| {
                let meant = log.events.iter().find(|event| event.id() == id)?;
                last.filter(|last| last.position == meant.position)
            };
            let condition = write.condition.clone().map_leaves(|leaf| Ok(match leaf {
                WriteCondition::LastEventIs(id) => WriteCondition::LastEventIs(like(id).map_or(id, StoredEvent::id)),
                leaf => leaf,
            }));
            Plain.judge(log, &but(write, |it| it.condition = condition.unwrap_or(WriteCondition::Always)))
        }
    }

    /// Any event of the stream counts as its last one.
    LastEventIsAny caught by ["cond.last_event"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let is_own = |id| log.events.iter().any(|event| event.id() == id && event.stream == write.stream);
            let condition = write.condition.clone().map_leaves(|leaf| Ok(match leaf {
                WriteCondition::LastEventIs(id) if is_own(id) => WriteCondition::Always,
                leaf => leaf,
            }));
            Plain.judge(log, &but(write, |it| it.condition = condition.unwrap_or(WriteCondition::Always)))
        }
    }

    /// That an event is the last one holds of an empty stream.
    LastEventOfNothing caught by ["cond.last_event"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let is_empty = log.last_of(&write.stream).is_none();
            match &write.condition {
                WriteCondition::LastEventIs(_) if is_empty => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A read that has looked at a page's worth without a match ends there.
    EndsAtEmptyPage caught by ["through.long"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let items = query.items();
            if options.follow || items.len() != 1 || items.iter().all(|item| item.names.is_none()) {
                return Plain::read(&Arc::new(Plain), shared, size, query, options);
            }
            let (shared, bend) = (Arc::clone(shared), Arc::clone(self));
            let page = async move {
                let log = shared.log();
                let head = bend.head(&log, &query, &options);
                let source = items_source(&query);
                let looked_at = bend.select(&log, &source, &but(&options, |it| it.limit = Some(size.get() as u64)))?;
                let found = looked_at.into_iter().filter(|event| query.matches(event)).collect();
                let pages = bend.paged(vec![found], &query, &options, head);
                pages.into_iter().next().ok_or(annals::Error::backend("no page"))
            };
            stream::once(page).boxed()
        }
    }
}

/// All of the source of the query's item.
fn items_source(query: &Query) -> Query {
    query.items().first().map_or(Query::All, |item| item.source.clone().into())
}
