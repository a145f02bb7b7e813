#![doc = include_str!("../README.md")]
#![doc = ""]
#![doc = "# Traces"]
#![doc = "The facade leaves named `tracing` records, target `annals`: `annals.appending`, `annals.appended`,"]
#![doc = "`annals.append_refused` and `annals.reading` at debug level, `annals.append_failed` at warn level, and"]
#![doc = "`annals.payload` at trace level, the only one that shows what events say."]

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
