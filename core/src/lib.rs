#![doc = include_str!("../README.md")]
//!
//! # Traces
//! The facade writes named `tracing` records, target `annals`. Only those at trace level show what events say; `micros` is how long the append took, in microseconds.
//!
//! | name | level | fields |
//! |---|---|---|
//! | `annals.appending` | debug | adapter, stream of the first write, streams, events |
//! | `annals.payload` | trace | event id and name, payload as text |
//! | `annals.appended` | debug | adapter, first and last sequence number, events, micros |
//! | `annals.append_rejected` | debug | adapter, micros, the condition that failed or the duplicate |
//! | `annals.append_failed` | warn | adapter, micros, error |
//! | `annals.reading` | debug | adapter, query, options |
//! | `annals.read_failed` | warn | adapter, error |

pub mod adapter;
mod append;
mod bell;
mod capability;
mod clock;
mod condition;
mod context;
mod error;
mod event;
mod follow;
mod handlers;
mod judge;
mod listing;
mod name;
mod page;
mod payload;
mod position;
mod projector;
mod query;
mod retry;
mod source;
mod store;
mod trace;

pub use adapter::StorageAdapter;
pub use append::Append;
pub use capability::{Capabilities, KnownIds, Order};
pub use clock::{Clock, SystemClock};
pub use condition::{LAYER_CONDITION_DEPTH, MAX_CONDITION_DEPTH, Predicate, Unmet, WriteCondition};
pub use context::Context;
pub use error::{BoxError, Error, Failure, ProjectionError, Result};
pub use event::{EventId, EventRecord, NewEvent, StoredEvent, Tags};
pub use handlers::Handlers;
pub use listing::{CategorySummary, StreamSummary};
pub use name::{
    CategoryName, Encoding, EventName, InvalidName, MAX_NAME_BYTES, StreamId, StreamName, Tag,
};
pub use page::{EventPages, Page};
pub use payload::{InvalidPayload, Metadata, Payload};
pub use position::{Position, SequenceNumber};
pub use projector::{Progress, Projection, Projector};
pub use query::{Direction, Query, QueryItem, ReadOptions, Source};
pub use retry::{ignore_condition_failed, retry_on_condition_failed};
pub use source::EventSource;
pub use store::{Appended, EventCategory, EventLog, EventQuery, EventStore, EventStream, Events};
