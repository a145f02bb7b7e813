//! The SQLite adapter of [Annals](annals): the embedded, durable default.
//!
//! A store is one file, and needs no server. Appends that are made at the same time share a transaction, so
//! that they share its sync to the disk as well; each is judged on its own. Reads have connections of their own
//! and neither wait for the writer nor hold it up. All work with the file is done by threads of the adapter: no
//! call blocks an async executor, and any executor will do.
//!
//! Several handles and several processes of one machine may use a file at once. Do not put it on a network file
//! system: SQLite's locks do not work there. Do not remove, rename or replace the file, or the two beside it, while a
//! store is open: appends fail then, and readers go on in the old file.
//!
//! ```
//! # use annals::*;
//! # use annals_sqlite::SqliteAdapter;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("orders.db");
//! let store = EventStore::new(SqliteAdapter::open(&path).await?);
//! let orders = StreamId::new("orders", "o-1")?;
//! let placed = NewEvent::json("order-placed", &serde_json::json!({ "total": 12 }))?;
//! store.stream(orders).append([placed], WriteCondition::StreamIsEmpty).await?;
//! assert_eq!(store.log().read(ReadOptions::default()).into_vec().await?.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Other programs that change the file
//! If another program empties the tables or puts an older state in place, handles forget what they knew: appends are
//! judged on what is there, reads show it under the right names, and a follow that has returned what is gone ends with
//! `AheadOfLog`. A file that was moved, removed or replaced under an open handle takes no append (`Backend`); its readers
//! go on to read the file that they opened, until the store is closed and opened again.
//!
//! # What it costs
//! - An event is one row and an entry in three indexes: by stream, by category, by id. Each tag is one more entry.
//! - Known ids are found by the unique index on them, when a row is inserted. It costs about a tenth of the write
//!   rate, more with random ids in a log that is larger than memory; there is no cheaper proof, as any id may be
//!   any older event's. The ids that [`NewEvent`](annals::NewEvent) makes grow with time, which keeps it compact.
//! - A read goes to a thread and back. A short one, by a caller that makes one after the other, takes about twice
//!   as long for it as SQLite alone does; long ones, and several at the same time, do not.
//! - A query by event name alone looks at every event of its source after the bound; by tag, at events that bear
//!   the first tag.
//!
//! # Limits
//! A payload has at most 16 MiB, which `Capabilities` declare, and so has metadata. More is `Invalid`.
//!
//! # Records
//! Beside the `tracing` records of the facade the adapter writes `annals.group` (debug, target `annals`): the appends and
//! events that are committed together, and the appends that are still queued.
//!
//! # Reading the file with other programs
//! The view `log` shows names instead of numbers, and JSON payloads as text, ready for SQLite's JSON functions.
//! Open the file read-only for it.

mod adapter;
mod connect;
mod env;
mod error;
mod listing;
mod migration;
mod open;
mod options;
mod place;
mod read;
mod request;
mod schema;
#[cfg(feature = "state")]
mod state;
mod threads;
mod watch;
mod write;

pub use adapter::SqliteAdapter;
pub use annals_sql::schema::{SchemaError, SchemaStatus};
pub use migration::Schema;
pub use options::{SqliteOptions, Synchronous};
#[cfg(feature = "state")]
pub use rusqlite;
#[cfg(feature = "state")]
pub use state::SqliteState;
#[cfg(feature = "views")]
pub use state::inline::InlineView;
#[cfg(feature = "views")]
pub use state::views::{SqlView, SqlViewSink};
