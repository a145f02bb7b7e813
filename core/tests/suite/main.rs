//! Tests of the core: laws of its types over random data, and the facade over the memory adapter.

mod bounds;
mod capabilities;
mod conditions;
mod context;
mod errors;
mod facade;
mod fuzzed;
mod names;
mod payloads;
mod projections;
mod queries;
mod retry;
mod strategies;
mod times;
