//! The list of checks.

use crate::storage::Check;

mod append;
mod batch;
mod behind;
mod burst;
mod capability;
mod close;
mod condition;
mod connection;
mod crowd;
mod custom;
mod dropped;
mod durability;
mod follow;
mod followers;
mod gated;
mod histories;
mod history;
mod ids;
mod large;
mod meeting;
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
mod resource;
mod runtime;
mod scopes;
mod sequence;
mod steps;
mod support;
mod through;
mod time;
mod visibility;
mod wide;

/// Every check, in the order of reports.
pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    [
        append::CHECKS,
        batch::CHECKS,
        burst::CHECKS,
        behind::CHECKS,
        large::CHECKS,
        wide::CHECKS,
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
        steps::CHECKS,
        gated::CHECKS,
        meeting::CHECKS,
        scopes::CHECKS,
        follow::CHECKS,
        followers::CHECKS,
        close::CHECKS,
        runtime::CHECKS,
        resource::CHECKS,
        dropped::CHECKS,
        connection::CHECKS,
        durability::CHECKS,
        process::CHECKS,
        model::CHECKS,
        history::CHECKS,
        histories::CHECKS,
    ]
    .into_iter()
    .flatten()
}
