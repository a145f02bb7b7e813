//! What the facade of the crate `metrics` hears of a processor (row W2), and that it is what the status says.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{Count, Counts, World};
use annals_processing::{Decision, Phase, Processor};
use annals_state::{Collection, StateStore};
use annals_testkit::processing::{Chaos, Odds};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// Keeps the last value of each metric, and of a histogram how often it was recorded.
#[derive(Debug, Default)]
struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Kept {
    fn slot(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = format!("{}{}", key.name(), labels.collect::<String>());
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    fn bits(&self, name: &str) -> u64 {
        let name = format!("annals_processor_{name} processor=counts partition=0");
        let kept = self.0.lock().unwrap();
        let slot = kept.get(&name).unwrap_or_else(|| panic!("{name} of {kept:?}"));
        slot.load(Ordering::SeqCst)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.bits(name))
    }
}

struct Records(Arc<AtomicU64>);

impl HistogramFn for Records {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.slot(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.slot(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Records(self.slot(key))))
    }
}

#[test]
fn w2_metrics_say_what_the_status_says() {
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || {
        let world = World::new();
        let mut tasks = world.tasks(1);
        let odds = Odds { unavailable: 0.2, ..Odds::CALM };
        let state: Arc<dyn StateStore> = Arc::new(Chaos::new(Arc::clone(&world.state), 1, odds));
        let documents = Collection::<Count>::new("counts").unwrap().on(state);
        let (view, timer) = (Counts::default(), world.timer.clone());
        let processor = Processor::view("counts", &world.store, documents, view, timer).unwrap();
        let processor = processor.with_batch(4, 1 << 20).with_errors(|_| Decision::Park);
        let handle = processor.handle();
        tasks.spawn(async move { processor.run().await.unwrap() });
        let (same, seen) = (world.clone(), handle.clone());
        tasks.block_on(async move {
            same.append_many(30, 3).await;
            same.append("s-1", &["poison", "counted"]).await;
            let last = same.append("s-0", &["counted"]).await;
            let number = last.last().unwrap().sequence_number;
            seen.wait(number, std::time::Duration::from_secs(3_600)).await.unwrap();
        });
        let status = handle.status();
        assert_eq!((status.applied, status.parked), (31, 1));
        assert!(status.retries > 0 && status.phase != Phase::Failed, "{status:?}");
        assert_eq!(kept.bits("events_total"), status.applied);
        assert_eq!(kept.bits("retries_total"), status.retries);
        // Once more for each time that the commit which parked it failed.
        assert!(kept.bits("handler_errors_total") >= 1);
        assert!(kept.bits("batch_seconds") >= 8, "31 events, at most 4 in a batch");
        assert_eq!(kept.gauge("parked").to_bits(), 1.0_f64.to_bits());
        assert_eq!(kept.gauge("lag_events").to_bits(), 0.0_f64.to_bits());
        assert!(kept.gauge("behind_seconds") >= 0.0);
    });
}
