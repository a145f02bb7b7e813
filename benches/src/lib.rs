//! Measures Annals: whole systems beside the limits of the same machine in the same run, and its parts alone.
//!
//! ```text
//! cargo run --release -p annals-benches -- compare --quick
//! cargo bench -p annals-benches
//! ```
//!
//! # How to read a comparison
//! Absolute figures depend on the machine and on the hour. What counts is the ratio to a **limit**: bare code that
//! does no more than the work which cannot be avoided, with the same bytes, in the same process, its repetitions
//! interleaved with those of the stores. A ratio above 1 is possible where a store does the work in a better way
//! than the bare code, as when many appends share one commit.
//!
//! | workload | what it does | unit |
//! |---|---|---|
//! | W1 | 1 event per append, each writer on a stream of its own under a position condition | appends/s |
//! | W2 | the same with 10 events | events/s |
//! | W3 | 32 writers on one stream, each repeats a refused append at the position that the error tells | appends/s |
//! | W4 | one reader of the whole log | events/s |
//! | W5 | one reader of whole streams of 10 and of 1,000 events, at random | streams/s |
//! | W6 | a fold of events that lie in memory | events/s |
//! | W7 | W1 by one writer at a log of 10³, 10⁴, … events | appends/s |
//!
//! Each figure is the median of several repetitions after one that is not counted, with the least and the greatest;
//! latencies are those of single calls. `peak` is by how much the memory of the process grew at most during a scan.
//!
//! # What is not comparable
//! The limits check no condition, find no duplicate and keep no order. Of the peers, each row tells what they
//! promise: a store whose readers may skip events, or that numbers no events, does less work.

#![allow(clippy::disallowed_methods, reason = "measuring reads the clock")]

pub mod annals_store;
pub mod contestant;
pub mod limits;
pub mod machine;
pub mod measure;
pub mod page;
pub mod report;
pub mod run;
pub mod sample;
pub mod workload;
