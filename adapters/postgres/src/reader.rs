//! Pages of reads, each on a connection that it has for that page only.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::{Direction, Order, QueryItem, Source, StoredEvent, StreamId};
use annals_sql::{
    Bounds, Cache, Dictionary, Item, NameIds, Page, PageSource, Scan, Scope, Want, resolve, select,
};
use deadpool_postgres::{Object, Pool};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio_postgres::types::Type;

use crate::connect::get;
use crate::decode::{decode, events, numbers, raw_events};
use crate::error::{Failure, Outcome, in_time};
use crate::facts::{Facts, Head};
use crate::runtime::Engine;
use crate::session::{Session, Value, values};
use crate::store::Store;

/// How often a page is asked for again after its connection was lost.
const TRIES: usize = 4;
/// How many dictionaries are kept for reads to come.
const DICTIONARIES: usize = 8;

/// What reads share.
#[derive(Debug)]
pub(crate) struct Reader {
    store: Arc<Store>,
    pool: Pool,
    directory: Mutex<Directory>,
    /// Each page works with one of its own, so that none waits for another.
    dictionaries: Mutex<Vec<Dictionary>>,
}

/// The numbers of what was asked for lately. What a number stands for never changes.
#[derive(Debug)]
struct Directory {
    streams: Cache<StreamId, i64>,
    names: NameIds,
}

impl Reader {
    pub(crate) fn new(store: Arc<Store>, pool: Pool) -> Self {
        let bound = store.options.cache_bound;
        let directory = Directory { streams: Cache::new(bound), names: NameIds::new(bound) };
        Self { store, pool, directory: Mutex::new(directory), dictionaries: Mutex::default() }
    }

    /// The next page of `scan`; empty only when it is done.
    async fn page(&self, scan: Scan) -> Page {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let mut next = scan.clone();
            match self.try_page(&mut next).await {
                Ok(page) => return Ok((next, page)),
                Err(failure) if tries > 0 && failure.lost_connection() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn try_page(&self, scan: &mut Scan) -> Outcome<Vec<StoredEvent>> {
        let client = get(&self.pool).await?;
        let mut dictionary = self.take_dictionary();
        let page = self.on(&client, scan, &mut dictionary);
        let page = in_time(self.store.options.answer_limit(), page).await;
        lock(&self.dictionaries).push(dictionary);
        if page.as_ref().is_err_and(Failure::lost_connection) {
            drop(Object::take(client));
        }
        page
    }

    fn take_dictionary(&self) -> Dictionary {
        let mut dictionaries = lock(&self.dictionaries);
        dictionaries.truncate(DICTIONARIES);
        let kept = dictionaries.pop();
        kept.unwrap_or_else(|| Dictionary::new(self.store.options.cache_bound))
    }

    async fn on(
        &self,
        client: &Object,
        scan: &mut Scan,
        dictionary: &mut Dictionary,
    ) -> Outcome<Vec<StoredEvent>> {
        let session = Session::new(client, self.store.options.prepares());
        let begins = scan.items().is_none();
        if begins {
            if let Some(stream) = self.unknown_stream(scan) {
                return self.begin_stream(session, scan, dictionary, &stream).await;
            }
            self.begin(session, scan, dictionary).await?;
        }
        let bounds = scan.bounds();
        let dialect = self.store.tables.dialect();
        let (page, cut) = match scan.items().unwrap_or_default() {
            [] => (Vec::new(), false),
            [item] => {
                let select = select(item, Want::Events, &bounds, &dialect);
                events(&self.store, session, dictionary, &select.sql, values(&select)).await?
            }
            items => {
                let merged = self.merge(session, items, &bounds).await?;
                let select = self.store.sql.by_numbers(merged, bounds.direction);
                events(&self.store, session, dictionary, &select.sql, values(&select)).await?
            }
        };
        scan.advance(&page, cut);
        if begins && !scan.is_done() {
            // The rest ends at the head of now, however fast others append.
            scan.fix_head(self.last(session).await?);
        }
        Ok(page)
    }

    /// The stream that a read asks for from one of its ends and without restriction, if its number is not known.
    fn unknown_stream(&self, scan: &Scan) -> Option<StreamId> {
        let bounds = scan.bounds();
        match scan.query().items() {
            [QueryItem { source: Source::Stream(stream), names, tags }]
                if names.is_empty()
                    && tags.is_empty()
                    && bounds.after <= 0
                    && bounds.until == i64::MAX =>
            {
                let known = lock(&self.directory).streams.get(stream).is_some();
                (!known).then(|| stream.clone())
            }
            _ => None,
        }
    }

    /// The first page of a stream by its name: one round trip, where its number would take another.
    async fn begin_stream(
        &self,
        session: Session<'_>,
        scan: &mut Scan,
        dictionary: &mut Dictionary,
        stream: &StreamId,
    ) -> Outcome<Vec<StoredEvent>> {
        let Bounds { limit, direction, .. } = scan.bounds();
        let (category, name) = (stream.category.as_str(), stream.name.as_str());
        let values: Vec<Value<'_>> =
            vec![(&category, Type::TEXT), (&name, Type::TEXT), (&limit, Type::INT8)];
        let sql = self.store.sql.of_stream(direction);
        let (rows, cut) = raw_events(session, sql, values).await?;
        let Some(first) = rows.first() else {
            scan.set_items(Vec::new());
            return Ok(Vec::new());
        };
        let id = first.stream_id;
        dictionary.remember_stream(id, stream);
        lock(&self.directory).streams.put(stream.clone(), id);
        let page = decode(&self.store, session, dictionary, rows).await?;
        scan.set_items(vec![Item { scope: Scope::Stream(id), names: None, tags: Vec::new() }]);
        scan.advance(&page, cut);
        if !scan.is_done() {
            scan.fix_head(self.last(session).await?);
        }
        Ok(page)
    }

    /// Finds the numbers of what is to be read. Where statements of several moments make a page, or a name may be
    /// made between two of them, the head is fixed before.
    async fn begin(
        &self,
        session: Session<'_>,
        scan: &mut Scan,
        dictionary: &mut Dictionary,
    ) -> Outcome<()> {
        let query = scan.query();
        let mut facts = Facts::default();
        facts.list_query(&query);
        if query.items().len() > 1 || !lock(&self.directory).fill(&mut facts) {
            if self.store.order() != Order::Log {
                scan.fix_head(self.last_of(session, &query.scope()).await?);
            }
            facts = Facts::of_query(&self.store, session, &query).await?;
            lock(&self.directory).learn(&facts);
            let (head, _) = facts.head.unwrap_or_default();
            scan.fix_head(head);
        }
        for (stream, head) in &facts.streams {
            if let Some(head) = head {
                dictionary.remember_stream(head.stream_id, stream);
            }
        }
        scan.set_items(resolve(&query, &mut facts)?);
        Ok(())
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

    /// The first numbers that any of `items` gives.
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
            *head = self.streams.get(stream).map(|id| Head { stream_id: *id, last: 0 });
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
    fn ask(&self, scan: Scan, ahead: bool) -> BoxFuture<'static, Page> {
        let reader = Arc::clone(&self.reader);
        let page = async move { reader.page(scan).await };
        if ahead {
            let reading = self.engine.handle().spawn(page);
            return async { reading.await.unwrap_or_else(|_| Err(annals_sql::queue::closed())) }
                .boxed();
        }
        // Whoever waits for a page reads it: that spares two changes of threads.
        self.engine.enter(page).boxed()
    }
}
