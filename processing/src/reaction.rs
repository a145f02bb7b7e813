//! Reactions: events lead to effects outside, and a ledger of what was done.

use std::fmt;
use std::sync::Arc;

use annals::{BoxError, EventId, Payload, StoredEvent};
use annals_state::{Commit, DocumentId, DocumentKey, Expected, StateError, StateStore, Write};
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::claim::{Claim, EFFECTS};
use crate::policy::failed;
use crate::sink::{Batch, Sink, SinkError};
use crate::tracking::get_one;

/// What is done outside because of events: letters, payments, calls of other systems.
///
/// ```
/// use annals::{BoxError, StoredEvent};
/// use annals_processing::{Effects, Reaction, async_trait};
///
/// struct Mailer;
///
/// #[async_trait]
/// impl Reaction for Mailer {
///     async fn handle(&self, event: &StoredEvent, effects: &Effects<'_>) -> Result<(), BoxError> {
///         if *event.name() == "order-placed" {
///             let receipt: String = effects
///                 .once("confirmation", |key| async move {
///                     // The server takes a letter with a key that it knows for one that it has.
///                     Ok(format!("sent with key {key}"))
///                 })
///                 .await?;
///             assert!(receipt.starts_with("sent"));
///         }
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Reaction: Send + Sync + 'static {
    /// Does what follows from `event`, each effect by [`Effects::once`]. It may be called again for the same event, and
    /// finds there what was done.
    ///
    /// # Errors
    /// If it cannot: the event is one that cannot be applied.
    ///
    /// # Cancel safety
    /// It may be dropped at any await. An effect in hand may have been made, and is made again with the same key.
    async fn handle(&self, event: &StoredEvent, effects: &Effects<'_>) -> Result<(), BoxError>;
}

/// The ledger of the effects of one event.
///
/// Each effect is a document `annals.effects`: *begun* before it is made, *done* with its result afterwards. What is
/// done is never made again, also if all events are applied again after a reset. If the process ends between the effect
/// and the second document, the effect is made again with the same key: a receiver that knows its keys makes it once. No
/// ledger can do more.
pub struct Effects<'a> {
    state: &'a dyn StateStore,
    base: EventId,
    guards: Vec<Write>,
    recorded_only: bool,
}

/// An effect in the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// How often it was begun.
    pub(crate) begun: u32,
    /// Its result once it was made, which may be `null`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<Value>,
}

/// A field that is there, `null` included: an effect without a result was made all the same.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

impl Effects<'_> {
    /// Makes the effect of this name, once for the event and the processor, and returns its result; the recorded one if it
    /// was made before. `act` gets the key of the effect, which is the same each time.
    ///
    /// # Errors
    /// Those of `act`; those of the state store, and a conflict if another processor has the events now; an error if the
    /// effect was not made and none may be made.
    ///
    /// # Cancel safety
    /// If it is dropped, the effect may have been made. It is made again then, with the same key.
    pub async fn once<T, F>(
        &self,
        name: &str,
        act: impl FnOnce(EventId) -> F + Send,
    ) -> Result<T, BoxError>
    where
        T: Serialize + DeserializeOwned + Send,
        F: Future<Output = Result<T, BoxError>> + Send,
    {
        let key = self.base.derived_for(name);
        let id = DocumentId::new(key.to_string()).map_err(StateError::from)?;
        let document = DocumentKey { collection: EFFECTS, id };
        let found = get_one::<Entry>(self.state, document.clone()).await?;
        let revision = found.as_ref().and_then(|held| held.revision);
        let tries = match found.map(|held| held.value) {
            Some(Entry { done: Some(result), .. }) => return Ok(serde_json::from_value(result)?),
            Some(entry) => entry.begun,
            None => 0,
        };
        if self.recorded_only {
            return Err(format!("effect {name} was not made, and none may be made").into());
        }
        let entry = Entry { begun: tries.saturating_add(1), done: None };
        let begin = self.write(&document, &entry, Expected::from(revision))?;
        let revision = begin.revision;
        self.state.commit(begin).await?;
        let result = act(key).await?;
        let entry = Entry { done: Some(serde_json::to_value(&result)?), ..entry };
        self.state.commit(self.write(&document, &entry, Expected::Is(revision))?).await?;
        Ok(result)
    }

    fn write(
        &self,
        key: &DocumentKey,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Commit, StateError> {
        let put = Write::put(key.clone(), Payload::json(entry)?, expected);
        Ok(Commit::new([put].into_iter().chain(self.guards.iter().cloned())))
    }
}

impl fmt::Debug for Effects<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects").field("base", &self.base).finish_non_exhaustive()
    }
}

/// A reaction as a sink, for [`Processor::sink`](crate::Processor::sink).
pub struct ReactionSink<R> {
    reaction: R,
    state: Arc<dyn StateStore>,
    recorded_only: bool,
    name: Box<str>,
}

impl<R: Reaction> ReactionSink<R> {
    /// Does what `reaction` does, and keeps the ledger and the tracking in `state`.
    #[must_use]
    pub fn new(state: Arc<dyn StateStore>, reaction: R) -> Self {
        Self { reaction, state, recorded_only: false, name: "".into() }
    }

    /// Makes no effect: one that the ledger does not have is an error. For a processor that goes over old events again.
    #[must_use]
    pub fn recorded_only(mut self) -> Self {
        self.recorded_only = true;
        self
    }
}

#[async_trait]
impl<R: Reaction> Sink for ReactionSink<R> {
    fn begin(&mut self, claim: &Claim) {
        self.name = claim.processor().into();
    }

    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        for event in batch.events() {
            let effects = Effects {
                state: &*self.state,
                base: event.id().derived_for(&self.name),
                guards: batch.guards(),
                recorded_only: self.recorded_only,
            };
            let handled = self.reaction.handle(event, &effects).await;
            handled.map_err(|error| failed(event, error))?;
        }
        self.state.commit(batch.commit([])).await?;
        Ok(())
    }

    fn forget(&mut self) {}

    /// The ledger stays: what was done outside is not done again.
    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}

impl<R> fmt::Debug for ReactionSink<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReactionSink").field("processor", &self.name).finish_non_exhaustive()
    }
}
