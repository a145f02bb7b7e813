//! Dumps of databases that version 1 of the schema wrote, of the log and of the documents beside it, and that every
//! release opens.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(feature = "state")]
#[path = "../../../sql/tests/common/documents_fixture.rs"]
mod documents_fixture;
#[path = "../../../sql/tests/common/fixture.rs"]
mod fixture;

use annals::{Order, StorageAdapter as _};
use annals_postgres::PostgresOptions;
use annals_postgres::tokio_postgres::{Client, Config};
use annals_testkit::FixedClock;

use crate::common::{admin, fresh, server};

/// What a double-precision number does not hold.
const LARGE: u64 = (1 << 53) + 1;

/// The numbers of `by_category`, where names and events draw from one sequence that began at [`LARGE`].
fn large_numbers() -> [u64; 11] {
    [4, 5, 6, 13, 14, 15, 20, 21, 22, 23, 25].map(|nth| LARGE + nth)
}

/// The two logs of the dump, each with the numbers of its events.
fn logs(url: &str, database: &str) -> [(PostgresOptions, [u64; 11]); 2] {
    let mut config: Config = url.parse().unwrap();
    config.dbname(database);
    let whole = PostgresOptions::from_config(config).with_schema("annals");
    let by_category = whole.clone().with_table("by_category").with_order(Order::Category);
    [(whole, fixture::NUMBERS), (by_category, large_numbers())]
}

/// Makes a database of its own from a stored dump; its name, and a connection to it.
async fn restored(url: &str, dump: &str) -> (String, Client) {
    let database = fresh();
    let server = admin(url).await.unwrap();
    server.batch_execute(&format!("CREATE DATABASE {database} TEMPLATE template0")).await.unwrap();
    let mut config: Config = url.parse().unwrap();
    config.dbname(&database);
    let (client, connection) =
        config.connect(annals_postgres::tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let dump = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(dump);
    client.batch_execute(&std::fs::read_to_string(dump).unwrap()).await.unwrap();
    (database, client)
}

async fn drop_database(url: &str, database: &str) {
    let server = admin(url).await.unwrap();
    let _ = server.batch_execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
}

#[cfg(feature = "state")]
#[tokio::test]
async fn documents_of_version_1_are_read_whole_and_go_on() {
    let Some(url) = server().await else { return };
    let (database, client) = restored(&url, "documents_v1.sql").await;
    for (options, numbers) in logs(&url, &database) {
        options.migrate().await.unwrap();
        let adapter = options.connect().await.unwrap();
        documents_fixture::assert_goes_on(&adapter.state()).await;
        fixture::assert_goes_on(adapter.clone(), &numbers).await;
        adapter.close().await;
    }
    for view in ["events_state", "by_category_state"] {
        let sql =
            format!("SELECT json::text FROM annals.{view} WHERE collection = 'teas' ORDER BY id");
        let found: Vec<String> =
            client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert_eq!(found, [r#"{"price": 5}"#, "3", "4"], "the view shows them to people");
    }
    drop(client);
    drop_database(&url, &database).await;
}

#[tokio::test]
async fn a_dump_of_version_1_is_read_whole_and_goes_on() {
    let Some(url) = server().await else { return };
    let (database, client) = restored(&url, "v1.sql").await;
    for (options, numbers) in logs(&url, &database) {
        assert_eq!(options.schema().status().await.unwrap().found, 1);
        options.migrate().await.unwrap();
        let after = options.schema().status().await.unwrap();
        assert_eq!(after.found, after.known);
        let adapter = options.connect().await.unwrap();
        fixture::assert_goes_on(adapter.clone(), &numbers).await;
        adapter.close().await;
    }
    for log in ["events_log", "by_category_log"] {
        let sql = format!("SELECT count(*) FROM annals.{log} WHERE name = 'order-closed'");
        assert_eq!(client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0), 4);
    }
    drop(client);
    drop_database(&url, &database).await;
}

/// Writes both logs and their documents of this release to the empty database that `ANNALS_FIXTURE` names, for a release that has a new
/// version; `pg_dump --inserts --no-owner --schema=annals` makes the file, less the lines of psql's own commands.
#[tokio::test]
#[ignore = "makes a fixture"]
async fn make() {
    let url = std::env::var("ANNALS_FIXTURE").expect("ANNALS_FIXTURE names the database");
    let config: Config = url.parse().unwrap();
    let client = admin(&url).await.unwrap();
    for (options, numbers) in logs(&url, config.get_dbname().unwrap()) {
        options.migrate().await.unwrap();
        if numbers == large_numbers() {
            let sql = format!("ALTER SEQUENCE annals.by_category_numbers RESTART {LARGE}");
            client.batch_execute(&sql).await.unwrap();
        }
        let clock = FixedClock(fixture::RECORDED_AT);
        let adapter = options.with_clock(clock).connect().await.unwrap();
        fixture::write(&adapter).await;
        #[cfg(feature = "state")]
        documents_fixture::write(&adapter.state()).await;
        adapter.close().await;
    }
}
