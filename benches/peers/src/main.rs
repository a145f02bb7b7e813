//! The comparison of `annals-benches` with other event stores of the crate registry beside Annals, in one process.
//!
//! Each does what its own users would do: its documented interface, its own schema, its own optimistic concurrency,
//! a connection pool of sqlx with the default settings and as many connections as clients, up to 32.

mod disintegrate;
mod esrs;
#[cfg(feature = "stores")]
mod evento;
mod listeners;
mod order;
mod postgres_es;
mod schema;
#[cfg(feature = "stores")]
mod umadb;
#[cfg(feature = "stores")]
mod umadb_core;
mod version;
mod worlds;

use std::path::Path;
use std::process::ExitCode;

use annals::BoxError;
use annals_benches::command::{self, Ground, Peers};
use annals_benches::contestant::Contestant;
use annals_servers::PostgresServer;
use futures_util::FutureExt;

/// Connections of those on PostgreSQL in the comparison of aggregates: as many as Annals and the writers have.
const CLIENTS: usize = 32;

fn main() -> ExitCode {
    #[cfg(feature = "stores")]
    {
        let mut arguments = std::env::args();
        if arguments.nth(1).as_deref() == Some(umadb::SERVER) {
            return umadb::serve(arguments);
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let universes = || worlds::all(CLIENTS).boxed();
            let listeners = |events, rounds| listeners::all(events, rounds).boxed();
            runtime.block_on(command::execute(Some(Peers { stores, universes, listeners })))
        }
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "stores")]
fn stores(ground: Ground, folder: &Path) -> Result<Vec<Box<dyn Contestant>>, BoxError> {
    let folder = || folder.to_owned();
    Ok(match ground {
        // cqrs-es has a store in memory, for tests: it prints a line at each call.
        Ground::Memory => Vec::new(),
        Ground::Sqlite => {
            vec![Box::new(evento::Sqlite(folder())), Box::new(umadb_core::UmaDbCore(folder()))]
        }
        Ground::Postgres => {
            let url = PostgresServer::shared_url()?;
            let mut stores = on_postgres(&url);
            stores.push(Box::new(evento::Postgres(url)));
            stores.push(Box::new(umadb::UmaDb(folder())));
            stores
        }
    })
}

/// Without the others.
#[cfg(not(feature = "stores"))]
fn stores(ground: Ground, _: &Path) -> Result<Vec<Box<dyn Contestant>>, BoxError> {
    Ok(match ground {
        Ground::Memory | Ground::Sqlite => Vec::new(),
        Ground::Postgres => on_postgres(&PostgresServer::shared_url()?),
    })
}

fn on_postgres(url: &str) -> Vec<Box<dyn Contestant>> {
    vec![
        Box::new(disintegrate::Disintegrate(url.to_owned())),
        Box::new(esrs::Esrs(url.to_owned())),
        Box::new(postgres_es::PostgresEs(url.to_owned())),
    ]
}
