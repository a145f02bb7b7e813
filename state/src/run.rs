//! Finding: a scan through the ranges of a plan, the filter, and the sort as far as the plan does not give it.

use std::cmp::Ordering;
use std::collections::HashSet;

use annals::Direction;
use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::collection::{Collection, Index};
use crate::cursor::{Anchor, Spot};
use crate::document::{Document, DocumentId};
use crate::documents::Documents;
use crate::envelope::open;
use crate::error::{Result, StateError};
use crate::find::{By, Find, MAX_LOOKED_AT, Paging};
use crate::plan::{Plan, Source, advice};
use crate::range::KeyRange;
use crate::scan::{Along, Place, Scan, Scanned};
use crate::store::get_all;
use crate::value::encode;

/// The most documents that one scan asks for: it is lazy, but stores fetch pages.
const MAX_CHUNK: usize = 1_024;
/// How many documents of a sort in memory come in before those that are not returned are dropped, unless more are
/// returned.
const SLACK: usize = 256;
/// And how many bytes of them: a few large documents are as much as many small ones.
const SLACK_BYTES: usize = 1 << 20;

/// A document that matches.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) spot: Spot,
    pub(crate) document: Document,
}

impl Hit {
    fn bytes(&self) -> usize {
        let keys: usize = self.spot.keys.iter().map(Bytes::len).sum();
        self.document.body.as_bytes().len() + keys
    }
}

/// Documents that match, in the order of the find, and whether others follow in the direction in which it went.
#[derive(Default)]
pub(crate) struct Hits {
    pub(crate) hits: Vec<Hit>,
    pub(crate) more: bool,
}

/// One run of a find: what it wants, and what it has.
struct Run<'a> {
    find: &'a Find,
    /// Against the order of the find: the page before a cursor is looked for from the cursor on.
    backward: bool,
    start: Option<Spot>,
    skip: usize,
    /// One more than is returned, to see whether others follow.
    take: usize,
    looked_at: usize,
    seen: HashSet<DocumentId>,
    hits: Vec<Hit>,
    /// Of a sort in memory: what came in since the rest was dropped last, in documents and in bytes.
    fresh: (usize, usize),
    /// The last of as many as are returned, so far: what comes after it is not returned.
    last: Option<Spot>,
}

impl<T> Documents<T> {
    /// Finds along `plan`, which must be the plan of `find`.
    pub(crate) async fn run(&self, find: &Find, plan: &Plan) -> Result<Hits> {
        let (cursor, skip, size) = match &find.paging {
            Paging::Everything => (None, 0, usize::MAX - 1),
            Paging::Offset { page, size } => (None, (page - 1) * size, *size),
            Paging::First(size) => (None, 0, *size),
            Paging::After(cursor, size) | Paging::Before(cursor, size) => (Some(cursor), 0, *size),
        };
        let start = match cursor.map(|cursor| cursor.anchor()) {
            None => None,
            Some(Anchor::At(spot)) => Some(spot.clone()),
            Some(Anchor::Of(id)) => {
                match get_all(&self.store, vec![self.key(id.clone())?]).await?.pop() {
                    Some(Some(document)) => Some(hit(&self.collection, find, document)?.0.spot),
                    _ => return Ok(Hits::default()),
                }
            }
        };
        let mut run = Run {
            find,
            backward: matches!(find.paging, Paging::Before(..)),
            start,
            skip,
            take: size + 1,
            looked_at: 0,
            seen: HashSet::new(),
            hits: Vec::new(),
            fresh: (0, 0),
            last: None,
        };
        let index = self.collection.indexes.iter().find(|index| match &plan.along {
            Along::Index(name) => index.name == *name,
            Along::Ids => false,
        });
        match plan.ordered {
            Some(way) => self.in_order(&mut run, plan, way, index).await?,
            None => self.sorted(&mut run, plan).await?,
        }
        let mut hits = run.hits;
        let more = hits.len() > size;
        hits.truncate(size);
        if run.backward {
            hits.reverse();
        }
        Ok(Hits { hits, more })
    }

