//! The suite: runs checks over a harness, each in a thread, a runtime and a namespace of its own.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use annals::EventId;
use tokio::time::Instant;

use crate::engine::{
    Check, Context, Contract, Entry, Failure, Flavour, Missing, Outcome, Profile, Report, Verdict,
    machine, pace,
};

/// A conformance suite over one harness.
pub struct Suite<C: Contract> {
    pub(super) name: String,
    pub(super) harness: Arc<C::Harness>,
    own: Vec<Check<C>>,
    pub(super) profile: Profile,
    pub(super) flavour: Flavour,
    pub(super) seed: u64,
    pub(super) limit: Duration,
    filters: Vec<String>,
    pub(super) require: Vec<String>,
    pub(super) strict: bool,
    /// How many times shorter limits are than they are written.
    haste: u32,
    /// How many times longer limits are, once it was measured.
    factor: Arc<OnceLock<u32>>,
}

impl<C: Contract> Suite<C> {
    /// The suite with the quick profile, a random seed and a runtime of two workers.
    pub fn over(name: impl Into<String>, harness: Arc<C::Harness>) -> Self {
        Self {
            name: name.into(),
            harness,
            own: Vec::new(),
            profile: Profile::Quick,
            flavour: Flavour::MultiThread(2),
            seed: EventId::generate().as_uuid().as_u64_pair().1,
            limit: Duration::from_secs(30),
            filters: Vec::new(),
            require: Vec::new(),
            strict: false,
            haste: 1,
            factor: Arc::default(),
        }
    }

