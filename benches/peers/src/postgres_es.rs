//! cqrs-es with postgres-es.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use annals::BoxError;
use annals_benches::contestant::{About, Appended, Contestant, Missing, Store, last_of};
use async_trait::async_trait;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{EventStoreAggregateContext, PersistedEventRepository, PersistedEventStore};
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventStore};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use sqlx::Executor;

use crate::order::{self, OrderEvent};
use crate::schema::Schema;
use crate::version;

/// postgres-es, events as the only source of truth.
pub(crate) struct PostgresEs(pub(crate) String);

/// The table that its documentation asks for.
pub(crate) const TABLE: &str = "CREATE TABLE events (
    aggregate_type text NOT NULL, aggregate_id text NOT NULL,
    sequence bigint NOT NULL CHECK (sequence >= 0),
    event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

#[async_trait]
impl Contestant for PostgresEs {
    fn about(&self) -> About {
        About {
            peer: "postgres-es",
            version: version::of("postgres-es"),
            backend: "postgres",
            promises: "numbers events within a stream only: a scan is of one type, in no order across streams, \
                       and cannot be resumed; conditions on the stream's last number",
        }
    }

    async fn open(&self, clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let schema = Schema::create(&self.0, "postgres_es", clients).await?;
        schema.pool.execute(TABLE).await?;
        let repository = || PostgresEventRepository::new(schema.pool.clone());
        let store = PersistedEventStore::new_event_store(repository());
        Ok(Arc::new(Events { store, repository: repository(), schema }))
    }
}

struct Events {
    store: PersistedEventStore<PostgresEventRepository, Order>,
    repository: PostgresEventRepository,
    schema: Schema,
}

#[async_trait]
impl Store for Events {
    async fn append(
        &self,
        stream: &str,
        last: Option<u64>,
        events: usize,
    ) -> Result<Appended, Missing> {
        let context = EventStoreAggregateContext {
            aggregate_id: stream.into(),
            aggregate: Order,
            // It counts from 1.
            current_sequence: usize::try_from(last.map_or(0, |last| last + 1))?,
            current_snapshot: None,
        };
        match self.store.commit(order::events(events), context, HashMap::new()).await {
            Ok(_) => Ok(Appended::Stored(last_of(last, events))),
            Err(AggregateError::AggregateConflict) => Ok(Appended::Refused(None)),
            Err(error) => Err(error.into()),
        }
    }

    async fn scan(&self) -> Result<u64, Missing> {
        let mut events = self.repository.stream_all_events::<Order>().await?;
        let mut count = 0;
        while let Some(event) = events.next::<Order>(&[]).await {
            std::hint::black_box(event?);
            count += 1;
        }
        Ok(count)
    }

    async fn read(&self, stream: &str) -> Result<u64, Missing> {
        Ok(std::hint::black_box(self.store.load_events(stream).await?).len() as u64)
    }

    async fn close(&self) {
        self.schema.drop().await;
    }
}

/// An order, of which nothing is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Order;

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = ();
    type Event = OrderEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _sink: &EventSink<Self>) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(&mut self, _event: OrderEvent) {}
}

impl DomainEvent for OrderEvent {
    fn event_type(&self) -> String {
        "LineAdded".into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}
