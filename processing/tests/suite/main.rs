//! Processors, policies, workflows, systems and groups over stores in memory.

mod auditing;
mod bus;
mod by_hand;
mod deploying;
mod exactly_once;
mod failing;
mod following;
mod groups;
mod locks;
mod metrics;
mod operating;
mod pairs;
mod policies;
mod reactions;
mod rebuilding;
mod sharing;
mod soak;
mod splitting;
mod support;
mod sweeping;
mod systems;
mod tokens;
mod tracking;
mod typed;
mod view_sink;
mod workflows;
