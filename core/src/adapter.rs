//! The contract between Annals and a database, and what helps to implement it. Applications need nothing of it but an
//! adapter that somebody wrote.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

pub use async_trait::async_trait;

pub use crate::append::{Append, recording_time};
pub use crate::bell::{Bell, Ring};
use crate::capability::Capabilities;
pub use crate::clock::cut_to_micros;
use crate::error::Result;
use crate::event::StoredEvent;
pub use crate::follow::{Wake, follow};
pub use crate::judge::Facts;
pub use crate::listing::check_list;
pub use crate::page::{EventPages, Page};
use crate::query::{Query, ReadOptions};

/// A database that keeps a log of events. The conformance suite (`annals-testkit`) proves each rule below.
///
/// **Appending**
/// - **A1** All writes of one call commit, or none does.
/// - **A2** The positions of a stream run 0, 1, 2, … without a hole, a repeat or a mix of two batches.
/// - **A3** Sequence numbers are unique, at least 1, and rise in commit order and, inside a call, in the order
///   given. A refused or failed append uses none where `contiguous_sequence` is declared.
/// - **A4** Conditions are judged atomically with the write, all of one call on the store before it. Each loser
///   of a race gets `ConditionFailed`, never an error of the driver; an append whose condition holds is never
///   refused. Calls that meet or cross on streams wait for each other: `Unavailable` is for a wait that ran out of its
///   bound.
/// - **A5** Any error but `OutcomeUnknown` means that nothing was written.
/// - **A6** A future that is dropped at any await leaves all or nothing stored, and nothing locked or half open.
/// - **A7** An [`Append`] without events is a guard: its condition is judged, nothing is stored. A known event id
///   is `DuplicateEvent`, whatever the conditions; `Capabilities::known_ids` declares for which events. One stream
///   twice in a call is `Invalid`.
///
/// **Reading**
/// - **R1** A read that begins after `append` returned sees what it stored, on every handle to the same store.
/// - **R2** *Never skips*: once a read has returned sequence number n, no event at or below n appears later in the
///   same scope (log, category or stream, as `Capabilities::order` declares). A wider read is rejected unless
///   `ReadOptions::allow_skips` permits it.
/// - **R3** What was appended is read back equal: payload bytes, metadata, names, tags, id, times to the
///   microsecond in UTC; and what `append` returned equals what is read. Names of every kind work up to their 255 bytes,
///   and calls and queries as large as the limits in [`Capabilities`] say.
/// - **R4** The result does not depend on page sizes. Between polls a page holds no connection, lock or
///   transaction that an append of the same caller could need: a pool of one must do.
/// - **R5** *How far*: every event that the query matches from the start of the read up to `Page::through`, inclusive,
///   has been returned with that page or one before it; pages never go back. The page that completes a plain read up to
///   the head or `until` is marked `at_head`, also if it is empty, and a read that finds nothing returns it too. Its
///   `through` is the smaller of `until` and the head as the read saw it, but `after` if `until` is below `after`. The
///   head is the last number of the log if the order is that of the log, else that of the query's scope, and `after` if
///   the scope has none. If `limit` ends the read, the last page is not at the head, and its `through` is the number of
///   the last event returned (with a limit of 0: `after`). With `after` beyond the head the read is one empty page whose
///   `through` is the head. A backward read counts down: everything from its upper bound (`until`, at most the head)
///   down to `through` was returned; at its end `through` is the number after `after`, but a page that claims nothing
///   has the number after the upper bound. A read that is wider than the order claims only the last number that it
///   returned. A read that ends with an error has no page `at_head`.
/// - **R6** *Follow*: with `ReadOptions::follow` a read does not end at the head. It returns a page marked `at_head` when
///   it gets there, and goes on with what is appended later, by any handle and any process, without a skip or a repeat.
///   Later events arrive within a bounded time also if every notification is lost. While it waits it holds no connection,
///   lock or transaction of its own and buffers at most one page; it ends when it is dropped, at its `limit`, once the
///   head has reached `until`, and with its first error. A slow reader slows only itself. If the store goes back behind
///   what it has returned, it ends with `AheadOfLog`. [`follow`] makes one out of plain reads.
///
/// **Everywhere**
/// - **C1** What is not declared is rejected with `Unsupported`, never approximated or ignored.
/// - **D1** Where `durable` is declared, what `append` acknowledged survives kill -9 of process or server, and
///   power loss as far as the database promises it.
/// - **D2** *History*: what an adapter remembers of the store is checked against the store in the statement that relies
///   on it. If the store went back or was replaced, the adapter forgets and judges anew: nothing is acknowledged that
///   breaks A2 to A4, nothing is read under a wrong name.
/// - **C2** *Close*: after `close` every call, and every open read at its next poll, ends with `Error::Closed`. `close`
///   finishes the appends that were taken, may be called again and may be dropped, does not wait for reads that nobody
///   polls, and closes no pool that the caller brought.
///
/// # For implementors
/// 1. `append`: call [`Capabilities::check_append`]; return at once if there are no writes. In one transaction
///    look up the [`Facts`] of each write, call [`WriteCondition::evaluate`](crate::WriteCondition::evaluate), reject known ids, number
///    and insert the events under the lock that commits them. Return them in the order given, as
///    [`StoredEvent::new`] makes them.
/// 2. `read`: call [`Capabilities::check_read`] and return its error as the only item. Read by key (`sequence number >
///    last seen`), one statement a page, and nothing held between pages. Do no I/O before the first poll. Pass a read
///    that follows to [`follow`].
/// 3. Give every lock, queue and wait a bound, and return `Unavailable` when it runs out. Handles, futures and pages
///    may be dropped anywhere, also on a thread without a runtime. Name adapter and operation in errors with
///    [`Error::at`](crate::Error::at).
/// 4. Run the conformance suite. Methods of your own (`connect`, `migrate`) are inherent, outside this trait.
///
/// A decorator answers `capabilities` for what it makes of the inner adapter; all methods are required so that
/// it cannot forget one.
#[async_trait]
pub trait StorageAdapter: fmt::Debug + Send + Sync + 'static {
    /// Its name in errors and traces. A layer names what it wraps, too: `zstd(postgres)`.
    fn name(&self) -> &str;

    /// What this adapter, with all that it wraps, can do. Constant over its life.
    fn capabilities(&self) -> Capabilities;

    /// Appends all of `writes` or none; returns the events as stored, in the order given. Without writes it does nothing.
    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>>;

    /// Reads what `query` matches. Lazy: nothing happens before the first poll. It outlives this handle.
    fn read(&self, query: Query, options: ReadOptions) -> EventPages;

    /// Finishes the appends that were taken, rejects later calls with `Closed`, and returns when all that the adapter
    /// holds is given back (rule C2). A layer closes what it wraps.
    async fn close(&self);
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<A: StorageAdapter + ?Sized> StorageAdapter for $pointer<A> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            // Not an `async fn`: the inner future is boxed already.
            fn append<'a, 'f>(
                &'a self,
                writes: Vec<Append>,
            ) -> Pin<Box<dyn Future<Output = Result<Vec<StoredEvent>>> + Send + 'f>>
            where
                'a: 'f,
                Self: 'f,
            {
                (**self).append(writes)
            }

            fn read(&self, query: Query, options: ReadOptions) -> EventPages {
                (**self).read(query, options)
            }

            fn close<'a, 'f>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'f>>
            where
                'a: 'f,
                Self: 'f,
            {
                (**self).close()
            }
        }
    )*};
}

forward!(Arc Box);
