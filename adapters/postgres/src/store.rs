//! What all parts of an adapter know of the log.

use annals::Order;
use tokio_postgres::types::Type;

use crate::options::PostgresOptions;
use crate::statements::Statements;
use crate::tables::Tables;

/// A log and how it is used.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) tables: Tables,
    pub(crate) sql: Statements,
    pub(crate) options: PostgresOptions,
    /// The type of a list of rows of events, once the log was looked at.
    pub(crate) rows: Type,
}

impl Store {
    /// `owns_sessions`: settings hold for all transactions of a connection.
    pub(crate) fn new(options: PostgresOptions, owns_sessions: bool) -> annals::Result<Self> {
        let tables = Tables::new(&options.schema, &options.table)?;
        let sql = Statements::new(
            &tables,
            (!owns_sessions).then_some(options.lock_timeout),
            options.order,
        );
        Ok(Self { tables, sql, options, rows: Type::RECORD_ARRAY })
    }

    pub(crate) fn order(&self) -> Order {
        self.options.order
    }
}
