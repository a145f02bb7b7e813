#![doc = include_str!("../README.md")]
//!
//! | to | use |
//! |---|---|
//! | keep documents that are made from events | [`View`], [`Processor::view`] |
//! | the same of an enum of `annals-domain` | `EventView`, with the feature `domain` |
//! | make something else of events | [`Sink`], [`Processor::sink`] |
//! | the same in a loop written by hand | [`ByHand`] |
//! | append events that follow from events | [`Policy`], [`Processor::policy`] |
//! | keep state between events, and command what has to be done | [`Workflow`], [`Processor::workflow`] |
//! | do what was commanded | [`CommandBus`], [`Processor::commands`] |
//! | hear in one program what was just committed, at most once | [`EventBus`] |
//! | do something outside, as far as possible once | [`Reaction`], [`Processor::reaction`] |
//! | let applications follow one another | [`System`] |
//! | take events only once others have | [`After`] |
//! | see how far a processor is, wait for it, stop it, ask something of it | [`Handle`] |
//! | decide what happens if a handler fails | [`Decision`], [`Retry`], [`Processor::with_errors`] |
//! | share the work among several processes | [`Group`] |
//! | do something in one process at a time | [`Locks`] |
//! | share the work among several processors | [`Partitions`], [`split`] |
//! | remove what was made of a person's data | [`ViewSweep`], [`EffectSweep`] |
//! | read what was just written, in any process | [`Token`], [`Progress`] |
//! | build a view again beside the old one | [`Versions`] |
//! | compare a view with its events | [`Audit`] |
//! | run several processors as one thing, and operate them from outside | [`Services`], [`ask`], [`reported`] |

mod after;
mod apply;
mod ask;
mod asked;
mod audit;
mod audit_service;
mod bus;
mod by_hand;
mod claim;
mod command;
mod control;
mod effect_sweep;
mod error;
mod failing;
mod group;
mod halt;
mod handle;
mod head;
mod inline;
mod inline_documents;
mod inlined;
mod lock;
mod made;
mod measure;
mod pace;
mod parked;
mod partition;
mod policy;
mod processor;
mod progress;
mod reaction;
mod requests;
mod reset;
mod runner;
mod services;
mod sink;
mod split;
mod status;
mod stopping;
mod sweep;
mod system;
mod timer;
mod token;
mod tracking;
#[cfg(feature = "domain")]
mod typed;
mod versions;
mod view;
mod waiting;
mod workflow;

pub use after::After;
pub use ask::{Answer, Ask};
pub use async_trait::async_trait;
pub use audit::{Audit, Audited, Difference};
pub use bus::{Announcer, EventBus, Heard, Subscription};
pub use by_hand::ByHand;
pub use claim::Claim;
pub use command::{Command, CommandBus, Middleware, Next};
pub use control::{Reported, reported};
pub use effect_sweep::EffectSweep;
pub use error::{HandlerError, ProcessingError, Result};
pub use failing::{Decision, Retry};
pub use group::{Group, GroupHandle, GroupStatus};
pub use handle::Handle;
pub use inline::{Inline, Inlined, Placed};
pub use inline_documents::{ConcernedDocuments, InlineDocuments};
pub use inlined::{InlineError, InlineSteps};
pub use lock::{Keeper, Lock, Locks};
pub use made::View;
pub use parked::Parked;
pub use partition::{Partition, Partitions, stream_hash};
pub use policy::{LogUpTo, Out, Policy, PolicySink, decided};
pub use processor::Processor;
pub use progress::Progress;
pub use reaction::{Effects, Reaction, ReactionSink};
pub use requests::ask;
pub use reset::reset;
pub use services::{ServiceError, Services, ServicesHandle};
pub use sink::{Batch, Sink, SinkError};
pub use split::split;
pub use status::{Limits, Phase, Status};
pub use stopping::Stopping;
pub use sweep::ViewSweep;
pub use system::{Applications, Settling, System};
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
pub use view::ViewSink;
pub use workflow::{Step, Workflow, WorkflowSink, recorded};
