//! For tests of processors and of what is made with them: time that a test moves, tasks that run in an order drawn from a
//! seed, and stores that fail.
//!
//! | to | take |
//! |---|---|
//! | run back-off, beats and time-outs without waiting | [`ManualTimer`] |
//! | let several futures race, in an order that a seed repeats | [`Interleaving`] |
//! | let calls wait, fail, and lose their answers | [`Chaos`] |
//! | test a view event by event | [`Given`] |
//! | test a policy or a workflow event by event | [`GivenPolicy`], [`GivenWorkflow`] |
//! | prove a sink of one's own right | [`SinkHarness`], [`sink_checks`] |
//! | see that these checks can fail | [`broken_sinks`] |
//! | prove groups and locks right over a state store | [`GroupHarness`], [`group_checks`], [`LockHarness`], [`lock_checks`] |
//! | see that these checks can fail | [`broken_groups`], [`broken_locks`] |
//! | prove policies, workflows, commands and reactions right over a pair of stores | [`FlowHarness`], [`flow_checks`] |
//! | see that these checks can fail | [`broken_flows`] |

mod bent;
mod broken;
mod broken_flows;
mod broken_groups;
mod chaos;
mod check;
mod decided;
mod flow_suite;
mod given;
mod group_bench;
mod group_suite;
mod interleaving;
mod lock_suite;
mod suite;
mod timer;

pub use broken::{BrokenSink, broken_sinks};
pub use broken_flows::{BrokenFlow, broken_flows};
pub use broken_groups::{BrokenGroup, broken_groups, broken_locks};
pub use chaos::{Chaos, Odds};
pub use check::SeededCheck;
pub use decided::{GivenPolicy, GivenWorkflow};
pub use flow_suite::{FlowCheck, FlowHarness, Place, flow_checks};
pub use given::Given;
pub use group_bench::{GroupHarness, Seat};
pub use group_suite::{GroupCheck, group_checks};
pub use interleaving::{Interleaving, Outside, Task};
pub use lock_suite::{LockCheck, LockHarness, lock_checks};
pub use suite::{SinkCheck, SinkHarness, sink_checks};
pub use timer::{ManualTimer, SkewedTimer};
