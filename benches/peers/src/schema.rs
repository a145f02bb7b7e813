//! A PostgreSQL schema for one store, and connections to it.

use annals::BoxError;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor};

/// What a store finds in place of an empty database.
pub(crate) struct Schema {
    name: String,
    pub(crate) pool: PgPool,
}

impl Schema {
    /// A new one for so many clients at once. Its name begins with `peer`.
    pub(crate) async fn create(url: &str, peer: &str, clients: usize) -> Result<Self, BoxError> {
        let options: PgConnectOptions = url.parse()?;
        let name = format!("{peer}_{}", annals::EventId::generate().as_uuid().simple());
        let mut admin = options.connect().await?;
        admin.execute(format!("CREATE SCHEMA {name}").as_str()).await?;
        admin.close().await?;
        let options = options.options([("search_path", &*name), ("check_function_bodies", "off")]);
        let connections = u32::try_from(clients.clamp(8, 32))?;
        let pool = PgPoolOptions::new().max_connections(connections).connect_with(options).await?;
        Ok(Self { name, pool })
    }

    /// Takes all away again.
    pub(crate) async fn drop(&self) {
        // What stays behind lies in a throw-away server.
        drop(self.pool.execute(format!("DROP SCHEMA {} CASCADE", self.name).as_str()).await);
        self.pool.close().await;
    }
}
