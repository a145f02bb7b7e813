//! The suite: runs checks over a harness, each in a thread, a runtime and a namespace of its own.

mod env;

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use annals::{Capabilities, EventId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::check::{Check, Failure, Missing, Need, Outcome};
use crate::checks;
use crate::context::{Context, not_opened};
use crate::harness::{Harness, Hook};
use crate::report::{Entry, Report, Verdict};

/// How long the random checks go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Few cases: for every run of the tests.
    Quick,
    /// Twenty times as many: for CI.
    Full,
    /// Each random check for this long.
    Soak(Duration),
}

/// The tokio runtime that a check runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Everything on one thread.
    CurrentThread,
    /// So many worker threads.
    MultiThread(usize),
}

/// A conformance suite over one harness.
///
/// ```
/// use annals_memory::MemoryAdapter;
/// use annals_testkit::{Harness, Opened, Suite, async_trait};
/// use std::sync::Arc;
///
/// struct Memory(MemoryAdapter);
///
/// #[async_trait]
/// impl Harness for Memory {
///     async fn open(&self, _namespace: &str) -> Opened {
///         Ok(Arc::new(self.0.clone()))
///     }
/// }
///
/// let suite = Suite::new("memory", Memory(MemoryAdapter::new()));
/// let report = suite.with_filter("append.").run();
/// assert!(report.is_pass(), "{}", report.to_markdown());
/// ```
#[derive(Clone)]
pub struct Suite {
    name: String,
    harness: Arc<dyn Harness>,
    profile: Profile,
    flavour: Flavour,
    seed: u64,
    limit: Duration,
    filter: String,
    require: Vec<String>,
}

impl Suite {
    /// The suite with the quick profile, a random seed and a runtime of two workers.
    pub fn new(name: impl Into<String>, harness: impl Harness) -> Self {
        Self {
            name: name.into(),
            harness: Arc::new(harness),
            profile: Profile::Quick,
            flavour: Flavour::MultiThread(2),
            seed: EventId::generate().as_uuid().as_u64_pair().1,
            limit: Duration::from_secs(30),
            filter: String::new(),
            require: Vec::new(),
        }
    }

