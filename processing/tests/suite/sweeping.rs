//! Erasure: what a view keeps of a person is made again from events whose data is gone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::World;
use annals::{BoxError, StoredEvent};
use annals_processing::{
    Claim, Decision, EffectSweep, Effects, Processor, Reaction, View, ViewSweep, async_trait,
    reported, reset,
};
use annals_state::{
    Collection, CollectionName, Commit, DocumentId, DocumentKey, Documents, Expected, Scan,
    StateStore, Sweep, Swept, Write,
};
use futures_executor::block_on;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

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

/// What a reaction keeps as the result of an effect: who got a letter, and how many pages it had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Letter {
    to: String,
    pages: u32,
}

/// Writes letters, and makes an effect that has no result; counts both.
#[derive(Clone, Default)]
struct Writer(Arc<AtomicUsize>);

#[async_trait]
impl Reaction for Writer {
    async fn handle(&self, event: &StoredEvent, effects: &Effects<'_>) -> Result<(), BoxError> {
        let to = format!("{}-secret", event.stream.name.as_str());
        let made = || self.0.fetch_add(1, Ordering::SeqCst);
        effects
            .once("letter", |_| async move {
                made();
                Ok(Letter { to, pages: 2 })
            })
            .await?;
        effects
            .once("bell", |_| async move {
                made();
                Ok(())
            })
            .await
    }
}

async fn letters(world: &World) -> Vec<String> {
    let scan = Scan::along_ids(CollectionName::from_static("annals.effects"));
    let found = world.state.scan(scan).try_concat().await.unwrap();
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    found.iter().map(|one| text(one.document.body.as_bytes())).collect()
}

#[test]
fn results_of_effects_forget_the_subject_and_no_effect_is_made_again() {
    block_on(async {
        let world = World::new();
        for stream in ["c-1", "c-2", "c-1"] {
            world.append(stream, &["named"]).await;
        }
        let writer = Writer::default();
        let reaction = || {
            let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
            Processor::reaction("letters", &world.store, state, writer.clone(), timer).unwrap()
        };
        reaction().settle().await.unwrap();
        assert_eq!(writer.0.load(Ordering::SeqCst), 6);
        let about = |letters: &[String], who: &str| {
            letters.iter().filter(|letter| letter.contains(who)).count()
        };
        let before = letters(&world).await;
        assert_eq!((about(&before, "c-1-secret"), about(&before, "c-2-secret")), (2, 1));

        let sweep = EffectSweep::new(Arc::clone(&world.state), |subject, letter: &mut Letter| {
            let concerns = letter.to.contains(subject);
            if concerns {
                "nobody".clone_into(&mut letter.to);
            }
            concerns
        });
        assert_eq!(sweep.forget("c-1").await.unwrap(), Swept::new(6, 2));
        let after = letters(&world).await;
        assert_eq!((about(&after, "c-1"), about(&after, "c-2-secret")), (0, 1));
        assert_eq!(about(&after, r#""pages":2"#), 3, "the rest of a result stays");
        assert_eq!(sweep.forget("c-1").await.unwrap(), Swept::new(6, 0), "nothing more");

        // All events again: what was done is known, also what had no result.
        reset(&*world.state, &Claim::new("letters").unwrap()).await.unwrap();
        reaction().settle().await.unwrap();
        assert_eq!(writer.0.load(Ordering::SeqCst), 6);
    });
}

#[test]
fn the_last_error_of_a_processor_is_removed_from_what_it_reported() {
    block_on(async {
        let world = World::new();
        let view = Names::default();
        let status = |processor: &str, error: &str| {
            let key = DocumentKey::new("annals.status", format!("{processor}/log/whole")).unwrap();
            let body = serde_json::json!({
                "claim": format!("{processor}/log/whole"),
                "node": "00000000-0000-0000-0000-000000000001",
                "status": {
                    "phase": "failed", "tracked": 3, "head": 4, "behind": { "secs": 0, "nanos": 0 },
                    "applied": 3, "skipped": 0, "retries": 1, "parked": 0, "error": error,
                },
            });
            let body = annals::Payload::json(&body).unwrap();
            Write::put(key, body, Expected::Absent)
        };
        let writes = [status("names", "no c-1-secret here"), status("others", "c-1-secret")];
        world.state.commit(Commit::new(writes)).await.unwrap();
        assert_eq!(sweep(&world, &view).forget("c-1").await.unwrap(), Swept::new(1, 1));
        assert_eq!(sweep(&world, &view).forget("c-1").await.unwrap(), Swept::new(1, 0));
        let said = |name: &'static str| {
            let state = Arc::clone(&world.state);
            async move { reported(&*state, Some(name), 1).await.unwrap().remove(0).status }
        };
        let names = said("names").await;
        assert_eq!((names.error.as_deref(), names.applied), (Some("forgotten"), 3));
        assert_eq!(said("others").await.error.as_deref(), Some("c-1-secret"));
    });
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
