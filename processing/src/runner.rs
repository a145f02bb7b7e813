//! The loop of a processor: read its tracking, follow the log from there, apply, commit; and what it does if it lost
//! track, if a store is away, and if another processor of its name works.

use std::sync::Arc;
use std::time::Duration;

use annals::{
    EventPages, EventStore, Page, Query, ReadOptions, SequenceNumber, Source, StoredEvent,
};
use annals_state::{Revision, StateError, StateStore};
use futures_util::future::{BoxFuture, Either, pending, select};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::claim::Claim;
use crate::error::{ProcessingError, Result, chain};
use crate::failing::{Errors, Jitter};
use crate::halt::Halt;
use crate::handle::{Asked, Shared};
use crate::head::{Head, Hearing};
use crate::measure;
use crate::parked::ParkedSet;
use crate::reset;
use crate::sink::Sink;
use crate::split;
use crate::status::Phase;
use crate::timer::Timer;
use crate::tracking::{Definition, Fence, Held, Tracking, commit, get_both, put};

/// How often the pause between two looks at a quiet log is doubled. Who waits for a processor of a
/// [`Services`](crate::Services) can ask it to look, any other one must look by itself.
pub(crate) const IDLE_IN_SERVICES: u32 = 3;
pub(crate) const IDLE_ALONE: u32 = 1;

/// When it looks again how far the log is.
enum Look {
    /// The log says it by itself.
    Never,
    /// This long after this moment.
    After(Duration, Duration),
    /// Once the reading of all processors says that the log does not end where it did.
    IfMoved,
}

/// How events of one sequence are known.
pub(crate) type Sequence = Arc<dyn Fn(&StoredEvent) -> String + Send + Sync>;

pub(crate) struct Options {
    pub(crate) batch_events: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) beat: Duration,
    pub(crate) takeover: Duration,
    /// How often the pause between two looks at a quiet log is doubled.
    pub(crate) idle: u32,
    pub(crate) poison_after: u32,
    pub(crate) max_parked: usize,
    pub(crate) errors: Errors,
    /// `None`: the stream.
    pub(crate) sequence: Option<Sequence>,
    pub(crate) version: u32,
}

pub(crate) struct Runner {
    pub(crate) claim: Arc<Claim>,
    pub(crate) store: EventStore,
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) query: Query,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) node: Uuid,
    pub(crate) jitter: Jitter,
    /// How often in a row something failed.
    pub(crate) failures: u32,
    /// The revisions of the tracking that this processor read or tried to make last: any other one is a rival's.
    pub(crate) known: [Option<Revision>; 2],
    pub(crate) lost: bool,
    /// It works only as long as the tracking names its node as the owner: a group says who that is.
    pub(crate) in_group: bool,
    /// The last owner ended without a word, although the tracking does not say so any more.
    pub(crate) careful: bool,
    /// Who asked to look at the log, and waits for it.
    pub(crate) looking: Vec<Asked>,
    /// What others read of the log's head; `None`: it looks by itself.
    pub(crate) head: Option<Arc<Head>>,
}

/// What a processor knows from the moment when it reads its tracking until it loses track.
pub(crate) struct Session {
    pub(crate) fence: Fence,
    pub(crate) parked: ParkedSet,
    /// Whether the tracking says that this processor has events in hand.
    pub(crate) claimed: bool,
    /// How many events are still taken one by one, because the last owner ended without a word.
    pub(crate) careful: usize,
    /// Everything up to this number was looked at; the tracking may be behind it over events of no interest.
    pub(crate) seen: SequenceNumber,
}

impl Session {
    pub(crate) fn tracked(&self) -> &Tracking {
        &self.fence.tracking.value
    }
}

/// Whether a processor with this query hands this event of it to its sink.
pub(crate) fn is_given(query: &Query, event: &StoredEvent) -> bool {
    !event.stream.category.as_str().starts_with("annals.")
        || query.items().iter().any(|item| item.source != Source::Log && item.matches(event))
}

/// What a waiting processor wakes for.
enum Next {
    Page(Option<annals::Result<Page>>),
    Woken,
    Due,
}

