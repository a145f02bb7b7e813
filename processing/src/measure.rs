//! Metrics, through the facade of the crate `metrics`. Without the feature `metrics` nothing is measured.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `annals_processor_events_total` | counter | events that were applied |
//! | `annals_processor_batch_seconds` | histogram | how long a batch took, its commit included |
//! | `annals_processor_lag_events` | gauge | how many numbers of the log it is behind |
//! | `annals_processor_behind_seconds` | gauge | how long it has not been at the head |
//! | `annals_processor_parked` | gauge | how many sequences are parked |
//! | `annals_processor_retries_total` | counter | how often a store was tried again |
//! | `annals_processor_conflicts_total` | counter | how often a commit was lost to another one |
//! | `annals_processor_handler_errors_total` | counter | how often a handler failed |
//!
//! Each has the labels `processor` and `partition`. Of a node of a group, with the label `processor`:
//!
//! | name | kind | what |
//! |---|---|---|
//! | `annals_group_nodes` | gauge | how many nodes live, as this one sees them |
//! | `annals_group_parts` | gauge | how many parts it works on |
//! | `annals_group_taken_total` | counter | how often it took a part |
//! | `annals_group_beats_failed_total` | counter | how often its beat failed |

#[cfg(feature = "metrics")]
pub(crate) use on::{
    batch, beat, beat_failed, conflict, handler_failed, part_taken, progress, retry,
};

#[cfg(feature = "metrics")]
mod on {
    use std::time::Duration;

    use metrics::{Label, counter, gauge, histogram};

    use crate::claim::Claim;
    use crate::status::Status;

    fn labels(claim: &Claim) -> Vec<Label> {
        let partition = claim.partition().number().to_string();
        vec![
            Label::new("processor", claim.processor().to_owned()),
            Label::new("partition", partition),
        ]
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn progress(claim: &Claim, status: &Status) {
        gauge!("annals_processor_lag_events", labels(claim)).set(status.lag() as f64);
        let behind = status.behind.as_secs_f64();
        gauge!("annals_processor_behind_seconds", labels(claim)).set(behind);
        gauge!("annals_processor_parked", labels(claim)).set(status.parked as f64);
    }

    pub(crate) fn batch(claim: &Claim, events: usize, took: Duration) {
        counter!("annals_processor_events_total", labels(claim)).increment(events as u64);
        histogram!("annals_processor_batch_seconds", labels(claim)).record(took.as_secs_f64());
    }

    pub(crate) fn retry(claim: &Claim) {
        counter!("annals_processor_retries_total", labels(claim)).increment(1);
    }

    pub(crate) fn conflict(claim: &Claim) {
        counter!("annals_processor_conflicts_total", labels(claim)).increment(1);
    }

    pub(crate) fn handler_failed(claim: &Claim) {
        counter!("annals_processor_handler_errors_total", labels(claim)).increment(1);
    }

    fn label(claim: &Claim) -> Vec<Label> {
        vec![Label::new("processor", claim.processor().to_owned())]
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn beat(claim: &Claim, nodes: usize, parts: usize) {
        gauge!("annals_group_nodes", label(claim)).set(nodes as f64);
        gauge!("annals_group_parts", label(claim)).set(parts as f64);
    }

    pub(crate) fn beat_failed(claim: &Claim) {
        counter!("annals_group_beats_failed_total", label(claim)).increment(1);
    }

    pub(crate) fn part_taken(claim: &Claim) {
        counter!("annals_group_taken_total", label(claim)).increment(1);
    }
}

#[cfg(not(feature = "metrics"))]
pub(crate) use off::{
    batch, beat, beat_failed, conflict, handler_failed, part_taken, progress, retry,
};

#[cfg(not(feature = "metrics"))]
mod off {
    use std::time::Duration;

    use crate::claim::Claim;
    use crate::status::Status;

    pub(crate) fn progress(_: &Claim, _: &Status) {}
    pub(crate) fn batch(_: &Claim, _: usize, _: Duration) {}
    pub(crate) fn retry(_: &Claim) {}
    pub(crate) fn conflict(_: &Claim) {}
    pub(crate) fn handler_failed(_: &Claim) {}
    pub(crate) fn beat(_: &Claim, _: usize, _: usize) {}
    pub(crate) fn beat_failed(_: &Claim) {}
    pub(crate) fn part_taken(_: &Claim) {}
}
