//! What an adapter holds for its state store: the writer of documents.

use std::sync::Arc;

use annals_sql::queue::{Queue, queue};

use crate::connection::pool::Connections;
use crate::connection::runtime::Engine;
use crate::error::NAME;
use crate::state::statements::Statements;
use crate::state::writer::{Request, Writer};
use crate::store::Store;

/// What an adapter holds for its state store.
#[derive(Debug)]
pub(crate) struct Part {
    pub(super) queue: Queue<Request>,
    pub(super) sql: Arc<Statements>,
}

impl Part {
    /// Starts the writer of documents, which idles until there is one.
    pub(crate) fn start(store: &Arc<Store>, pool: &Connections, engine: &Engine) -> Self {
        let (queue, intake) = queue(NAME, store.options.common.queue_bound.get());
        let sql = Arc::new(Statements::new(&store.tables));
        let writer = Writer { store: Arc::clone(store), pool: pool.clone(), sql: Arc::clone(&sql) };
        engine.handle().spawn(writer.run(intake));
        Self { queue, sql }
    }

    /// Finishes what was queued.
    pub(crate) async fn close(&self) {
        self.queue.close();
        self.queue.stop(Request::Stop).await;
    }
}
