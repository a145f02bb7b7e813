//! Pages of reads, each on a connection that it has for that page only.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::{Direction, Error, EventId, Order, Page, QueryItem, Source, StoredEvent, StreamId};
use annals_sql::facts::Facts;
use annals_sql::{
    Bounds, Cache, Dictionary, Head, Item, NameIds, Numbered, PageSource, RawEvent, Scan, Scope,
    Select, Turn, Want, resolve, select,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio_postgres::types::Type;

use crate::connection::pool::Connections;
use crate::connection::runtime::Engine;
use crate::connection::session::{Session, Value, values};
use crate::error::NAME;
use crate::error::Outcome;
use crate::lookup::decode::{Raw, decode, events, numbers, raw_events};
use crate::lookup::facts::Found;
use crate::lookup::history::History;
use crate::store::Store;

/// How often a page is asked for again after its connection was lost.
const TRIES: usize = 4;
/// How many dictionaries are kept for reads to come.
const DICTIONARIES: usize = 8;

/// What reads share.
#[derive(Debug)]
pub(crate) struct Reader {
    store: Arc<Store>,
    pool: Connections,
    directory: Mutex<Directory>,
}

/// What is remembered between pages, and of which history of the store.
#[derive(Debug)]
struct Directory {
    history: History,
    /// Rises when all of it is forgotten.
    generation: u64,
    /// The numbers of what was asked for lately.
    streams: Cache<StreamId, i64>,
    names: NameIds,
    /// What numbers stand for. Each page works with one of its own, so that none waits for another.
    dictionaries: Vec<Dictionary>,
}

/// What a page works with.
struct Memory {
    dictionary: Dictionary,
    history: History,
    generation: u64,
}

impl Reader {
    pub(crate) fn new(store: Arc<Store>, pool: Connections) -> Self {
        let bound = store.options.common.cache_bound;
        let directory = Directory {
            history: History::default(),
            generation: 0,
            streams: Cache::new(bound),
            names: NameIds::new(bound),
            dictionaries: Vec::new(),
        };
        Self { store, pool, directory: Mutex::new(directory) }
    }

    /// The next page of `scan`.
    async fn page(&self, scan: Scan) -> Turn {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let mut next = scan.clone();
            match self.try_page(&mut next).await {
                Ok(page) => return Ok((next, page)),
                Err(failure) if tries > 0 && failure.is_worth_another_try() => {
                    tracing::debug!(name: "annals.read_again", target: "annals", adapter = NAME, error = ?failure);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn try_page(&self, scan: &mut Scan) -> Outcome<Page> {
        let page = self.pool.run(&self.store, async |session| {
            let mut memory = self.recall();
            if scan.generation() != memory.generation {
                // Its numbers are of a history that was forgotten.
                scan.restart(memory.generation);
            }
            let page = self.on(session, scan, &mut memory).await;
            match &page {
                Ok(page) => self.remember(memory, page),
                Err(failure) if failure.is_outdated() => self.forget(memory.generation),
                Err(_) => {}
            }
            page
        });
        page.await
    }

    fn recall(&self) -> Memory {
        let mut directory = lock(&self.directory);
        let kept = directory.dictionaries.pop();
        let dictionary =
            kept.unwrap_or_else(|| Dictionary::new(self.store.options.common.cache_bound));
        Memory { dictionary, history: directory.history, generation: directory.generation }
    }

    /// Keeps what a page has learnt, and its newest event as the witness of it.
    fn remember(&self, memory: Memory, page: &Page) {
        let mut directory = lock(&self.directory);
        let mark = memory.history.mark;
        if directory.generation != memory.generation
            || directory.history.mark.is_some_and(|known| Some(known) != mark)
        {
            return;
        }
        let numbered = |event: &StoredEvent| (event.id(), event.sequence_number.value());
        let ends = page.events.first().into_iter().chain(page.events.last()).map(numbered);
        let last = ends
            .chain(memory.history.last)
            .fold(directory.history.last, |last, event| newest(last, Some(event)));
        directory.history = History { mark, last };
        if directory.dictionaries.len() < DICTIONARIES {
            directory.dictionaries.push(memory.dictionary);
        }
    }

    fn forget(&self, generation: u64) {
        let mut directory = lock(&self.directory);
        if directory.generation == generation {
            directory.generation += 1;
            directory.history = History::default();
            directory.streams.clear();
            directory.names.clear();
            directory.dictionaries.clear();
        }
    }

    async fn on(
        &self,
        session: Session<'_>,
        scan: &mut Scan,
        memory: &mut Memory,
    ) -> Outcome<Page> {
        let mut needs_head = false;
        if scan.items().is_none() {
            if let Some(stream) = self.unknown_stream(scan) {
                return self.begin_stream(session, scan, memory, &stream).await;
            }
            needs_head = !self.begin(session, scan, memory).await?;
        }
        let bounds = scan.bounds();
        let dialect = self.store.tables.dialect();
        let (events, cut) = match scan.items().unwrap_or_default() {
            _ if scan.is_empty() => {
                if needs_head {
                    scan.fix_head(self.last(session).await?);
                }
                (Vec::new(), false)
            }
            [item] if needs_head => {
                let select = select(item, Want::Events, &bounds, &dialect);
                let sql = self.store.sql.with_head(&select.sql, select.parameters.len());
                let raw = self.with_head(session, &sql, values(&select), scan, memory).await?;
                (self.decode(session, memory, raw.events).await?, raw.cut)
            }
            [item] => {
                let select = select(item, Want::Events, &bounds, &dialect);
                self.events(session, memory, &select).await?
            }
            items => {
                let merged = self.merge(session, items, &bounds).await?;
                let select = self.store.sql.by_numbers(merged, bounds.direction);
                self.events(session, memory, &select).await?
            }
        };
        Ok(scan.advance(events, cut))
    }

    async fn events(
        &self,
        session: Session<'_>,
        memory: &mut Memory,
        select: &Select,
    ) -> Outcome<(Vec<StoredEvent>, bool)> {
        let Memory { dictionary, history, .. } = memory;
        events(&self.store, session, dictionary, history, &select.sql, values(select)).await
    }

    async fn decode(
        &self,
        session: Session<'_>,
        memory: &mut Memory,
        rows: Vec<RawEvent>,
    ) -> Outcome<Vec<StoredEvent>> {
        decode(&self.store, session, &mut memory.dictionary, &memory.history, rows).await
    }

    /// Runs a statement [with the head](crate::schema::statements::Statements::with_head), and fixes it.
    async fn with_head(
        &self,
        session: Session<'_>,
        sql: &str,
        mut values: Vec<Value<'_>>,
        scan: &mut Scan,
        memory: &mut Memory,
    ) -> Outcome<Raw> {
        let (number, id) = (memory.history.number(), memory.history.id());
        values.push((&number, Type::INT8));
        values.push((&id, Type::UUID));
        let raw = raw_events(session, sql, values).await?;
        let (head, mark, has_last) = raw.head.ok_or_else(|| Error::corrupt("no answer"))?;
        memory.history.check(mark, has_last)?;
        memory.history.mark = Some(mark);
        scan.fix_head(head);
        Ok(raw)
    }

    /// The stream that a read asks for from one of its ends and without restriction, if its number is not known.
    fn unknown_stream(&self, scan: &Scan) -> Option<StreamId> {
        let bounds = scan.bounds();
        let ends = Bounds { limit: bounds.limit, ..Bounds::one(bounds.direction) };
        match scan.query().items() {
            [item] => match &item.source {
                Source::Stream(stream)
                    if *item == QueryItem::new(stream.clone())
                        && Bounds { after: bounds.after.max(0), ..bounds } == ends
                        && self.store.order() == Order::Log
                        && !scan.is_empty() =>
                {
                    let known = lock(&self.directory).streams.get(stream).is_some();
                    (!known).then(|| stream.clone())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The first page of a stream by its name: one round trip, where its number would take another.
    async fn begin_stream(
        &self,
        session: Session<'_>,
        scan: &mut Scan,
        memory: &mut Memory,
        stream: &StreamId,
    ) -> Outcome<Page> {
        let Bounds { limit, direction, .. } = scan.bounds();
        let (category, name) = (stream.category.as_str(), stream.name.as_str());
        let values: Vec<Value<'_>> =
            vec![(&category, Type::TEXT), (&name, Type::TEXT), (&limit, Type::INT8)];
        let sql = self.store.sql.of_stream(direction);
        let Raw { events, cut, .. } = self.with_head(session, sql, values, scan, memory).await?;
        let Some(first) = events.first() else {
            scan.set_items(Vec::new());
            return Ok(scan.advance(Vec::new(), false));
        };
        let id = first.stream_id;
        memory.dictionary.remember_stream(id, stream);
        let events = self.decode(session, memory, events).await?;
        self.learn(memory, |directory| directory.streams.put(stream.clone(), id));
        scan.set_items(vec![Item::of(Scope::Stream(id))]);
        Ok(scan.advance(events, cut))
    }

    /// Has the directory learn something, unless it has forgotten the history that it is true of.
    fn learn(&self, memory: &Memory, learn: impl FnOnce(&mut Directory)) {
        let mut directory = lock(&self.directory);
        if directory.generation == memory.generation {
            directory.history.mark = directory.history.mark.or(memory.history.mark);
            directory.history.last = newest(directory.history.last, memory.history.last);
            learn(&mut directory);
        }
    }

    /// Looks up the numbers of the names in the query, and fixes the head first if statements of several moments make a
    /// page, or if a name may be made between two of them. Otherwise the statement of the first page returns the head.
    async fn begin(
        &self,
        session: Session<'_>,
        scan: &mut Scan,
        memory: &mut Memory,
    ) -> Outcome<bool> {
        let query = scan.query();
        let is_ordered = self.store.order() == Order::Log;
        if !is_ordered {
            let head = match query.scope() {
                Some(scope) => self.last_of(session, &scope).await?,
                None => 0,
            };
            scan.fix_scope_head(head);
        }
        let mut facts = Facts::default();
        facts.list_query(&query);
        let is_known = query.items().len() == 1 && {
            let mut directory = lock(&self.directory);
            // What it knows is of its history, which others may have seen first.
            memory.history.mark = memory.history.mark.or(directory.history.mark);
            directory.generation == memory.generation && directory.fill(&mut facts)
        };
        if !is_known {
            let found = Found::of_query(&self.store, session, &query, memory.history).await?;
            memory.history.mark = found.of_store.map(|(mark, _)| mark);
            facts = found.facts;
            memory.history.last = newest(memory.history.last, facts.last);
            self.learn(memory, |directory| directory.learn(&facts));
            if is_ordered {
                let (head, _) = facts.head.unwrap_or_default();
                scan.fix_head(head);
            }
        }
        for (stream, head) in &facts.streams {
            if let Some(head) = head {
                memory.dictionary.remember_stream(head.stream_id, stream);
            }
        }
        scan.set_items(resolve(&query, &mut facts)?);
        Ok(!is_known || !is_ordered)
    }

    /// The last number of `scope`: in the weaker orders numbers below the last one of the log may be on their way, but
    /// none below that of a scope that keeps its order.
    async fn last_of(&self, session: Session<'_>, scope: &Source) -> Outcome<u64> {
        let sql = &self.store.sql;
        match scope {
            Source::Stream(StreamId { category, name }) => {
                let (category, name) = (category.as_str(), name.as_str());
                let values: [Value<'_>; 2] = [(&category, Type::TEXT), (&name, Type::TEXT)];
                session.number(&sql.last_of_stream, &values).await
            }
            Source::Category(category) => {
                session.number(&sql.last_of_category, &[(&category.as_str(), Type::TEXT)]).await
            }
            Source::Log => self.last(session).await,
        }
    }

    async fn last(&self, session: Session<'_>) -> Outcome<u64> {
        session.number(&self.store.sql.last, &[]).await
    }

    /// The first numbers that any of `items` has.
    async fn merge(
        &self,
        session: Session<'_>,
        items: &[Item],
        bounds: &Bounds,
    ) -> Outcome<Vec<i64>> {
        let limit = usize::try_from(bounds.limit).unwrap_or(usize::MAX);
        let dialect = self.store.tables.dialect();
        let selects = items.iter().map(|item| select(item, Want::Numbers, bounds, &dialect));
        let selects: Vec<_> = selects.collect();
        let found = try_join_all(selects.iter().map(|select| numbers(session, select))).await?;
        let merged: BTreeSet<i64> = found.into_iter().flatten().collect();
        Ok(match bounds.direction {
            Direction::Forward => merged.into_iter().take(limit).collect(),
            Direction::Backward => merged.into_iter().rev().take(limit).collect(),
        })
    }
}

impl Directory {
    /// Fills in what is known of a query; whether that is all.
    fn fill(&mut self, facts: &mut Facts) -> bool {
        let mut all = true;
        for (name, id) in &mut facts.names {
            *id = self.names.get(name);
            all &= id.is_some();
        }
        for (stream, head) in &mut facts.streams {
            *head = self.streams.get(stream).map(|id| Head {
                stream_id: *id,
                last: 0,
                last_id: EventId::from_uuid(uuid::Uuid::nil()),
            });
            all &= head.is_some();
        }
        all
    }

    fn learn(&mut self, facts: &Facts) {
        for (name, id) in &facts.names {
            if let Some(id) = id {
                self.names.learn(name, *id);
            }
        }
        for (stream, head) in &facts.streams {
            if let Some(head) = head {
                self.streams.put(stream.clone(), head.stream_id);
            }
        }
    }
}

fn newest(a: Option<Numbered>, b: Option<Numbered>) -> Option<Numbered> {
    a.into_iter().chain(b).max_by_key(|(_, number)| *number)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a read holds while it is under way.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    pub(crate) reader: Arc<Reader>,
    pub(crate) engine: Arc<Engine>,
}

impl PageSource for Pages {
    fn ask(&self, scan: Scan, ahead: bool) -> BoxFuture<'static, Turn> {
        let reader = Arc::clone(&self.reader);
        let page = async move { reader.page(scan).await };
        if ahead {
            let reading = self.engine.handle().spawn(page);
            return async { reading.await.unwrap_or_else(|_| Err(Error::closed(NAME))) }.boxed();
        }
        // Whoever waits for a page reads it: that spares two changes of threads.
        self.engine.enter(page).boxed()
    }

    fn closed(&self) -> Option<Error> {
        self.reader.store.watch.is_closed().then(|| Error::closed(NAME))
    }
}
