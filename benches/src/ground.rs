//! Where events are kept by those who are compared with each other.

use std::path::Path;

use annals::BoxError;
use annals_servers::PostgresServer;
use clap::ValueEnum;

use crate::contestant::Contestant;
use crate::place::Place;
use crate::views::Stores;
use crate::{annals_store, limits};

/// Where events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ground {
    /// In the memory of the process.
    Memory,
    /// In a file, by the process itself.
    Sqlite,
    /// By a server.
    Postgres,
}

impl Ground {
    /// A new, empty place.
    pub(crate) async fn place(self, folder: &Path) -> Result<Place, BoxError> {
        match self {
            Self::Memory => Ok(Place::memory()),
            Self::Sqlite => Place::sqlite(folder),
            Self::Postgres => Place::postgres(&PostgresServer::shared_url()?).await,
        }
    }

    /// Empty stores of events and documents.
    pub(crate) async fn stores(self, folder: &Path) -> Result<Stores, BoxError> {
        match self {
            Self::Memory => Ok(Stores::memory()),
            Self::Sqlite => Stores::sqlite(folder).await,
            Self::Postgres => Stores::postgres(&PostgresServer::shared_url()?).await,
        }
    }

    /// Annals and the limits.
    pub(crate) fn contestants(self, folder: &Path) -> Result<Vec<Box<dyn Contestant>>, BoxError> {
        let folder = || folder.to_owned();
        Ok(match self {
            Self::Memory => vec![Box::new(annals_store::Memory), Box::new(limits::Memcpy)],
            Self::Sqlite => vec![
                Box::new(annals_store::Sqlite(folder())),
                Box::new(limits::Rusqlite(folder())),
                Box::new(limits::Fsync(folder())),
            ],
            Self::Postgres => {
                let url = PostgresServer::shared_url()?;
                vec![
                    Box::new(annals_store::Postgres(url.clone())),
                    Box::new(limits::Insert(url.clone())),
                    Box::new(limits::Bare::copy(&url)),
                    Box::new(limits::Bare::select(&url)),
                ]
            }
        })
    }
}