impl Runner {
    /// Works until it is asked to stop, or only up to the head; returns how far it is.
    pub(crate) async fn drive(&mut self, follows: bool) -> Result<SequenceNumber> {
        self.sink.begin(&self.claim);
        loop {
            let outcome = self.session(follows).await;
            self.sink.forget();
            match outcome {
                Ok(after) => return Ok(after),
                Err(Halt::Stopped) => return Ok(self.shared.status(&*self.timer).tracked),
                Err(Halt::Fatal(error @ ProcessingError::Fenced { .. })) => {
                    tracing::info!(name: "annals.fenced", processor = %self.claim);
                    return Err(error);
                }
                Err(Halt::Fatal(error)) => {
                    tracing::error!(name: "annals.processor_failed", processor = %self.claim, error = %chain(&error));
                    return Err(error);
                }
                Err(Halt::Reload) => {}
                Err(Halt::Lost(error)) => {
                    tracing::debug!(name: "annals.lost_track", processor = %self.claim, %error);
                    measure::conflict(&self.claim);
                    self.lost = true;
                }
                Err(Halt::Again(error)) => self.back_off(&error).await,
            }
            if self.shared.is_stopping() {
                return Ok(self.shared.status(&*self.timer).tracked);
            }
        }
    }

    async fn session(&mut self, follows: bool) -> Result<SequenceNumber, Halt> {
        let mut session = self.load().await?;
        if self.in_group && session.tracked().owner != Some(self.node) {
            return Err(ProcessingError::Fenced { what: self.claim.to_string().into() }.into());
        }
        if std::mem::take(&mut self.lost) {
            if self.known.contains(&session.fence.tracking.revision) {
                // Not the tracking: another document of the commit has changed.
                let error =
                    ProcessingError::misuse("a document of the batch was changed by others");
                self.back_off(&error).await;
            } else if self.is_rivals(&session) {
                return self.stand_by(session, follows).await;
            }
        }
        self.known = [session.fence.tracking.revision, None];
        self.check_log(&session).await?;
        self.shared.update(&*self.timer, |status| {
            status.tracked = session.tracked().after;
            status.skipped = session.tracked().skipped;
            status.parked = session.parked.len();
            status.phase = Phase::CatchingUp;
        });
        if session.tracked().paused {
            self.wait_paused(&mut session).await?;
        }
        let outcome = self.work(&mut session, follows).await;
        if matches!(
            outcome,
            Ok(())
                | Err(Halt::Stopped
                    | Halt::Fatal(
                        ProcessingError::Handler(_) | ProcessingError::TooManyParked { .. }
                    ))
        ) {
            self.release(&mut session).await;
        }
        outcome.map(|()| session.seen)
    }

