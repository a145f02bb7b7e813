//! A suite for locks over any state store: one holder at a time, and what one that lost the lock can still do.

use std::sync::Arc;
use std::time::Duration;

use annals::Payload;
use annals_processing::{Lock, Locks, ProcessingError, Timer};
use annals_state::{Commit, DocumentKey, Expected, StateError, StateStore, Write};

use super::bent::{Gate, Through, Way, What};
use super::chaos::{Chaos, Odds};
use super::check::{SeededCheck, checks};
use super::group_bench::{BEAT, DEAD_AFTER, Seat, text};
use super::interleaving::{Interleaving, Task};
use super::timer::{ManualTimer, SkewedTimer};

/// How the suite of locks makes stores. Time is virtual, as for [`GroupHarness`](super::GroupHarness).
pub trait LockHarness: Send + Sync {
    /// A state store that is empty.
    fn state(&self) -> Arc<dyn StateStore>;

    /// The store as a program sees it. A harness of a wrong program wraps it; others leave it as it is.
    fn seen(&self, seat: &Seat, state: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        let _ = seat;
        state
    }
}

/// A check of locks.
pub type LockCheck = SeededCheck<dyn LockHarness>;

/// All checks.
#[must_use]
pub fn lock_checks() -> &'static [LockCheck] {
    checks! { LockCheck:
        "lock.exclusive" exclusive "one program has a lock; a timeout is exact, and takes nothing from the holder";
        "lock.race" race "of two that take a lock at the same moment one has it";
        "lock.dropped" dropped "a lock that is dropped is free at once, and so is one whose call was dropped at any await";
        "lock.crash" crash "a crash frees a lock within dead_after and three beats, and not before";
        "lock.fence" fence "a holder that was stopped for long cannot commit under its fence, and takes nothing from the next one";
        "lock.returns" returns "a holder that comes back in time keeps the lock, also if a claim is on its way";
        "lock.clocks" clocks "clocks that are years apart free no lock";
    }
}

struct Program {
    locks: Locks,
    keeper: Task,
    gate: Arc<Gate>,
    /// The store as the program sees it.
    state: Arc<dyn StateStore>,
}

struct Bench<'a> {
    harness: &'a dyn LockHarness,
    state: Arc<dyn StateStore>,
    timer: ManualTimer,
    tasks: Interleaving,
    programs: usize,
}

impl<'a> Bench<'a> {
    fn new(harness: &'a dyn LockHarness, seed: u64) -> Self {
        let timer = ManualTimer::new();
        let tasks = Interleaving::new(seed, timer.clone());
        let state = Chaos::new(harness.state(), seed, Odds::CALM).with_outside(tasks.outside());
        Self { harness, state: Arc::new(state), timer, tasks, programs: 0 }
    }

    fn program(&mut self) -> Result<Program, String> {
        self.program_with(self.timer.skewed(Duration::ZERO, 1_000))
    }

    fn program_with(&mut self, clock: SkewedTimer) -> Result<Program, String> {
        let seat = Seat { nth: self.programs, version: 1, clock: clock.clone() };
        self.programs += 1;
        let seen = self.harness.seen(&seat, Arc::clone(&self.state));
        let gate = Arc::new(Gate::default());
        let state = Through::store(seen, Arc::clone(&gate));
        let begun = Locks::start_with(Arc::clone(&state), clock, BEAT, DEAD_AFTER);
        let (locks, keeper) = self.tasks.block_on(begun).map_err(text)?;
        let keeper = self.tasks.spawn(keeper.run());
        Ok(Program { locks, keeper, gate, state })
    }

    fn try_lock(&mut self, program: &Program) -> Result<Option<Lock>, String> {
        let locks = program.locks.clone();
        self.tasks.block_on(async move { locks.try_lock("import").await }).map_err(text)
    }

    fn lock(&mut self, program: &Program) -> Result<Lock, String> {
        self.try_lock(program)?.ok_or_else(|| "a lock that is free is not taken".into())
    }

    /// Waits for the lock; returns how long it took, too.
    fn wait_for(
        &mut self,
        program: &Program,
        timeout: Duration,
    ) -> Result<(Option<Lock>, Duration), String> {
        let (locks, timer) = (program.locks.clone(), self.timer.clone());
        let waited = self.tasks.block_on(async move {
            let begun = timer.elapsed();
            let lock = locks.wait_for("import", timeout).await?;
            Ok::<_, ProcessingError>((lock, timer.elapsed().saturating_sub(begun)))
        });
        waited.map_err(text)
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let until = self.timer.elapsed() + time;
        while self.timer.elapsed() < until {
            if !self.tasks.step() {
                return Err("nothing runs any more".into());
            }
        }
        Ok(())
    }

    /// Commits something under the fence of a lock.
    fn commit(&mut self, program: &Program, lock: &Lock) -> Result<Result<(), StateError>, String> {
        let key = DocumentKey::new("imported", "file").map_err(text)?;
        let put = Write::put(key, Payload::bytes(""), Expected::Any);
        let (state, commit) = (Arc::clone(&program.state), Commit::new([put, lock.fence()]));
        Ok(self.tasks.block_on(async move { state.commit(commit).await }))
    }

    fn release(&mut self, lock: Lock) -> Result<(), ProcessingError> {
        self.tasks.block_on(async move { lock.release().await })
    }
}

