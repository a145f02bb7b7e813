//! The group-commit queue: many callers append, one writer commits what is there together.
//!
//! Nothing waits for company: the writer takes what is queued, be it one append. At most it lets those that it
//! just answered come back first ([`Intake::let_return`]); a writer that can send one batch while another is committed
//! has two groups of them take turns ([`halves`]). Callers wait for one answer each, on any executor. A
//! caller that goes away changes nothing for the others.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use annals::{Append, Error, Result, StoredEvent};
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use crate::placing::{Placement, count};

/// How many events may be under way, unless an adapter is configured otherwise.
pub const QUEUE_BOUND: NonZeroU32 = NonZeroU32::MIN.saturating_add(262_143);

/// How many messages the writer takes at once.
const BATCH_MESSAGES: usize = 1_024;
/// Beyond so many events a batch takes no further append.
const BATCH_EVENTS: usize = 16_384;
/// A batch that is made beside another has at least so many events: fewer cost more as a commit of their own than is
/// won by not waiting.
const BESIDE_EVENTS: usize = 48;
/// How often the writer yields for each caller that it may see again.
const YIELDS: usize = 4;

/// Room in a queue, given back when it is dropped.
pub type Room = OwnedSemaphorePermit;

/// What is queued: an append, or something else that an adapter asks of its writer.
#[derive(Debug)]
pub enum Message<X> {
    /// An append.
    Append(Job),
    /// The adapter's own.
    Other(X),
}

/// The callers' end; clones share the queue. The writer ends when all of them are gone and the queue is empty.
#[derive(Debug)]
pub struct Queue<X> {
    sender: mpsc::UnboundedSender<Message<X>>,
    room: Arc<Semaphore>,
    bound: u32,
    adapter: &'static str,
}

impl<X> Clone for Queue<X> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), room: Arc::clone(&self.room), ..*self }
    }
}

/// A queue of `adapter` that holds at most `bound` events under way, where an append counts as one more than it has.
/// An append that is larger than the bound has the queue for itself.
#[must_use]
pub fn queue<X>(adapter: &'static str, bound: u32) -> (Queue<X>, Intake<X>) {
    let bound = bound.max(1);
    let permits = usize::try_from(bound).unwrap_or(Semaphore::MAX_PERMITS);
    let room = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
    let (sender, receiver) = mpsc::unbounded_channel();
    (Queue { sender, room, bound, adapter }, Intake { adapter, receiver, waiting: VecDeque::new() })
}

impl<X> Queue<X> {
    /// Queues `writes` and waits for the writer's answer. Checks of the call come before.
    ///
    /// # Errors
    /// The writer's answer; [`Error::Unavailable`] if the queue is full; [`Error::Closed`] if it is closed;
    /// [`Error::OutcomeUnknown`] when the writer ended while it was at work on this append.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves all of `writes` stored or nothing.
    pub async fn append(
        &self,
        writes: Vec<Append>,
        recorded_at: OffsetDateTime,
    ) -> Result<Vec<StoredEvent>> {
        let room = self.reserve(count(&writes))?;
        let (reply, answer) = oneshot::channel();
        let adapter = self.adapter;
        let job = Job {
            adapter,
            writes,
            recorded_at,
            reply: Some(reply),
            taken: false,
            room: Some(room),
            held_since: None,
        };
        // A job that cannot be queued answers its caller when it is dropped.
        drop(self.sender.send(Message::Append(job)));
        let (placement, writes) = answer.await.unwrap_or_else(|_| Err(Error::closed(adapter)))?;
        Ok(placement.events(writes, recorded_at))
    }

    /// Room for something else that weighs as much as an append of so many events, until it is dropped.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the queue is full; [`Error::Closed`] if it is closed.
    pub fn reserve(&self, events: usize) -> Result<Room> {
        let weight = u32::try_from(events).unwrap_or(u32::MAX).saturating_add(1);
        let room = Arc::clone(&self.room).try_acquire_many_owned(weight.min(self.bound));
        room.map_err(|error| match error {
            TryAcquireError::NoPermits => Error::unavailable("the queue of appends is full"),
            TryAcquireError::Closed => Error::closed(self.adapter),
        })
    }

    /// Queues something else.
    ///
    /// # Errors
    /// [`Error::Closed`] if the writer has ended.
    pub fn send(&self, other: X) -> Result<()> {
        self.sender.send(Message::Other(other)).map_err(|_| Error::closed(self.adapter))
    }

    /// Asks the writer to end, by the message that `ask` makes of the [`Stop`], and waits until it has: behind all that is
    /// queued. It may have ended before, if another handle asked.
    ///
    /// # Cancel safety
    /// Once it was polled the writer ends, also if the future is dropped.
    pub async fn stop(&self, ask: impl FnOnce(Stop) -> X) {
        let (stop, ended) = oneshot::channel();
        if self.send(ask(Stop(stop))).is_ok() {
            // Nothing is ever sent: that it is dropped is the answer.
            let _ = ended.await;
        }
    }

    /// Rejects appends from now on; what is queued is still done.
    pub fn close(&self) {
        self.room.close();
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.room.is_closed()
    }
}