    /// Reads what the store knows of this processor; carries a reset to its end that was begun.
    pub(crate) async fn load(&mut self) -> Result<Session, Halt> {
        let wanted = self.definition();
        loop {
            let keys = (self.claim.definition(), self.claim.tracking());
            let (stored, tracking) = get_both::<Definition, Tracking>(&*self.state, keys).await?;
            let Some(Held { value: stored, revision: Some(definition) }) = stored else {
                // Stored, a query that the log rejects would keep a better one from working.
                let (log, bounds) = (self.store.adapter(), self.store.capabilities());
                bounds.check_read(log.name(), &self.query, &ReadOptions::default())?;
                let write = put(self.claim.definition(), &wanted, None)?;
                match commit(&*self.state, [write]).await {
                    Ok(_) | Err(StateError::Conflict(_)) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            if stored.resetting {
                wanted.check(&self.claim, &stored)?;
                reset::finish(&*self.state, &self.claim, &mut *self.sink, &wanted, definition)
                    .await?;
                continue;
            }
            if stored.splitting.is_some() {
                split::finish(&*self.state, &self.claim, &stored, definition).await?;
                continue;
            }
            wanted.check(&self.claim, &stored)?;
            if wanted.cannot_reset && !stored.cannot_reset {
                // The sink was another one. Said once, and never taken back.
                let next = Definition { cannot_reset: true, ..stored };
                match commit(&*self.state, [put(self.claim.definition(), &next, Some(definition))?])
                    .await
                {
                    Ok(_) | Err(StateError::Conflict(_)) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            let tracking = tracking.unwrap_or_default();
            let most = self.options.max_parked.saturating_add(1);
            let parked = ParkedSet::load(&*self.state, &self.claim, most).await?;
            let owner = tracking.value.owner;
            let is_careful = std::mem::take(&mut self.careful);
            let claim = (*self.claim).clone();
            return Ok(Session {
                seen: tracking.value.after,
                claimed: owner == Some(self.node),
                careful: match owner {
                    Some(owner) if owner != self.node || is_careful => self.options.batch_events,
                    _ => 0,
                },
                fence: Fence { claim, tracking, definition },
                parked,
            });
        }
    }

    pub(crate) fn definition(&self) -> Definition {
        let partitions = self.claim.partition().of();
        Definition {
            partitions: partitions.describe(),
            parts: partitions.len(),
            query: self.query.to_string(),
            version: self.options.version,
            resetting: false,
            at_least: None,
            cannot_reset: !self.sink.can_clear(),
            splitting: None,
        }
    }

    /// Looks the last event up that was applied: the log may be another one, or an older one.
    pub(crate) async fn check_log(&self, session: &Session) -> Result<(), Halt> {
        let Some(last) = session.tracked().last else { return Ok(()) };
        let before = last.number.prev().unwrap_or_default();
        let options = ReadOptions::default().after(before).until(last.number).allow_skips();
        let mut pages = self.store.pages(Query::All, options);
        let mut head = SequenceNumber::START;
        while let Some(page) = pages.try_next().await? {
            head = page.through;
            if page.events.iter().any(|event| event.id() == last.id) {
                return Ok(());
            }
        }
        Err(self.ahead(session.tracked().after, head).into())
    }

    pub(crate) fn ahead(&self, tracked: SequenceNumber, head: SequenceNumber) -> ProcessingError {
        ProcessingError::AheadOfLog { processor: self.claim.to_string().into(), tracked, head }
    }

    /// Whether the event is one of this processor: of its part, and not one of those that Annals keeps for itself unless
    /// the query names them.
    pub(crate) fn wants(&self, event: &StoredEvent) -> bool {
        self.claim.partition().contains(&event.stream) && is_given(&self.query, event)
    }

    pub(crate) fn sequence(&self, event: &StoredEvent) -> String {
        match &self.options.sequence {
            Some(sequence) => sequence(event),
            None => event.stream.to_string(),
        }
    }

    /// Whether it looks now and then how far the log is: a follow of the whole log says that by itself.
    pub(crate) fn looks(&self) -> bool {
        self.query != Query::All
    }

    /// How long it waits before it looks again, after so many looks that found nothing.
    fn pause_after(&self, idle: u32) -> Duration {
        self.options.beat.saturating_mul(1 << idle)
    }

    pub(crate) fn pages(&self, after: SequenceNumber, follows: bool) -> EventPages {
        let options = ReadOptions::default().after(after);
        let options = if follows { options.follow() } else { options };
        self.store.pages(self.query.clone(), options)
    }

    async fn work(&mut self, session: &mut Session, follows: bool) -> Result<(), Halt> {
        let mut pages = self.pages(session.seen, follows);
        let mut batch: Vec<StoredEvent> = Vec::new();
        let mut bytes = 0;
        let mut moved = self.timer.elapsed();
        // A follow of some events says nothing when others are appended: how far the log is is looked at now and then.
        let looks = follows && self.looks();
        let mut look = Look::Never;
        let mut is_at_head = false;
        let (mut idle, mut heard) = (0, Hearing::default());
        loop {
            if self.shared.is_stopping() {
                return Err(Halt::Stopped);
            }
            self.answer_asked(session).await?;
            if session.tracked().paused {
                return Err(Halt::Reload);
            }
            let is_waited_for = self.shared.is_waited_for(session.seen) && looks;
            if (is_waited_for || !self.looking.is_empty()) && std::mem::take(&mut is_at_head) {
                pages = self.pages(session.seen, follows);
                look = Look::Never;
            }
            let since = |then| self.timer.elapsed().saturating_sub(then);
            let is_behind = session.seen > session.tracked().after;
            let due = match look {
                _ if is_behind => self.timer.sleep(self.options.beat.saturating_sub(since(moved))),
                Look::After(at, pause) => self.timer.sleep(pause.saturating_sub(since(at))),
                Look::IfMoved => heard.is_moved(self.head.as_ref(), session.seen).boxed(),
                Look::Never => pending().boxed(),
            };
            let page = match self.next(&mut pages, due).await {
                Next::Woken => continue,
                Next::Due if is_behind => {
                    self.move_on(session).await?;
                    moved = self.timer.elapsed();
                    continue;
                }
                Next::Due => {
                    idle = (idle + 1).min(self.options.idle);
                    if heard.is_still(self.head.as_ref(), session.seen) {
                        look = Look::IfMoved;
                        continue;
                    }
                    pages = self.pages(session.seen, follows);
                    (look, is_at_head) = (Look::Never, false);
                    continue;
                }
                Next::Page(None) => break,
                Next::Page(Some(Err(annals::Error::AheadOfLog { head, .. }))) => {
                    return Err(self.ahead(session.tracked().after, head).into());
                }
                Next::Page(Some(page)) => page?,
            };
            if page.at_head && page.through < session.tracked().after {
                return Err(self.ahead(session.tracked().after, page.through).into());
            }
            let through = page.through;
            if through > session.seen {
                idle = 0;
            }
            self.shared.update(&*self.timer, |status| status.head = status.head.max(through));
            for event in page.events {
                if !self.wants(&event) {
                    continue;
                }
                bytes += event.payload().as_bytes().len()
                    + event.metadata().map_or(0, |metadata| metadata.as_bytes().len());
                let to = event.sequence_number;
                batch.push(event);
                if batch.len() >= self.options.batch_events || bytes >= self.options.batch_bytes {
                    self.apply(session, std::mem::take(&mut batch), to).await?;
                    (bytes, moved) = (0, self.timer.elapsed());
                    if self.shared.is_stopping() {
                        return Err(Halt::Stopped);
                    }
                }
            }
            if page.at_head {
                if !batch.is_empty() {
                    moved = self.timer.elapsed();
                }
                self.apply(session, std::mem::take(&mut batch), through).await?;
                bytes = 0;
                is_at_head = true;
                self.answer_looks(session).await?;
                heard.looked(self.head.as_ref());
                if looks {
                    look = Look::After(self.timer.elapsed(), self.pause_after(idle));
                }
                self.report_live();
            } else {
                (look, is_at_head) = (Look::Never, false);
                if batch.is_empty() {
                    self.reached(session, through);
                }
            }
        }
        Ok(())
    }

    /// Waits for a page, for something else to do, or for the tracking to be due.
    async fn next(&self, pages: &mut EventPages, due: BoxFuture<'_, ()>) -> Next {
        let woken = self.shared.listen();
        if self.shared.has_work() || self.shared.has_waiters() {
            return Next::Woken;
        }
        // A page that is there is taken first: a plain read never waits.
        match select(pages.next(), select(woken, due)).await {
            Either::Left((page, _)) => Next::Page(page),
            Either::Right((Either::Left(_), _)) => Next::Woken,
            Either::Right((Either::Right(_), _)) => Next::Due,
        }
    }

    /// Everything up to this number was looked at.
    pub(crate) fn reached(&self, session: &mut Session, through: SequenceNumber) {
        session.seen = session.seen.max(through);
        let parked = session.parked.len();
        let skipped = session.tracked().skipped;
        self.shared.update(&*self.timer, |status| {
            status.tracked = status.tracked.max(session.seen);
            status.parked = parked;
            status.skipped = skipped;
        });
        measure::progress(&self.claim, &self.shared.status(&*self.timer));
    }

    /// It has reached the head of the log.
    fn report_live(&self) {
        self.shared.update(&*self.timer, |status| {
            status.phase = Phase::Live;
            status.error = None;
        });
    }

    /// Stores how far it has looked.
    pub(crate) async fn move_on(&mut self, session: &mut Session) -> Result<(), Halt> {
        if session.seen <= session.tracked().after {
            return Ok(());
        }
        let next = Tracking { after: session.seen, ..session.tracked().clone() };
        self.commit_tracking(session, next, []).await
    }

    /// Says that this processor has nothing in hand. Best effort: without it the next one is careful at first.
    pub(crate) async fn release(&mut self, session: &mut Session) {
        let is_behind = session.seen > session.tracked().after;
        if !session.claimed && !is_behind {
            return;
        }
        let owner = session.tracked().owner.filter(|owner| *owner != self.node);
        let next =
            Tracking { after: session.seen, owner, suspect: None, ..session.tracked().clone() };
        if let Err(Halt::Fatal(error) | Halt::Again(error)) =
            self.commit_tracking(session, next, []).await
        {
            tracing::warn!(name: "annals.not_released", processor = %self.claim, error = %chain(&error));
        }
        session.claimed = false;
    }
}
