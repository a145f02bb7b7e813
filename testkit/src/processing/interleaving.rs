//! An executor whose order a seed decides.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
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
///
/// Calls that are answered by a thread or a server are waited for in real time, if they are noted
/// [`outside`](Self::outside), as [`Chaos`](super::Chaos) does.
pub struct Interleaving {
    random: StdRng,
    timer: ManualTimer,
    tasks: Vec<Running>,
    next: usize,
    outside: Outside,
    patience: Duration,
}

/// Knows the calls that wait for something outside of the interleaving. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Outside(Arc<Waits>);

#[derive(Debug, Default)]
struct Waits {
    calls: Mutex<Vec<Arc<Call>>>,
    wakes: Condvar,
}

impl Outside {
    /// Waits for `call`, which something outside answers.
    pub(super) async fn wait_for<T>(&self, call: impl Future<Output = T>) -> T {
        let begun = Begun::new(self, None);
        let mut call = pin!(call);
        poll_fn(|context| {
            let waker = begun.call.polled_by(context.waker());
            call.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await
    }

    /// As [`wait_for`](Self::wait_for); the call goes on while who waits for it is frozen, so that it keeps nothing that
    /// others wait for.
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let slot = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&slot);
        let answered = async move {
            let value = call.await;
            *locked(&answer) = Some(value);
        };
        let begun = Begun::new(self, Some(answered.boxed()));
        poll_fn(|context| {
            locked(&begun.call.waker).clone_from(context.waker());
            begun.call.go_on();
            locked(&slot).take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Call>>> {
        locked(&self.0.calls)
    }

    /// Something was woken.
    fn notify(&self) {
        // Who looks for what was woken holds them until it waits.
        drop(self.lock());
        self.0.wakes.notify_all();
    }

    /// Waits until `is_enough`, and for at most `idle` if nothing outside works on a call.
    fn wait(&self, is_enough: impl Fn() -> bool, idle: Duration) {
        loop {
            let all = self.lock().clone();
            all.iter().for_each(Call::go_on);
            drop(all);
            let calls = self.lock();
            if calls.iter().any(|call| call.can_go_on()) {
                continue;
            }
            let is_called = calls.iter().any(|call| !call.is_woken.load(Ordering::SeqCst));
            let limit = if is_called { MOST_WAIT } else { idle };
            if is_enough() || limit.is_zero() {
                return;
            }
            let waited = self.0.wakes.wait_timeout(calls, limit);
            let (calls, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
            drop(calls);
            if outcome.timed_out() {
                assert!(!is_called, "a store does not answer");
                return;
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call that something outside works on, from a poll until it wakes who polled.
struct Call {
    is_woken: AtomicBool,
    waker: Mutex<Waker>,
    outside: Outside,
    /// The call itself, unless who waits for it polls it. Only the thread of the interleaving locks it.
    future: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Call {
    fn polled_by(self: &Arc<Self>, waker: &Waker) -> Waker {
        locked(&self.waker).clone_from(waker);
        self.is_woken.store(false, Ordering::SeqCst);
        Waker::from(Arc::clone(self))
    }

    fn can_go_on(&self) -> bool {
        self.is_woken.load(Ordering::SeqCst) && locked(&self.future).is_some()
    }

    fn go_on(self: &Arc<Self>) {
        if !self.can_go_on() {
            return;
        }
        self.is_woken.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(self));
        let mut future = locked(&self.future);
        let polled =
            future.as_mut().map(|call| call.as_mut().poll(&mut Context::from_waker(&waker)));
        if polled.is_some_and(|polled| polled.is_ready()) {
            *future = None;
            waker.wake();
        }
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        let waker = locked(&self.waker).clone();
        waker.wake();
        // Who waits for it may have been woken for something else before, which says nothing again.
        self.outside.notify();
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("is_woken", &self.is_woken).finish_non_exhaustive()
    }
}

/// A call that has begun; dropped, it is over.
struct Begun<'a> {
    outside: &'a Outside,
    call: Arc<Call>,
}

impl<'a> Begun<'a> {
    fn new(outside: &'a Outside, future: Option<BoxFuture<'static, ()>>) -> Self {
        let (waker, future) = (Mutex::new(Waker::noop().clone()), Mutex::new(future));
        let (is_woken, clone) = (AtomicBool::new(true), outside.clone());
        let call = Arc::new(Call { is_woken, waker, outside: clone, future });
        outside.lock().push(Arc::clone(&call));
        Self { outside, call }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.outside.lock().retain(|call| !Arc::ptr_eq(call, &self.call));
        // Wakers may keep the call.
        let future = locked(&self.call.future).take();
        drop(future);
    }
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

struct Woken {
    is_woken: AtomicBool,
    outside: Outside,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.outside.notify();
    }
}

/// A run that takes more steps does not end.
const MOST_STEPS: usize = 2_000_000;
/// A call that something outside has not answered in this time is not answered.
const MOST_WAIT: Duration = Duration::from_secs(120);

impl Interleaving {
    /// Draws the order from `seed`, and moves `timer`.
    #[must_use]
    pub fn new(seed: u64, timer: ManualTimer) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            timer,
            tasks: Vec::new(),
            next: 0,
            outside: Outside::default(),
            patience: Duration::ZERO,
        }
    }

    /// Waits so long for who follows a store outside before the timer moves on. No result may depend on it.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where calls are noted that something outside answers: the timer does not move while it works on one.
    #[must_use]
    pub fn outside(&self) -> Outside {
        self.outside.clone()
    }

    /// Runs this future beside the others.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) -> Task {
        let task = Task(self.next);
        self.next += 1;
        let woken =
            Arc::new(Woken { is_woken: AtomicBool::new(true), outside: self.outside.clone() });
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

    /// The places of those that were woken.
    fn ready(&self) -> Vec<usize> {
        let tasks = self.tasks.iter().enumerate();
        let woken =
            tasks.filter(|(_, one)| !one.is_frozen && one.woken.is_woken.load(Ordering::SeqCst));
        woken.map(|(nth, _)| nth).collect()
    }

    /// Those that were woken, once what is outside has answered.
    fn awaited(&self) -> Vec<usize> {
        self.outside.wait(|| !self.ready().is_empty(), self.patience);
        self.ready()
    }

    /// Waits until nothing outside works on a call any more. Nobody takes the answers meanwhile.
    ///
    /// # Panics
    /// If a store outside does not answer within two minutes.
    pub(super) fn answers(&self) {
        self.outside.wait(|| false, Duration::ZERO);
    }

    /// Does one step; `false` if nothing can happen any more.
    ///
    /// # Panics
    /// If a store outside does not answer within two minutes.
    pub fn step(&mut self) -> bool {
        let ready = self.awaited();
        if ready.is_empty() {
            return self.timer.advance_to_next();
        }
        let nth = ready[self.random.random_range(0..ready.len())];
        let running = &mut self.tasks[nth];
        running.woken.is_woken.store(false, Ordering::SeqCst);
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
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
