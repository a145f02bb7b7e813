//! Adapters that go wrong with large events, heavy calls, long batches, wide queries and long names.

use std::collections::HashSet;

use annals::{
    Append, Capabilities, Encoding, Error, EventId, EventName, NewEvent, Payload, Query, QueryItem,
    ReadOptions, Result, SequenceNumber, StoredEvent, Tags,
};

use super::bent::{Log, amend, but, limit, select_without};
use super::numbers::Plain;

fn size(event: &StoredEvent) -> usize {
    event.payload().as_bytes().len()
}

/// The events of each page of so many bytes; one that is larger has a page of its own.
fn cut_by_bytes(events: Vec<StoredEvent>, most: usize, count: usize) -> Vec<Vec<StoredEvent>> {
    let (mut pages, mut left) = (vec![Vec::new()], most);
    for event in events {
        let page = pages.last_mut().expect("there is a page");
        if !page.is_empty() && (size(&event) > left || page.len() == count) {
            (left, pages) = (most, {
                pages.push(Vec::new());
                pages
            });
        }
        left = left.saturating_sub(size(&event));
        pages.last_mut().expect("there is a page").push(event);
    }
    pages
}

/// Stores each event of the call after a change that depends on its place in it.
fn by_place(writes: &[Append], change: impl Fn(usize, &mut NewEvent)) -> Vec<Append> {
    let mut writes = writes.to_vec();
    let events = writes.iter_mut().flat_map(|write| &mut write.events);
    events.enumerate().for_each(|(nth, event)| change(nth, event));
    writes
}

/// The query after a change to each of its items.
fn items(query: &Query, change: impl Fn(&mut QueryItem)) -> Query {
    match query {
        Query::All => Query::All,
        Query::AnyOf(_) => Query::any_of(query.items().iter().map(|item| but(item, &change))),
    }
}

