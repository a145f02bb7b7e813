//! Policies that are tracked in the log: how far they are is an event in the same append as what they decide, so each
//! input is decided on once, whatever the decision depends on.

use annals::{
    Append, CategoryName, Error, NewEvent, QueryItem, Source, StoredEvent, StreamId, StreamName,
    WriteCondition,
};
use serde::{Deserialize, Serialize};

use super::Policy;
use super::sink::{Logged, PolicySink};
use crate::sink::{Batch, SinkError};
use crate::tracking::LastEvent;

const CATEGORY: CategoryName = CategoryName::from_static("annals.tracking");
/// How often one input is begun again because another processor decides, too, or a condition does not hold.
const MAX_TRIES: u32 = 8;

/// The payload of an event of the stream that says how far a policy is: the last input that was decided on.
#[derive(Debug, Serialize, Deserialize)]
struct TrackedEvent {
    input: LastEvent,
}

impl<P: Policy> PolicySink<P> {
    /// Decides on what was not decided on yet, and appends each decision with its tracking. An input without an output is
    /// passed by the tracking of the next decision, or at the end of the batch.
    pub(super) async fn append_tracked(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let mut logged = match self.logged.take() {
            Some(logged) => logged,
            None => self.load_logged().await?,
        };
        for input in batch.events() {
            let is_last = batch.events().last() == Some(input);
            let mut tries = 0;
            while input.sequence_number > logged.to {
                let decided = self.decide(input).await?;
                if decided.appends.is_empty() && !is_last {
                    break;
                }
                let condition = logged
                    .position
                    .map_or(WriteCondition::StreamIsEmpty, WriteCondition::PositionIs);
                let tracked = NewEvent::json("tracked", &TrackedEvent { input: input.into() })?;
                let mut appends = decided.appends;
                appends.push(Append::new(self.stream()?, [tracked], condition));
                match self.store.append_reserved(appends).await {
                    Ok(stored) => {
                        logged = Logged {
                            position: stored.last().map(|event| event.position),
                            to: input.sequence_number,
                        };
                    }
                    Err(error @ (Error::ConditionFailed(_) | Error::DuplicateEvent(_))) => {
                        // Somebody else has decided, or what the decision was made on has changed.
                        logged = self.load_logged().await?;
                        tries += 1;
                        if tries >= MAX_TRIES && input.sequence_number > logged.to {
                            return Err(SinkError::handler(input, error));
                        }
                    }
                    Err(error @ (Error::Invalid(_) | Error::Unsupported { .. })) => {
                        return Err(SinkError::handler(input, error));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.logged = Some(logged);
        Ok(())
    }

    fn stream(&self) -> Result<StreamId, SinkError> {
        let name = StreamName::new(self.claim()?.to_string()).map_err(Error::from)?;
        Ok(StreamId { category: CATEGORY, name })
    }

    async fn load_logged(&self) -> Result<Logged, SinkError> {
        let last = self.store.latest(QueryItem::new(Source::Stream(self.stream()?))).await?;
        let read = |event: StoredEvent| {
            let tracked = event.payload().to_json::<TrackedEvent>().map_err(Error::corrupt)?;
            Ok::<_, Error>(Logged { position: Some(event.position), to: tracked.input.number })
        };
        Ok(last.map(read).transpose()?.unwrap_or_default())
    }
}