    /// Documents come in order: it ends as soon as the page is full. Only those whose keys were cut to the same bytes
    /// must be sorted among each other.
    async fn in_order(
        &self,
        run: &mut Run<'_>,
        plan: &Plan,
        way: Direction,
        index: Option<&Index>,
    ) -> Result<()> {
        let Some(range) = plan.ranges.first() else { return Ok(()) };
        let reverse = (way == Direction::Backward) != run.backward;
        let mut scan = self.scan_of(&plan.along, range);
        if reverse {
            scan = scan.backward();
        }
        if let Some(start) = &run.start {
            self.begin_at(&mut scan, start, plan, index, reverse);
        }
        let mut group: Vec<Hit> = Vec::new();
        let mut group_key = Bytes::new();
        let mut chunk = run.skip.saturating_add(run.take).min(MAX_CHUNK);
        loop {
            scan.limit = Some(chunk as u64);
            let mut pages = self.store.scan(scan.clone());
            let mut count = 0;
            while let Some(page) = pages.try_next().await? {
                count += page.len();
                scan.after = page.last().map(Scanned::place);
                for Scanned { key, document } in page {
                    if key != group_key {
                        run.take_group(&mut group);
                        group_key = key;
                    }
                    if run.is_full() {
                        return Ok(());
                    }
                    let (hit, matches) = run.look_at(&self.collection, document)?;
                    if matches && group_key.len() < self.cut {
                        run.push(hit);
                    } else if matches {
                        group.push(hit);
                    }
                }
            }
            if run.is_full() {
                return Ok(());
            }
            if count < chunk {
                break;
            }
            chunk = MAX_CHUNK;
        }
        run.take_group(&mut group);
        Ok(())
    }

    /// Lets a scan begin at the place of a cursor.
    fn begin_at(
        &self,
        scan: &mut Scan,
        start: &Spot,
        plan: &Plan,
        index: Option<&Index>,
        reverse: bool,
    ) {
        let mut key = Vec::new();
        for (part, source) in index.iter().flat_map(|index| &index.parts).zip(&plan.sources) {
            match source {
                Source::Constant(constant) => part.write(constant, &mut key),
                Source::Sort(nth) => {
                    part.write(start.keys.get(*nth).map_or(&[], |key| key), &mut key);
                }
            }
        }
        if key.len() < self.cut {
            scan.after = Some(Place { key: key.into(), id: start.id.clone() });
            return;
        }
        // In the group of its cut key the cursor may be anywhere.
        key.truncate(self.cut);
        let range = KeyRange { from: scan.from.take(), to: scan.to.take() };
        let group = if reverse {
            KeyRange { from: None, to: crate::scan::prefix_end(&key) }
        } else {
            KeyRange { from: Some(key.into()), to: None }
        };
        let range = range.intersect(group);
        (scan.from, scan.to) = (range.from, range.to);
    }

    /// Documents come in any order: all are looked at, and the best are kept.
    async fn sorted(&self, run: &mut Run<'_>, plan: &Plan) -> Result<()> {
        let most = run.skip.saturating_add(run.take);
        for range in &plan.ranges {
            let mut pages = self.store.scan(self.scan_of(&plan.along, range));
            while let Some(page) = pages.try_next().await? {
                for Scanned { document, .. } in page {
                    let (hit, matches) = run.look_at(&self.collection, document)?;
                    if matches {
                        run.take_in(hit, most);
                    }
                }
            }
        }
        run.keep(most);
        run.hits.drain(..run.skip.min(run.hits.len()));
        Ok(())
    }

    pub(crate) fn scan_of(&self, along: &Along, range: &KeyRange) -> Scan {
        let KeyRange { from, to } = range.cut(self.cut);
        let mut scan = Scan::new(self.collection.name.clone(), along.clone());
        (scan.from, scan.to) = (from, to);
        scan
    }
}

