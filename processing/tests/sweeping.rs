//! Erasure: what a view keeps of a person is made again from events whose data is gone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::{BoxError, StoredEvent};
use annals_processing::{Claim, Decision, Processor, View, ViewSweep};
use annals_state::{Collection, DocumentId, Documents, Expected, Sweep, Swept};
use futures_executor::block_on;
use support::World;

/// The names that the events of a stream say, and those of all streams in one document. Once the keys are gone, each
/// reads as nothing.
#[derive(Debug, Clone, Default)]
struct Names {
    is_gone: Arc<AtomicBool>,
}

impl View for Names {
    type State = Vec<String>;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::new(event.stream.name.as_str())?, DocumentId::from_static("all")])
    }

    fn apply(
        &self,
        _: &DocumentId,
        names: &mut Option<Vec<String>>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        let stream = event.stream.name.as_str();
        let is_gone = self.is_gone.load(Ordering::SeqCst) && stream == "c-1";
        if *event.name() == "poison" {
            return Err(format!("{stream} is called {stream}-secret").into());
        }
        if !is_gone {
            names.get_or_insert_default().push(format!("{stream}-secret"));
        }
        Ok(())
    }
}

fn names(world: &World) -> Documents<Vec<String>> {
    Collection::new("names").unwrap().on(Arc::clone(&world.state))
}

fn processor(world: &World, view: &Names) -> Processor {
    let timer = world.timer.clone();
    let processor =
        Processor::view("names", &world.store, names(world), view.clone(), timer).unwrap();
    processor.with_errors(|_| Decision::Park)
}

fn sweep(world: &World, view: &Names) -> ViewSweep<Names> {
    let claim = Claim::new("names").unwrap();
    let timer = world.timer.clone();
    ViewSweep::new(&world.store, view.clone(), names(world), claim, timer, |subject, stored| {
        stored.value.iter().any(|name| name.contains(subject))
    })
}

#[test]
fn documents_are_made_again_without_the_subject_and_nothing_else_changes() {
    block_on(async {
        let world = World::new();
        for _ in 0..3 {
            world.append("c-1", &["named"]).await;
            world.append("c-2", &["named"]).await;
        }
        world.append("c-1", &["poison"]).await;
        world.append("c-2", &["poison"]).await;
        let view = Names::default();
        let mut running = processor(&world, &view);
        running.settle().await.unwrap();
        let before = names(&world).get("c-2").await.unwrap().unwrap();

        view.is_gone.store(true, Ordering::SeqCst);
        let sweep = sweep(&world, &view);
        // Two documents and what the handler said of the parked sequence.
        assert_eq!(sweep.forget("c-1").await.unwrap(), Swept::new(5, 3));
        assert_eq!(names(&world).get("c-1").await.unwrap(), None);
        let all = names(&world).get("all").await.unwrap().unwrap();
        assert_eq!(all.value, vec!["c-2-secret"; 3]);
        assert_eq!(names(&world).get("c-2").await.unwrap().unwrap(), before);
        assert_eq!(sweep.forget("c-1").await.unwrap().removed, 0, "there is nothing more");

        // The processor goes on, with what it remembers of the documents.
        world.append("c-3", &["named"]).await;
        running.settle().await.unwrap();
        let all = names(&world).get("all").await.unwrap().unwrap();
        assert_eq!(all.value, ["c-2-secret", "c-2-secret", "c-2-secret", "c-3-secret"]);
    });
}

#[test]
fn a_document_that_changes_meanwhile_is_made_again() {
    for seed in 0..40 {
        let world = World::new();
        let view = Names::default();
        block_on(async {
            for _ in 0..10 {
                world.append("c-1", &["named"]).await;
                world.append("c-2", &["named"]).await;
            }
            processor(&world, &view).settle().await.unwrap();
        });
        view.is_gone.store(true, Ordering::SeqCst);
        let slow = annals_testkit::processing::Chaos::new(
            Arc::clone(&world.state),
            seed,
            annals_testkit::processing::Odds::CALM,
        );
        let slow = World { state: Arc::new(slow), ..world.clone() };
        let mut tasks = world.tasks(seed);
        let mut running = processor(&slow, &view).with_batch(1, 1);
        let same = world.clone();
        tasks.spawn(async move {
            for _ in 0..10 {
                same.append("c-2", &["named"]).await;
                running.settle().await.unwrap();
            }
        });
        let sweep = sweep(&slow, &view);
        tasks.block_on(async move { sweep.forget("c-1").await.unwrap() });
        tasks.steps(10_000);
        block_on(async {
            processor(&world, &view).settle().await.unwrap();
            let all = names(&world).get("all").await.unwrap().unwrap();
            assert_eq!(all.value, vec!["c-2-secret"; 20], "seed {seed}");
            assert_eq!(names(&world).get("c-1").await.unwrap(), None, "seed {seed}");
        });
    }
}

/// Who removes documents by hand removes them at a revision, too.
#[test]
fn a_document_that_is_gone_is_none_to_sweep() {
    block_on(async {
        let world = World::new();
        world.append("c-1", &["named"]).await;
        let view = Names::default();
        processor(&world, &view).settle().await.unwrap();
        names(&world).delete("c-1", Expected::Any).await.unwrap();
        view.is_gone.store(true, Ordering::SeqCst);
        assert_eq!(sweep(&world, &view).forget("c-1").await.unwrap(), Swept::new(1, 1));
    });
}
