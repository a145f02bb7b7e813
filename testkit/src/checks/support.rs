//! What several checks share.

pub(super) mod composed_conditions;
pub(super) mod condition_world;
pub(super) mod decided_races;
pub(super) mod dropped_appends;
pub(super) mod judged_conditions;
pub(super) mod ledger;
pub(super) mod polled_follow;
pub(super) mod polled_read;
pub(super) mod predicates;
pub(super) mod racing_clients;
pub(super) mod random_decisions;
pub(super) mod read_world;
pub(super) mod refused_calls;
pub(super) mod unmet_conditions;
