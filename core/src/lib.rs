#![doc = include_str!("../README.md")]
//!
//! # Traces
//! The facade leaves named `tracing` records, target `annals`. Only those at trace level show what events say.
//!
//! | name | level | fields |
//! |---|---|---|
//! | `annals.appending` | debug | adapter, stream of the first write, streams, events |
//! | `annals.payload` | trace | event id and name, payload as text |
//! | `annals.appended` | debug | adapter, first and last sequence number, events |
//! | `annals.append_refused` | debug | adapter, the condition that failed or the duplicate |
//! | `annals.append_failed` | warn | adapter, error |
//! | `annals.reading` | debug | adapter, query, options |

mod adapter;
mod capability;
mod clock;
mod condition;
mod error;
mod event;
mod handlers;
mod name;
mod payload;
mod position;
mod projector;
mod query;
mod retry;
mod store;
mod trace;

pub use adapter::{Append, EventPages, StorageAdapter};
pub use capability::{Capabilities, Order};
pub use clock::{Clock, SystemClock, cut_to_micros};
pub use condition::{Facts, MAX_CONDITION_DEPTH, Predicate, Unmet, WriteCondition};
pub use error::{BoxError, Error, ProjectionError, Result};
pub use event::{EventId, EventRecord, NewEvent, StoredEvent, Tags};
pub use handlers::Handlers;
pub use name::{
    CategoryName, Encoding, EventName, InvalidName, MAX_NAME_BYTES, StreamId, StreamName, Tag,
};
pub use payload::{InvalidPayload, Metadata, Payload};
pub use position::{Position, SequenceNumber};
pub use projector::{Progress, Projection, Projector};
pub use query::{Direction, Query, QueryItem, ReadOptions, Source};
pub use retry::{ignore_condition_failed, retry_on_condition_failed};
pub use store::{EventCategory, EventLog, EventStore, EventStream, Events};
