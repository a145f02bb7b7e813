//! The layer that chains the events of each stream by hashes.

mod links;
mod queue;
mod reading;
mod verify;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::adapter::{Facts, async_trait};
use annals::{
    Append, Capabilities, Error, EventId, EventPages, Position, Query, ReadOptions, Result,
    SequenceNumber, StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};

use crate::condition::{Decode, Predicates};
use crate::decode::{DecodeError, of_append};
use crate::encoded::returned;
use crate::link::{ChainKey, Hash, Head, Link, Method, OVERHEAD};
use crate::pages::{self, Claims, one};
use queue::{Job, Lines};
use reading::Reading;
pub use verify::{Finding, Report};

/// How often an append begins anew because another process appended to its stream first.
const ATTEMPTS: usize = 200;
/// How often appends are tried together.
const TOGETHER: usize = 4;
/// How many heads are remembered.
const MAX_HEADS: usize = 16_384;

/// Wraps any adapter: each event also stores the hash of the event before it in its stream, so that a changed, removed,
/// moved or inserted event is found. Put it directly around the database, so that it covers what is stored there.
///
/// Somebody who can write to the database can compute a chain anew, unless it is [keyed](Self::keyed). A tail that was cut is
/// only found by a [`Head`] that was kept elsewhere.
///
/// An append is made on the condition that the stream's last event has the id that the chain knows, so nothing that this
/// layer remembers is trusted. Appends of one handle and its clones to one stream take turns; those that wait are appended
/// together. An append ends with `Unavailable` if it lost 200 races against other processes, or if 1,024 others wait.
///
/// A read of one whole stream verifies the links between its events, in both directions. Every read verifies what each
/// event says and its position. What is found is [`Error::Corrupt`] with an [`Undecodable`](crate::Undecodable) as its
/// source, after what precedes it.
#[derive(Clone)]
pub struct Chained<A> {
    chain: Arc<Chain<A>>,
}

struct Chain<A> {
    inner: A,
    name: String,
    method: Method,
    after: SequenceNumber,
    lines: Lines,
    heads: Mutex<HashMap<StreamId, Last>>,
}

/// The last event of a stream, or `None` if it has none.
type Last = Option<(EventId, Head)>;

impl<A: fmt::Debug> fmt::Debug for Chained<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Chained");
        shown.field("inner", &self.chain.inner).field("method", &self.chain.method);
        shown.field("after", &self.chain.after).finish_non_exhaustive()
    }
}

impl<A: StorageAdapter> Chained<A> {
    /// Chains the events of each stream in `inner` with SHA-256.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if `inner` does not keep payloads and metadata byte for byte.
    pub fn new(inner: A) -> Result<Self> {
        Self::with_method(inner, Method::default())
    }

