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

mod broken;
mod chaos;
mod decided;
mod given;
mod interleaving;
mod suite;
mod timer;

pub use broken::{BrokenSink, broken_sinks};
pub use chaos::{Chaos, Odds};
pub use decided::{GivenPolicy, GivenWorkflow};
pub use given::Given;
pub use interleaving::{Interleaving, Outside, Task};
pub use suite::{SinkCheck, SinkHarness, sink_checks};
pub use timer::{ManualTimer, SkewedTimer};