    /// What its store is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs these checks too, after those of the contract: an author's own.
    #[must_use]
    pub fn with_checks(mut self, checks: impl IntoIterator<Item = Check<C>>) -> Self {
        self.own.extend(checks);
        self
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

    /// Limits each check to this time; one that takes longer hangs, and fails. Those that start servers again or cut
    /// connections get four times as long, and a soak gets its time on top. On a machine that is too busy to tell, the
    /// limit begins anew several times; what has not ended then is inconclusive.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Takes what is late for a failure, however busy the machine is and however slow the store: for stores that are known
    /// to hang.
    #[must_use]
    pub fn with_strict_limits(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The same with so many times shorter limits, for broken stores in memory: most of the time of a zoo goes to waiting
    /// for those that hang.
    pub(super) fn with_haste(mut self, times: u32) -> Self {
        self.haste = times.max(1);
        self.with_strict_limits()
    }

    /// Runs only checks whose id begins so; with several filters, those that begin like one of them.
    #[must_use]
    pub fn with_filter(mut self, prefix: impl Into<String>) -> Self {
        self.filters.push(prefix.into());
        self
    }

    /// The checks that it runs, in order.
    #[must_use]
    pub fn checks(&self) -> Vec<Check<C>> {
        let filtered = |check: &Check<C>| {
            self.filters.is_empty() || self.filters.iter().any(|filter| begins(check.id, filter))
        };
        self.all().into_iter().filter(filtered).collect()
    }

    /// All checks, whatever the filters say.
    pub(super) fn all(&self) -> Vec<Check<C>> {
        let mut all = C::checks();
        all.extend(&self.own);
        all
    }

    /// What the store declares; the message when it does not open.
    pub(super) fn capabilities(&self) -> Outcome<C::Capabilities> {
        let context = self.fresh_context("capabilities");
        let (done, opened) = mpsc::sync_channel(1);
        let flavour = self.flavour;
        let work = move || {
            let outcome = runtime(flavour).and_then(|runtime| {
                let declared = runtime.block_on(C::declared(&context));
                runtime.shutdown_background();
                declared
            });
            let _ = done.send(outcome);
        };
        std::thread::spawn(work);
        let hung = Failure::new(format!("the store did not open within {:?}", self.limit));
        opened.recv_timeout(self.limit).unwrap_or(Err(hung))
    }

    /// Why `check` does not apply, if it does not.
    pub(super) fn missing(
        &self,
        check: &Check<C>,
        capabilities: &C::Capabilities,
    ) -> Option<Missing> {
        check.needs.iter().find_map(|need| C::missing(*need, capabilities, &self.harness))
    }

    /// Runs all its checks, as many at once as there are processors.
    ///
    /// Blocks the thread; not to be called from async code.
    #[must_use]
    pub fn run(&self) -> Report {
        self.run_each(&self.checks())
    }

    /// The same with these checks.
    pub(super) fn run_each(&self, checks: &[Check<C>]) -> Report {
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

    pub(super) fn report(&self, entries: Vec<Entry>) -> Report {
        let capabilities = self.capabilities().ok();
        Report {
            suite: C::NAME.to_owned(),
            suite_version: C::VERSION,
            own_checks: self.own.len(),
            adapter: self.name.clone(),
            rules: C::RULES.to_vec(),
            unproven: C::UNPROVEN.iter().map(|(id, _)| (*id).to_owned()).collect(),
            capabilities: capabilities.and_then(|can| serde_json::to_value(can).ok()),
            profile: self.profile,
            runtime: self.flavour,
            seed: self.seed,
            left_out: self.all().len().saturating_sub(entries.len()),
            checks: entries,
        }
    }

    /// Runs one check in a fresh namespace. Blocks the thread; not to be called from async code.
    #[must_use]
    pub fn run_check(&self, check: &Check<C>) -> Entry {
        let factor = self.factor();
        let started = Instant::now();
        let context = self.fresh_context(check.id);
        let cases = Arc::clone(&context.cases);
        let limit = self.limit / self.haste * factor * if check.is_slow() { 4 } else { 1 }
            + match self.profile {
                Profile::Soak(duration) => duration,
                Profile::Full => self.limit * 10,
                Profile::Quick => Duration::ZERO,
            };
        let (done, outcome) = mpsc::sync_channel(1);
        let (suite, check_) = (self.clone(), *check);
        let limits = pace::Limits { factor, haste: self.haste, strict: self.strict };
        let work = move || {
            pace::set(limits);
            let _ = done.send(suite.verdict(&check_, &context));
        };
        let spawned = std::thread::Builder::new().name(check.id.to_owned()).spawn(work);
        let ended = |piece| outcome.recv_timeout(piece).ok();
        let is_busy = || !self.strict && machine::is_busy();
        let late = || {
            self.failed(Failure::late(format!(
                "hangs: it did not end within {limit:?} (ANNALS_TESTKIT_LIMIT gives more)"
            )))
        };
        let verdict = match spawned {
            Err(error) => Verdict::NotRun(format!("no thread: {error}")),
            Ok(_) => pace::by_turns(limit, ended, is_busy).unwrap_or_else(late),
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
            rules: check.rules.iter().map(|rule| (*rule).to_owned()).collect(),
            class: check.class,
            verdict,
            cases: cases.load(Ordering::Relaxed).max(1),
            seed: self.seed,
            time: started.elapsed(),
        }
    }

    /// How many times longer limits are than they are written: measured once, before the first check.
    fn factor(&self) -> u32 {
        if self.strict {
            return 1;
        }
        *self.factor.get_or_init(|| self.pace().map_or(1, pace::factor_of))
    }

    /// How long an ordinary call takes now. `None` if that is not known, also because it takes too long.
    fn pace(&self) -> Option<Duration> {
        let context = self.fresh_context("pace");
        let (done, measured) = mpsc::sync_channel(1);
        let flavour = self.flavour;
        std::thread::spawn(move || {
            let runtime = runtime(flavour).ok();
            let pace = runtime.and_then(|runtime| {
                let pace = runtime.block_on(C::pace(&context));
                runtime.shutdown_background();
                pace
            });
            let _ = done.send(pace);
        });
        measured.recv_timeout(self.limit / 3).ok().flatten()
    }

    /// The verdict of a failure: what was late is inconclusive where the machine is busy or the store slow.
    fn failed(&self, failure: Failure) -> Verdict {
        if failure.not_run {
            return Verdict::NotRun(failure.message);
        }
        if failure.late
            && !self.strict
            && let Some(excuse) = pace::excuse(self.pace(), self.factor())
        {
            return Verdict::Inconclusive(format!("{}: {excuse}", failure.message));
        }
        Verdict::Fail(failure.message, failure.counterexample)
    }

    pub(super) fn requires(&self, check: &Check<C>) -> bool {
        self.require.iter().any(|prefix| begins(check.id, prefix))
    }

    /// What the check `id` is given: its seed, and a fresh namespace.
    fn fresh_context(&self, id: &str) -> Context<C> {
        let mut hasher = std::hash::DefaultHasher::new();
        (self.seed, id).hash(&mut hasher);
        // Never from the seed: a replay on a store that keeps its data needs a fresh namespace too.
        let unique = EventId::generate().as_uuid().as_u64_pair().1;
        let namespace = format!("t{:012x}", unique & 0xFFFF_FFFF_FFFF);
        Context { seed: hasher.finish(), ..self.context(namespace) }
    }

    /// The way to the store of this namespace.
    pub(super) fn context(&self, namespace: String) -> Context<C> {
        Context {
            harness: Arc::clone(&self.harness),
            namespace,
            seed: self.seed,
            profile: self.profile,
            cases: Arc::default(),
            shared: Arc::default(),
        }
    }

    /// Runs the function of a check to its verdict, on a runtime of its own.
    fn verdict(&self, check: &Check<C>, context: &Context<C>) -> Verdict {
        let runtime = match runtime(self.flavour) {
            Ok(runtime) => runtime,
            Err(failure) => return Verdict::NotRun(failure.message),
        };
        let verdict = runtime.block_on(async {
            let capabilities = match C::declared(context).await {
                Ok(capabilities) => capabilities,
                Err(failure) => return Err(failure),
            };
            match self.missing(check, &capabilities) {
                Some(Missing::Capability(text)) => return Ok(Verdict::Skipped(text)),
                Some(Missing::Hook(text)) => return Ok(Verdict::NotRun(text)),
                None => {}
            }
            let before = C::usage(context).await;
            // On a task, as users run it: not inside `block_on`, where wake-ups differ.
            let outcome = match tokio::spawn((check.run)(context.clone())).await {
                Ok(outcome) => outcome,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => Err(Failure::new(format!("panicked: {}", text(&*panic)))),
                    Err(error) => Err(Failure::new(format!("the task ended early: {error}"))),
                },
            };
            outcome?;
            Self::leaks(context, before).await?;
            Ok(Verdict::Pass)
        });
        runtime.shutdown_background();
        // Not inside the runtime: it takes a moment to see how busy the machine is.
        verdict.unwrap_or_else(|failure| self.failed(failure))
    }

    /// After a check every count of the harness is back at what it was, within ten seconds.
    async fn leaks(context: &Context<C>, before: Option<BTreeMap<String, u64>>) -> Outcome {
        let Some(before) = before else { return Ok(()) };
        let settled = async {
            while Self::leak(context, &before).await.is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if pace::in_turns(pace::scaled(Duration::from_secs(10)), settled).await.is_some() {
            return Ok(());
        }
        Self::leak(context, &before).await.map_or(Ok(()), |leak| Err(Failure::late(leak)))
    }

    /// A count that is higher than before, if there is one.
    async fn leak(context: &Context<C>, before: &BTreeMap<String, u64>) -> Option<String> {
        let after = C::usage(context).await.unwrap_or_default();
        let base = |key: &String| before.get(key).copied().unwrap_or(0);
        let (key, count) = after.iter().find(|(key, count)| **count > base(key))?;
        Some(format!("leaks {key}: {} before, {count} after", base(key)))
    }
}

/// Whether a check's id begins so; with `all` every one does.
pub(super) fn begins(id: &str, prefix: &str) -> bool {
    prefix == "all" || id.starts_with(prefix)
}

pub(crate) fn runtime(flavour: Flavour) -> Outcome<tokio::runtime::Runtime> {
    let mut builder = match flavour {
        Flavour::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        Flavour::MultiThread(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Flavour::MultiThread(workers) = flavour {
        builder.worker_threads(workers.max(1));
    }
    // The limits of the thread that makes it hold on its threads, too.
    let limits = pace::limits();
    builder.on_thread_start(move || pace::set(limits));
    builder.enable_all().build().map_err(|error| Failure::not_run(format!("no runtime: {error}")))
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}

impl<C: Contract> Clone for Suite<C> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            harness: Arc::clone(&self.harness),
            own: self.own.clone(),
            filters: self.filters.clone(),
            require: self.require.clone(),
            factor: Arc::clone(&self.factor),
            ..*self
        }
    }
}

impl<C: Contract> std::fmt::Debug for Suite<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suite")
            .field("name", &self.name)
            .field("profile", &self.profile)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
