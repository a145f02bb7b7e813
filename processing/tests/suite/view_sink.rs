//! The sink of views passes the suite that any sink can run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::support::stores::{Ground, Kind};
use crate::support::views::Views;
use annals_testkit::processing::sink_checks;

#[test]
fn p1_to_p10_views_pass_the_suite_of_sinks() {
    let ground = Ground::of(&[]).unwrap();
    let views = Views::new(ground, [Kind::Memory; 2], false, Duration::ZERO);
    for check in sink_checks() {
        check.run(&views, 0..60).unwrap();
    }
}
