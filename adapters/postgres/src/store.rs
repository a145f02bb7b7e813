//! What all parts of an adapter know of the log.

use annals::Order;

use crate::options::PostgresOptions;
use crate::statements::Statements;
use crate::tables::Tables;

/// A log and how it is used.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) tables: Tables,
    pub(crate) sql: Statements,
    pub(crate) options: PostgresOptions,
}

impl Store {
    pub(crate) fn new(options: PostgresOptions) -> annals::Result<Self> {
        let tables = Tables::new(&options.schema, &options.table)?;
        let sql = Statements::new(&tables, options.lock_timeout, options.order);
        Ok(Self { tables, sql, options })
    }

    pub(crate) fn order(&self) -> Order {
        self.options.order
    }
}