/// A document as a hit, and whether it matches.
fn hit<T>(collection: &Collection<T>, find: &Find, document: Document) -> Result<(Hit, bool)> {
    let state = open(collection, &document)?.value;
    let matches = find.filter.as_ref().is_none_or(|filter| filter.holds(&state));
    let key = |by: &By| {
        let mut key = Vec::new();
        encode(&by.value(&state), &mut key);
        Bytes::from(key)
    };
    let keys = find.sort.iter().map(key).collect();
    Ok((Hit { spot: Spot { keys, id: document.key.id.clone() }, document }, matches))
}

impl Run<'_> {
    fn look_at<T>(
        &mut self,
        collection: &Collection<T>,
        document: Document,
    ) -> Result<(Hit, bool)> {
        self.looked_at += 1;
        if self.looked_at > MAX_LOOKED_AT {
            return Err(too_much(self.find));
        }
        hit(collection, self.find, document)
    }

    /// The order in which this run goes.
    fn compare(&self, a: &Spot, b: &Spot) -> Ordering {
        let keys = a.keys.iter().zip(&b.keys).zip(&self.find.sort);
        let mut orders =
            keys.map(|((a, b), by)| if by.is_descending() { b.cmp(a) } else { a.cmp(b) });
        let order = orders.find(|order| order.is_ne()).unwrap_or_else(|| {
            if self.find.ids_descend() { b.id.cmp(&a.id) } else { a.id.cmp(&b.id) }
        });
        if self.backward { order.reverse() } else { order }
    }

    /// Whether it comes after the cursor.
    fn is_beyond(&self, spot: &Spot) -> bool {
        self.start.as_ref().is_none_or(|start| self.compare(spot, start).is_gt())
    }

    fn is_full(&self) -> bool {
        self.hits.len() >= self.take
    }

    /// Takes a hit that comes next. A document whose entry moved during the scan counts once.
    fn push(&mut self, hit: Hit) {
        if self.is_full() || !self.is_beyond(&hit.spot) || !self.seen.insert(hit.spot.id.clone()) {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
        } else {
            self.hits.push(hit);
        }
    }

    fn take_group(&mut self, group: &mut Vec<Hit>) {
        group.sort_unstable_by(|a, b| self.compare(&a.spot, &b.spot));
        group.drain(..).for_each(|hit| self.push(hit));
    }

    /// Takes a hit that may be among the first, in any order. At any time `most` documents are held, and beside them
    /// at most [`SLACK_BYTES`] and one document.
    fn take_in(&mut self, hit: Hit, most: usize) {
        let is_late = |last: &Spot| self.compare(&hit.spot, last).is_gt();
        if !self.is_beyond(&hit.spot) || self.last.as_ref().is_some_and(is_late) {
            return;
        }
        self.fresh = (self.fresh.0 + 1, self.fresh.1 + hit.bytes());
        self.hits.push(hit);
        let (documents, bytes) = self.fresh;
        if self.hits.len() > most && (documents > most.max(SLACK) || bytes > SLACK_BYTES) {
            self.keep(most);
        }
    }

    /// Keeps the first of the hits, each document once.
    fn keep(&mut self, most: usize) {
        let mut hits = std::mem::take(&mut self.hits);
        // Stable, as it is the fast one where most of them are in order.
        hits.sort_by(|a, b| self.compare(&a.spot, &b.spot));
        let mut seen = HashSet::new();
        hits.retain(|hit| seen.insert(hit.spot.id.clone()));
        hits.truncate(most);
        self.last = hits.last().filter(|_| hits.len() == most).map(|hit| hit.spot.clone());
        self.fresh = (0, 0);
        self.hits = hits;
    }
}

pub(crate) fn too_much(find: &Find) -> StateError {
    StateError::invalid(format!(
        "the find looks at more than {MAX_LOOKED_AT} documents: {}; or return a page of fewer",
        advice(find)
    ))
}
