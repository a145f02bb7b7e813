//! The list of checks.

use crate::check::Check;

mod append;
mod batch;
mod capability;
mod clients;
mod composition;
mod condition;
mod connection;
mod custom;
mod decided_race;
mod decisions;
mod dropped;
mod drops;
mod durability;
mod history;
mod judged;
mod ledger;
mod model;
mod multi;
mod name;
mod never_skips;
mod page;
mod payload;
mod position;
mod process;
mod query_condition;
mod race;
mod read;
mod refusal;
mod refusals;
mod resource;
mod runtime;
mod sequence;
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
        capability::CHECKS,
        payload::CHECKS,
        name::CHECKS,
        time::CHECKS,
        read::CHECKS,
        page::CHECKS,
        visibility::CHECKS,
        never_skips::CHECKS,
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
