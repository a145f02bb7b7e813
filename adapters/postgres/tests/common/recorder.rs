//! What adapters record, kept for a test that fails.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, Once};

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The last records of all adapters of these tests, with the time of each.
pub(crate) fn records() -> Vec<String> {
    RECORDS.lock().unwrap().1.iter().cloned().collect()
}

static RECORDS: Mutex<(Option<Instant>, VecDeque<String>)> = Mutex::new((None, VecDeque::new()));

struct Recorder;

impl<S: tracing::Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                let _ = write!(self.0, " {field}={value:?}");
            }
        }
        let mut records = RECORDS.lock().unwrap();
        let since = records.0.get_or_insert_with(Instant::now).elapsed();
        let mut text = Text(format!("{since:.3?} {}", event.metadata().name()));
        event.record(&mut text);
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        records.1.push_back(text.0 + " on " + &name);
        if records.1.len() > 200 {
            records.1.pop_front();
        }
    }
}

/// Begins to record.
pub(crate) fn record() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Recorder);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}
