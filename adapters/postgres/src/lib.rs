//! The PostgreSQL adapter of [Annals](annals): appends share commits, and no reader skips an event.
//!
//! Appends that are made at the same time share a transaction, so that they share its round trip and its sync to
//! the disk; each is judged on its own and told its own outcome. Sequence numbers are given under one lock of the log
//! as the last one and one: they have no holes and rise in commit order, from however many
//! processes. So a reader that was given a number has seen all below it.
//!
//! ```no_run
//! # use annals::*;
//! # use annals_postgres::PostgresOptions;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = PostgresOptions::new("postgres://shop@localhost/shop")?.with_schema("orders");
//! options.migrate().await?;
//! let store = EventStore::new(options.connect().await?);
//! let orders = StreamId::new("orders", "o-1")?;
//! let placed = NewEvent::json("order-placed", &serde_json::json!({ "total": 12 }))?;
//! store.stream(orders).append([placed], WriteCondition::StreamIsEmpty).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs
//! - An event is one row and an entry in four indexes: by number, by stream and position, by category, by id. Each
//!   tag is one more row with an entry.
//! - Known ids are found by the unique index on them, when a row is inserted. It costs about a tenth of the write
//!   rate; there is no cheaper proof, as any id may be any older event's. The ids that
//!   [`NewEvent`](annals::NewEvent) makes grow with time, which keeps it compact.
//! - A tag costs the server about 2 µs: a row of a table by tag and number. A GIN index over the lists of tags costs a
//!   fourth of that, but with a million events the planner then reads the log to learn that nobody bears a tag: 130 to
//!   210 ms under the lock, where the table shows it within 0.5 ms, whatever the tag and the bound.
//! - A query by event name alone looks at every event of its source after the bound; by tag, at events that bear
//!   the first tag.
//!
//! # Fail-over and restore under open handles
//! A handle believes nothing that it remembers without asking the server in the same statement: each append carries the
//! last event that it was judged on and a mark of the store, and each page of a read is checked before it is returned.
//! After a fail-over that lost commits, a restore, or tables that were emptied or made again, a handle forgets what it
//! knew. Appends are judged on what is there: a condition on what was lost is `ConditionFailed`. Reads return what is
//! there under the right names. A follow that has returned what was lost ends with `AheadOfLog`. What was acknowledged
//! and then lost by an asynchronous fail-over stays lost: use synchronous replication where that must not be.
//!
//! # Following
//! A follow is woken at once by appends through the same adapter. For those of other processes the adapter keeps one
//! connection more, for LISTEN and NOTIFY and one look at the log a second while something follows; it is opened by the
//! first append or follow. Behind a pooler of transactions, and with a pool that the caller brought, nothing listens, and
//! the look finds the appends of others: within 20 ms to a second.
//!
//! # Locks
//! The lock of a log is an advisory lock: a key of 64 bits, which is a hash of the schema and the table. Other
//! programs that use advisory locks of one 64-bit key in the same database could by chance choose the same; they
//! would then wait for each other.
//!
//! # Roles
//! A role that appends and reads needs the rights of [`Schema::grants`] and no more. Row-level security
//! that applies to it would hide events without an error: connecting is `Invalid` then, and a policy that is made later
//! makes reads and appends fail (`Backend`), except behind a pooler of transactions and with a pool that it did not open,
//! which should set `row_security = off` itself.
//!
//! # Limits
//! A payload has at most 16 MiB, which `Capabilities` declare, and so has metadata. More is `Invalid`.
//!
//! # Records
//! Beside those of the facade the adapter writes these `tracing` records, target `annals`:
//!
//! | name | level | fields |
//! |---|---|---|
//! | `annals.group` | debug | adapter, appends and events that are committed together, appends still queued |
//! | `annals.committed` | debug | adapter, appends, micros from their statement to its answer, with the wait for the lock |
//! | `annals.held` | debug | adapter, appends that wait for a category or stream that others hold |
//! | `annals.read_again` | debug | adapter, the error after which a page is asked for again |
//! | `annals.watching`, `annals.unwatched` | debug | adapter, and the error: whether follows hear of appends by notifications, or poll |
//! | `annals.connection` | trace | adapter, micros that a connection was waited for |
//!
//! # Reading the log with SQL
//! The view `events_log` (behind the name of the table) shows names instead of numbers, and JSON as `jsonb`. Sequence
//! numbers below the largest one that a query has seen are all there; in a weaker order, see
//! [`PostgresOptions::with_order`], those of its category or stream.

mod adapter;
mod append;
mod connection;
mod env;
mod error;
mod follow;
mod lookup;
mod options;
mod read;
mod schema;
#[cfg(feature = "state")]
mod state;
mod store;

pub use annals_sql::schema::{SchemaError, SchemaStatus};
pub use {deadpool_postgres, rustls, tokio_postgres};

pub use crate::adapter::PostgresAdapter;
pub use crate::options::PostgresOptions;
pub use crate::schema::Schema;
#[cfg(feature = "state")]
pub use crate::state::PostgresState;
#[cfg(feature = "views")]
pub use crate::state::inline::InlineView;
#[cfg(feature = "views")]
pub use crate::state::views::{SqlView, SqlViewSink};
