//! Seats of a course and courses of a student: decisions over two queries, with racing enrolments.
//! The story itself is in `src/course_enrolment.rs`.
//!
//! `cargo run --release --example course_enrolment -- [--store STORE]`

use std::process::ExitCode;

use annals_examples::{course_enrolment, story};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    story::run("course_enrolment", course_enrolment::story).await
}
