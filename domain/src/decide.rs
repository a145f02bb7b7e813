//! The one loop of all commands: look, decide, append under the condition that nothing changed, and again.

use annals::{
    Append, Context, EventId, EventStore, KnownIds, NewEvent, Query, QueryItem, ReadOptions,
    Source, StoredEvent, StreamId, WriteCondition,
};

use crate::error::{Error, ExecuteError, Result};
use crate::event::{Event, new_event};
use crate::outcome::Outcome;
use crate::resolve::{self, Written};
use crate::retry::Retry;

/// How many ids of a command are looked up at once.
const LOOKED_UP: u64 = 64;

/// What a decision is made on.
pub(crate) trait Target: Send {
    /// Takes what is known without a look at the log, and returns whether a decision can be made on it. The condition of the
    /// append rejects it if the log has gone on.
    fn recall(&mut self) -> bool {
        false
    }

    /// Brings it up to date with the log, and returns whether that changed it.
    fn refresh(&mut self) -> impl Future<Output = Result<bool>> + Send;

    /// Where the events go, and that nothing has changed since.
    fn condition(&self) -> WriteCondition;
}

/// How commands are carried out.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    pub(crate) store: EventStore,
    pub(crate) context: Context,
    pub(crate) retry: Retry,
    pub(crate) command: Option<EventId>,
}

/// A command that was carried out.
pub(crate) struct Decided<E> {
    pub(crate) events: Vec<E>,
    pub(crate) stored: Vec<StoredEvent>,
    pub(crate) attempts: u32,
    pub(crate) repeated: bool,
}

impl Commands {
    pub(crate) fn new(store: EventStore) -> Self {
        Self { store, context: Context::new(), retry: Retry::default(), command: None }
    }

    /// The same with a command id.
    pub(crate) fn command(&self, id: EventId) -> Result<Self> {
        if self.store.capabilities().known_ids != KnownIds::Forever {
            let adapter = self.store.adapter().name();
            return Err(annals::Error::unsupported(adapter, "command ids").into());
        }
        Ok(Self { command: Some(id), ..self.clone() })
    }

    pub(crate) async fn run<T: Target, E: Event, O: Outcome<E>>(
        &self,
        stream: &StreamId,
        target: &mut T,
        mut decide: impl FnMut(&T) -> O,
    ) -> Result<Decided<E>, ExecuteError<O::Error>> {
        let mut attempts = 0;
        // If there is one attempt only, it must not be lost to something that was recalled.
        let mut recalled = self.retry.most() > 1 && target.recall();
        let mut has_state = recalled;
        loop {
            attempts += 1;
            if !std::mem::take(&mut has_state)
                && let Err(error) = target.refresh().await
            {
                return Ok(self.not_found(stream, attempts, error).await?);
            }
            let decision = decide(target).into_events();
            // No append will find out whether the log has gone on.
            if recalled && decision.as_ref().map_or(true, Vec::is_empty) {
                recalled = false;
                match target.refresh().await {
                    Ok(false) => {}
                    Ok(true) => {
                        has_state = true;
                        continue;
                    }
                    Err(error) => return Ok(self.not_found(stream, attempts, error).await?),
                }
            }
            let events = match decision {
                Ok(events) => events,
                Err(rejection) => {
                    let repeated = self.repeated(stream, attempts).await?;
                    return repeated.ok_or(ExecuteError::Rejected(rejection));
                }
            };
            if events.is_empty() {
                let nothing =
                    Decided { events: Vec::new(), stored: Vec::new(), attempts, repeated: false };
                return Ok(self.repeated(stream, attempts).await?.unwrap_or(nothing));
            }
            let (events, new) = self.write(events)?;
            let write = Append::new(stream.clone(), new, target.condition());
            match resolve::append(&self.store, vec![write], self.retry).await {
                Ok(Written::Before { stored, unknown: false }) => {
                    // The first time there may have been more events.
                    let now = Decided { events, stored, attempts, repeated: true };
                    return Ok(self.repeated(stream, attempts).await?.unwrap_or(now));
                }
                Ok(Written::Now(stored) | Written::Before { stored, .. }) => {
                    return Ok(Decided { events, stored, attempts, repeated: false });
                }
                Err(error) if error.is_condition_failed() && attempts < self.retry.most() => {
                    if !std::mem::take(&mut recalled) {
                        self.retry.pause(attempts).await;
                    }
                }
                Err(error) if error.is_duplicate() => {
                    let repeated = self.repeated(stream, attempts).await?;
                    return repeated.ok_or_else(|| error.into());
                }
                Err(error) => return Err(Error::of_attempt(error, attempts).into()),
            }
        }
    }

    /// What is returned if a look ends in an error: the command itself may have created or ended the aggregate.
    async fn not_found<E>(
        &self,
        stream: &StreamId,
        attempts: u32,
        error: Error,
    ) -> Result<Decided<E>> {
        let own = matches!(error, Error::NotFound(_) | Error::AlreadyExists(_));
        let repeated = if own { self.repeated(stream, attempts).await? } else { None };
        repeated.ok_or(error)
    }

    /// The events as they are appended: under the ids of the command, with the context.
    fn write<E: Event>(&self, events: Vec<E>) -> Result<(Vec<E>, Vec<NewEvent>)> {
        let mut written = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (nth, event) in (0..).zip(events) {
            let (event, mut new) = new_event(event)?;
            if let Some(command) = self.command {
                new.id = command.derived(nth);
            }
            written.0.push(event);
            written.1.push(self.context.stamp(new)?);
        }
        Ok(written)
    }

    /// What the command did when it was carried out first; `None` if it was not.
    pub(crate) async fn repeated<E>(
        &self,
        stream: &StreamId,
        attempts: u32,
    ) -> Result<Option<Decided<E>>> {
        let Some(command) = self.command else { return Ok(None) };
        let mut stored: Vec<StoredEvent> = Vec::new();
        for first in (0..).step_by(usize::try_from(LOOKED_UP).unwrap_or(1)) {
            let ids = (first..first + LOOKED_UP).map(|nth| command.derived(nth));
            let query: Query = QueryItem::new(Source::Log).with_ids(ids).into();
            let found = self.store.read(query, ReadOptions::default()).into_vec().await?;
            let is_full = found.len() as u64 == LOOKED_UP;
            stored.extend(found);
            if !is_full {
                break;
            }
        }
        if let Some(elsewhere) = stored.iter().find(|event| event.stream != *stream) {
            return Err(annals::Error::DuplicateEvent(elsewhere.id()).into());
        }
        let decided = Decided { events: Vec::new(), stored, attempts, repeated: true };
        Ok((!decided.stored.is_empty()).then_some(decided))
    }
}
