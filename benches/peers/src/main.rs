//! The comparison of `annals-benches` with other event stores of the crate registry beside Annals, in one process.
//!
//! Each does what its own users would do: its documented interface, its own schema, its own optimistic concurrency,
//! a connection pool of sqlx with the default settings and as many connections as clients, up to 32.

mod disintegrate;
mod esrs;
mod evento;
mod order;
mod postgres_es;
mod schema;
mod umadb;
mod umadb_core;
mod version;

use std::path::Path;
use std::process::ExitCode;

use annals::BoxError;
use annals_benches::command::{self, Ground};
use annals_benches::contestant::Contestant;
use annals_servers::PostgresServer;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.nth(1).as_deref() == Some(umadb::SERVER) {
        return umadb::serve(arguments);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(command::execute(Some(peers))),
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

fn peers(ground: Ground, folder: &Path) -> Result<Vec<Box<dyn Contestant>>, BoxError> {
    let folder = || folder.to_owned();
    Ok(match ground {
        // cqrs-es has a store in memory, for tests: it prints a line at each call.
        Ground::Memory => Vec::new(),
        Ground::Sqlite => {
            vec![Box::new(evento::Sqlite(folder())), Box::new(umadb_core::UmaDbCore(folder()))]
        }
        Ground::Postgres => {
            let url = PostgresServer::shared_url()?;
            vec![
                Box::new(disintegrate::Disintegrate(url.clone())),
                Box::new(esrs::Esrs(url.clone())),
                Box::new(evento::Postgres(url.clone())),
                Box::new(postgres_es::PostgresEs(url)),
                Box::new(umadb::UmaDb(folder())),
            ]
        }
    })
}