    /// Runs with this profile.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Runs with this seed: the same cases again.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs each check on a runtime of this kind.
    #[must_use]
    pub fn with_flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = flavour;
        self
    }

    /// Gives each check so long; one that takes longer hangs, and fails. Those that start servers again or cut
    /// connections get four times as long, and a soak gets its time on top.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs only checks whose id begins so.
    #[must_use]
    pub fn with_filter(mut self, prefix: impl Into<String>) -> Self {
        self.filter = prefix.into();
        self
    }

    /// The checks that it runs, in order.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let all = checks::all();
        all.filter(|check| check.id.starts_with(&self.filter)).copied().collect()
    }

    /// The capabilities that the adapter declares; the message when the store does not open.
    pub(crate) fn capabilities(&self) -> Result<Capabilities, Failure> {
        let context = self.fresh_context("capabilities");
        let (done, opened) = mpsc::sync_channel(1);
        let suite = self.clone();
        let work = move || {
            let outcome = suite.runtime().and_then(|runtime| {
                let opened = runtime.block_on(context.harness.open(&context.namespace));
                runtime.shutdown_background();
                opened.map(|store| store.capabilities()).map_err(|error| not_opened(&error))
            });
            let _ = done.send(outcome);
        };
        std::thread::spawn(work);
        let hung = Failure::new(format!("the store did not open within {:?}", self.limit));
        opened.recv_timeout(self.limit).unwrap_or(Err(hung))
    }

    /// Why `check` does not apply, if it does not.
    pub(crate) fn missing(&self, check: &Check, capabilities: &Capabilities) -> Option<Missing> {
        check.needs.iter().find_map(|need: &Need| need.missing(capabilities, self.harness.hooks()))
    }

    /// Runs all its checks, as many at once as there are processors.
    ///
    /// Blocks the thread; not to be called from async code.
    #[must_use]
    pub fn run(&self) -> Report {
        let checks = self.checks();
        let next = AtomicU64::new(0);
        let entries = Mutex::new(Vec::new());
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let nth = next.fetch_add(1, Ordering::Relaxed);
                        let check = usize::try_from(nth).ok().and_then(|nth| checks.get(nth));
                        let Some(check) = check else { return };
                        let entry = self.run_check(check);
                        entries.lock().unwrap_or_else(PoisonError::into_inner).push((nth, entry));
                    }
                });
            }
        });
        let mut entries = entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        entries.sort_by_key(|(nth, _)| *nth);
        self.report(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    pub(crate) fn report(&self, entries: Vec<Entry>) -> Report {
        let capabilities = self.capabilities().ok();
        Report::new(self.name.clone(), capabilities, self.profile, self.flavour, self.seed, entries)
    }

    /// Runs one check in a fresh namespace. Blocks the thread; not to be called from async code.
    #[must_use]
    pub fn run_check(&self, check: &Check) -> Entry {
        let started = Instant::now();
        let context = self.fresh_context(check.id);
        let cases = Arc::clone(&context.cases);
        let limit = self.limit * if check.is_slow() { 4 } else { 1 }
            + match self.profile {
                Profile::Soak(duration) => duration,
                Profile::Full => self.limit * 10,
                Profile::Quick => Duration::ZERO,
            };
        let (done, outcome) = mpsc::sync_channel(1);
        let (suite, check_) = (self.clone(), *check);
        let work = move || {
            let _ = done.send(suite.verdict(&check_, &context));
        };
        let spawned = std::thread::Builder::new().name(check.id.to_owned()).spawn(work);
        let verdict = match spawned {
            Err(error) => Verdict::NotRun(format!("no thread: {error}")),
            Ok(_) => outcome.recv_timeout(limit).unwrap_or_else(|_| {
                Verdict::Fail(
                    format!(
                        "hangs: it did not end within {limit:?} (ANNALS_TESTKIT_LIMIT gives more)"
                    ),
                    None,
                )
            }),
        };
        let verdict = match verdict {
            Verdict::NotRun(reason) if self.requires(check) => {
                Verdict::Fail(format!("required, but not run: {reason}"), None)
            }
            other => other,
        };
        Entry {
            id: check.id.to_owned(),
            about: check.about.to_owned(),
            rules: check.rules.to_vec(),
            class: check.class,
            verdict,
            cases: cases.load(Ordering::Relaxed).max(1),
            seed: self.seed,
            time: started.elapsed(),
        }
    }

    fn requires(&self, check: &Check) -> bool {
        self.require.iter().any(|prefix| begins(check, prefix))
    }

    /// What the check `id` is given: its seed, and a fresh namespace.
    fn fresh_context(&self, id: &str) -> Context {
        let mut hasher = std::hash::DefaultHasher::new();
        (self.seed, id).hash(&mut hasher);
        // Never from the seed: a replay on a store that keeps its data needs a fresh namespace too.
        let unique = EventId::generate().as_uuid().as_u64_pair().1;
        let namespace = format!("t{:012x}", unique & 0xFFFF_FFFF_FFFF);
        Context { seed: hasher.finish(), ..self.context(namespace) }
    }

    /// The way to the store of this namespace.
    pub(crate) fn context(&self, namespace: String) -> Context {
        Context {
            harness: Arc::clone(&self.harness),
            namespace,
            seed: self.seed,
            profile: self.profile,
            cases: Arc::default(),
            start: Arc::default(),
        }
    }

    fn runtime(&self) -> Outcome<tokio::runtime::Runtime> {
        runtime(self.flavour)
    }

    /// Runs the function of a check to its verdict, on a runtime of its own.
    fn verdict(&self, check: &Check, context: &Context) -> Verdict {
        let runtime = match self.runtime() {
            Ok(runtime) => runtime,
            Err(failure) => return Verdict::NotRun(failure.message),
        };
        let verdict = runtime.block_on(async {
            let subject = match context.open().await {
                Ok(subject) => subject,
                Err(failure) => return failed(failure),
            };
            match self.missing(check, &subject.capabilities) {
                Some(Missing::Capability(text)) => return Verdict::Skipped(text),
                Some(Missing::Hook(text)) => return Verdict::NotRun(text),
                None => {}
            }
            drop(subject);
            let before = self.usage(context).await;
            // On a task, as users run it: not inside `block_on`, where wake-ups differ.
            let outcome = match tokio::spawn((check.run)(context.clone())).await {
                Ok(outcome) => outcome,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => Err(Failure::new(format!("panicked: {}", text(&*panic)))),
                    Err(error) => Err(Failure::new(format!("the task ended early: {error}"))),
                },
            };
            match outcome {
                Err(failure) => failed(failure),
                Ok(()) => self.leaks(context, before).await.map_or_else(failed, |()| Verdict::Pass),
            }
        });
        runtime.shutdown_background();
        verdict
    }

    async fn usage(&self, context: &Context) -> Option<std::collections::BTreeMap<String, u64>> {
        if !self.harness.hooks().contains(&Hook::Usage) {
            return None;
        }
        self.harness.usage(&context.namespace).await.ok()
    }

    /// After a check every count of the harness is back at what it was, within ten seconds.
    async fn leaks(
        &self,
        context: &Context,
        before: Option<std::collections::BTreeMap<String, u64>>,
    ) -> Outcome {
        let Some(before) = before else { return Ok(()) };
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let after = self.usage(context).await.unwrap_or_default();
            let more = after.iter().find(|(key, count)| *count > before.get(*key).unwrap_or(&0));
            let Some((key, count)) = more else { return Ok(()) };
            if Instant::now() > until {
                let base = before.get(key).unwrap_or(&0);
                return Err(Failure::new(format!("leaks {key}: {base} before, {count} after")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether the check's id begins so; with `all` every one does.
fn begins(check: &Check, prefix: &str) -> bool {
    prefix == "all" || check.id.starts_with(prefix)
}

pub(crate) fn runtime(flavour: Flavour) -> Outcome<tokio::runtime::Runtime> {
    let mut builder = match flavour {
        Flavour::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        Flavour::MultiThread(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Flavour::MultiThread(workers) = flavour {
        builder.worker_threads(workers.max(1));
    }
    builder.enable_all().build().map_err(|error| Failure::not_run(format!("no runtime: {error}")))
}

fn failed(failure: Failure) -> Verdict {
    if failure.not_run {
        return Verdict::NotRun(failure.message);
    }
    Verdict::Fail(failure.message, failure.counterexample)
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suite")
            .field("name", &self.name)
            .field("profile", &self.profile)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
