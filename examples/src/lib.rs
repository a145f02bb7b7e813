//! What the examples are made of, so that tests can call it.

pub mod activity;
pub mod bank;
pub mod chart;
pub mod configured;
pub mod course_enrolment;
pub mod erasure;
pub mod git;
pub mod import;
pub mod integrity;
pub mod orders;
pub mod quickstart;
pub mod repository;
pub mod store;
pub mod story;
pub mod tables;
pub mod terminal;
pub mod training_school;
pub mod universe;
pub mod workflows;

/// The programs in the READMEs are tests of the documentation.
#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../../README.md")]
    mod repository {}
    #[doc = include_str!("../../adapters/memory/README.md")]
    mod memory {}
    #[doc = include_str!("../../adapters/postgres/README.md")]
    mod postgres {}
    #[doc = include_str!("../../adapters/sqlite/README.md")]
    mod sqlite {}
    #[doc = include_str!("../../domain/README.md")]
    mod domain {}
    #[doc = include_str!("../../state/README.md")]
    mod state {}
    #[doc = include_str!("../../testkit/README.md")]
    mod testkit {}
}
