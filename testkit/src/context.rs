//! What a check is given, and the store it works on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::{
    Append, BoxError, Capabilities, CategoryName, EventName, Metadata, NewEvent, Order, Payload,
    Query, ReadOptions, Result, SequenceNumber, Source, StorageAdapter, StoredEvent, StreamId,
    Tags, WriteCondition,
};
use futures_util::StreamExt;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::check::{Failure, Outcome, chain, ensure, is_named};
use crate::generate::valid;
use crate::harness::{Gate, Harness, NotRun, Opened, Store, Variant};
use crate::pages::Pages;
use crate::suite::Profile;

/// What a check is given: a namespace of its own, a seed, and the way to stores.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) harness: Arc<dyn Harness>,
    pub(crate) namespace: String,
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) cases: Arc<AtomicU64>,
    /// The last sequence number of the log before the check began, where the log can be read.
    pub(crate) start: Arc<OnceCell<SequenceNumber>>,
}

impl Context {
    /// The harness, for its hooks.
    pub(crate) fn harness(&self) -> &dyn Harness {
        self.harness.as_ref()
    }

    /// The random namespace of this run of the check. All names that it uses begin with it.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What all randomness of the check comes from.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Seeds for the cases of a check with many: `quick` of them in the quick profile, more in the others. Each
    /// case is counted for the report.
    pub(crate) fn cases(&self, quick: u64) -> impl Iterator<Item = u64> + use<> {
        let (most, until) = match self.profile {
            Profile::Quick => (quick, None),
            Profile::Full => (quick.saturating_mul(20), None),
            Profile::Soak(duration) => (u64::MAX, Some(Instant::now() + duration)),
        };
        let (seed, counter) = (self.seed, Arc::clone(&self.cases));
        // Steps of the golden ratio keep the seeds of all cases apart, as in SplitMix64 (Steele, Lea, Flood 2014).
        (0..most).take_while(move |_| until.is_none_or(|end| Instant::now() < end)).map(
            move |nth| {
                counter.fetch_add(1, Ordering::Relaxed);
                seed.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            },
        )
    }

    /// A handle to the store of the namespace; a second call gives a second handle to the same data.
    pub(crate) async fn open(&self) -> Outcome<Subject> {
        self.subject(self.harness.open(&self.namespace).await).await
    }

    /// A handle that the check may close.
    pub(crate) async fn open_to_close(&self) -> Outcome<Subject> {
        // It may have a log of its own.
        let own = Self { start: Arc::default(), ..self.clone() };
        own.subject(self.harness.open_to_close(&self.namespace).await).await
    }

    /// The store of the namespace, opened in a special way.
    pub(crate) async fn open_as(&self, variant: Variant) -> Outcome<Subject> {
        self.subject(self.harness.open_as(&self.namespace, variant).await).await
    }

    /// The store of the namespace, with a gate in its appends.
    pub(crate) async fn open_gated(&self) -> Outcome<(Subject, Arc<dyn Gate>)> {
        let (store, gate) =
            self.harness.open_gated(&self.namespace).await.map_err(|error| not_opened(&error))?;
        Ok((self.subject(Ok(store)).await?, gate))
    }

    /// The same check in a namespace of its own, for a case that needs a fresh one.
    pub(crate) fn nested(&self, name: impl std::fmt::Display) -> Self {
        let namespace = format!("{}{name}", self.namespace);
        Self { namespace, start: Arc::default(), ..self.clone() }
    }

    async fn subject(&self, opened: Opened) -> Outcome<Subject> {
        let adapter = opened.map_err(|error| not_opened(&error))?;
        let capabilities = adapter.capabilities();
        let start = *self.start.get_or_try_init(|| head(&adapter, &capabilities)).await?;
        Ok(Subject { adapter, capabilities, namespace: self.namespace.clone(), start })
    }
}