/// A call that waits for the writer to end. The writer drops it once all that was queued before is answered and its own
/// connection is closed: then the call goes on.
#[derive(Debug)]
pub struct Stop(#[expect(dead_code, reason = "it is only dropped")] oneshot::Sender<Infallible>);

/// The writer's end.
#[derive(Debug)]
pub struct Intake<X> {
    adapter: &'static str,
    receiver: mpsc::UnboundedReceiver<Message<X>>,
    waiting: VecDeque<Message<X>>,
}

impl<X> Intake<X> {
    /// Waits for the next batch, in the order queued; `None` when all callers are gone and all is done.
    ///
    /// # Cancel safety
    /// Dropped before it is done, no message is lost: the next call returns it.
    pub async fn next(&mut self) -> Option<Vec<Message<X>>> {
        let mut messages = Vec::new();
        if self.waiting.is_empty()
            && self.receiver.recv_many(&mut messages, BATCH_MESSAGES).await == 0
        {
            return None;
        }
        Some(self.batch(messages))
    }

    /// The same for a writer that is a thread.
    ///
    /// # Panics
    /// On a thread that runs an async executor.
    pub fn blocking_next(&mut self) -> Option<Vec<Message<X>>> {
        let mut messages = Vec::new();
        if self.waiting.is_empty()
            && self.receiver.blocking_recv_many(&mut messages, BATCH_MESSAGES) == 0
        {
            return None;
        }
        Some(self.batch(messages))
    }

    /// For a writer that is a thread: yields to callers that were just answered, until as many have queued
    /// something again, or for a moment. Without it they fall into two groups that take turns, and each commit
    /// carries half of them. One caller alone is not waited for.
    pub fn let_return(&self, answered: usize) {
        if answered > 1 {
            for _ in 0..answered.saturating_mul(YIELDS) {
                if self.len() >= answered {
                    return;
                }
                std::thread::yield_now();
            }
        }
    }

    /// How many messages are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.receiver.len()
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next batch without waiting, if what is queued is enough for one beside another ([`halves`]), and appends
    /// only.
    pub fn take_beside(&mut self) -> Option<Vec<Job>> {
        self.gather();
        let mut events = 0;
        for message in &self.waiting {
            let Message::Append(job) = message else { return None };
            events += count(&job.writes);
        }
        if events < BESIDE_EVENTS {
            return None;
        }
        let jobs = self.batch(Vec::new()).into_iter().filter_map(|message| match message {
            Message::Append(job) if !job.is_abandoned() => Some(job),
            _ => None,
        });
        Some(jobs.collect()).filter(|jobs: &Vec<_>| !jobs.is_empty())
    }

    /// Takes what is queued by now, without waiting.
    pub fn drain(&mut self) -> Vec<Message<X>> {
        self.gather();
        self.waiting.drain(..).collect()
    }

    fn gather(&mut self) {
        while let Ok(message) = self.receiver.try_recv() {
            self.waiting.push_back(message);
        }
    }

    /// Queues a message again, behind all that wait.
    pub fn put_back(&mut self, message: Message<X>) {
        self.waiting.push_back(message);
    }

    fn batch(&mut self, messages: Vec<Message<X>>) -> Vec<Message<X>> {
        self.waiting.extend(messages);
        let mut events = 0;
        let mut batch = Vec::with_capacity(self.waiting.len());
        while let Some(mut message) = self.waiting.pop_front() {
            if let Message::Append(job) = &mut message {
                events += count(&job.writes);
                if events > BATCH_EVENTS && !batch.is_empty() {
                    self.waiting.push_front(message);
                    break;
                }
                job.taken = true;
            }
            batch.push(message);
        }
        tracing::event!(
            name: "annals.group",
            target: "annals",
            tracing::Level::DEBUG,
            adapter = self.adapter,
            appends = batch.iter().filter(|message| matches!(message, Message::Append(_))).count(),
            events = events,
            queued = self.len(),
        );
        batch
    }
}

/// `jobs` in two batches of about as many events, if both are enough for two groups of callers that take turns: while
/// the batch of one is committed, the others are answered and append again. It pays where commits are made by a server;
/// a writer that does the work itself writes more pages for the same rows.
///
/// # Errors
/// `jobs`, which are not.
pub fn halves(mut jobs: Vec<Job>) -> std::result::Result<[Vec<Job>; 2], Vec<Job>> {
    let events: usize = jobs.iter().map(|job| count(&job.writes)).sum();
    let (mut first, mut sum) = (0, 0);
    for job in &jobs {
        if sum >= events.div_ceil(2) {
            break;
        }
        sum += count(&job.writes);
        first += 1;
    }
    if sum < BESIDE_EVENTS || events - sum < BESIDE_EVENTS {
        return Err(jobs);
    }
    let second = jobs.split_off(first);
    Ok([jobs, second])
}

/// Where an append landed, with what was appended.
type Answer = Result<(Placement, Vec<Append>)>;
type Reply = oneshot::Sender<Answer>;

/// One append that waits for its outcome. Dropped without one, it sends its caller what that means.
#[derive(Debug)]
pub struct Job {
    adapter: &'static str,
    writes: Vec<Append>,
    recorded_at: OffsetDateTime,
    reply: Option<Reply>,
    taken: bool,
    room: Option<Room>,
    held_since: Option<Instant>,
}

impl Job {
    /// What to append.
    #[must_use]
    pub fn writes(&self) -> &[Append] {
        &self.writes
    }

    /// When the store appends it.
    #[must_use]
    pub fn recorded_at(&self) -> OffsetDateTime {
        self.recorded_at
    }

    /// Since when it waits for a lock that others hold: the first `now` that this was called with.
    pub fn held_since(&mut self, now: Instant) -> Instant {
        *self.held_since.get_or_insert(now)
    }

    /// Whether the caller is gone, so that the append need not be made.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Sends the caller how it ended; `Ok` only after the commit.
    pub fn answer(mut self, outcome: Result<Placement>) {
        let writes = std::mem::take(&mut self.writes);
        self.reply(outcome.map(|placement| (placement, writes)));
    }

    fn reply(&mut self, outcome: Result<(Placement, Vec<Append>)>) {
        // First, so that a caller that was answered finds the room that it had.
        self.room = None;
        if let Some(reply) = self.reply.take() {
            // A caller that is gone needs no answer.
            drop(reply.send(outcome));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let taken = self.taken;
        self.reply(Err(if taken {
            Error::outcome_unknown("the writer ended while it was at work")
        } else {
            Error::closed(self.adapter)
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;
    use annals::{EventName, NewEvent, Payload, StreamId, WriteCondition};

    /// A job of so many events, and its caller's end.
    fn job(events: usize) -> (Job, oneshot::Receiver<Answer>) {
        let event = || NewEvent::new(EventName::from_static("made"), Payload::json(&1).unwrap());
        let stream = StreamId::new("orders", "o-1").unwrap();
        let events: Vec<_> = (0..events).map(|_| event()).collect();
        let (reply, answer) = oneshot::channel();
        let job = Job {
            adapter: "test",
            writes: vec![Append::new(stream, events, WriteCondition::Always)],
            recorded_at: OffsetDateTime::UNIX_EPOCH,
            reply: Some(reply),
            taken: false,
            room: None,
            held_since: None,
        };
        (job, answer)
    }

    fn sizes(jobs: &[Job]) -> Vec<usize> {
        jobs.iter().map(|job| count(&job.writes)).collect()
    }

    #[test]
    fn both_halves_are_enough_or_there_are_none() {
        for (given, expected) in [
            (vec![48, 48], Some([vec![48], vec![48]])),
            (vec![10; 10], Some([vec![10; 5], vec![10; 5]])),
            (vec![200, 20, 30], Some([vec![200], vec![20, 30]])),
            (vec![48, 47], None),
            (vec![400, 10, 10], None),
            (vec![10, 10, 400], None),
            (vec![500], None),
            (vec![0, 0], None),
            (Vec::new(), None),
        ] {
            let jobs: Vec<_> = given.iter().map(|events| job(*events).0).collect();
            match halves(jobs) {
                Ok([first, second]) => {
                    assert_eq!(Some([sizes(&first), sizes(&second)]), expected, "of {given:?}");
                }
                Err(jobs) => {
                    assert_eq!(expected, None, "of {given:?}");
                    assert_eq!(sizes(&jobs), given, "none is lost");
                }
            }
        }
    }

    #[test]
    fn a_stop_waits_until_the_writer_drops_it_or_is_gone() {
        let (queue, mut intake) = queue("test", 10);
        let mut stopped = pin!(queue.stop(|stop| stop));
        assert!(stopped.as_mut().now_or_never().is_none(), "it is queued");
        let taken = intake.drain();
        assert_eq!(taken.len(), 1);
        assert!(stopped.as_mut().now_or_never().is_none(), "the writer is at work");
        drop(taken);
        assert_eq!(stopped.now_or_never(), Some(()));
        drop(intake);
        assert_eq!(queue.stop(|stop| stop).now_or_never(), Some(()), "it has ended before");
    }

    #[test]
    fn a_batch_beside_another_is_enough_and_has_appends_only() {
        let (queue, mut intake) = queue::<()>("test", 10_000);
        let mut callers = Vec::new();
        let mut send = |events| {
            let (job, answer) = job(events);
            queue.sender.send(Message::Append(job)).unwrap();
            callers.push(answer);
        };
        send(40);
        assert!(intake.take_beside().is_none(), "it is not enough");
        send(8);
        assert_eq!(sizes(&intake.take_beside().unwrap()), [40, 8]);
        assert!(intake.is_empty());
        send(50);
        queue.send(()).unwrap();
        assert!(intake.take_beside().is_none(), "there is something else to do");
        assert_eq!(intake.len(), 2, "and nothing is lost");
        assert_eq!(intake.drain().len(), 2);
    }

    #[test]
    fn a_batch_of_callers_that_are_gone_is_none() {
        let (queue, mut intake) = queue::<()>("test", 10_000);
        queue.sender.send(Message::Append(job(60).0)).unwrap();
        assert!(intake.take_beside().is_none());
        assert!(intake.is_empty());
    }
}
