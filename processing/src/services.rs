//! Services: several processors and other futures as one thing, which starts, stops and fails as one.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use annals::BoxError;
use futures_util::future::{BoxFuture, join_all, join3, pending, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::control::Control;
use crate::error::{ProcessingError, Result, chain};
use crate::group::{Group, GroupHandle};
use crate::handle::Handle;
use crate::head::Head;
use crate::processor::Processor;
use crate::runner::IDLE_IN_SERVICES;
use crate::status::{Limits, Phase, Status};
use crate::stopping::Stopping;
use crate::timer::Timer;

/// Several processors and other futures as one future.
///
/// If one of them fails, all are stopped, and its error is what [`run`](Self::run) returns. They are stopped in turn, the
/// last one added first, and each is awaited before the one before it is asked: so add first what others depend on.
/// Nothing is dropped in the middle of something.
///
/// ```
/// # use std::time::Duration;
/// # use annals_processing::{Services, SystemTimer};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), annals::BoxError> {
/// let services = Services::new(SystemTimer::new())
///     .add("greeter", |stopping| async move {
///         stopping.wait().await;
///         Ok(())
///     })?
///     .polling("sweeper", Duration::from_secs(60), || async { Ok(()) })?;
/// let handle = services.handle();
/// handle.stop();
/// services.run().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "services do nothing until they run"]
pub struct Services {
    timer: Arc<dyn Timer>,
    beat: Duration,
    members: Vec<Member>,
    heads: Vec<Arc<Head>>,
    stop_on: BoxFuture<'static, ()>,
    shared: Arc<Shared>,
}

struct Member {
    future: BoxFuture<'static, Result<(), BoxError>>,
}

/// What services and their handles share.
#[derive(Default)]
struct Shared {
    stopping: Stopping,
    seen: Mutex<Vec<Seen>>,
}

/// What is seen of a member.
#[derive(Clone)]
struct Seen {
    name: Box<str>,
    kind: Kind,
    phase: Phase,
    error: Option<String>,
}

#[derive(Clone)]
enum Kind {
    Processor(Handle),
    Group(GroupHandle),
    Other(Stopping),
}

/// Why services ended.
#[derive(Debug, thiserror::Error)]
#[error("service {name} failed")]
pub struct ServiceError {
    /// The member that failed first.
    pub name: Box<str>,
    /// Why it failed.
    #[source]
    pub source: BoxError,
}

impl Services {
    /// No members yet.
    pub fn new(timer: impl Timer) -> Self {
        Self {
            timer: Arc::new(timer),
            beat: Duration::from_secs(1),
            members: Vec::new(),
            heads: Vec::new(),
            stop_on: pending().boxed(),
            shared: Arc::default(),
        }
    }

    /// How often the control task looks for requests, stores what has changed of the status, and reads how far each log is
    /// (1 second by default).
    pub fn with_beat(mut self, beat: Duration) -> Self {
        self.beat = beat.max(Duration::from_millis(1));
        self
    }

    /// Stops all once this future has ended: a signal of the operating system, as the program's runtime receives it.
    pub fn stop_on(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop_on = signal.boxed();
        self
    }

    /// Adds a processor. Its status is stored in its state store, and requests to it are taken from there.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if there is one of its name, source and part already.
    pub fn processor(mut self, mut processor: Processor) -> Result<Self> {
        let runner = &mut processor.runner;
        runner.options.idle = IDLE_IN_SERVICES;
        if runner.looks() {
            runner.head = Head::of(&mut self.heads, &runner.store);
        }
        let handle = processor.handle();
        let name = handle.claim().to_string().into();
        let future = async move { processor.run().await.map_err(BoxError::from) };
        self.with_member(name, Kind::Processor(handle), future.boxed())
    }

    /// Adds a node of a group. The status of each part that it works on is stored in the state store, and requests to these
    /// parts are taken from there. It leaves the group when it is asked to stop.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if there is a group of its processor and source already.
    pub fn group(self, group: Group) -> Result<Self> {
        let handle = group.handle();
        let claim = handle.claim();
        let name = format!("{}/{}", claim.processor(), claim.source()).into();
        let future = async move { group.run().await.map_err(BoxError::from) };
        self.with_member(name, Kind::Group(handle), future.boxed())
    }

    /// Adds a future that ends once it is asked to stop.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if there is one of this name already.
    pub fn add<F>(self, name: impl Into<Box<str>>, make: impl FnOnce(Stopping) -> F) -> Result<Self>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let stopping = Stopping::default();
        let future = make(stopping.clone()).boxed();
        self.with_member(name.into(), Kind::Other(stopping), future)
    }

    /// Adds what is done again and again, with a pause of `every` in between. It is never cut in the middle.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn polling<A, F>(
        self,
        name: impl Into<Box<str>>,
        every: Duration,
        mut act: A,
    ) -> Result<Self>
    where
        A: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let timer = Arc::clone(&self.timer);
        self.add(name, move |stopping| async move {
            while !stopping.is_asked() {
                act().await?;
                select(stopping.wait().boxed(), timer.sleep(every)).await;
            }
            Ok(())
        })
    }

    fn with_member(
        mut self,
        name: Box<str>,
        kind: Kind,
        future: BoxFuture<'static, Result<(), BoxError>>,
    ) -> Result<Self> {
        let mut seen = self.shared.lock();
        if seen.iter().any(|other| other.name == name) {
            return Err(ProcessingError::misuse(format!("there are two services {name}")));
        }
        seen.push(Seen { name, kind, phase: Phase::Waiting, error: None });
        drop(seen);
        self.members.push(Member { future });
        Ok(self)
    }

    /// A handle to all of them.
    #[must_use]
    pub fn handle(&self) -> ServicesHandle {
        ServicesHandle(Arc::clone(&self.shared))
    }

    /// Runs all until they have ended.
    ///
    /// # Errors
    /// The first error of a member, once all others have ended. A panic of a member is an error.
    ///
    /// # Cancel safety
    /// If it is dropped, all members are dropped where they are.
    pub async fn run(self) -> Result<(), ServiceError> {
        let Self { timer, beat, members, heads, stop_on, shared } = self;
        let mut running: FuturesUnordered<_> = members
            .into_iter()
            .enumerate()
            .map(|(nth, member)| async move {
                let ended = AssertUnwindSafe(member.future).catch_unwind().await;
                (nth, ended.unwrap_or_else(|panic| Err(text_of(&*panic).into())))
            })
            .collect();
        shared.lock().iter_mut().for_each(|seen| seen.phase = Phase::Live);
        let mut control = Control::new(shared.processors());
        let mut failed = None;
        {
            let beats = async {
                loop {
                    timer.sleep(beat).await;
                    control.beat(shared.parts()).await;
                }
            };
            // Apart from the beats and from one another: a log that is slow holds up no other one.
            let readings = join_all(heads.iter().map(async |head| {
                loop {
                    timer.sleep(beat).await;
                    head.read().await;
                }
            }));
            let stops = stop_on.map(|()| shared.stopping.ask());
            let mut beats = pin!(join3(stops, beats, readings));
            let mut asked = shared.stopping.wait().boxed();
            let mut is_asked = false;
            loop {
                if is_asked || failed.is_some() {
                    shared.stop_last();
                }
                let next = poll_fn(|context| {
                    // The beats never end.
                    let _ = beats.as_mut().poll(context).is_ready();
                    match running.poll_next_unpin(context) {
                        Poll::Pending if is_asked => Poll::Pending,
                        Poll::Pending => asked.poll_unpin(context).map(|()| Next::Asked),
                        Poll::Ready(ended) => Poll::Ready(Next::Ended(ended)),
                    }
                });
                match next.await {
                    Next::Asked => is_asked = true,
                    Next::Ended(None) => break,
                    Next::Ended(Some((nth, ended))) => {
                        let name = shared.ended(nth, &ended);
                        if let Err(source) = ended {
                            failed.get_or_insert(ServiceError { name, source });
                        }
                    }
                }
            }
        }
        control.beat(shared.parts()).await;
        failed.map_or(Ok(()), Err)
    }
}

