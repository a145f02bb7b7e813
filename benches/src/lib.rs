//! Measures Annals: whole systems beside the limits of the same machine in the same run, and its parts alone.
//!
//! ```text
//! cargo run --release -p annals-benches -- compare --quick
//! cargo run --release -p annals-benches -- compare --quick --peers
//! cargo run --release -p annals-benches -- beside --quick
//! cargo run --release -p annals-benches -- delivery --quick
//! cargo run --release -p annals-benches -- scopes --quick
//! cargo run --release -p annals-benches -- builds OLD NEW
//! cargo run --release -p annals-benches -- views
//! cargo run --release -p annals-benches -- views --peers
//! cargo run --release -p annals-benches -- policies
//! cargo run --release -p annals-benches -- layers --quick
//! cargo run --release -p annals-benches -- documents
//! cargo run --release -p annals-benches -- domain --quick
//! cargo run --release -p annals-benches -- domain --quick --peers
//! cargo bench -p annals-benches
//! ```
//!
//! # How to read a comparison
//! Absolute figures depend on the machine and on the hour. What counts is the ratio to a **limit**: bare code that
//! does no more than the work which cannot be avoided, with the same bytes, its repetitions interleaved with those of
//! the stores. A ratio above 1 is possible where a store does the work in a better way than the bare code, as when
//! many appends share one commit.
//!
//! | workload | what it does | unit |
//! |---|---|---|
//! | W1 | 1 event per append, each writer on a stream of its own under a position condition | appends/s |
//! | W2 | the same with 10 events | events/s |
//! | W3 | 32 writers on one stream, each repeats a refused append at the position that the error has, or that it reads | appends/s |
//! | W4 | one reader of the whole log of 200,000 events; with `--quick --peers` 50,000 | events/s |
//! | W5 | one reader of whole streams of 10 and of 1,000 events, each in turn | streams/s |
//! | W6 | a fold of events that lie in memory | events/s |
//! | W7 | W1 by one writer at a log of 10³, 10⁴, … events | appends/s |
//!
//! | limit | what it does | in |
//! |---|---|---|
//! | `limit-memcpy` | one thread copies the payload of each event into a vector; a scan copies them out, a fold goes over them | W1, W2, W4, W6, W7 |
//! | `limit-fsync` | one thread writes a payload to a file and syncs it | W1 |
//! | `limit-rusqlite` | one connection to a file of our schema: an `INSERT` with its commit, in W2 commits of 1,000 rows; a `SELECT` | W1, W2, W4, W5, W7 |
//! | `limit-insert` | as many connections as clients: an `INSERT` with its commit into a table with a key and no other index, by the driver or by `pgbench`, a process of its own, whichever is faster; in W3: lock, read the last number, `INSERT` if it is the expected one, commit | W1, W3 |
//! | `limit-copy` | one connection: `COPY` of 10,000 rows with its commit into our tables | W2 |
//! | `limit-select` | one connection: a prepared `SELECT` from our tables, of the log by pages of 4,096 rows | W4, W5 |
//!
//! Each figure is the median of several repetitions after one that is not counted, with the least and the greatest;
//! latencies are those of single calls. `peak` is by how much the memory of the process grew at most during a scan.
//!
//! # Documents
//! `documents` measures state stores beside bare code of the driver, in one process by turns: commits of 1 and 100
//! documents that each expect their revision, by 1, 8 and 32 writers, beside one `INSERT … ON CONFLICT` of as many rows;
//! gets of 1 and 100; scans of 1,000 documents along an index and finds of 20, beside a `SELECT` along a b-tree; finds
//! without an index, beside a `SELECT` that looks at all rows. Collections have 10³ and 10⁵ documents, with `--large` 10⁶
//! too; there a find without an index is rejected, and left out. The ratio is the median of those of single rounds. The bare
//! code keeps no revision, checks no expectation and encodes no keys.
//!
//! # Aggregates
//! `domain` measures what `annals-domain` adds to bare calls of the same store, by turns in one run: loading 1,000 events by
//! replay beside a loop that reads and folds them by hand, from the cache and from a snapshot beside a read of one event,
//! `execute` on a cached aggregate beside an append under a position, and one stream for 32 tasks with and without turns.
//! What each of them returns is checked.
//!
//! With `--peers` one program takes part that is written with each library (`benches/peers/src/worlds`), as its own users
//! would: loading an aggregate of 1,000 events, and commands on it and on short ones, all on one PostgreSQL with the same
//! events and as many connections. Nothing is cached, and no snapshots are taken, but in the row that says so. The ratio is
//! that of Annals to the other in the same round. A command that met another one is repeated by hand where the library does
//! not: under `SERIALIZABLE`, those of `disintegrate` meet also if their worlds are different. `cqrs-es` and `esrs` keep no
//! order across aggregates, so their commands wait for nobody else.
//!
//! # Views
//! `views` measures how fast a view that counts is made again, beside a loop by hand that upserts once a batch; what a commit
//! of 1 and of 100 random documents costs in views of 10³, 10⁴ and 10⁵ documents, with `--large` 10⁶, beside bare code that
//! reads and puts the same keys; how soon an event is with its handler; and what a thousand idle processors take.
//!
//! With `--peers` two listeners of other libraries count the same events on the same PostgreSQL. That of `disintegrate` takes
//! all events in one transaction of its own, as it does by default, while each event is counted by a statement of the
//! handler; in batches of 500 it reads the rest of the log again for each, so there it gets a tenth of the events. The
//! `ProjectionRunner` of the Python library `eventsourcing` counts each event in a transaction with its tracking; it takes
//! part if `python3` has `eventsourcing[postgres]` (`pip install "eventsourcing[postgres]==9.5.6"`), with a tenth of the
//! events.
//!
//! # Peers
//! With `--peers` other event stores of the crate registry take part, in the same process and the same moment. They
//! are the package `annals-peers` in `benches/peers`, a workspace with a lock file of its own, so that nobody else
//! compiles them; cargo builds it, which takes some minutes at first. Beside what cargo brings, `esrs` needs OpenSSL
//! with its headers and `umadb` needs `protoc` (on Debian: `apt-get install libssl-dev pkg-config protobuf-compiler`).
//!
//! Each does what its own users would do: its documented calls, its own schema, its own optimistic concurrency on the
//! stream of the writer with the last number that it was told, and the same payload of the same JSON. Those on
//! PostgreSQL have a pool of sqlx with its default settings and as many connections as clients, from 8 to 32. After a
//! refusal they read the stream again, since no error says where it is. What a peer does not offer is left out.
//!
//! | peer | keeps events in | order of a scan | who reads on from where they were | conditions on | finds a repeated append |
//! |---|---|---|---|---|---|
//! | Annals | memory, SQLite, PostgreSQL | one, numbers without gaps | skips none | positions, queries | yes |
//! | `disintegrate` | PostgreSQL | one, numbers with gaps | skips none: it stops before appends in flight | queries, under `SERIALIZABLE` | no |
//! | `umadb` | a server of its own | one, numbers without gaps | skips none | queries | by the ids of all its events |
//! | `umadb-core` | a file: the same engine without the server | the same | skips none | queries | by the ids of all its events |
//! | `esrs` | PostgreSQL | the writers' clocks | may skip | the stream's last number | no |
//! | `evento` | PostgreSQL, SQLite | the writers' clocks | may skip | the stream's last number | no |
//! | `postgres-es` | PostgreSQL | none across streams | cannot | the stream's last number | no |
//!
//! All are durable when an append returns: PostgreSQL with the settings of the server, SQLite with
//! `synchronous=FULL`, `umadb` with two syncs for all appends that it commits together.
//!
//! # What is not comparable
//! The limits check no condition, find no duplicate and keep no order. Of the peers, each row of the page says what
//! they promise: a store whose readers may skip events, or that numbers no events, does less work. So:
//!
//! - An append of `esrs`, `evento` or `postgres-es` waits for no other stream, for want of an order across streams.
//!   One of `evento` writes a snapshot of the aggregate as well, in a transaction of its own.
//! - A scan of `esrs` or `postgres-es` is one statement that sorts all, one of `evento` goes by pages of 1,000.
//!   None is what a consumer could safely follow.
//! - `disintegrate` and `umadb` order the log as Annals does. The first has retries in W1 and W2 as well: under
//!   `SERIALIZABLE`, appends to different streams refuse each other.
//! - `umadb` is measured among those on PostgreSQL, since it is a server too: over gRPC, by one connection, which it
//!   serves faster than several. Its engine alone is measured among those on SQLite.
//! - Nobody takes part in memory: the store of `cqrs-es` for tests prints a line for each call. `eventually-postgres`
//!   is left out: what the registry has of it, 0.2.0, belongs to tokio 0.2.

#![allow(clippy::disallowed_methods, reason = "measuring reads the clock")]

mod about;
pub mod annals_store;
pub mod beside;
pub mod builds;
pub mod command;
pub mod contestant;
pub mod delivery;
pub mod documents;
pub mod documents_bare;
pub mod domain;
mod ground;
pub mod layers;
pub mod limits;
pub mod machine;
pub mod measure;
pub mod orders;
pub mod page;
pub mod place;
pub mod policies;
pub mod report;
pub mod run;
pub mod sample;
pub mod scopes;
pub mod universes;
pub mod views;
pub mod workload;