/// The last sequence number of the log; its start where the log cannot be read.
async fn head(adapter: &Store, capabilities: &Capabilities) -> Outcome<SequenceNumber> {
    if capabilities.order < Order::Log {
        return Ok(SequenceNumber::START);
    }
    let last = adapter.read(Query::all(), ReadOptions::last(1)).next().await.transpose();
    let page =
        last.map_err(|error| Failure::from(error).in_context("the first read of the log"))?;
    let last = page.as_ref().and_then(|page| page.events.first());
    Ok(last.map_or(SequenceNumber::START, |event| event.sequence_number))
}

pub(crate) fn not_opened(error: &BoxError) -> Failure {
    if error.is::<NotRun>() {
        return Failure::not_run(error.to_string());
    }
    Failure::new(format!("the store did not open: {}", chain(error.as_ref())))
}

/// A store under test, with the namespace that the check keeps to.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) adapter: Store,
    pub(crate) capabilities: Capabilities,
    /// The last sequence number of the log before the check began: what follows is this check's, or other
    /// namespaces' at the same time. The start where the log cannot be read.
    pub(crate) start: SequenceNumber,
    namespace: String,
}

impl Subject {
    /// A category of this namespace. The name may be anything that leaves room for the namespace.
    pub(crate) fn category(&self, name: &str) -> CategoryName {
        valid(CategoryName::new(format!("{}{name}", self.namespace)))
    }

    /// A stream of this namespace, in the category of that name.
    pub(crate) fn stream(&self, category: &str, name: &str) -> StreamId {
        StreamId { category: self.category(category), name: valid(annals::StreamName::new(name)) }
    }

    /// A tag of this namespace.
    pub(crate) fn tags(&self, tags: &[&str]) -> Tags {
        valid(Tags::parse(tags.iter().map(|tag| format!("{}{tag}", self.namespace))))
    }

    /// Whether `event` is one of this namespace's: a shared log holds others too.
    pub(crate) fn owns(&self, event: &StoredEvent) -> bool {
        event.stream.category.as_str().starts_with(&self.namespace)
    }

    /// Appends to one stream.
    pub(crate) async fn append(
        &self,
        stream: &StreamId,
        events: Vec<NewEvent>,
        condition: WriteCondition,
    ) -> Result<Vec<StoredEvent>> {
        self.adapter.append(vec![Append::new(stream.clone(), events, condition)]).await
    }

    /// Appends these events to one stream without a condition, in as few calls as they fit into.
    pub(crate) async fn put(
        &self,
        stream: &StreamId,
        events: &[NewEvent],
    ) -> Outcome<Vec<StoredEvent>> {
        let mut stored = Vec::new();
        for part in events.chunks(most(self)) {
            let part = self.append(stream, part.to_vec(), WriteCondition::Always).await;
            stored.extend(part.map_err(|error| {
                Failure::from(error).in_context(format!("appending {} events", events.len()))
            })?);
        }
        Ok(stored)
    }

    /// The same with `count` plain events.
    pub(crate) async fn fill(&self, stream: &StreamId, count: usize) -> Outcome<Vec<StoredEvent>> {
        self.put(stream, &events(count)).await
    }

    /// Reads to the end, and proves what holds of every read: what its pages claim, nothing after an error, the
    /// direction, the bounds, the limit, and the query.
    pub(crate) async fn read(
        &self,
        query: impl Into<Query>,
        options: ReadOptions,
    ) -> Outcome<Vec<StoredEvent>> {
        let query = query.into();
        let found = self.try_read(query.clone(), options).await??;
        let numbers: Vec<_> = found.iter().map(|event| event.sequence_number).collect();
        let ordered = numbers.windows(2).all(|pair| match options.direction {
            annals::Direction::Forward => pair[0] < pair[1],
            annals::Direction::Backward => pair[0] > pair[1],
        });
        ensure!(
            ordered,
            "read of {query} ({options:?}) gave sequence numbers out of order: {numbers:?}"
        );
        let within = |number: SequenceNumber| {
            number > options.after && options.until.is_none_or(|until| number <= until)
        };
        ensure!(
            numbers.iter().all(|number| within(*number)),
            "read of {query} ({options:?}) went beyond its bounds: {numbers:?}"
        );
        ensure!(
            options.limit.is_none_or(|limit| numbers.len() as u64 <= limit),
            "read of {query} ({options:?}) gave {} events",
            numbers.len()
        );
        if let Some(foreign) = found.iter().find(|event| !query.matches(event)) {
            return Err(Failure::new(format!(
                "read of {query} gave {foreign}, which does not match"
            )));
        }
        Ok(found)
    }

