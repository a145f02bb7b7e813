//! esrs.

use std::convert::Infallible;
use std::sync::Arc;

use annals::BoxError;
use annals_benches::contestant::{About, Appended, Contestant, Missing, Store, last_of};
use async_trait::async_trait;
use esrs::store::postgres::{PgStore, PgStoreBuilder, PgStoreError};
use esrs::store::{EventStore, StoreEvent};
use esrs::{Aggregate, AggregateState};
use futures_util::TryStreamExt;
use uuid::Uuid;

use crate::order::{self, OrderEvent};
use crate::schema::Schema;
use crate::version;

/// esrs on PostgreSQL, with the default options.
pub(crate) struct Esrs(pub(crate) String);

#[async_trait]
impl Contestant for Esrs {
    fn about(&self) -> About {
        About {
            peer: "esrs",
            version: version::of("esrs"),
            backend: "postgres",
            promises: "numbers events within a stream only: a scan is of one type, by the clocks of the writers, \
                       so that a reader who resumes may skip; conditions on the stream's last number",
        }
    }

    async fn open(&self, clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let schema = Schema::create(&self.0, "esrs", clients).await?;
        let store = PgStoreBuilder::new(schema.pool.clone()).try_build().await?;
        Ok(Arc::new(Events { store, schema }))
    }
}

struct Events {
    store: PgStore<Order>,
    schema: Schema,
}

/// Its streams are named by UUIDs.
fn id(stream: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, stream.as_bytes())
}

/// An order as it is after its event of this number.
#[expect(clippy::default_trait_access, reason = "the type is of a crate that nothing else needs")]
fn state(id: Uuid, last: Option<u64>) -> Result<AggregateState<()>, Missing> {
    let state = AggregateState::with_id(id);
    let Some(last) = last else { return Ok(state) };
    let event = StoreEvent {
        id,
        aggregate_id: id,
        payload: (),
        occurred_on: Default::default(),
        // It counts from 1.
        sequence_number: i32::try_from(last + 1)?,
        version: None,
    };
    Ok(state.apply_store_events(vec![event], |(), ()| ()))
}

#[async_trait]
impl Store for Events {
    async fn append(
        &self,
        stream: &str,
        last: Option<u64>,
        events: usize,
    ) -> Result<Appended, Missing> {
        let mut state = state(id(stream), last)?;
        match self.store.persist(&mut state, order::events(events)).await {
            Ok(_) => Ok(Appended::Stored(last_of(last, events))),
            Err(PgStoreError::Sqlx(sqlx::Error::Database(error)))
                if error.is_unique_violation() =>
            {
                Ok(Appended::Refused(None))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn scan(&self) -> Result<u64, Missing> {
        let mut events = self.store.stream_events(&self.schema.pool);
        let mut count = 0;
        while let Some(event) = events.try_next().await? {
            std::hint::black_box(event);
            count += 1;
        }
        Ok(count)
    }

    async fn read(&self, stream: &str) -> Result<u64, Missing> {
        let events = self.store.by_aggregate_id(id(stream)).await?;
        Ok(std::hint::black_box(events).len() as u64)
    }

    async fn close(&self) {
        self.schema.drop().await;
    }
}

/// An order, of which nothing is kept.
struct Order;

impl Aggregate for Order {
    const NAME: &'static str = "orders";
    type State = ();
    type Command = ();
    type Event = OrderEvent;
    type Error = Infallible;

    fn handle_command((): &(), (): ()) -> Result<Vec<OrderEvent>, Infallible> {
        Ok(Vec::new())
    }

    fn apply_event((): (), _event: OrderEvent) {}
}
