#![doc = include_str!("../README.md")]
//!
//! | to | use |
//! |---|---|
//! | keep documents that are made from events | [`View`], [`Processor::view`] |
//! | the same of an enum of `annals-domain` | `EventView`, with the feature `domain` |
//! | make something else of events | [`Sink`], [`Processor::sink`] |
//! | see how far a processor is, wait for it, stop it, ask something of it | [`Handle`] |
//! | decide what happens if a handler fails | [`Decision`], [`Retry`], [`Processor::with_errors`] |
//! | share the work among several processors | [`Partitions`], [`split`] |
//! | remove what was made of a person's data | [`ViewSweep`] |
//! | read what was just written, in any process | [`Token`], [`Progress`] |
//! | build a view again beside the old one | [`Versions`] |
//! | compare a view with its events | [`Audit`] |
//! | run several processors as one thing, and operate them from outside | [`Services`], [`ask`], [`reported`] |

mod apply;
mod ask;
mod asked;
mod audit;
mod claim;
mod control;
mod error;
mod failing;
mod handle;
mod inline;
mod measure;
mod parked;
mod partition;
mod processor;
mod progress;
mod requests;
mod reset;
mod runner;
mod services;
mod sink;
mod split;
mod status;
mod sweep;
mod timer;
mod token;
mod tracking;
#[cfg(feature = "domain")]
mod typed;
mod versions;
mod view;
mod waiting;

pub use ask::{Answer, Ask};
pub use async_trait::async_trait;
pub use audit::{Audit, Audited, Difference};
pub use claim::Claim;
pub use control::{Reported, reported};
pub use error::{HandlerError, ProcessingError, Result};
pub use failing::{Decision, Retry};
pub use handle::Handle;
pub use inline::{Inline, InlineError, Inlined, Placed};
pub use parked::Parked;
pub use partition::{Partition, Partitions, stream_hash};
pub use processor::Processor;
pub use progress::Progress;
pub use requests::ask;
pub use reset::reset;
pub use services::{ServiceError, Services, ServicesHandle, Stopping};
pub use sink::{Batch, Sink, SinkError};
pub use split::split;
pub use status::{Limits, Phase, Status};
pub use sweep::ViewSweep;
#[cfg(feature = "timer")]
pub use timer::SystemTimer;
pub use timer::Timer;
#[cfg(feature = "tokio")]
pub use timer::TokioTimer;
pub use token::{InvalidToken, Token};
pub use tracking::{LastEvent, Suspect, Tracking};
#[cfg(feature = "domain")]
pub use typed::{EventView, Typed, events_of};
pub use versions::Versions;
pub use view::{View, ViewSink};
