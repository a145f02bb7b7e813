//! The list of checks.

use crate::check::Check;

mod append;
mod batch;
mod capability;
mod clients;
mod close;
mod composition;
mod condition;
mod connection;
mod crowd;
mod custom;
mod decided_race;
mod decisions;
mod dropped;
mod drops;
mod durability;
mod follow;
mod following;
mod gated;
mod history;
mod ids;
mod judged;
mod ledger;
mod model;
mod multi;
mod name;
mod never_skips;
mod page;
mod partial;
mod payload;
mod position;
mod process;
mod query;
mod query_condition;
mod race;
mod read;
mod reading;
mod refusal;
mod refusals;
mod resource;
mod runtime;
mod scan;
mod sequence;
mod through;
mod time;
mod visibility;
mod world;

/// Every check, in the order of reports.
pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    [
        append::CHECKS,
        batch::CHECKS,
        position::CHECKS,
        sequence::CHECKS,
        multi::CHECKS,
        condition::CHECKS,
        query_condition::CHECKS,
        custom::CHECKS,
        race::CHECKS,
        crowd::CHECKS,
        capability::CHECKS,
        payload::CHECKS,
        name::CHECKS,
        time::CHECKS,
        read::CHECKS,
        query::CHECKS,
        page::CHECKS,
        through::CHECKS,
        ids::CHECKS,
        visibility::CHECKS,
        partial::CHECKS,
        never_skips::CHECKS,
        gated::CHECKS,
        follow::CHECKS,
        close::CHECKS,
        runtime::CHECKS,
        resource::CHECKS,
        dropped::CHECKS,
        connection::CHECKS,
        durability::CHECKS,
        process::CHECKS,
        model::CHECKS,
        history::CHECKS,
    ]
    .into_iter()
    .flatten()
}
