//! One program, written with each library: an application that creates worlds and makes things happen in them, and knows
//! a world that is missing from one that exists. `docs/domain.md` counts what a user writes for it, between the two
//! comments of each file; [`annals_benches::universes`] measures it.

mod annals;
mod cqrs_es;
#[expect(
    clippy::struct_field_names,
    reason = "the key of a world is a column of its own in the log"
)]
mod disintegrate;
mod esrs;

use std::num::NonZeroUsize;

use ::annals::BoxError;
use annals_benches::place::Place;
use annals_benches::universes::Universe;
use annals_servers::PostgresServer;
use async_trait::async_trait;
use sqlx::Executor;
use uuid::Uuid;

use crate::schema::Schema;
use crate::version;
use crate::{disintegrate as disintegrate_store, postgres_es};

/// Worlds in the cache of Annals, where it has one: more than are in use at a time.
const CACHED: NonZeroUsize = NonZeroUsize::new(1_000).expect("not 0");

/// All, each in a schema of its own on the same server; Annals first.
pub(crate) async fn all(clients: usize) -> Result<Vec<Box<dyn Universe>>, BoxError> {
    let url = PostgresServer::shared_url()?;
    let annals = annals::Universe::new(Place::postgres(&url).await?.open().await?);
    let mut cached = annals::Universe::new(Place::postgres(&url).await?.open().await?);
    cached.worlds = cached.worlds.cached(CACHED);

    let cqrs_schema = Schema::create(&url, "cqrs_es_worlds", clients).await?;
    cqrs_schema.pool.execute(postgres_es::TABLE).await?;
    let cqrs_es = cqrs_es::Universe::new(cqrs_schema.pool.clone());

    let disintegrate_schema = Schema::create(&url, "disintegrate_worlds", clients).await?;
    let disintegrate = disintegrate::Universe::new(disintegrate_schema.pool.clone()).await?;
    disintegrate_schema.pool.execute(disintegrate_store::BEFORE_16).await?;

    let esrs_schema = Schema::create(&url, "esrs_worlds", clients).await?;
    let esrs = esrs::Universe::new(esrs_schema.pool.clone()).await?;

    Ok(vec![
        Box::new(Ours { name: "Annals", universe: annals }),
        Box::new(Ours { name: "Annals, cached", universe: cached }),
        Box::new(CqrsEs { universe: cqrs_es, schema: cqrs_schema }),
        Box::new(Disintegrate { universe: disintegrate, schema: disintegrate_schema }),
        Box::new(Esrs { universe: esrs, schema: esrs_schema }),
    ])
}

struct Ours {
    name: &'static str,
    universe: annals::Universe,
}

struct CqrsEs {
    universe: cqrs_es::Universe,
    schema: Schema,
}

struct Disintegrate {
    universe: disintegrate::Universe,
    schema: Schema,
}

struct Esrs {
    universe: esrs::Universe,
    schema: Schema,
}

/// What is the same for all, beside what differs.
macro_rules! universe {
    ($type:ident, $($own:tt)*) => {
        #[async_trait]
        impl Universe for $type {
            async fn create_world(&self, name: &str) -> Result<Uuid, BoxError> {
                self.universe.create_world(name).await
            }

            async fn make_it_so(&self, id: Uuid, what: &str) -> Result<(), BoxError> {
                self.universe.make_it_so(id, what).await
            }

            async fn story(&self, id: Uuid) -> Result<(String, Vec<String>), BoxError> {
                self.universe.story(id).await
            }

            $($own)*
        }
    };
}

universe! { Ours,
    fn name(&self) -> String {
        self.name.to_owned()
    }

    /// It decides again by itself.
    fn is_conflict(&self, _: &BoxError) -> bool {
        false
    }

    async fn close(&self) {}
}

universe! { CqrsEs,
    fn name(&self) -> String {
        format!("cqrs-es {}", version::of("cqrs-es"))
    }

    fn is_conflict(&self, error: &BoxError) -> bool {
        type Error = ::cqrs_es::AggregateError<cqrs_es::WorldError>;
        matches!(error.downcast_ref(), Some(Error::AggregateConflict))
    }

    async fn close(&self) {
        self.schema.drop().await;
    }
}

universe! { Disintegrate,
    fn name(&self) -> String {
        format!("disintegrate {}", version::of("disintegrate"))
    }

    fn is_conflict(&self, error: &BoxError) -> bool {
        type Error = ::disintegrate::DecisionError<disintegrate::WorldError>;
        match error.downcast_ref() {
            Some(Error::StateStore(error)) => {
                error.downcast_ref().is_some_and(disintegrate_store::is_conflict)
            }
            // Its reads end before the first append that is under way, of whatever world: one that was created just now
            // may not be seen yet.
            Some(Error::Domain(disintegrate::WorldError::NotFound)) => true,
            _ => false,
        }
    }

    async fn close(&self) {
        self.schema.drop().await;
    }
}

universe! { Esrs,
    fn name(&self) -> String {
        format!("esrs {}", version::of("esrs"))
    }

    fn is_conflict(&self, error: &BoxError) -> bool {
        use ::esrs::store::postgres::PgStoreError;
        let Some(PgStoreError::Sqlx(sqlx::Error::Database(error))) = error.downcast_ref() else {
            return false;
        };
        error.is_unique_violation()
    }

    async fn close(&self) {
        self.schema.drop().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All tell one story, and a missing world from one that exists.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_universe_does_the_same() {
        for universe in all(8).await.expect("all open") {
            let name = universe.name();
            let earth = universe.create_world("Earth").await.expect(&name);
            for what in ["dinosaurs", "trucks"] {
                universe.make_it_so(earth, what).await.expect(&name);
            }
            let (world, history) = universe.story(earth).await.expect(&name);
            assert_eq!((&*world, &*history), ("Earth", &["dinosaurs".into(), "trucks".into()][..]));
            let nowhere = Uuid::new_v4();
            assert!(universe.story(nowhere).await.is_err(), "{name}");
            assert!(universe.make_it_so(nowhere, "x").await.is_err(), "{name}");
            assert!(universe.story(nowhere).await.is_err(), "{name}");
            universe.close().await;
        }
    }
}