fn exclusive(harness: &dyn LockHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let (first, second) = (bench.program()?, bench.program()?);
    let held = bench.lock(&first)?;
    if bench.try_lock(&first)?.is_some() {
        return Err("a program has a lock twice".into());
    }
    for millis in [300, 1_000, 1_300, 20_000] {
        let timeout = Duration::from_millis(millis);
        let (lock, took) = bench.wait_for(&second, timeout)?;
        if lock.is_some() || took != timeout {
            return Err(format!("a wait of {timeout:?} for a held lock: {lock:?} after {took:?}"));
        }
    }
    bench
        .commit(&first, &held)?
        .map_err(|error| format!("the holder has lost the lock: {error}"))?;
    bench.release(held).map_err(text)?;
    bench.lock(&second).map(drop)
}

fn race(harness: &dyn LockHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let (first, second) = (bench.program()?, bench.program()?);
    first.gate.next(What::Lock, Way::Hold);
    let (locks, taken) = (first.locks.clone(), Arc::new(std::sync::Mutex::new(None)));
    let slot = Arc::clone(&taken);
    bench.tasks.spawn(async move {
        let outcome = locks.try_lock("import").await;
        *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(outcome);
    });
    for _ in 0..10_000 {
        if first.gate.held() == 1 {
            break;
        }
        bench.tasks.step();
    }
    let held = bench.lock(&second)?;
    first.gate.open();
    bench.pass(BEAT)?;
    let outcome = taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    match outcome {
        Some(Ok(None)) => {}
        outcome => return Err(format!("who came later: {outcome:?}")),
    }
    bench.commit(&second, &held)?.map_err(text)
}

fn dropped(harness: &dyn LockHarness, seed: u64) -> Result<(), String> {
    for steps in 0..30 {
        let mut bench = Bench::new(harness, seed);
        let (first, second) = (bench.program()?, bench.program()?);
        let locks = first.locks.clone();
        // It takes the lock, holds it for ever, and is dropped after so many steps.
        let task = bench.tasks.spawn(async move {
            let _held = locks.try_lock("import").await;
            std::future::pending::<()>().await;
        });
        bench.tasks.steps(steps);
        bench.tasks.answers();
        bench.tasks.kill(task);
        let (lock, took) = bench.wait_for(&second, BEAT * 3)?;
        if lock.is_none() {
            return Err(format!("dropped after {steps} steps, it is not free after {took:?}"));
        }
    }
    Ok(())
}

fn crash(harness: &dyn LockHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let (first, second) = (bench.program()?, bench.program()?);
    let held = bench.lock(&first)?;
    bench.pass(BEAT * 30)?;
    if bench.try_lock(&second)?.is_some() {
        return Err("who beats has lost the lock".into());
    }
    bench.tasks.answers();
    bench.tasks.kill(first.keeper);
    let (lock, took) = bench.wait_for(&second, BEAT * 60)?;
    // Nothing of the program that crashed runs any more.
    std::mem::forget(held);
    let range = DEAD_AFTER.saturating_sub(BEAT)..=DEAD_AFTER + BEAT * 3;
    if lock.is_some() && range.contains(&took) {
        return Ok(());
    }
    Err(format!("after a crash: {lock:?} after {took:?}"))
}

fn fence(harness: &dyn LockHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let (first, second) = (bench.program()?, bench.program()?);
    let held = bench.lock(&first)?;
    bench.tasks.freeze(first.keeper);
    let (lock, took) = bench.wait_for(&second, BEAT * 60)?;
    let lock = lock.ok_or_else(|| format!("not free after {took:?}"))?;
    bench.tasks.thaw(first.keeper);
    bench.pass(BEAT * 3)?;
    match bench.commit(&first, &held)? {
        Err(StateError::Conflict(_)) => {}
        outcome => return Err(format!("who has lost the lock commits: {outcome:?}")),
    }
    bench.commit(&second, &lock)?.map_err(text)?;
    match bench.release(held) {
        Err(ProcessingError::Fenced { .. }) => {}
        outcome => return Err(format!("who has lost the lock releases it: {outcome:?}")),
    }
    bench.commit(&second, &lock)?.map_err(|error| format!("the next holder has lost it: {error}"))
}

fn returns(harness: &dyn LockHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let first = bench.program()?;
    bench.pass(BEAT / 2)?;
    let second = bench.program()?;
    let held = bench.lock(&first)?;
    bench.tasks.freeze(first.keeper);
    second.gate.next(What::Lock, Way::Hold);
    let locks = second.locks.clone();
    let waits = bench.tasks.spawn(async move {
        let _lock = locks.wait_for("import", BEAT * 20).await;
        std::future::pending::<()>().await;
    });
    for _ in 0..100 {
        if second.gate.held() == 1 {
            break;
        }
        bench.pass(BEAT / 10)?;
    }
    if second.gate.held() == 0 {
        return Err("the holder is not dead to who waits".into());
    }
    bench.tasks.thaw(first.keeper);
    bench.pass(BEAT * 2)?;
    second.gate.open();
    bench.pass(BEAT * 3)?;
    bench.tasks.kill(waits);
    bench
        .commit(&first, &held)?
        .map_err(|error| format!("who came back in time has lost it: {error}"))
}

fn clocks(harness: &dyn LockHarness, seed: u64) -> Result<(), String> {
    const YEAR: Duration = Duration::from_secs(31_557_600);
    let mut bench = Bench::new(harness, seed);
    let first = bench.program()?;
    bench.pass(BEAT / 2)?;
    let second = bench.program_with(bench.timer.skewed(YEAR * 30, 1_000))?;
    let held = bench.lock(&first)?;
    // Between all beats of both.
    for _ in 0..200 {
        bench.pass(BEAT / 10)?;
        if bench.try_lock(&second)?.is_some() {
            return Err("who beats has lost the lock".into());
        }
    }
    bench.commit(&first, &held)?.map_err(text)
}
