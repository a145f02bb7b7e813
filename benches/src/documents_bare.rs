//! Bare code of the drivers that does what state stores do at least.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use annals::BoxError;
use annals_postgres::tokio_postgres::types::ToSql;
use annals_postgres::tokio_postgres::{self, Client, NoTls, Row, Statement};
use rusqlite::{Connection, params};

/// The most clients of one measurement.
const CLIENTS: usize = 32;

/// A table with a key and an index on a price: bodies are JSON text.
#[derive(Debug)]
pub enum Bare {
    /// One connection, as SQLite has one writer.
    Sqlite(Box<Mutex<Connection>>),
    /// A connection for each client, and the name of the table.
    Postgres(Vec<Prepared>, String),
}

/// A connection that keeps its statements, as those of an adapter do.
#[derive(Debug)]
pub struct Prepared {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
}

impl Prepared {
    async fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, BoxError> {
        let known = || self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known().get(sql).cloned();
        let statement = if let Some(statement) = kept {
            statement
        } else {
            let statement = self.client.prepare(sql).await?;
            known().insert(sql.to_owned(), statement.clone());
            statement
        };
        Ok(self.client.query(&statement, values).await?)
    }
}

impl Bare {
    /// In a new file, as durable as ours.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn sqlite(path: &Path) -> Result<Self, BoxError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(
            "CREATE TABLE bare (collection TEXT, id TEXT, revision BLOB, price INTEGER, body TEXT, \
             PRIMARY KEY (collection, id)) WITHOUT ROWID; \
             CREATE INDEX by_price ON bare (collection, price)",
        )?;
        Ok(Self::Sqlite(Box::new(Mutex::new(connection))))
    }

    /// In a new table of this schema.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn postgres(url: &str, schema: &str) -> Result<Self, BoxError> {
        let mut clients = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            // It ends with the client.
            tokio::spawn(connection);
            clients.push(Prepared { client, statements: Mutex::default() });
        }
        let table = format!("{schema}.bare");
        let client = clients.first().ok_or("no client")?;
        let sql = format!(
            "CREATE TABLE {table} (collection text COLLATE \"C\", id text COLLATE \"C\", revision uuid, price bigint, body text, \
             PRIMARY KEY (collection, id)) WITH (fillfactor = 80); \
             CREATE INDEX ON {table} (collection, price)"
        );
        client.client.batch_execute(&sql).await?;
        Ok(Self::Postgres(clients, table))
    }

    /// Does `work` with the connection, on this thread: nothing is cheaper.
    fn locally<T>(
        connection: &Mutex<Connection>,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, BoxError> {
        tokio::task::block_in_place(|| {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(work(&mut connection)?)
        })
    }

    /// Puts these in one transaction, whatever was there, with a new revision: a row that stays as it is costs SQLite
    /// nothing.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn upsert(
        &self,
        client: usize,
        collection: &str,
        ids: Vec<String>,
        body: &'static str,
    ) -> Result<(), BoxError> {
        let revision = annals::EventId::generate().as_uuid();
        match self {
            Self::Sqlite(connection) => Self::locally(connection, move |connection| {
                let transaction = connection.transaction()?;
                for id in ids {
                    let sql = "INSERT INTO bare VALUES (?1, ?2, ?4, 0, ?3) \
                                   ON CONFLICT DO UPDATE SET revision = excluded.revision, body = excluded.body";
                    transaction.prepare_cached(sql)?.execute(params![
                        collection,
                        id,
                        body,
                        &revision.as_bytes()[..]
                    ])?;
                }
                transaction.commit()
            }),
            Self::Postgres(clients, table) => {
                let client = clients.get(client).ok_or("no such client")?;
                let sql = format!(
                    "INSERT INTO {table} SELECT $1, w.id, $4, 0, w.body FROM unnest($2::text[], $3::text[]) w (id, body) \
                     ON CONFLICT (collection, id) DO UPDATE SET revision = excluded.revision, body = excluded.body"
                );
                // Each row has a body of its own, as ours have.
                let bodies = vec![body; ids.len()];
                client.query(&sql, &[&collection, &ids, &bodies, &revision]).await?;
                Ok(())
            }
        }
    }

    /// Adds rows: id, price, body.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn fill(
        &self,
        collection: &str,
        rows: Vec<(String, usize, String)>,
    ) -> Result<(), BoxError> {
        match self {
            Self::Sqlite(connection) => Self::locally(connection, move |connection| {
                let transaction = connection.transaction()?;
                for (id, price, body) in rows {
                    let sql = "INSERT INTO bare VALUES (?1, ?2, NULL, ?3, ?4)";
                    let price = i64::try_from(price).unwrap_or(i64::MAX);
                    let values = params![collection, id, price, body];
                    transaction.prepare_cached(sql)?.execute(values)?;
                }
                transaction.commit()
            }),
            Self::Postgres(clients, table) => {
                let client = clients.first().ok_or("no client")?;
                let sql = format!(
                    "INSERT INTO {table} SELECT $1, r.id, NULL, r.price, r.body FROM unnest($2::text[], $3::bigint[], $4::text[]) r (id, price, body)"
                );
                let (mut ids, mut prices, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
                for (id, price, body) in rows {
                    ids.push(id);
                    prices.push(i64::try_from(price)?);
                    bodies.push(body);
                }
                client.query(&sql, &[&collection, &ids, &prices, &bodies]).await?;
                Ok(())
            }
        }
    }

    /// Lets the planner know what was added.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn analyze(&self) -> Result<(), BoxError> {
        match self {
            Self::Sqlite(connection) => {
                Self::locally(connection, |connection| connection.execute_batch("ANALYZE"))
            }
            Self::Postgres(clients, table) => {
                let client = clients.first().ok_or("no client")?;
                Ok(client.client.batch_execute(&format!("ANALYZE {table}")).await?)
            }
        }
    }

    /// How many of these there are, with their bodies.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get(&self, collection: &str, ids: Vec<String>) -> Result<usize, BoxError> {
        match self {
            Self::Sqlite(connection) => Self::locally(connection, move |connection| {
                let sql = "SELECT body FROM bare WHERE collection = ?1 AND id = ?2";
                let mut statement = connection.prepare_cached(sql)?;
                let mut body =
                    |id: String| statement.query_row([collection, &*id], |row| row.get(0));
                let bodies: rusqlite::Result<Vec<String>> =
                    ids.into_iter().map(&mut body).collect();
                Ok(bodies?.len())
            }),
            Self::Postgres(clients, table) => {
                let client = clients.first().ok_or("no client")?;
                let sql =
                    format!("SELECT id, body FROM {table} WHERE collection = $1 AND id = ANY($2)");
                Ok(client.query(&sql, &[&collection, &ids]).await?.len())
            }
        }
    }

    /// So many from this price on, along the index.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn along(
        &self,
        collection: &str,
        from: usize,
        limit: usize,
    ) -> Result<usize, BoxError> {
        let (from, limit) = (i64::try_from(from)?, i64::try_from(limit)?);
        match self {
            Self::Sqlite(connection) => Self::locally(connection, move |connection| {
                let sql = "SELECT id, body FROM bare WHERE collection = ?1 AND price >= ?2 \
                               ORDER BY price LIMIT ?3";
                let mut statement = connection.prepare_cached(sql)?;
                let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                let rows = statement.query_map(params![collection, from, limit], row)?;
                Ok(rows.collect::<rusqlite::Result<Vec<(String, String)>>>()?.len())
            }),
            Self::Postgres(clients, table) => {
                let client = clients.first().ok_or("no client")?;
                let sql = format!(
                    "SELECT id, body FROM {table} WHERE collection = $1 AND price >= $2 ORDER BY price LIMIT $3"
                );
                Ok(client.query(&sql, &[&collection, &from, &limit]).await?.len())
            }
        }
    }

    /// How many have this body, which no index knows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unindexed(&self, collection: &str, body: &'static str) -> Result<usize, BoxError> {
        match self {
            Self::Sqlite(connection) => Self::locally(connection, move |connection| {
                let sql = "SELECT count(*) FROM bare WHERE collection = ?1 AND body = ?2";
                let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
                let found = connection.query_row(sql, [collection, body], count)?;
                Ok(usize::try_from(found).unwrap_or(usize::MAX))
            }),
            Self::Postgres(clients, table) => {
                let client = clients.first().ok_or("no client")?;
                let sql = format!("SELECT id FROM {table} WHERE collection = $1 AND body = $2");
                Ok(client.query(&sql, &[&collection, &body]).await?.len())
            }
        }
    }
}
