//! disintegrate with disintegrate-postgres.

use std::sync::Arc;

use annals::BoxError;
use annals_benches::contestant::{About, Appended, Contestant, Missing, Store};
use async_trait::async_trait;
use disintegrate::serde::json::Json;
use disintegrate::{Event, EventStore, StreamItem, StreamQuery, query};
use disintegrate_postgres::{Error, PgEventId, PgEventStore};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::Executor;

use crate::order::{self, Article, Price};
use crate::schema::Schema;
use crate::version;

/// disintegrate on PostgreSQL.
pub(crate) struct Disintegrate(pub(crate) String);

/// The payload again: it wants a field that names the stream.
#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
pub(crate) enum OrderEvent {
    LineAdded {
        #[id]
        #[serde(rename = "order")]
        order_id: String,
        line: u32,
        article: Article,
        count: u32,
        price: Price,
        customer: String,
        note: String,
    },
}

pub(crate) fn event(stream: &str) -> OrderEvent {
    let order::AddedLine { order: _, line, article, count, price, customer, note } = order::line();
    OrderEvent::LineAdded { order_id: stream.into(), line, article, count, price, customer, note }
}

/// It writes a number as only PostgreSQL 16 and later read it; this is the same one for those before.
pub(crate) const BEFORE_16: &str = "DO $$ BEGIN EXECUTE replace(
    pg_get_functiondef('event_store_begin_epoch'::regproc), '0xFFFFFFFF', '4294967295'); END $$";

#[async_trait]
impl Contestant for Disintegrate {
    fn about(&self) -> About {
        About {
            peer: "disintegrate",
            version: version::of("disintegrate-postgres"),
            backend: "postgres",
            promises: "one order, numbers with gaps; readers stop before appends in flight, so that none is \
                       skipped; conditions are queries, checked under SERIALIZABLE",
        }
    }

    async fn open(&self, clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let schema = Schema::create(&self.0, "disintegrate", clients).await?;
        let store = PgEventStore::try_new(schema.pool.clone(), Json::default()).await?;
        schema.pool.execute(BEFORE_16).await?;
        Ok(Arc::new(Events { store, schema }))
    }
}

struct Events {
    store: PgEventStore<OrderEvent, Json<OrderEvent>>,
    schema: Schema,
}

type Query = StreamQuery<PgEventId, OrderEvent>;

fn of(stream: &str) -> Query {
    query!(OrderEvent; order_id == stream.to_owned())
}

/// Whether others were at work at the same time: it reports so by its own error or by that of PostgreSQL.
pub(crate) fn is_conflict(error: &Error) -> bool {
    match error {
        Error::Concurrency => true,
        Error::Database(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|code| code == "40001" || code == "40P01")
        }
        _ => false,
    }
}

impl Events {
    /// How many events a query finds, and the number of the last.
    async fn count(&self, query: &Query) -> Result<(u64, Option<u64>), Missing> {
        let mut items = self.store.stream(query);
        let (mut count, mut last) = (0, None);
        while let Some(item) = items.try_next().await? {
            if let StreamItem::Event(event) = item {
                count += 1;
                last = Some(u64::try_from(event.id())?);
                std::hint::black_box(event);
            }
        }
        Ok((count, last))
    }
}

#[async_trait]
impl Store for Events {
    async fn append(
        &self,
        stream: &str,
        last: Option<u64>,
        events: usize,
    ) -> Result<Appended, Missing> {
        let events = (0..events).map(|_| event(stream)).collect();
        let last = PgEventId::try_from(last.unwrap_or_default())?;
        match self.store.append(events, of(stream), last).await {
            Ok(stored) => {
                let last = stored.last().ok_or("it stored no event")?;
                Ok(Appended::Stored(u64::try_from(last.id())?))
            }
            Err(error) if is_conflict(&error) => Ok(Appended::Refused(None)),
            Err(error) => Err(error.into()),
        }
    }

    async fn scan(&self) -> Result<u64, Missing> {
        Ok(self.count(&query!(OrderEvent)).await?.0)
    }

    async fn read(&self, stream: &str) -> Result<u64, Missing> {
        Ok(self.count(&of(stream)).await?.0)
    }

    async fn last(&self, stream: &str) -> Result<Option<u64>, Missing> {
        Ok(self.count(&of(stream)).await?.1)
    }

    async fn fill(&self, streams: usize, events: usize) -> Result<(), Missing> {
        let mut left = (0..streams).flat_map(|stream| vec![event(&stream.to_string()); events]);
        loop {
            let events: Vec<_> = left.by_ref().take(1_000).collect();
            if events.is_empty() {
                return Ok(());
            }
            // By many at once, and without conditions: it is not measured, and would take minutes.
            self.store.append_without_validation(events).await?;
        }
    }

    async fn close(&self) {
        self.schema.drop().await;
    }
}
