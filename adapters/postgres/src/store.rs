//! What all parts of an adapter know of the log.

use annals::Order;

use crate::follow::watch::Watch;
use crate::options::PostgresOptions;
use crate::schema::statements::Statements;
use crate::schema::tables::Tables;

/// A log and how it is used.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) tables: Tables,
    pub(crate) sql: Statements,
    pub(crate) options: PostgresOptions,
    /// Who waits for appends, and what other processes are notified of.
    pub(crate) watch: Watch,
}

impl Store {
    /// `owns_sessions`: settings hold for all transactions of a connection.
    pub(crate) fn new(options: PostgresOptions, owns_sessions: bool) -> annals::Result<Self> {
        let tables = Tables::new(&options.schema, &options.table)?;
        let sql = Statements::new(
            &tables,
            (!owns_sessions).then_some(options.common.lock_timeout),
            options.order,
        );
        Ok(Self { tables, sql, options, watch: Watch::default() })
    }

    pub(crate) fn order(&self) -> Order {
        self.options.order
    }
}
