//! The writer: one thread with one connection, which commits what is queued together.

use std::sync::Arc;
use std::time::Duration;

use annals::Result;
use annals::adapter::{Bell, Wake};
use annals_sql::fault::{Class, Fault};
use annals_sql::queue::{Intake, Message};
use rusqlite::Connection;

use super::log::Log;
use super::made::Made;
use super::task::Task;
use super::wal::Wal;
use crate::error::{NAME, Outcome};
use crate::options::SqliteOptions;
use crate::place::{Opened, Place};
use crate::read::{History, Session};
use crate::request::Request;

/// When the commits of a transaction have so many bytes, it ends.
#[cfg(feature = "state")]
const TRANSACTION_BYTES: u64 = 32 << 20;

#[derive(Debug)]
pub(crate) struct Writer {
    log: Log,
    /// None of a store in memory.
    wal: Option<Wal>,
    file: Option<Opened>,
    lock_timeout: Duration,
    bell: Bell,
}

/// Why a transaction was not made.
struct Refusal {
    fault: Fault,
    /// What is left to try: one of its appends may be the reason.
    cause: Cause,
}

enum Cause {
    /// An event is known: it can be told which, and the others be made.
    Duplicate,
    /// The lock was not to be had.
    Lock,
    /// It failed on the way, and nothing was written.
    Work,
    /// The commit itself failed, and may have been made.
    Commit,
}

/// The lock was not to be had, and these appends were neither made nor answered.
struct Locked {
    fault: Fault,
    jobs: Vec<Task>,
}

fn refuse(jobs: Vec<Task>, fault: &Fault) {
    for job in jobs {
        job.refuse(fault);
    }
}

impl Writer {
    pub(crate) fn new(
        connection: Connection,
        place: &Place,
        options: &SqliteOptions,
        bell: Bell,
        history: Arc<History>,
    ) -> Self {
        let (wal, file) = match place {
            Place::Memory => (None, None),
            Place::File(path) => (Some(Wal::of(path)), Some(Opened::at(path))),
        };
        let cache_bound = options.common.cache_bound;
        Self {
            log: Log::new(Session::new(connection, cache_bound, history), cache_bound),
            wal,
            file,
            lock_timeout: options.common.lock_timeout,
            bell,
        }
    }

    /// Works until all callers are gone, or one asked it to stop.
    pub(crate) fn run(mut self, mut intake: Intake<Request>) {
        while let Some(messages) = intake.blocking_next() {
            let mut jobs = Vec::with_capacity(messages.len());
            let mut stops = Vec::new();
            #[cfg(feature = "state")]
            let mut committed = 0;
            for message in messages {
                match message {
                    Message::Append(job) if job.is_abandoned() => {}
                    Message::Append(job) => jobs.push(Task::Append(job)),
                    #[cfg(feature = "state")]
                    Message::Other(Request::Commit(mut job)) => {
                        let bytes = job.commit().bytes();
                        if job.take() {
                            jobs.push(Task::Commit(job));
                        }
                        committed += bytes;
                        if committed > TRANSACTION_BYTES {
                            self.settle(std::mem::take(&mut jobs), &mut intake);
                            committed = 0;
                        }
                    }
                    Message::Other(Request::Read(read)) => {
                        // What was queued before it comes first.
                        self.settle(std::mem::take(&mut jobs), &mut intake);
                        read.serve(self.log.session());
                    }
                    Message::Other(Request::Look) => self.look(),
                    Message::Other(Request::Stop(stop)) => stops.push(stop),
                }
            }
            let answered = jobs.len();
            self.settle(jobs, &mut intake);
            if !stops.is_empty() {
                // All that was taken is answered, and the connection closed, before the calls that asked go on.
                drop(self);
                drop(stops);
                return;
            }
            if let Some(wal) = &mut self.wal {
                wal.keep_bounded(self.log.session().connection(), self.lock_timeout);
            }
            intake.let_return(answered);
        }
    }

    /// Makes `jobs`, and answers their callers.
    fn settle(&mut self, jobs: Vec<Task>, intake: &mut Intake<Request>) {
        let Err(Locked { fault, jobs }) = self.make(jobs) else { return };
        // What was queued meanwhile has waited for the lock as long, and is answered as well. It is taken out before
        // anybody is answered: what comes after an answer has not waited yet.
        let queued = intake.drain();
        refuse(jobs, &fault);
        for message in queued {
            match message {
                Message::Append(job) => job.answer(Err(fault.error(NAME))),
                #[cfg(feature = "state")]
                Message::Other(Request::Commit(job)) => job.refuse(&fault),
                Message::Other(Request::Read(read)) => read.serve(self.log.session()),
                Message::Other(Request::Look) => {}
                Message::Other(stop @ Request::Stop(_)) => intake.put_back(Message::Other(stop)),
            }
        }
    }

