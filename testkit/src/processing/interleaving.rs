//! An executor whose order a seed decides.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::timer::ManualTimer;

/// Runs futures on one thread: each step polls one of those that were woken, which one is drawn from the seed. If none was
/// woken, the timer moves on to the next moment at which a sleep ends. So no test waits, and each order is repeated by its
/// seed.
///
/// ```
/// use annals_processing::Timer;
/// use annals_testkit::processing::{Interleaving, ManualTimer};
/// use std::time::Duration;
/// let timer = ManualTimer::new();
/// let mut tasks = Interleaving::new(7, timer.clone());
/// let hour = timer.sleep(Duration::from_secs(3_600));
/// assert_eq!(tasks.block_on(async move { hour.await; 42 }), 42);
/// ```
pub struct Interleaving {
    random: StdRng,
    timer: ManualTimer,
    tasks: Vec<Running>,
    next: usize,
}

/// A future that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task(usize);

struct Running {
    task: Task,
    future: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
    is_frozen: bool,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A run that takes more steps does not end.
const MOST_STEPS: usize = 2_000_000;

impl Interleaving {
    /// Draws the order from `seed`, and moves `timer`.
    #[must_use]
    pub fn new(seed: u64, timer: ManualTimer) -> Self {
        Self { random: StdRng::seed_from_u64(seed), timer, tasks: Vec::new(), next: 0 }
    }

    /// Runs this future beside the others.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) -> Task {
        let task = Task(self.next);
        self.next += 1;
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.tasks.push(Running { task, future: Box::pin(future), woken, is_frozen: false });
        task
    }

    /// Drops a future where it is: what a kill does to it. Nothing if it has ended.
    pub fn kill(&mut self, task: Task) {
        self.tasks.retain(|running| running.task != task);
    }

    /// Lets a future stand where it is, while the others and the time go on: what a stop of its process does to it.
    pub fn freeze(&mut self, task: Task) {
        self.set_frozen(task, true);
    }

    /// Lets a frozen future go on.
    pub fn thaw(&mut self, task: Task) {
        self.set_frozen(task, false);
    }

    fn set_frozen(&mut self, task: Task, is_frozen: bool) {
        for running in self.tasks.iter_mut().filter(|running| running.task == task) {
            running.is_frozen = is_frozen;
        }
    }

    /// Whether the future has neither ended nor been killed.
    #[must_use]
    pub fn is_running(&self, task: Task) -> bool {
        self.tasks.iter().any(|running| running.task == task)
    }

    /// A number below `bound`, drawn from the seed.
    pub fn draw(&mut self, bound: usize) -> usize {
        self.random.random_range(0..bound.max(1))
    }

    /// Does one step; `false` if nothing can happen any more.
    pub fn step(&mut self) -> bool {
        let woken =
            |running: &Running| !running.is_frozen && running.woken.0.load(Ordering::SeqCst);
        let ready: Vec<usize> = self
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, one)| woken(one))
            .map(|(nth, _)| nth)
            .collect();
        if ready.is_empty() {
            return self.timer.advance_to_next();
        }
        let nth = ready[self.random.random_range(0..ready.len())];
        let running = &mut self.tasks[nth];
        running.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&running.woken));
        if running.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            drop(self.tasks.remove(nth));
        }
        true
    }

    /// Does so many steps, or fewer if nothing can happen any more.
    pub fn steps(&mut self, count: usize) {
        for _ in 0..count {
            if !self.step() {
                return;
            }
        }
    }

    /// Runs all until this future has ended, and returns what it returns.
    ///
    /// # Panics
    /// If it cannot end, or does not end within two million steps.
    pub fn block_on<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let slot = Arc::new(Mutex::new(None));
        let result = Arc::clone(&slot);
        self.spawn(async move {
            let value = future.await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        for _ in 0..MOST_STEPS {
            if let Some(value) = result.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return value;
            }
            assert!(self.step(), "the future waits for something that cannot happen");
        }
        panic!("the future does not end");
    }
}

impl fmt::Debug for Interleaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interleaving").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// Lets other tasks run.
pub(super) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