    /// Chains with HMAC-SHA-256: without the key nobody can compute a chain anew.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn keyed(inner: A, key: ChainKey) -> Result<Self> {
        Self::with_method(inner, Method(Some(key)))
    }

    fn with_method(inner: A, method: Method) -> Result<Self> {
        if !inner.capabilities().exact_payload_bytes {
            return Err(Error::unsupported(
                inner.name(),
                "a chain: it changes the bytes of events",
            ));
        }
        let name = format!("chained({})", inner.name());
        let (lines, heads) = (Lines::default(), Mutex::default());
        let after = SequenceNumber::START;
        Ok(Self { chain: Arc::new(Chain { inner, name, method, after, lines, heads }) })
    }

    /// Takes events up to this sequence number, itself included, that are not chained, or in a [keyed](Self::keyed) chain
    /// are chained without the key: what was appended before the chain, or its key, began. The first link of each stream
    /// covers them.
    ///
    /// # Panics
    /// If the layer was cloned before: all clones are one chain.
    #[must_use]
    pub fn with_chained_after(mut self, last: SequenceNumber) -> Self {
        let chain = Arc::get_mut(&mut self.chain).expect("the layer is set up before it is cloned");
        chain.after = last;
        self
    }

    /// The adapter inside.
    #[must_use]
    pub fn inner(&self) -> &A {
        &self.chain.inner
    }

    /// The last event of the chain of `stream`; `None` if the stream is empty.
    ///
    /// # Errors
    /// Those of the adapter inside, and [`Error::Corrupt`] if the last event is not what was appended.
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn head(&self, stream: &StreamId) -> Result<Option<Head>> {
        Ok(self.chain.load(stream).await?.map(|(_, head)| head))
    }

    /// The links of `stream` from its first event on, in batches of at least one, verified as a read of the whole stream
    /// verifies it. Events from before the chain began have links too. It needs no key of encryption.
    ///
    /// # Errors
    /// Those of the adapter inside, and [`Error::Corrupt`] behind the last link that holds. The stream ends then.
    ///
    /// # Cancel safety
    /// It changes nothing.
    #[must_use]
    pub fn links(&self, stream: &StreamId) -> BoxStream<'static, Result<Vec<Link>>> {
        let (query, options) = (stream.clone().into(), ReadOptions::default());
        let reading = Reading::new(&query, &options);
        let pages = self.chain.inner.read(query, options);
        let name = self.chain.name.clone();
        links::of(pages, reading, self.chain.method.clone(), self.chain.after, name)
    }

    /// Reads all of `stream` and says what was done to it. With a head that was kept elsewhere, `known`, it also finds a
    /// tail that was cut, and a stream that was written anew. It needs no key of encryption.
    ///
    /// It keeps a page of an intact stream. From the first difference on it keeps some hundred bytes for each event, and
    /// stops after about a million of them: [`Report::stopped_at`].
    ///
    /// # Errors
    /// Those of the adapter inside. What is wrong with the stream is no error, but a finding.
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn verify(&self, stream: &StreamId, known: Option<Head>) -> Result<Report> {
        let chain = &self.chain;
        let mut seen = verify::Seen::new(&chain.method, chain.after, known);
        let mut pages = chain.inner.read(stream.clone().into(), ReadOptions::default());
        while let Some(page) = pages.next().await {
            if !page?.events.iter().all(|event| seen.push(event)) {
                break;
            }
        }
        for place in seen.claimed() {
            let at = ReadOptions::default().from_position(place).until_position(place);
            if let Some(event) = one(&chain.inner, stream.clone().into(), at).await? {
                seen.learn(&event);
            }
        }
        Ok(seen.report())
    }

    fn decode(&self) -> Decode {
        let chain = Arc::clone(&self.chain);
        let read =
            move |event: StoredEvent| Reading::single().read(&chain.method, chain.after, event);
        let name = self.chain.name.clone();
        Arc::new(move |event| read(event).map_err(|error| error.at(&name, "append")))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Chained<A> {
    fn name(&self) -> &str {
        &self.chain.name
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.chain.inner.capabilities();
        let less = |most: NonZeroU32| {
            NonZeroU32::new(most.get().saturating_sub(OVERHEAD)).unwrap_or(NonZeroU32::MIN)
        };
        inner.with_max_payload_bytes(inner.max_payload_bytes.map(less))
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(&self.chain.name, &writes)?;
        let mut predicates = Predicates::new(self.decode());
        let given: Vec<_> = writes.iter().flat_map(|write| write.events.iter().cloned()).collect();
        let wrap = |write: Append| {
            let condition = flat(predicates.wrap(write.condition)?);
            Ok(Append::new(write.stream, write.events, condition))
        };
        let writes: Vec<Append> = writes.into_iter().map(wrap).collect::<Result<_>>()?;
        let outcome = if given.is_empty() {
            self.chain.inner.append(writes).await
        } else {
            let begin = |jobs| Arc::clone(&self.chain).run(jobs).boxed();
            self.chain.lines.append(writes, begin).await
        };
        let stored = outcome.map_err(|error| predicates.unwrap(error));
        stored.and_then(|stored| returned(stored, given)).map_err(|e| e.at(self.name(), "append"))
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let can = self.capabilities();
        if let Err(error) = can.check_read(self.name(), &query, &options) {
            return pages::fail(error);
        }
        let claims = Claims::new(can, &query, &options);
        let chain = Arc::clone(&self.chain);
        let mut reading = Reading::new(&query, &options);
        let pages = self.chain.inner.read(query, options);
        // A link is smaller than what was stored: pages stay whole.
        pages::map(
            pages,
            claims,
            usize::MAX,
            || None,
            move |event| {
                let read = reading.read(&chain.method, chain.after, event);
                read.map_err(|error| error.at(&chain.name, "read"))
            },
        )
    }

    async fn close(&self) {
        self.chain.inner.close().await;
    }
}

impl<A: StorageAdapter> Chain<A> {
    /// Makes the appends of one turn: the first, and with it those behind it that will hold then.
    async fn run(self: Arc<Self>, mut jobs: Vec<Job>) {
        for _ in 0..TOGETHER {
            if jobs.len() > 1 {
                jobs = self.together(jobs).await;
            }
        }
        // Those that cannot hold after the others fail, in the adapter's words, and need no turns.
        let chain = &self;
        let alone = |job: Job| async move { job.end(chain.alone(&job.writes).await) };
        join_all(jobs.into_iter().map(alone)).await;
    }

    /// Appends jobs of one stream in one call, and returns those that were not part of it.
    async fn together(&self, jobs: Vec<Job>) -> Vec<Job> {
        let Some(stream) =
            jobs.first().and_then(|job| job.writes.first()).map(|it| it.stream.clone())
        else {
            return jobs;
        };
        let most = self.inner.capabilities().max_events_per_append;
        let most = most.and_then(|most| usize::try_from(most.get()).ok()).unwrap_or(usize::MAX);
        let Ok(last) = self.last(&stream).await else { return jobs };
        let (mut group, mut rest) = (Vec::new(), Vec::new());
        let mut facts =
            Facts::new(last.map(|(_, head)| head.position)).with_last_id(last.map(|(id, _)| id));
        let mut events = Vec::new();
        let mut first = None;
        for job in jobs {
            let [write] = job.writes.as_slice() else {
                rest.push(job);
                continue;
            };
            let holds = first.is_none() || write.condition.evaluate(&stream, &facts).is_ok();
            if !holds
                || events.len() + write.events.len() > most
                || !rest.is_empty() && first.is_none()
            {
                rest.push(job);
                continue;
            }
            first.get_or_insert_with(|| write.condition.clone());
            let next = facts.head.map_or(0, |head| head.value() + 1) + write.events.len() as u64;
            facts = Facts::new(next.checked_sub(1).map(Position::new))
                .with_last_id(write.events.last().map(|event| event.id));
            events.extend(write.events.iter().cloned());
            group.push(job);
        }
        let Some(condition) = first.filter(|_| group.len() > 1) else {
            group.extend(rest);
            return group;
        };
        match self.attempt(&[Append::new(stream, events, condition)], Some(last)).await {
            // What the others would find behind the first was judged on a stream that went on meanwhile.
            Ok(None) => {
                group.extend(rest);
                return group;
            }
            Ok(Some(stored)) => {
                let mut stored = stored.into_iter();
                for job in group {
                    let count = job.writes.iter().map(|write| write.events.len()).sum();
                    job.end(Ok(stored.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                let of_all = |error: &Error| match error {
                    Error::Unavailable(cause) => Some(Error::unavailable(cause.source.to_string())),
                    Error::OutcomeUnknown(cause) => {
                        Some(Error::outcome_unknown(cause.source.to_string()))
                    }
                    Error::Closed { adapter } => Some(Error::closed(adapter.clone())),
                    _ => None,
                };
                for job in group {
                    match of_all(&error) {
                        Some(error) => job.end(Err(error)),
                        // One of them is rejected: each learns for itself whether it is the one, in order.
                        None => job.end(self.alone(&job.writes).await),
                    }
                }
            }
        }
        rest
    }

    /// Appends under the condition that each stream ends as the chain knows, anew whenever one does not.
    async fn alone(&self, writes: &[Append]) -> Result<Vec<StoredEvent>> {
        for _ in 0..ATTEMPTS {
            if let Some(stored) = self.attempt(writes, None).await? {
                return Ok(stored);
            }
        }
        Err(Error::unavailable("others append to the stream all the time"))
    }

    /// Appends under the condition that each stream ends as the chain knows, or with `last`. `None`: one does not, and is
    /// forgotten.
    async fn attempt(
        &self,
        writes: &[Append],
        last: Option<Last>,
    ) -> Result<Option<Vec<StoredEvent>>> {
        let mut chained = Vec::with_capacity(writes.len());
        let mut ours = HashMap::new();
        let mut heads = Vec::new();
        for write in writes {
            if write.events.is_empty() {
                chained.push(write.clone());
                continue;
            }
            let stream = &write.stream;
            let last = match last {
                Some(last) => last,
                None => self.last(stream).await?,
            };
            let known = last
                .map_or(WriteCondition::StreamIsEmpty, |(id, _)| WriteCondition::LastEventIs(id));
            let condition = match &write.condition {
                WriteCondition::Always => known.clone(),
                // What the caller asks for is judged first, and reported first.
                given => given.clone() & known.clone(),
            };
            let (events, head) = self.chain(stream, &write.events, last)?;
            ours.insert(stream.clone(), known);
            heads.push((stream.clone(), head));
            chained.push(Append::new(stream.clone(), events, condition));
        }
        match self.inner.append(chained).await {
            Ok(stored) => {
                for (stream, head) in heads {
                    self.remember(stream, head);
                }
                Ok(Some(stored))
            }
            Err(Error::ConditionFailed(unmet))
                if ours.get(&unmet.stream) == Some(&unmet.failed) =>
            {
                self.heads().remove(&unmet.stream);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn chain(
        &self,
        stream: &StreamId,
        events: &[annals::NewEvent],
        last: Last,
    ) -> Result<(Vec<annals::NewEvent>, Last)> {
        let mut last = last;
        let mut chained = Vec::with_capacity(events.len());
        for event in events {
            let (position, previous) = match last {
                None => (Some(Position::FIRST), Hash::GENESIS),
                Some((_, head)) => (head.position.next(), head.hash),
            };
            let position =
                position.ok_or_else(|| Error::backend("the stream has no position left"))?;
            let mut event = event.clone();
            event.occurred_at = annals::adapter::cut_to_micros(event.occurred_at);
            let id = event.id;
            let (event, hash) = self.method.chain(stream, event, previous, position);
            chained.push(event);
            last = Some((id, Head { position, hash }));
        }
        Ok((chained, last))
    }

    /// The last event of the stream as it is remembered; only a condition says whether it still is.
    async fn last(&self, stream: &StreamId) -> Result<Last> {
        if let Some(last) = self.heads().get(stream) {
            return Ok(*last);
        }
        let last = self.load(stream).await.map_err(of_append)?;
        self.remember(stream.clone(), last);
        Ok(last)
    }

    async fn load(&self, stream: &StreamId) -> Result<Last> {
        let Some(last) = one(&self.inner, stream.clone().into(), ReadOptions::last(1)).await?
        else {
            return Ok(None);
        };
        let mut reading = Reading::single();
        let named = |error: Error| error.at(&self.name, "read");
        if let Some(head) = reading.head(&self.method, self.after, &last).map_err(named)? {
            return Ok(Some((last.id(), head)));
        }
        // The stream is not chained yet: its first link covers all of it.
        let until = ReadOptions::default().until_position(last.position);
        let mut pages = self.inner.read(stream.clone().into(), until);
        let mut whole = Reading::new(&stream.clone().into(), &until);
        let mut hash = Hash::GENESIS;
        while let Some(page) = pages.next().await {
            for event in page?.events {
                hash = whole.fold(&self.method, self.after, &event).map_err(named)?;
            }
        }
        Ok(Some((last.id(), Head { position: last.position, hash })))
    }

    fn remember(&self, stream: StreamId, last: Last) {
        let mut heads = self.heads();
        if heads.len() >= MAX_HEADS {
            heads.clear();
        }
        heads.insert(stream, last);
    }

    fn heads(&self) -> MutexGuard<'_, HashMap<StreamId, Last>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of an event that is not part of its chain.
fn broken(event: &StoredEvent, what: &'static str) -> Error {
    DecodeError::BrokenChain(what).of(event)
}

/// The same condition without compositions of one part: the chain puts one level around it, and a condition that is
/// nested as deep as it may be is mostly such. It recurses no deeper than [`annals::MAX_CONDITION_DEPTH`], which was checked.
fn flat(condition: WriteCondition) -> WriteCondition {
    let each = |parts: Vec<WriteCondition>| parts.into_iter().map(flat).collect::<Vec<_>>();
    match condition {
        WriteCondition::All(parts) => match <[WriteCondition; 1]>::try_from(each(parts)) {
            Ok([only]) => only,
            Err(parts) => WriteCondition::All(parts),
        },
        WriteCondition::Any(parts) => match <[WriteCondition; 1]>::try_from(each(parts)) {
            Ok([only]) => only,
            Err(parts) => WriteCondition::Any(parts),
        },
        leaf => leaf,
    }
}
