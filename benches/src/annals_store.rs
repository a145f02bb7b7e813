//! Our adapters as contestants: all of it goes through the facade, as a user's calls do.

use std::path::PathBuf;
use std::sync::Arc;

use annals::{
    BoxError, Error, EventStore, Position, Projector, ReadOptions, StoredEvent, StreamId,
    StreamName, WriteCondition,
};
use async_trait::async_trait;

use crate::contestant::{About, Appended, Contestant, Missing, Store, last_of};
use crate::place::Place;
use crate::sample;

const PROMISES: &str = "one order, no reader skips, conditions, duplicates found";

/// The memory adapter.
#[derive(Debug)]
pub struct Memory;

#[async_trait]
impl Contestant for Memory {
    fn about(&self) -> About {
        About {
            peer: "annals-memory",
            version: env!("CARGO_PKG_VERSION").into(),
            backend: "memory",
            promises: PROMISES,
        }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Arc::new(Annals::at(Place::memory()).await?))
    }
}

/// The SQLite adapter, with files in this folder and the default options.
#[derive(Debug)]
pub struct Sqlite(pub PathBuf);

#[async_trait]
impl Contestant for Sqlite {
    fn about(&self) -> About {
        About {
            peer: "annals-sqlite",
            version: env!("CARGO_PKG_VERSION").into(),
            backend: "sqlite",
            promises: PROMISES,
        }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Arc::new(Annals::at(Place::sqlite(&self.0)?).await?))
    }
}

/// The PostgreSQL adapter at this URL, in a schema of its own each time, with the default options.
#[derive(Debug)]
pub struct Postgres(pub String);

#[async_trait]
impl Contestant for Postgres {
    fn about(&self) -> About {
        About {
            peer: "annals-postgres",
            version: env!("CARGO_PKG_VERSION").into(),
            backend: "postgres",
            promises: PROMISES,
        }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Arc::new(Annals::at(Place::postgres(&self.0).await?).await?))
    }
}

/// An adapter behind the facade.
#[derive(Debug)]
pub struct Annals {
    store: EventStore,
    folds: bool,
    /// Where its events are; files go with it.
    _place: Option<Place>,
}

impl Annals {
    /// `folds`: whether its events lie in memory.
    #[must_use]
    pub fn new(store: EventStore, folds: bool) -> Self {
        Self { store, folds, _place: None }
    }

    async fn at(place: Place) -> Result<Self, BoxError> {
        let folds = matches!(place, Place::Memory(_));
        Ok(Self { store: place.open().await?, folds, _place: Some(place) })
    }

    async fn count(&self, query: impl Into<annals::Query>) -> Result<u64, Missing> {
        let mut events = self.store.read(query, ReadOptions::default());
        let mut count = 0;
        while let Some(event) = events.next().await {
            std::hint::black_box(event?);
            count += 1;
        }
        Ok(count)
    }
}

fn stream(name: &str) -> Result<StreamId, Missing> {
    Ok(StreamId { category: sample::CATEGORY, name: StreamName::new(name)? })
}

#[async_trait]
impl Store for Annals {
    async fn append(
        &self,
        name: &str,
        last: Option<u64>,
        events: usize,
    ) -> Result<Appended, Missing> {
        let condition = last.map_or(WriteCondition::StreamIsEmpty, |last| {
            WriteCondition::PositionIs(Position::new(last))
        });
        let stored = last_of(last, events);
        let events = (0..events).map(|_| sample::event());
        match self.store.stream(stream(name)?).append(events, condition).await {
            Ok(_) => Ok(Appended::Stored(stored)),
            Err(Error::ConditionFailed(unmet)) => {
                Ok(Appended::Refused(unmet.actual.map(Position::value)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn scan(&self) -> Result<u64, Missing> {
        self.count(self.store.log().source()).await
    }

    async fn read(&self, name: &str) -> Result<u64, Missing> {
        self.count(self.store.stream(stream(name)?).source()).await
    }

    async fn fold(&self) -> Result<u64, Missing> {
        if !self.folds {
            return Err(Missing::NotOffered);
        }
        let projection = self.store.log().project(&Counted).await?;
        std::hint::black_box(projection.state.bytes);
        Ok(projection.state.events)
    }

    async fn fill(&self, streams: usize, events: usize) -> Result<(), Missing> {
        let mut left = 0..streams;
        loop {
            // Many streams at once, so that adapters that can commit appends together do.
            let mut appends = tokio::task::JoinSet::new();
            for name in left.by_ref().take((10_000 / events).max(1)) {
                let store = self.store.clone();
                let stream = stream(&name.to_string())?;
                appends.spawn(async move {
                    let events = (0..events).map(|_| sample::event());
                    store.stream(stream).append(events, WriteCondition::StreamIsEmpty).await
                });
            }
            if appends.is_empty() {
                return Ok(());
            }
            while let Some(joined) = appends.join_next().await {
                joined??;
            }
        }
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// Counts events, and the bytes of their payloads.
#[derive(Debug)]
pub struct Counted;

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Count {
    events: u64,
    bytes: u64,
}

impl Projector for Counted {
    type State = Count;

    fn initial(&self) -> Count {
        Count::default()
    }

    fn apply(&self, count: &mut Count, event: &StoredEvent) -> Result<(), BoxError> {
        count.events += 1;
        count.bytes += event.payload().as_bytes().len() as u64;
        Ok(())
    }
}
