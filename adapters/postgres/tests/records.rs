//! The records of the adapter: how many appends share a commit, and how long it took.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use annals::{EventStore, NewEvent, StreamId, WriteCondition};
use futures_util::future::join_all;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use common::{fresh, open, options, server};

/// The name of each record with the number of appends that it names.
#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<(&'static str, u64)>>>);

#[derive(Default)]
struct Appends(u64);

impl Visit for Appends {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "appends" {
            self.0 = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl<S: tracing::Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut appends = Appends::default();
        event.record(&mut appends);
        self.0.lock().unwrap().push((event.metadata().name(), appends.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_commits_are_recorded() {
    let Some(url) = server().await else { return };
    let records = Records::default();
    // The writer has a thread of its own.
    let subscriber = tracing_subscriber::registry().with(records.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let store = EventStore::new(open(options(&url, &fresh()).unwrap()).await);
    let appends = (0..40).map(|nth| {
        let stream = store.stream(StreamId::new("orders", format!("o-{nth}")).unwrap());
        async move {
            let event = NewEvent::json("placed", &nth).unwrap();
            stream.append([event], WriteCondition::StreamIsEmpty).await
        }
    });
    for made in join_all(appends).await {
        made.unwrap();
    }
    let records = records.0.lock().unwrap().clone();
    let of = |name: &str| {
        let appends = records.iter().filter(|record| record.0 == name).map(|record| record.1);
        appends.collect::<Vec<_>>()
    };
    assert_eq!(of("annals.group").iter().sum::<u64>(), 40, "{records:?}");
    assert!(
        of("annals.committed").iter().sum::<u64>() >= 40,
        "a group may be tried again: {records:?}"
    );
    assert!(!of("annals.connection").is_empty());
}
