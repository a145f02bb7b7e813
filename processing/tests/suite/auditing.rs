//! Audits, once and in the background.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::support::{Count, Counts, SECOND, World, number};
use annals::{BoxError, EventStore, StoredEvent};
use annals_processing::{
    Audit, Audited, Claim, Decision, ProcessingError, Services, Stopping, Timer, View,
};
use annals_state::{Collection, DocumentId, Expected};
use annals_testkit::processing::{Chaos, Odds};
use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

fn audit(world: &World) -> Audit<Counts> {
    let claim = Claim::new("counts").unwrap();
    let timer = world.timer.clone();
    Audit::new(&world.store, Counts::default(), world.documents(), claim, timer)
}

#[test]
fn s4_an_audit_of_a_right_view_finds_nothing_also_while_it_moves_and_with_parked_sequences() {
    block_on(async {
        let world = World::new();
        world.append_many(30, 3).await;
        world.append("s-1", &["poison", "counted"]).await;
        world.append("s-0", &["end"]).await;
        let mut processor = world.processor().with_errors(|_| Decision::Park);
        processor.settle().await.unwrap();
        // Events that are not applied yet are no difference.
        world.append_many(9, 3).await;
        let audited = audit(&world).run().await.unwrap();
        assert_eq!(audited.differences, []);
        assert_eq!((audited.compared, audited.moving, audited.failed), (4, 0, 0));
        let mut all = 0;
        for nth in 0..3 {
            all += audit(&world).with_bucket(nth, 3).unwrap().run().await.unwrap().compared;
        }
        assert_eq!(all, 4, "the buckets are all of it");
        assert!(audit(&world).with_bucket(3, 3).is_err());
    });
}

#[test]
fn s4_an_audit_names_the_document_and_the_first_event_that_is_wrong_in_it() {
    block_on(async {
        let world = World::new();
        world.append_many(9, 3).await;
        world.processor().settle().await.unwrap();
        // Somebody put an old state of s-1 back: that of before event 8.
        let documents = world.documents();
        let old = Count { events: 2, order: 2 * 31 + 5 };
        let found = documents.get("s-1").await.unwrap().unwrap();
        let write = documents.write_at("s-1", &old, Expected::Is(found.revision), found.at);
        documents.commit([write.unwrap()]).await.unwrap();
        // And one that never was; and took one away; and made one up.
        let found = documents.get("s-2").await.unwrap().unwrap();
        let strange = Count { events: 99, order: 0 };
        documents.put("s-2", &strange, Expected::Is(found.revision)).await.unwrap();
        documents.delete("s-0", Expected::Any).await.unwrap();
        documents.put("stray", &strange, Expected::Absent).await.unwrap();
        let audited = audit(&world).run().await.unwrap();
        let found: Vec<_> = audited
            .differences
            .iter()
            .map(|one| {
                (
                    one.id.as_str(),
                    one.is_stored,
                    one.is_made,
                    one.first.map(annals::SequenceNumber::value),
                )
            })
            .collect();
        let expected = [
            ("s-0", false, true, Some(1)),
            ("s-1", true, true, Some(8)),
            ("s-2", true, true, Some(3)),
            ("stray", true, false, None),
        ];
        assert_eq!(found, expected);
        assert_eq!(audited.differences[1].until, number(8));
    });
}

/// A sweep bucket by bucket: a thousand documents of five thousand were changed by hand.
#[test]
fn s4_a_sweep_finds_each_of_a_thousand_documents_that_differ_and_no_other() {
    block_on(async {
        let world = World::new();
        world.append_many(5_000, 2_500).await;
        world.processor().settle().await.unwrap();
        let documents = world.documents();
        let mut changed = BTreeSet::new();
        for nth in 0..1_000 {
            let id = format!("s-{}", nth * 5 / 2);
            let found = documents.get(&*id).await.unwrap().unwrap();
            match nth % 3 {
                0 => {
                    documents.delete(&*id, Expected::Any).await.unwrap();
                }
                kind => {
                    let wrong = Count { events: found.value.events + kind, ..found.value };
                    let expected = Expected::Is(found.revision);
                    let write = documents.write_at(&*id, &wrong, expected, found.at).unwrap();
                    documents.commit([write]).await.unwrap();
                }
            }
            changed.insert(id);
        }
        assert_eq!(changed.len(), 1_000);
        let (mut found, mut compared) = (BTreeSet::new(), 0);
        for nth in 0..40 {
            let audited = audit(&world).with_bucket(nth, 40).unwrap().run().await.unwrap();
            compared += audited.compared;
            found.extend(audited.differences.iter().map(|one| one.id.as_str().to_owned()));
        }
        assert_eq!(found, changed);
        assert_eq!(compared, 2_501);
    });
}

/// A timer that is moved by work and by sleep, and counts both.
#[derive(Debug, Clone, Default)]
struct Ledger(Arc<Mutex<Hours>>);

#[derive(Debug, Default)]
struct Hours {
    worked: Duration,
    slept: Duration,
    longest_sleep: Duration,
}

impl Ledger {
    fn work(&self, time: Duration) {
        self.0.lock().unwrap().worked += time;
    }
}

impl Timer for Ledger {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let hours = Arc::clone(&self.0);
        let mut is_over = false;
        poll_fn(move |cx| {
            if is_over {
                return Poll::Ready(());
            }
            is_over = true;
            let mut hours = hours.lock().unwrap();
            hours.slept += time;
            hours.longest_sleep = hours.longest_sleep.max(time);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .boxed()
    }

    fn elapsed(&self) -> Duration {
        let hours = self.0.lock().unwrap();
        hours.worked + hours.slept
    }
}

/// Each event takes it a millisecond.
#[derive(Debug)]
struct Slow(Counts, Ledger);

impl View for Slow {
    type State = Count;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        self.1.work(Duration::from_millis(1));
        self.0.ids(event)
    }