fn first(text: &str, bytes: usize) -> &str {
    (0..=bytes.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

/// The bytes of payloads and metadata of a call.
fn weight(writes: &[Append]) -> usize {
    let of = |event: &NewEvent| {
        event.payload.as_bytes().len() + event.metadata.as_ref().map_or(0, |it| it.as_bytes().len())
    };
    writes.iter().flat_map(|write| &write.events).map(of).sum()
}

/// Bytes of an id up to the first zero.
fn up_to_zero(id: EventId) -> Vec<u8> {
    id.as_uuid().as_bytes().iter().copied().take_while(|byte| *byte != 0).collect()
}

bent_specimens! {
    /// Of the names that a query asks for, those that have events are looked up, a thousand at most.
    KnownNamesCut caught by ["scan.many_parts", "cond.many_parts"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            Plain.select(log, &with_known_names(log, query), options)
        }

        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(&with_known_names(log, query), after)
        }
    }

    /// Pages are cut at a mebibyte, and the event that did not fit is not read again.
    OverflowSkipped caught by ["scan.uneven"] {
        fn pages(&self, events: Vec<StoredEvent>, count: usize) -> Vec<Vec<StoredEvent>> {
            let mut pages = cut_by_bytes(events, 1 << 20, count);
            pages.iter_mut().skip(1).filter(|page| page.len() > 1).for_each(|page| { page.remove(0); });
            pages
        }
    }

    /// Large events of a page are fetched after the others, and come after them.
    LargeOnesLast caught by ["scan.uneven"] {
        fn pages(&self, events: Vec<StoredEvent>, count: usize) -> Vec<Vec<StoredEvent>> {
            let mut pages = cut_by_bytes(events, 2 << 20, count);
            pages.iter_mut().for_each(|page| page.sort_by_key(|event| size(event) > 500_000));
            pages
        }
    }

    /// With a limit a page that was cut by bytes is the last one.
    LimitEndsAtCut caught by ["scan.uneven"] {
        fn pages(&self, events: Vec<StoredEvent>, count: usize) -> Vec<Vec<StoredEvent>> {
            cut_by_bytes(events, 2 << 20, count)
        }

        fn paged(&self, cut: Vec<Vec<StoredEvent>>, query: &Query, options: &ReadOptions, head: SequenceNumber) -> Vec<annals::Page> {
            let pages = Plain.paged(cut, query, options, head);
            let is_cut = |page: &annals::Page| page.events.iter().map(size).sum::<usize>() > 1 << 20;
            match pages.iter().position(is_cut).filter(|_| options.limit.is_some()) {
                Some(end) => pages.into_iter().take(end + 1).collect(),
                None => pages,
            }
        }
    }

    /// After a page that was cut by bytes the limit counts anew.
    LimitAnewAfterCut caught by ["scan.uneven"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let found = Plain.select(log, query, options)?;
            let bytes: usize = found.iter().map(size).sum();
            if options.limit.is_none() || bytes < 2 << 20 {
                return Ok(found);
            }
            Plain.select(log, query, &but(options, |it| it.limit = it.limit.map(|limit| limit + 1)))
        }
    }

    /// An event that is larger than a page is passed over.
    LargerThanPage caught by ["scan.uneven"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_without(log, query, options, |event| (2 << 20..4 << 20).contains(&size(event)))
        }
    }

    /// A page that was cut by bytes claims what it left out.
    CutPageClaimsAll caught by ["scan.uneven"] {
        fn paged(&self, cut: Vec<Vec<StoredEvent>>, query: &Query, options: &ReadOptions, head: SequenceNumber) -> Vec<annals::Page> {
            let all: Vec<_> = cut.into_iter().flatten().collect();
            let sizes: Vec<_> = all.iter().map(size).collect();
            let mut pages = Plain.paged(cut_by_bytes(all, 1 << 20, 100), query, options, head);
            for nth in 1..pages.len() {
                if sizes.iter().any(|size| *size > 500_000) && options.direction == annals::Direction::Forward {
                    pages[nth - 1].through = pages[nth].through;
                }
            }
            pages
        }
    }

    /// Metadata lies in a column of 64 KiB, and is cut there.
    MetadataCut caught by ["payload.sizes_in_batch"] {
        fn insert(&self, log: &mut Log, mut event: StoredEvent) {
            let large = |it: &annals::Metadata| it.as_bytes().len() > 65_535;
            if event.metadata().is_some_and(large) {
                amend(&mut event, |it| it.event.metadata = None);
            }
            log.push(event);
        }
    }

    /// JSON lies in a column of 64 KiB, and more is an error.
    JsonRefused caught by ["payload.sizes_in_batch"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let large = |payload: &Payload| *payload.encoding() == Encoding::JSON && payload.as_bytes().len() > 65_535;
            if writes.iter().flat_map(|write| &write.events).any(|event| large(&event.payload)) {
                return Err(Error::backend("data too long for column"));
            }
            Plain.prepare(log, writes)
        }
    }

    /// A statement of more than four mebibytes is refused.
    PacketTooLarge caught by ["append.weight"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            if weight(writes) > 4 << 20 {
                return Err(Error::backend("packet too large"));
            }
            Plain.prepare(log, writes)
        }
    }

    /// Of a call of more than six mebibytes the last event is lost.
    HeavyCallCut caught by ["append.weight"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            if weight(&writes) > 6 << 20 {
                writes.last_mut().map(|write| write.events.pop());
            }
            Plain.prepare(log, &writes)
        }
    }

    /// Declares how heavy a call may be, and stores what is heavier.
    MaxBytesNotKept caught by ["append.max_bytes"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_append_bytes(std::num::NonZeroU32::new(100_000))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }
    }

    /// Counts the bytes of each stream of a call for itself.
    MaxBytesPerStream caught by ["append.max_bytes"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_append_bytes(std::num::NonZeroU32::new(100_000))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)?;
            writes.iter().try_for_each(|write| self.capabilities().check_append("specimen", std::slice::from_ref(write)))
        }
    }

    /// Events are inserted a thousand at a time, each time with the tags of the first thousand.
    ChunksRepeatTags caught by ["append.chunks"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let all: Vec<Tags> = writes.iter().flat_map(|write| &write.events).map(|event| event.tags.clone()).collect();
            Plain.prepare(log, &by_place(writes, |nth, event| event.tags = all[nth % 1_000].clone()))
        }
    }

    /// Beyond the first thousand events of a call metadata is lost.
    ChunksLoseMetadata caught by ["append.chunks"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            Plain.prepare(log, &by_place(writes, |nth, event| if nth >= 1_000 { event.metadata = None }))
        }
    }

    /// Of the names of a call 512 are looked up, and the others are taken for the last of them.
    NamesOfACallCut caught by ["append.chunks"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut known: Vec<EventName> = Vec::new();
            let mut writes = writes.to_vec();
            for event in writes.iter_mut().flat_map(|write| &mut write.events) {
                if !known.contains(&event.name) {
                    if known.len() == 512 {
                        event.name = known[511].clone();
                        continue;
                    }
                    known.push(event.name.clone());
                }
            }
            Plain.prepare(log, &writes)
        }
    }

    /// Beyond the first two thousand events of a call the index of tags has none of them.
    ChunksNotIndexed caught by ["append.chunks"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            if event.position.value() >= 2_000 {
                log.hidden.insert(event.id(), u64::MAX);
            }
            log.push(event);
        }

        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let mut found = log.candidates(query).filter(|event| !(query.uses_tags() && log.hidden.contains_key(&event.id())));
            found.find(|event| event.sequence_number > after && query.matches(event)).map(|event| event.sequence_number)
        }
    }

    /// Only the first thousand ids of a call are looked for.
    IdsOfFirstChunk caught by ["idem.late_duplicate"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            let mut ids = writes.iter().flat_map(|write| &write.events).map(|event| event.id).take(1_000);
            ids.find(|id| log.ids.contains(id)).map_or(Ok(()), |id| Err(Error::DuplicateEvent(id)))
        }
    }

    /// Events are committed a thousand at a time, and what was committed before a known one stays.
    ChunksCommitted caught by ["idem.late_duplicate"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            Plain.duplicates(log, writes)
        }

        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let whole = Plain.prepare(log, writes);
            if let Err(Error::DuplicateEvent(id)) = &whole {
                let mut first = writes.to_vec();
                let place = first[0].events.iter().position(|event| event.id == *id).unwrap_or(first[0].events.len());
                first.truncate(1);
                first[0].events.truncate(place / 1_000 * 1_000);
                Plain.prepare(log, &first).into_iter().for_each(|stored| log.push_all(&stored));
            }
            whole
        }
    }

    /// Of the items of a query a hundred are looked at.
    ItemsCutAt100 caught by ["scan.many_parts", "cond.many_parts"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            Plain.select(log, &first_items(query, 100), options)
        }

        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(&first_items(query, 100), after)
        }
    }

    /// A query of more than a thousand items is too deep for the database.
    ItemsTooDeep caught by ["scan.many_parts"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            if query.items().len() > 1_000 {
                return Err(Error::backend("expression tree is too large"));
            }
            Plain.select(log, query, options)
        }
    }

    /// Names of an item are bound one by one, and what is beyond 4,096 of them is left out.
    NamesCut caught by ["scan.many_parts", "cond.many_parts"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let cut = items(query, |item| if let Some(names) = &mut item.names { names.truncate(4_096) });
            Plain.select(log, &cut, options)
        }

        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(&items(query, |item| if let Some(names) = &mut item.names { names.truncate(4_096) }), after)
        }
    }

    /// Of many tags of an item those beyond 128 are not compared.
    TagsOfItemCut caught by ["scan.many_parts"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let cut = items(query, |item| item.tags = item.tags.iter().take(128).cloned().collect());
            Plain.select(log, &cut, options)
        }
    }

    /// Conditions on more than 2,000 ids are judged by the first of them.
    IdsOfConditionCut caught by ["cond.many_parts"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(&items(query, |item| if let Some(ids) = &mut item.ids { ids.truncate(2_000) }), after)
        }
    }

    /// Declares how many parts a query may have, and does not count names.
    PartsAreItems caught by ["cap.max_query_parts"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_query_parts(std::num::NonZeroU32::new(50))
        }

        fn check_read(&self, query: &Query, options: &ReadOptions) -> Result<()> {
            self.capabilities().check_read("specimen", &items(query, |item| item.names = None), options)
        }
    }

    /// Declares how many parts a query may have, and judges conditions of more.
    PartsOfConditionsNotCounted caught by ["cap.max_query_parts"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_max_query_parts(std::num::NonZeroU32::new(50))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }
    }

    /// Tags are compared by their first 200 bytes.
    TagsComparedShort caught by ["name.longest"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let short = |tags: &Tags| tags.iter().map(|tag| first(tag.as_str(), 200).to_owned()).collect::<HashSet<_>>();
            let wanted: HashSet<String> = query.items().iter().flat_map(|item| short(&item.tags)).collect();
            let mut found = Plain.select(log, &items(query, |item| item.tags = Tags::NONE), &but(options, |it| it.limit = None))?;
            found.retain(|event| wanted.is_subset(&short(event.tags())));
            found.truncate(limit(options));
            Ok(found)
        }
    }

    /// An encoding has a column of a hundred bytes.
    EncodingCut caught by ["name.longest"] {
        fn insert(&self, log: &mut Log, mut event: StoredEvent) {
            let encoding = Encoding::new(first(event.payload().encoding().as_str(), 100)).expect("not empty");
            let bytes = event.payload().as_bytes().clone();
            amend(&mut event, |it| it.event.payload = Payload::from_store(encoding, bytes));
            log.push(event);
        }
    }

    /// Conditions find event names by an index of their first 191 bytes.
    NameIndexShort caught by ["name.longest"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let wanted: HashSet<&str> = query.items().iter().filter_map(|item| item.names.as_ref()).flatten()
                .map(|name| first(name.as_str(), 191)).collect();
            if wanted.is_empty() {
                return log.first_match(query, after);
            }
            let any = items(query, |item| item.names = None);
            let is_wanted = |event: &StoredEvent| wanted.contains(first(event.name().as_str(), 191));
            let mut found = log.events.iter().filter(|event| event.sequence_number > after && any.matches(event));
            found.find(|event| is_wanted(event)).map(|event| event.sequence_number)
        }
    }

    /// Ids are compared as strings that end at a zero.
    IdsEndAtZero caught by ["idem.extreme_ids"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            Plain.duplicates(log, writes)?;
            let known: HashSet<_> = log.ids.iter().map(|id| up_to_zero(*id)).filter(|bytes| bytes.len() < 16).collect();
            let mut ids = writes.iter().flat_map(|write| &write.events).map(|event| event.id);
            ids.find(|id| known.contains(&up_to_zero(*id))).map_or(Ok(()), |id| Err(Error::DuplicateEvent(id)))
        }
    }

    /// Ids are signed numbers, and those below zero are not remembered.
    IdsSigned caught by ["idem.extreme_ids"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            let mut ids = writes.iter().flat_map(|write| &write.events).map(|event| event.id);
            let known = |id: &EventId| log.ids.contains(id) && id.as_uuid().as_u128() >> 127 == 0;
            ids.find(known).map_or(Ok(()), |id| Err(Error::DuplicateEvent(id)))
        }
    }

    /// A read by names looks at some thousands of events, and takes what it found for all there is.
    LooksAtThousands caught by ["scan.sparse"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            if query.items().iter().all(|item| item.names.is_none()) {
                return Plain.select(log, query, options);
            }
            let all: Query = query.scope().map_or(Query::All, Into::into);
            let looked_at = Plain.select(log, &all, &but(options, |it| it.limit = Some(8_192)))?;
            let looked_at: HashSet<_> = looked_at.iter().map(|event| event.event.id).collect();
            select_without(log, query, options, |event| !looked_at.contains(&event.event.id))
        }
    }

    /// A condition looks at the first thousands of events after its number.
    ConditionLooksAtThousands caught by ["scan.sparse"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let later = log.candidates(query).filter(|event| event.sequence_number > after);
            let event = later.take(8_192).find(|event| query.matches(event));
            event.map(|event| event.sequence_number)
        }
    }
}

/// The query with its first items only.
fn first_items(query: &Query, count: usize) -> Query {
    match query {
        Query::All => Query::All,
        Query::AnyOf(_) => Query::any_of(query.items().iter().take(count).cloned()),
    }
}

/// The query with a thousand of the names that the log has, if an item asks for more.
fn with_known_names(log: &Log, query: &Query) -> Query {
    let has = |name: &EventName| log.events.iter().any(|event| event.event.name == *name);
    let cut = |item: &QueryItem| {
        but(item, |it| {
            if let Some(names) = it.names.as_mut().filter(|names| names.len() > 1_000) {
                names.retain(has);
                names.truncate(1_000);
            }
        })
    };
    if query.items().is_empty() {
        query.clone()
    } else {
        Query::any_of(query.items().iter().map(cut))
    }
}
