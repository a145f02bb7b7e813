//! Statements on one connection.

use annals_sql::{Parameter, Select, from_column};
use deadpool_postgres::{ClientWrapper, StatementCache};
use futures_util::future::OptionFuture;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, RowStream};

use crate::error::Outcome;

/// A value to bind, with its type: statements never ask the server for types.
pub(crate) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection, and how statements are run on it.
#[derive(Clone, Copy)]
pub(crate) struct Session<'a> {
    client: &'a Client,
    /// Where statements stay prepared; `None`: each is sent whole, as a pooler of transactions needs it.
    prepared: Option<&'a StatementCache>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(client: &'a ClientWrapper, prepares: bool) -> Self {
        Self { client, prepared: prepares.then_some(&*client.statement_cache) }
    }

    /// On a connection of somebody else's, where nothing is left behind.
    pub(crate) fn unprepared(client: &'a Client) -> Self {
        Self { client, prepared: None }
    }

    /// Prepares a statement, so that a later run of it is sent at its first poll: what is polled first is done
    /// first.
    pub(crate) async fn prepare(&self, sql: &str, types: &[Type]) -> Outcome<()> {
        if let Some(prepared) = self.prepared {
            prepared.prepare_typed(self.client, sql, types).await?;
        }
        Ok(())
    }

    /// All rows of a statement.
    pub(crate) async fn query(&self, sql: &str, values: &[Value<'_>]) -> Outcome<Vec<Row>> {
        let Some(prepared) = self.prepared else {
            return Ok(self.client.query_typed(sql, values).await?);
        };
        let types: Vec<_> = values.iter().map(|(_, ty)| ty.clone()).collect();
        let statement = prepared.prepare_typed(self.client, sql, &types).await?;
        let values: Vec<_> = values.iter().map(|(value, _)| *value).collect();
        Ok(self.client.query(&statement, &values).await?)
    }

    /// The number that a statement returns; 0 without one.
    pub(crate) async fn number(&self, sql: &str, values: &[Value<'_>]) -> Outcome<u64> {
        let rows = self.query(sql, values).await?;
        let number = rows.first().map(|row| row.try_get(0)).transpose()?;
        Ok(from_column(number.unwrap_or(0))?)
    }

    /// How many rows a statement inserted.
    pub(crate) async fn insert(&self, sql: &str, values: &[Value<'_>]) -> Outcome<u64> {
        let Some(prepared) = self.prepared else {
            return Ok(self.client.execute_typed(sql, values).await?);
        };
        let types: Vec<_> = values.iter().map(|(_, ty)| ty.clone()).collect();
        let statement = prepared.prepare_typed(self.client, sql, &types).await?;
        let values: Vec<_> = values.iter().map(|(value, _)| *value).collect();
        Ok(self.client.execute(&statement, &values).await?)
    }

    /// The rows of a statement, one by one; the server waits while nobody asks for more.
    pub(crate) async fn rows(&self, sql: &str, values: Vec<Value<'_>>) -> Outcome<RowStream> {
        let Some(prepared) = self.prepared else {
            return Ok(self.client.query_typed_raw(sql, values).await?);
        };
        let types: Vec<_> = values.iter().map(|(_, ty)| ty.clone()).collect();
        let statement = prepared.prepare_typed(self.client, sql, &types).await?;
        let values = values.iter().map(|(value, _)| *value);
        Ok(self.client.query_raw(&statement, values).await?)
    }

    /// Statements without values.
    pub(crate) async fn execute(&self, sql: &str) -> Outcome<()> {
        Ok(self.client.batch_execute(sql).await?)
    }
}

/// The values of a statement.
pub(crate) fn values(select: &Select) -> Vec<Value<'_>> {
    select.parameters.iter().map(value).collect()
}

fn value(parameter: &Parameter) -> Value<'_> {
    match parameter {
        Parameter::Number(number) => (number, Type::INT8),
        Parameter::Numbers(numbers) => (numbers, Type::INT8_ARRAY),
        Parameter::Ids(ids) => (ids, Type::UUID_ARRAY),
    }
}

/// The work, if there is any, or nothing.
pub(crate) async fn if_any<T: Default>(
    work: Option<impl Future<Output = Outcome<T>>>,
) -> Outcome<T> {
    OptionFuture::from(work).await.unwrap_or_else(|| Ok(T::default()))
}