    fn apply(
        &self,
        id: &DocumentId,
        count: &mut Option<Count>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        self.0.apply(id, count, event)
    }
}

/// Goes on until `is_enough` of what was found.
async fn kept_on<V: View>(audit: Audit<V>, is_enough: impl Fn(&[Audited]) -> bool) -> Vec<Audited> {
    let found = RefCell::new(Vec::new());
    let kept =
        audit.keep_on(Stopping::default(), |audited| found.borrow_mut().push(audited.clone()));
    {
        let mut kept = pin!(kept);
        poll_fn(|cx| {
            if let Poll::Ready(ended) = kept.as_mut().poll(cx) {
                panic!("it goes on until it is stopped: {ended:?}");
            }
            if is_enough(&found.borrow()) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    found.into_inner()
}

#[test]
fn s4_an_audit_in_the_background_takes_one_hundredth_of_the_time() {
    block_on(async {
        let world = World::new();
        world.append_many(3_000, 30).await;
        world.processor().settle().await.unwrap();
        let worked = |share: Option<f64>| {
            let ledger = Ledger::default();
            let view = Slow(Counts::default(), ledger.clone());
            let claim = Claim::new("counts").unwrap();
            let audit = Audit::new(&world.store, view, world.documents(), claim, ledger.clone());
            let audit = match share {
                Some(share) => audit.with_share(share).unwrap(),
                None => audit,
            };
            async move {
                let found = kept_on(audit, |found| found.len() == 3).await;
                assert!(
                    found.iter().all(|found| found.compared == 31 && found.differences.is_empty())
                );
                let hours = ledger.0.lock().unwrap();
                assert_eq!(hours.worked, Duration::from_secs(9), "three sweeps of 3,000 events");
                let share = hours.worked.as_secs_f64() / (hours.worked + hours.slept).as_secs_f64();
                (share, hours.longest_sleep)
            }
        };
        let (share, longest) = worked(None).await;
        assert!(share <= 0.01, "{share}");
        assert!(share > 0.009, "it works for what it may: {share}");
        assert!(longest < Duration::from_secs(3_000 * 99 / 1_000), "it rests after each page");
        let (share, _) = worked(Some(0.25)).await;
        assert!((0.2..=0.25).contains(&share), "{share}");
        for wrong in [0.0, -1.0, 1.1, f64::NAN] {
            assert!(matches!(audit(&world).with_share(wrong), Err(ProcessingError::Misuse(_))));
        }
    });
}

/// Two buckets are made of the one that is too large. Each document that differs is found in one sweep.
#[test]
fn s4_an_audit_in_the_background_takes_smaller_buckets_of_a_large_view() {
    block_on(async {
        let world = World::new();
        world.append_many(20_010, 20_010).await;
        world.processor().settle().await.unwrap();
        let once = audit(&world).run().await;
        assert!(matches!(once, Err(ProcessingError::Misuse(_))), "{once:?}");
        let documents = world.documents();
        for id in ["s-7", "s-11000"] {
            documents.delete(id, Expected::Any).await.unwrap();
        }
        let ledger = Ledger::default();
        let claim = Claim::new("counts").unwrap();
        let view = Counts::default();
        let audit = Audit::new(&world.store, view, world.documents(), claim, ledger);
        let found = kept_on(audit, |found| found.len() == 2).await;
        let compared: usize = found.iter().map(|found| found.compared).sum();
        assert_eq!(compared, 20_011, "the documents of all streams and the total");
        let ids: BTreeSet<&str> = found
            .iter()
            .flat_map(|found| found.differences.iter().map(|one| one.id.as_str()))
            .collect();
        assert_eq!(ids, BTreeSet::from(["s-11000", "s-7"]));
    });
}

#[test]
fn s4_an_audit_in_the_background_outlives_stores_that_are_away_and_stops_when_asked() {
    let world = World::new();
    block_on(async {
        world.append_many(40, 4).await;
        world.processor().settle().await.unwrap();
    });
    for seed in 0..20 {
        let state = Chaos::new(Arc::clone(&world.state), seed, Odds::WILD);
        let log = Chaos::new(world.adapter.clone(), seed, Odds::WILD);
        let documents = Collection::new("counts").unwrap().on(Arc::new(state));
        let claim = Claim::new("counts").unwrap();
        let store = EventStore::new(log);
        let timer = world.timer.clone();
        let audit = Audit::new(&store, Counts::default(), documents, claim, timer.clone());
        let mut tasks = world.tasks(seed);
        let sweeps = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&sweeps);
        let services = Services::new(timer)
            .add("audit", |stopping| async move {
                let found = |found: &Audited| {
                    assert_eq!((found.compared, found.differences.len()), (5, 0));
                    *counted.lock().unwrap() += 1;
                };
                Ok(audit.keep_on(stopping, found).await?)
            })
            .unwrap();
        let handle = services.handle();
        let timer = world.timer.clone();
        tasks.block_on(async move {
            let rest = async {
                while *sweeps.lock().unwrap() < 10 {
                    timer.sleep(SECOND).await;
                }
                handle.stop();
            };
            let (ended, ()) = futures_util::future::join(services.run(), rest).await;
            ended.unwrap();
        });
    }
}