/// What happens next while services run.
enum Next {
    /// Somebody asks all to stop.
    Asked,
    /// A member has ended; `None`: none is left.
    Ended(Option<(usize, Result<(), BoxError>)>),
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("with something that is no text"))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn processors(&self) -> Vec<Handle> {
        let handle = |seen: &Seen| match &seen.kind {
            Kind::Processor(handle) => Some(handle.clone()),
            Kind::Group(_) | Kind::Other(_) => None,
        };
        self.lock().iter().filter_map(handle).collect()
    }

    /// The processors of the parts that nodes of groups work on now.
    fn parts(&self) -> Vec<Handle> {
        let parts = |seen: &Seen| match &seen.kind {
            Kind::Group(handle) => handle.parts(),
            Kind::Processor(_) | Kind::Other(_) => Vec::new(),
        };
        self.lock().iter().flat_map(parts).collect()
    }

    /// Asks the last member that has not ended to stop.
    fn stop_last(&self) {
        let has_ended = |seen: &Seen| matches!(seen.phase, Phase::Stopped | Phase::Failed);
        if let Some(last) = self.lock().iter().rfind(|seen| !has_ended(seen)) {
            match &last.kind {
                Kind::Processor(handle) => handle.stop(),
                Kind::Group(handle) => handle.stop(),
                Kind::Other(stopping) => stopping.ask(),
            }
        }
    }

    /// Notes that a member has ended, and returns its name.
    fn ended(&self, nth: usize, ended: &Result<(), BoxError>) -> Box<str> {
        let mut seen = self.lock();
        let Some(member) = seen.get_mut(nth) else { return "".into() };
        match ended {
            Ok(()) => member.phase = Phase::Stopped,
            Err(error) => {
                member.phase = Phase::Failed;
                member.error = Some(chain(&**error));
                tracing::error!(name: "annals.service_failed", service = %member.name, error = %chain(&**error));
            }
        }
        member.name.clone()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

/// A handle to services: their status, and a way to stop them. Clones are handles to the same services.
#[derive(Clone)]
pub struct ServicesHandle(Arc<Shared>);

impl ServicesHandle {
    /// Asks all to stop, in their order.
    pub fn stop(&self) {
        self.0.stopping.ask();
    }

    /// What each member does now, in the order in which they were added. Of a node of a group it is that of its parts
    /// [as one](crate::GroupStatus::overall); of one that is neither it is its phase and its error.
    #[must_use]
    pub fn status(&self) -> Vec<(Box<str>, Status)> {
        let has_ended = |seen: &Seen| matches!(seen.phase, Phase::Stopped | Phase::Failed);
        let status = |seen: &Seen| {
            let status = match &seen.kind {
                Kind::Processor(handle) => handle.status(),
                Kind::Group(handle) if !has_ended(seen) => handle.status().overall(),
                Kind::Group(_) | Kind::Other(_) => plain(seen),
            };
            (seen.name.clone(), status)
        };
        self.0.lock().iter().map(status).collect()
    }

    /// What is not well, each with the name of its member; nothing if all is.
    #[must_use]
    pub fn complaints(&self, limits: &Limits) -> Vec<String> {
        let of_one = |(name, status): (Box<str>, Status)| {
            let complaints = status.complaints(limits);
            complaints.into_iter().map(move |complaint| format!("{name}: {complaint}"))
        };
        let is_group = |seen: &Seen| matches!(seen.kind, Kind::Group(_));
        let groups: Vec<Seen> = self.0.lock().iter().filter(|one| is_group(one)).cloned().collect();
        let of_group = |seen: &Seen| {
            let mut complaints = plain(seen).complaints(limits);
            if let Kind::Group(handle) = &seen.kind {
                complaints.extend(handle.status().complaints(limits));
            }
            let name = seen.name.clone();
            complaints.into_iter().map(move |complaint| format!("{name}: {complaint}"))
        };
        let is_other =
            |(name, _): &(Box<str>, Status)| groups.iter().all(|group| group.name != *name);
        let others = self.status().into_iter().filter(is_other).flat_map(of_one);
        others.chain(groups.iter().flat_map(of_group)).collect()
    }
}

/// What is known of a member that is no processor, or of one that has ended.
fn plain(seen: &Seen) -> Status {
    Status { phase: seen.phase, error: seen.error.clone(), ..Status::default() }
}

impl fmt::Debug for ServicesHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServicesHandle").field(&self.status()).finish()
    }
}
