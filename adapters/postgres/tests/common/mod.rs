//! Helpers of the tests.

#![allow(dead_code, reason = "no test file needs all of them")]

use annals::BoxError;
use annals_postgres::PostgresOptions;
use annals_postgres::tokio_postgres::{Client, Config, NoTls};

/// Options for the log of `schema` in the database `url`; its connections bear the name of the schema.
pub(crate) fn options(url: &str, schema: &str) -> Result<PostgresOptions, BoxError> {
    let mut config: Config = url.parse()?;
    config.application_name(schema);
    Ok(PostgresOptions::from_config(config).with_schema(schema))
}

/// A connection beside the adapter's.
pub(crate) async fn admin(url: &str) -> Result<Client, BoxError> {
    let mut config: Config = url.parse()?;
    config.application_name("annals-tests");
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}
