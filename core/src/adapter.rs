//! The contract between Annals and a database.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use crate::capability::Capabilities;
use crate::condition::WriteCondition;
use crate::error::Result;
use crate::event::{NewEvent, StoredEvent};
use crate::name::StreamId;
use crate::query::{Query, ReadOptions};

/// Pages of events: never empty, in the order asked for; the stream ends at the head, or after its first error.
pub type EventPages = BoxStream<'static, Result<Vec<StoredEvent>>>;

/// What one call appends to one stream.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream to append to; it need not exist.
    pub stream: StreamId,
    /// The events, in order. None: a guard, of which only the condition counts.
    pub events: Vec<NewEvent>,
    /// What must hold for the whole call to be made.
    pub condition: WriteCondition,
}

impl Append {
    /// Appends `events` to `stream` if `condition` holds.
    pub fn new(
        stream: StreamId,
        events: impl IntoIterator<Item = NewEvent>,
        condition: WriteCondition,
    ) -> Self {
        Self { stream, events: events.into_iter().collect(), condition }
    }

    /// A guard: appends nothing, and lets the call fail unless `condition` holds of `stream`.
    #[must_use]
    pub fn guard(stream: StreamId, condition: WriteCondition) -> Self {
        Self::new(stream, [], condition)
    }
}

/// A database that keeps a log of events. The conformance suite (`annals-testkit`) proves each rule below.
///
/// **Appending**
/// - **A1** All writes of one call commit, or none does.
/// - **A2** The positions of a stream run 0, 1, 2, … without a hole, a repeat or a mix of two batches.
/// - **A3** Sequence numbers are unique, at least 1, and rise in commit order and, inside a call, in the order
///   given. A refused or failed append uses none where `contiguous_sequence` is declared.
/// - **A4** Conditions are judged atomically with the write, all of one call on the store before it. Each loser
///   of a race gets `ConditionFailed`, never an error of the driver; an append whose condition holds is never
///   refused.
/// - **A5** Any error but `OutcomeUnknown` means that nothing was written.
/// - **A6** A future that is dropped at any await leaves all or nothing stored, and nothing locked or half open.
/// - **A7** An [`Append`] without events is a guard: its condition is judged, nothing is stored. A known event id
///   is `DuplicateEvent`, whatever the conditions. One stream twice in a call is `Invalid`.
///
/// **Reading**
/// - **R1** A read that begins after `append` returned sees what it stored, on every handle to the same store.
/// - **R2** *Never skips*: once a reader was given sequence number n, no event at or below n appears later in the
///   same scope (log, category or stream, as `Capabilities::order` declares). A wider read is refused unless
///   `ReadOptions::allow_skips` permits it.
/// - **R3** What was appended is read back equal: payload bytes, metadata, names, tags, id, times to the
///   microsecond in UTC; and what `append` returned equals what is read.
/// - **R4** The result does not depend on page sizes. Between polls a page holds no connection, lock or
///   transaction that an append of the same caller could need: a pool of one must do.
///
/// **Everywhere**
/// - **C1** What is not declared is refused with `Unsupported`, never approximated or ignored.
/// - **D1** Where `durable` is declared, what `append` acknowledged survives kill -9 of process or server, and
///   power loss as far as the database promises it.
///
/// # For implementors
/// 1. `append`: call [`Capabilities::check_append`]; return at once when there are no writes. In one transaction
///    look up the [`Facts`](crate::Facts) of each write, call [`WriteCondition::evaluate`], refuse known ids, number
///    and insert the events under the lock that commits them. Return them in the order given, as
///    [`StoredEvent::new`] makes them.
/// 2. `read`: call [`Capabilities::check_read`] and give its error as the only item. Read by key (`sequence number >
///    last seen`), one statement a page, and nothing held between pages. Do no I/O before the first poll.
/// 3. Give every lock, queue and wait a bound, and answer `Unavailable` when it runs out. Handles, futures and pages
///    may be dropped anywhere, also on a thread without a runtime.
/// 4. Run the conformance suite. Methods of your own (`connect`, `migrate`) are inherent, outside this trait.
///
/// A decorator answers `capabilities` for what it makes of the inner adapter; all methods are required so that
/// it cannot forget one.
#[async_trait]
pub trait StorageAdapter: fmt::Debug + Send + Sync + 'static {
    /// What to call it in errors and traces.
    fn name(&self) -> &'static str;

    /// What this adapter, with all that it wraps, can do. Constant over its life.
    fn capabilities(&self) -> Capabilities;

    /// Appends all of `writes` or none; gives the events as stored, in the order given. No writes: nothing.
    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>>;

    /// Reads what `query` matches. Lazy: nothing happens before the first poll. It outlives this handle.
    fn read(&self, query: Query, options: ReadOptions) -> EventPages;
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<A: StorageAdapter + ?Sized> StorageAdapter for $pointer<A> {
            fn name(&self) -> &'static str {
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
        }
    )*};
}

forward!(Arc Box);
