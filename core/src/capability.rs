//! What an adapter can do, and the check that it makes before anything else.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::append::Append;
use crate::clock;
use crate::condition::{MAX_CONDITION_DEPTH, WriteCondition};
use crate::error::{Error, Result};
use crate::event::NewEvent;
use crate::query::{Direction, Query, QueryItem, ReadOptions, Source};

/// The widest scope in which sequence numbers rise in commit order, so that a reader never skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Within each stream.
    Stream,
    /// Within each category.
    Category,
    /// In the whole log.
    Log,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Category => "category",
            Self::Log => "log",
        })
    }
}

/// Of which earlier events a store recognises the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KnownIds {
    /// Of recent events, as far as the database documents it. An append that is repeated soon is recognised.
    Recent,
    /// Of every event of the log. Queries may ask for ids.
    Forever,
}

/// What a stack of adapters can do. What is not declared is rejected with [`Error::Unsupported`].
///
/// ```
/// use annals::{Capabilities, Order};
/// const MINE: Capabilities = Capabilities::NONE.with_durable(true).with_order(Order::Log);
/// assert!(MINE.durable && !MINE.tags);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is declared on its own")]
pub struct Capabilities {
    /// What was acknowledged survives the end of the process, a kill and, as far as the database promises it,
    /// power loss.
    pub durable: bool,
    /// Several processes may use one store at once.
    pub shared: bool,
    /// Sequence numbers have no holes: a refused or failed append uses none.
    pub contiguous_sequence: bool,
    /// One call may append to several streams.
    pub multi_stream_append: bool,
    /// [`WriteCondition::NoMatch`] is judged.
    pub query_conditions: bool,
    /// [`WriteCondition::Custom`] is judged.
    pub custom_conditions: bool,
    /// Events may have tags, and queries may ask for them.
    pub tags: bool,
    /// Payloads and metadata come back byte for byte, not merely as equal JSON.
    pub exact_payload_bytes: bool,
    /// Of which events the ids are recognised (rule A7), and whether queries may ask for ids.
    pub known_ids: KnownIds,
    /// The widest scope that a reader can follow without skipping.
    pub order: Order,
    /// The most events that one call may append, over all its streams. `None`: at least 10,000.
    pub max_events_per_append: Option<NonZeroU32>,
    /// The largest payload, and the largest metadata, in bytes. `None`: at least 4 MiB each.
    pub max_payload_bytes: Option<NonZeroU32>,
    /// The most bytes that the payloads and metadata of one call may have together. `None`: at least 8 MiB.
    pub max_append_bytes: Option<NonZeroU32>,
    /// The most items, names, ids and tags, counted together, of the query of a read, and of all conditions of a call.
    /// `None`: at least 10,000.
    pub max_query_parts: Option<NonZeroU32>,
}

