//! Locks in virtual time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use crate::support::SECOND;
use annals::Payload;
use annals_memory::MemoryState;
use annals_processing::{Lock, Locks, ProcessingError, Timer};
use annals_state::{Commit, DocumentKey, Expected, StateError, StateStore, Write, get_all};
use annals_testkit::processing::{Chaos, Interleaving, ManualTimer, Odds, Task};
use futures_executor::block_on;

const DEAD_AFTER: Duration = Duration::from_secs(5);

/// Programs that lock in one store.
struct Programs {
    timer: ManualTimer,
    inner: Arc<dyn StateStore>,
    state: Chaos<Arc<dyn StateStore>>,
    tasks: Interleaving,
}

impl Programs {
    fn new(seed: u64) -> Self {
        let timer = ManualTimer::new();
        let inner: Arc<dyn StateStore> = Arc::new(MemoryState::new());
        let state = Chaos::new(Arc::clone(&inner), seed, Odds::CALM);
        Self { tasks: Interleaving::new(seed, timer.clone()), timer, inner, state }
    }

    fn program(&mut self) -> (Locks, Task) {
        let state: Arc<dyn StateStore> = Arc::new(self.state.clone());
        let begun = Locks::start_with(state, self.timer.clone(), SECOND, DEAD_AFTER);
        let (locks, keeper) = self.tasks.block_on(async move { begun.await.unwrap() });
        let task = self.tasks.spawn(keeper.run());
        (locks, task)
    }

    fn try_lock(&mut self, locks: &Locks) -> Option<Lock> {
        let locks = locks.clone();
        self.tasks.block_on(async move { locks.try_lock("import").await.unwrap() })
    }

    /// Waits for the lock; returns how long it took, too.
    fn wait_for(&mut self, locks: &Locks, timeout: Duration) -> (Option<Lock>, Duration) {
        let (locks, timer) = (locks.clone(), self.timer.clone());
        self.tasks.block_on(async move {
            let begun = timer.elapsed();
            let lock = locks.wait_for("import", timeout).await.unwrap();
            (lock, timer.elapsed().saturating_sub(begun))
        })
    }

    fn pass(&mut self, time: Duration) {
        let until = self.timer.elapsed() + time;
        while self.timer.elapsed() < until {
            assert!(self.tasks.step());
        }
    }
}

#[test]
fn q9_one_program_has_a_lock_and_a_timeout_of_another_touches_nothing() {
    let mut programs = Programs::new(1);
    let ((first, _), (second, _)) = (programs.program(), programs.program());
    let held = programs.try_lock(&first).unwrap();
    assert!(programs.try_lock(&first).is_none(), "not even to itself");
    for timeout in [SECOND * 3 / 10, SECOND, SECOND * 13 / 10, SECOND * 20] {
        let (lock, took) = programs.wait_for(&second, timeout);
        assert!(lock.is_none());
        assert_eq!(took, timeout, "1 s means 1 s");
    }
    // The holder still has it.
    let write = Write::put(
        DocumentKey::new("imported", "file").unwrap(),
        Payload::json(&1).unwrap(),
        Expected::Any,
    );
    block_on(programs.inner.commit(Commit::new([write, held.fence()]))).unwrap();
    programs.tasks.block_on(async move { held.release().await.unwrap() });
    assert!(programs.try_lock(&second).is_some());
}

#[test]
fn q9_a_lock_that_is_dropped_is_free_at_once() {
    let mut programs = Programs::new(2);
    let ((first, _), (second, _)) = (programs.program(), programs.program());
    let held = programs.try_lock(&first).unwrap();
    drop(held);
    let (lock, took) = programs.wait_for(&second, SECOND);
    assert!(lock.is_some());
    assert!(took < SECOND, "{took:?}");
}

#[test]
fn q9_a_crash_frees_a_lock_within_dead_after_and_two_beats() {
    let mut programs = Programs::new(3);
    let ((first, keeper), (second, _)) = (programs.program(), programs.program());
    let held = programs.try_lock(&first).unwrap();
    programs.pass(SECOND * 60);
    assert!(programs.try_lock(&second).is_none(), "who beats keeps it");
    programs.tasks.kill(keeper);
    std::mem::forget(held);
    let (lock, took) = programs.wait_for(&second, SECOND * 60);
    assert!(lock.is_some());
    assert!(took <= DEAD_AFTER + SECOND * 3, "{took:?}");
    assert!(took >= DEAD_AFTER.saturating_sub(SECOND), "{took:?}");
}

