//! The rules of typed events, aggregates and decisions: one test for each, named after it.

mod applications;
mod boundaries;
mod events;
mod places;
mod remembered;
mod repositories;
mod roots;
mod snapshots;
mod upcasts;
mod world;
