#![doc = include_str!("../README.md")]

extern crate self as annals_domain;

mod application;
mod boundary;
mod cache;
mod configured;
mod decide;
mod env;
mod error;
mod event;
mod format;
mod given;
mod kind;
mod loaded;
mod notifications;
mod outcome;
mod queue;
mod registry;
mod repository;
mod resolve;
mod retry;
mod root;
mod save;
mod slice;
mod snapshot;
mod state;
#[cfg(feature = "state")]
mod state_snapshots;
mod typed;
mod upcast;

pub use annals::Context;
pub use annals_derive::Event;
pub use application::{Adapters, Application, PERSISTENCE};
pub use boundary::Boundary;
pub use env::{Env, EnvError};
pub use error::{Error, ExecuteError, Result, Undecodable};
pub use event::{Event, Unknown, decode, new_event};
#[cfg(feature = "cbor")]
pub use format::Cbor;
pub use format::{Format, Json};
pub use given::{Given, When, given};
pub use kind::{DISCARDED, Kind, SCHEMA_VERSION, Step};
pub use notifications::{LogReader, NotificationLog, Section, SectionId};
pub use outcome::Outcome;
pub use registry::Registry;
pub use repository::{Done, Repository};
pub use retry::Retry;
pub use root::Root;
pub use save::{Unsaved, save};
pub use slice::{Slice, Slices};
pub use snapshot::{MemorySnapshots, Snapshot, SnapshotKey, SnapshotPolicy, SnapshotStore};
pub use state::{Aggregate, State};
#[cfg(feature = "state")]
pub use state_snapshots::StateSnapshots;
pub use typed::TypedStream;
pub use upcast::Upcast;

/// What the code of `#[derive(Event)]` calls. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use annals::{BoxError, InvalidName, InvalidPayload, Payload, Tags};
    pub use serde;

    pub use crate::format::read;

    /// The tag of a field.
    #[must_use]
    pub fn tag(key: &str, value: &impl std::fmt::Display) -> String {
        format!("{key}{value}")
    }

    /// That `name` is none of the type's.
    #[must_use]
    pub fn not_a_name(name: &str) -> BoxError {
        format!("no kind of event is called {name}").into()
    }
}