#[test]
fn q9_a_holder_that_was_stopped_for_long_is_fenced() {
    let mut programs = Programs::new(4);
    let ((first, keeper), (second, _)) = (programs.program(), programs.program());
    let held = programs.try_lock(&first).unwrap();
    programs.tasks.freeze(keeper);
    let (lock, _) = programs.wait_for(&second, SECOND * 60);
    let lock = lock.unwrap();
    programs.tasks.thaw(keeper);
    programs.pass(SECOND * 3);
    let write = |fence| {
        let key = DocumentKey::new("imported", "file").unwrap();
        Commit::new([Write::put(key, Payload::json(&1).unwrap(), Expected::Any), fence])
    };
    let late = block_on(programs.inner.commit(write(held.fence())));
    assert!(matches!(late, Err(StateError::Conflict(_))), "{late:?}");
    block_on(programs.inner.commit(write(lock.fence()))).unwrap();
    let released = programs.tasks.block_on(async move { held.release().await });
    assert!(matches!(released, Err(ProcessingError::Fenced { .. })), "{released:?}");
    // That took nothing from the new holder.
    block_on(programs.inner.commit(write(lock.fence()))).unwrap();
}

#[test]
fn q9_without_its_keeper_nothing_is_locked() {
    let mut programs = Programs::new(5);
    let (locks, keeper) = programs.program();
    locks.stop();
    programs.tasks.steps(100);
    assert!(!programs.tasks.is_running(keeper));
    let tried = programs.tasks.block_on(async move { locks.try_lock("import").await });
    assert!(matches!(tried, Err(ProcessingError::Ended)));
    let (locks, _) = programs.program();
    let wrong = programs.tasks.block_on(async move { locks.try_lock("a/b").await });
    assert!(matches!(wrong, Err(ProcessingError::Misuse(_))));
}

/// Adds one to a number under the lock, in two commits: who has read it in between would lose one.
async fn count(locks: &Locks, state: &dyn StateStore, timer: &ManualTimer) -> bool {
    let Ok(Some(lock)) = locks.wait_for("import", SECOND * 30).await else { return false };
    let key = DocumentKey::new("counted", "number").unwrap();
    let Ok(found) = get_all(state, vec![key.clone()]).await else { return false };
    let before: u64 = found[0].as_ref().map_or(0, |found| found.body.to_json().unwrap());
    timer.sleep(SECOND / 10).await;
    // `Any`: only the lock protects it.
    let put = Write::put(key, Payload::json(&(before + 1)).unwrap(), Expected::Any);
    let mark = DocumentKey::new("marks", annals::EventId::generate().to_string()).unwrap();
    let mark = Write::put(mark, Payload::json(&1).unwrap(), Expected::Absent);
    let is_made = state.commit(Commit::new([put, mark, lock.fence()])).await.is_ok();
    drop(lock);
    is_made
}

#[test]
fn q9_in_random_schedules_what_is_committed_under_the_fence_is_done_by_one_at_a_time() {
    for seed in 0..30 {
        let mut programs = Programs::new(seed);
        let mut running: Vec<(Task, Vec<Task>)> = Vec::new();
        for _ in 0..40 {
            if running.len() < 4 {
                let (locks, keeper) = programs.program();
                let mut tasks = Vec::new();
                for _ in 0..2 {
                    let (locks, timer) = (locks.clone(), programs.timer.clone());
                    let state = programs.state.clone();
                    tasks.push(programs.tasks.spawn(async move {
                        while count(&locks, &state, &timer).await || timer.elapsed() < SECOND * 200
                        {
                            timer.sleep(SECOND / 20).await;
                        }
                    }));
                }
                running.push((keeper, tasks));
            }
            let steps = programs.tasks.draw(300);
            programs.tasks.steps(steps);
            let nth = programs.tasks.draw(running.len());
            match programs.tasks.draw(6) {
                0 => {
                    let (keeper, tasks) = running.remove(nth);
                    programs.tasks.kill(keeper);
                    for task in tasks {
                        programs.tasks.kill(task);
                    }
                }
                1 => programs.tasks.freeze(running[nth].0),
                2 => programs.tasks.thaw(running[nth].0),
                // The start of a program and the end of the test are calm.
                3 => {
                    programs.state.set(Odds::WILD);
                    programs.tasks.steps(100);
                    programs.state.set(Odds::CALM);
                }
                _ => {}
            }
        }
        for (keeper, tasks) in running {
            programs.tasks.kill(keeper);
            for task in tasks {
                programs.tasks.kill(task);
            }
        }
        let scan =
            annals_state::Scan::along_ids(annals_state::CollectionName::from_static("marks"));
        let marks = block_on(futures_util::TryStreamExt::try_concat(programs.inner.scan(scan)));
        let key = DocumentKey::new("counted", "number").unwrap();
        let number = block_on(get_all(&programs.inner, vec![key])).unwrap().remove(0).unwrap();
        let number: u64 = number.body.to_json().unwrap();
        assert_eq!(number, marks.unwrap().len() as u64, "seed {seed}");
        assert!(number > 5, "seed {seed}: nearly nothing was done");
        // Whoever was killed: the lock is free in the end.
        let (locks, _) = programs.program();
        let (lock, _) = programs.wait_for(&locks, SECOND * 30);
        assert!(lock.is_some(), "seed {seed}");
    }
}