    /// Reads to the end or the first error, and proves the shape of the pages.
    pub(crate) async fn try_read(
        &self,
        query: impl Into<Query>,
        options: ReadOptions,
    ) -> Outcome<Result<Vec<StoredEvent>>> {
        let query = query.into();
        let mut shape = Pages::new(&self.capabilities, &query, options);
        let mut pages = self.adapter.read(query, options);
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    shape.take(&page)?;
                    found.extend(page.events);
                }
                Err(error) => {
                    is_named(&error, "read")?;
                    let after = pages.next().await;
                    ensure!(after.is_none(), "a read went on after its error: {after:?}");
                    return Ok(Err(error));
                }
            }
        }
        shape.end()?;
        Ok(Ok(found))
    }

    /// All events of one stream.
    pub(crate) async fn stream_events(&self, stream: &StreamId) -> Outcome<Vec<StoredEvent>> {
        self.read(stream.clone(), ReadOptions::default()).await
    }

    /// This namespace's events of the widest source that the declared order covers: the log, a category, or
    /// one stream after the other.
    pub(crate) async fn all_events(&self, streams: &[StreamId]) -> Outcome<Vec<StoredEvent>> {
        let mut sources: Vec<Source> = Vec::new();
        for stream in streams {
            let source = match self.capabilities.order {
                Order::Log => Source::Log,
                Order::Category => stream.category.clone().into(),
                Order::Stream => stream.clone().into(),
            };
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        let mut found = Vec::new();
        for source in sources {
            found.extend(self.read(source, ReadOptions::default().after(self.start)).await?);
        }
        found.retain(|event| streams.contains(&event.stream));
        Ok(found)
    }

    /// The last event that `query` matches.
    pub(crate) async fn latest(&self, query: impl Into<Query>) -> Outcome<Option<StoredEvent>> {
        Ok(self.read(query, ReadOptions::last(1)).await?.pop())
    }
}

/// A plain event with a JSON payload, metadata and an `occurred_at` that differs from now.
pub(crate) fn event(name: &'static str) -> NewEvent {
    let id = annals::EventId::generate();
    let payload = Payload::json(&serde_json::json!({ "of": id.to_string() }));
    let metadata = Metadata::json(&serde_json::json!({ "actor": "testkit" }));
    let occurred_at = time::OffsetDateTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_000);
    NewEvent::new(EventName::from_static(name), valid(payload))
        .with_id(id)
        .with_metadata(valid(metadata))
        .with_occurred_at(occurred_at)
}

/// The same value after a change.
pub(crate) fn but<T: Clone>(value: &T, change: impl FnOnce(&mut T)) -> T {
    let mut value = value.clone();
    change(&mut value);
    value
}

/// The most events that one call may append.
pub(crate) fn most(store: &Subject) -> usize {
    let most = store.capabilities.max_events_per_append;
    most.map_or(usize::MAX, |most| usize::try_from(most.get()).unwrap_or(usize::MAX))
}

/// How many events `writes` have together.
pub(crate) fn count(writes: &[Append]) -> usize {
    writes.iter().map(|write| write.events.len()).sum()
}

/// So many plain events.
pub(crate) fn events(count: usize) -> Vec<NewEvent> {
    (0..count).map(|_| event("happened")).collect()
}

/// Waits for `work` at most so long; a hang is a failure that says what hung.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Outcome<T> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Failure::new(format!("{what} did not end within {limit:?}")))
}