    /// Makes `jobs` in one transaction, or, where one of them is in the way, each in its own, until the lock is not
    /// to be had.
    fn make(&mut self, jobs: Vec<Task>) -> Result<(), Locked> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut tried = self.attempt(&jobs, false);
        if let Err(Refusal { cause: Cause::Duplicate, .. }) = tried {
            tried = self.attempt(&jobs, true);
        }
        match tried {
            Ok(outcomes) => {
                let made = jobs.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
                let writes = made.flat_map(|(job, _)| job.writes());
                let written = writes.filter(|write| !write.events.is_empty());
                self.bell.ring(written.map(|write| &write.stream));
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    job.answer(outcome);
                }
                Ok(())
            }
            Err(Refusal { cause: Cause::Work | Cause::Duplicate, .. }) if jobs.len() > 1 => {
                let mut jobs = jobs.into_iter();
                while let Some(job) = jobs.next() {
                    if let Err(mut locked) = self.make(vec![job]) {
                        locked.jobs.extend(jobs);
                        return Err(locked);
                    }
                }
                Ok(())
            }
            Err(Refusal { cause: Cause::Lock, fault }) => Err(Locked { fault, jobs }),
            Err(refusal) => {
                refuse(jobs, &refusal.fault);
                Ok(())
            }
        }
    }

    /// One transaction: each of `jobs` judged on its own, after those before it. `checked`: known events are
    /// looked for beforehand; otherwise the index finds them, which costs nothing where there are none.
    fn attempt(&mut self, jobs: &[Task], checked: bool) -> Result<Vec<Made>, Refusal> {
        self.begin().map_err(|failure| {
            let fault = failure.into_fault();
            let busy = fault.class() == Class::Unavailable;
            Refusal { fault, cause: if busy { Cause::Lock } else { Cause::Work } }
        })?;
        let placed: Outcome<Vec<_>> = jobs.iter().map(|job| self.log.place(job, checked)).collect();
        match placed {
            Ok(outcomes) if !self.log.has_changes() => {
                // Nothing to commit; what was looked up stays true.
                self.log.roll_back();
                Ok(outcomes)
            }
            Ok(outcomes) => match self.log.commit() {
                Ok(()) => {
                    self.log.saw(jobs, &outcomes);
                    Ok(outcomes)
                }
                Err(failure) => {
                    self.log.abandon();
                    let fault = failure.into_commit_fault();
                    let unknown = fault.class() == Class::OutcomeUnknown;
                    let cause = if unknown { Cause::Commit } else { Cause::Work };
                    Err(Refusal { fault, cause })
                }
            },
            Err(failure) => {
                self.log.abandon();
                let cause = if failure.is_duplicate() { Cause::Duplicate } else { Cause::Work };
                Err(Refusal { fault: failure.into_fault(), cause })
            }
        }
    }

    fn begin(&mut self) -> Outcome<()> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        self.log.begin()?;
        let known = self.refresh();
        if known.is_err() {
            self.log.abandon();
        }
        known
    }

    /// Wakes all follows if another connection has written. A failure is that of the next append or read.
    fn look(&mut self) {
        let _ = self.refresh();
    }

    /// Forgets what another connection may have changed, and wakes all follows if it has changed anything.
    fn refresh(&mut self) -> Outcome<()> {
        if !self.log.has_news()? {
            return Ok(());
        }
        let learned = self.log.refresh();
        // Behind what was learned: a follow that is woken before could read, and miss what is committed and learned then.
        // Another program may even have put an older state in place.
        self.bell.ring_all(Wake::Unsure);
        learned
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::task::Context;

    use annals::{
        Append, Clock as _, EventName, NewEvent, Payload, Query, StreamId, SystemClock,
        WriteCondition,
    };
    use annals_sql::queue::queue;
    use futures_util::FutureExt as _;

    use super::*;
    use crate::connect;

    #[test]
    fn an_append_that_is_taken_beside_a_stop_is_made() {
        let options = SqliteOptions::new();
        let connection = connect::writer(&Place::Memory, &options).unwrap();
        let (queue, intake) = queue("sqlite", 8);
        let mut stopped = pin!(queue.stop(Request::Stop));
        assert!(stopped.as_mut().now_or_never().is_none(), "it waits for the writer");
        let event = NewEvent::new(EventName::from_static("made"), Payload::json(&1).unwrap());
        let stream = StreamId::from_static("orders", "o-1");
        let write = Append::new(stream, [event], WriteCondition::Always);
        let mut append = pin!(queue.append(vec![write], SystemClock.now()));
        assert!(append.as_mut().now_or_never().is_none(), "it is queued");
        Writer::new(connection, &Place::Memory, &options, Bell::default(), Arc::default())
            .run(intake);
        assert_eq!(append.now_or_never().unwrap().unwrap().len(), 1);
        assert_eq!(stopped.now_or_never(), Some(()));
    }

    /// Commits when it is woken, as another process may at any moment.
    struct Commits(Mutex<Connection>);

    impl std::task::Wake for Commits {
        fn wake(self: Arc<Self>) {
            let other = self.0.lock().unwrap();
            other
                .execute_batch(
                    "CREATE TABLE IF NOT EXISTS beside (n); INSERT INTO beside VALUES (1)",
                )
                .unwrap();
        }
    }

    #[test]
    fn what_is_committed_while_follows_are_woken_is_news() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let (place, options) = (Place::File(path.clone()), SqliteOptions::new());
        let connection = connect::writer(&place, &options).unwrap();
        let other = Arc::new(Commits(Mutex::new(Connection::open(path).unwrap())));
        let bell = Bell::default();
        let mut writer = Writer::new(connection, &place, &options, bell.clone(), Arc::default());
        for _ in 0..3 {
            let mut follow = pin!(bell.register(&Query::All));
            let waker = Arc::clone(&other).into();
            assert!(follow.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            writer.look();
            assert!(writer.log.has_news().unwrap(), "the commit of the waker is still unknown");
        }
    }
}