macro_rules! builders {
    ($($(#[$doc:meta])* $with:ident($field:ident: $type:ty);)*) => {
        impl Capabilities {$(
            $(#[$doc])*
            #[must_use]
            pub const fn $with(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )*}
    };
}

builders! {
    /// Declares or withdraws [`Self::durable`].
    with_durable(durable: bool);
    /// Declares or withdraws [`Self::shared`].
    with_shared(shared: bool);
    /// Declares or withdraws [`Self::contiguous_sequence`].
    with_contiguous_sequence(contiguous_sequence: bool);
    /// Declares or withdraws [`Self::multi_stream_append`].
    with_multi_stream_append(multi_stream_append: bool);
    /// Declares or withdraws [`Self::query_conditions`].
    with_query_conditions(query_conditions: bool);
    /// Declares or withdraws [`Self::custom_conditions`].
    with_custom_conditions(custom_conditions: bool);
    /// Declares or withdraws [`Self::tags`].
    with_tags(tags: bool);
    /// Declares or withdraws [`Self::exact_payload_bytes`].
    with_exact_payload_bytes(exact_payload_bytes: bool);
    /// Declares [`Self::known_ids`].
    with_known_ids(known_ids: KnownIds);
    /// Declares [`Self::order`].
    with_order(order: Order);
    /// Declares [`Self::max_events_per_append`].
    with_max_events_per_append(max_events_per_append: Option<NonZeroU32>);
    /// Declares [`Self::max_payload_bytes`].
    with_max_payload_bytes(max_payload_bytes: Option<NonZeroU32>);
    /// Declares [`Self::max_append_bytes`].
    with_max_append_bytes(max_append_bytes: Option<NonZeroU32>);
    /// Declares [`Self::max_query_parts`].
    with_max_query_parts(max_query_parts: Option<NonZeroU32>);
}

impl Capabilities {
    /// The least that an adapter can be: appends to one stream at a time, in order within each stream.
    pub const NONE: Self = Self {
        durable: false,
        shared: false,
        contiguous_sequence: false,
        multi_stream_append: false,
        query_conditions: false,
        custom_conditions: false,
        tags: false,
        exact_payload_bytes: false,
        known_ids: KnownIds::Recent,
        order: Order::Stream,
        max_events_per_append: None,
        max_payload_bytes: None,
        max_append_bytes: None,
        max_query_parts: None,
    };

    /// For adapters: the first line of every `append`. Rejects what is not declared and what no store accepts.
    ///
    /// # Errors
    /// - [`Error::Unsupported`]: several streams, tags, query or custom conditions that are not declared.
    /// - [`Error::Invalid`]: a stream twice, more events, bytes or parts of queries than declared, a time outside the
    ///   years 1 to 9999, conditions nested deeper than [`MAX_CONDITION_DEPTH`].
    /// - [`Error::DuplicateEvent`]: an event id twice in the call.
    pub fn check_append(&self, adapter: &str, writes: &[Append]) -> Result<()> {
        if writes.len() > 1 && !self.multi_stream_append {
            return Err(Error::unsupported(adapter, "an append to several streams"));
        }
        if let Some(stream) = repeated(writes.iter().map(|write| &write.stream)) {
            return Err(Error::invalid(format!("stream {stream} is written to twice in one call")));
        }
        let mut parts = 0;
        for write in writes {
            parts += self.check_condition(adapter, &write.condition)?;
        }
        self.check_parts("the conditions of a call have", parts)?;
        let events = || writes.iter().flat_map(|write| &write.events);
        let count = writes.iter().map(|write| write.events.len()).sum::<usize>();
        if let Some(most) = exceeded(self.max_events_per_append, count) {
            return Err(Error::invalid(format!("at most {most} events in one call, got {count}")));
        }
        let mut bytes = 0;
        for event in events() {
            bytes += self.check_event(adapter, event)?;
        }
        if let Some(most) = exceeded(self.max_append_bytes, bytes) {
            let text = "bytes of payloads and metadata in one call";
            return Err(Error::invalid(format!("at most {most} {text}, got {bytes}")));
        }
        match repeated(events().map(|event| event.id)) {
            Some(id) => Err(Error::DuplicateEvent(id)),
            None => Ok(()),
        }
    }

    /// How many bytes the event has.
    fn check_event(&self, adapter: &str, event: &NewEvent) -> Result<usize> {
        if !self.tags && !event.tags.is_empty() {
            return Err(Error::unsupported(adapter, "tags"));
        }
        let metadata = event.metadata.as_ref().map_or(0, |metadata| metadata.as_bytes().len());
        let payload = event.payload.as_bytes().len();
        for (what, size) in [("a payload", payload), ("metadata", metadata)] {
            if let Some(most) = exceeded(self.max_payload_bytes, size) {
                return Err(Error::invalid(format!("{what} has at most {most} bytes, got {size}")));
            }
        }
        if !clock::is_storable(event.occurred_at) {
            return Err(Error::invalid("an event occurs in the years 1 to 9999 of UTC"));
        }
        Ok(payload + metadata)
    }

    /// How many parts its queries have.
    fn check_condition(&self, adapter: &str, condition: &WriteCondition) -> Result<usize> {
        match condition {
            WriteCondition::All(_)
            | WriteCondition::Any(_)
            | WriteCondition::NoMatch { .. }
            | WriteCondition::Custom(_) => {}
            _ => return Ok(0),
        }
        condition.check_depth(MAX_CONDITION_DEPTH)?;
        let queries = condition.queries();
        if !self.query_conditions && !queries.is_empty() {
            return Err(Error::unsupported(adapter, "query conditions"));
        }
        let mut parts = 0;
        for (query, _) in queries {
            parts += self.check_query(adapter, query)?;
        }
        if !self.custom_conditions && condition.needs_last_event() {
            return Err(Error::unsupported(adapter, "custom conditions"));
        }
        Ok(parts)
    }

    fn check_parts(&self, what: &str, parts: usize) -> Result<()> {
        exceeded(self.max_query_parts, parts).map_or(Ok(()), |most| {
            let text = "items, names, ids and tags together";
            Err(Error::invalid(format!("{what} at most {most} {text}, got {parts}")))
        })
    }

    /// How many parts it has.
    fn check_query(&self, adapter: &str, query: &Query) -> Result<usize> {
        if !self.tags && query.uses_tags() {
            return Err(Error::unsupported(adapter, "tags"));
        }
        if self.known_ids < KnownIds::Forever && query.uses_ids() {
            return Err(Error::unsupported(adapter, "queries for event ids"));
        }
        let parts = |item: &QueryItem| {
            let (names, ids) = (item.names.as_ref(), item.ids.as_ref());
            1 + names.map_or(0, Vec::len) + ids.map_or(0, Vec::len) + item.tags.len()
        };
        Ok(query.items().iter().map(parts).sum())
    }

    /// For adapters: the first line of every `read`.
    ///
    /// # Errors
    /// - [`Error::Unsupported`]: tags or event ids that are not declared, or a query wider than [`Self::order`]. A
    ///   plain read may be wider with [`ReadOptions::allow_skips`], or if all its items ask for event ids.
    /// - [`Error::Invalid`]: a query of more parts than declared; a bound on positions of a query that is not one stream;
    ///   a follow backward or up to a position.
    pub fn check_read(&self, adapter: &str, query: &Query, options: &ReadOptions) -> Result<()> {
        let parts = self.check_query(adapter, query)?;
        self.check_parts("a query has", parts)?;
        let scope = query.scope();
        let bounds_positions = options.from_position.or(options.until_position).is_some();
        if bounds_positions && !matches!(scope, Some(Source::Stream(_))) {
            return Err(Error::invalid("a bound on positions needs a query of one stream"));
        }
        if options.follow && options.direction == Direction::Backward {
            return Err(Error::invalid("a follow goes forward"));
        }
        if options.follow && options.until_position.is_some() {
            return Err(Error::invalid("a follow has no last position: limit it instead"));
        }
        if self.keeps_order(query) {
            return Ok(());
        }
        if options.follow {
            let what = "a follow wider than its order: follow each category or stream on its own";
            return Err(Error::unsupported(adapter, what));
        }
        if !options.allow_skips && !query.is_of_ids() {
            let what = "a read wider than its order (ReadOptions::allow_skips permits it)";
            return Err(Error::unsupported(adapter, what));
        }
        Ok(())
    }

    /// For adapters: whether `query` is no wider than [`Self::order`]. Where it is wider, a page claims no more than
    /// the last number that it returns (rule R5).
    #[must_use]
    pub fn keeps_order(&self, query: &Query) -> bool {
        let width = match query.scope() {
            None | Some(Source::Stream(_)) => Order::Stream,
            Some(Source::Category(_)) => Order::Category,
            Some(Source::Log) => Order::Log,
        };
        width <= self.order
    }
}

fn exceeded(most: Option<NonZeroU32>, count: usize) -> Option<NonZeroU32> {
    most.filter(|most| usize::try_from(most.get()).is_ok_and(|most| count > most))
}

/// An item that occurs again. Fresh ids ascend, which is seen in one pass and without memory.
fn repeated<T: Ord + Copy>(items: impl Iterator<Item = T> + Clone) -> Option<T> {
    if items.clone().is_sorted_by(|a, b| a < b) {
        return None;
    }
    let mut sorted: Vec<T> = items.collect();
    sorted.sort_unstable();
    sorted.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    })
}
