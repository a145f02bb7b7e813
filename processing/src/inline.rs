//! Inline views: made in the transaction of the append, so that who reads them reads what was appended.
//!
//! What an adapter does for them is here, in `inlined` and, for views as documents, in `inline_documents`.
//! They have the tracking of an ordinary processor, which the transaction moves over the events that it appends. Where
//! others have appended without the view, the processor catches up first. So each event is applied once, no matter who appends it.

use annals::{Query, SequenceNumber, StoredEvent};
use annals_state::{Document, DocumentKey, Write};

use crate::claim::Claim;
use crate::error::{ProcessingError, Result};
use crate::partition::Partitions;
use crate::processor::Processor;
use crate::runner::is_given;
use crate::sink::Batch;
use crate::tracking::{Definition, Fence, Held, Tracking, decode};

/// What an adapter needs to keep a view inside appends: see `InlineView` of the adapters with the feature `views`.
#[derive(Debug, Clone)]
pub struct Inline {
    claim: Claim,
    query: Query,
    definition: Definition,
}

/// What to do about events that were appended and are not committed yet.
#[derive(Debug)]
pub enum Placed {
    /// Apply these, and make the commit of the batch.
    Next(Inlined),
    /// The view has not seen all that comes before them: let the processor settle, and append again.
    Behind,
}

/// Events that follow on what the view has seen.
#[derive(Debug)]
pub struct Inlined {
    events: Vec<StoredEvent>,
    fence: Vec<Write>,
    to: SequenceNumber,
}

impl Inlined {
    /// The batch: those of the events that the processor asks for.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(&self.events, self.to, 1, self.fence.clone())
    }
}

impl Processor {
    /// What an adapter needs to keep what this processor makes inside appends.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if it takes a part of the streams only, or if it decides about events that it
    /// cannot apply: an append with such an event is rejected.
    pub fn inline(&self) -> Result<Inline> {
        let runner = &self.runner;
        if *runner.claim.partition().of() != Partitions::Whole {
            return Err(ProcessingError::misuse("an inline view takes all streams"));
        }
        if !runner.options.errors.are_default() {
            let text = "an inline view rejects what it cannot apply: it decides nothing";
            return Err(ProcessingError::misuse(text));
        }
        let (claim, query) = ((*runner.claim).clone(), runner.query.clone());
        Ok(Inline { claim, query, definition: runner.definition() })
    }
}

impl Inline {
    /// The documents that [`place`](Self::place) wants to see, read under the lock that keeps others from appending.
    #[must_use]
    pub fn keys(&self) -> Vec<DocumentKey> {
        vec![self.claim.definition(), self.claim.tracking()]
    }

    /// Whether these events, just appended, follow directly on what the view has seen, as its documents say.
    ///
    /// # Errors
    /// [`DefinitionChanged`](ProcessingError::DefinitionChanged); [`Misuse`](ProcessingError::Misuse) while the processor is
    /// paused; an undecodable document.
    pub fn place(&self, documents: &[Option<Document>], events: &[StoredEvent]) -> Result<Placed> {
        let [Some(definition), tracking] = documents else { return Ok(Placed::Behind) };
        let stored: Definition = decode(definition)?;
        if stored.resetting || stored.splitting.is_some() {
            return Ok(Placed::Behind);
        }
        self.definition.check(&self.claim, &stored)?;
        let tracking = match tracking {
            Some(found) => Held { value: decode(found)?, revision: Some(found.revision) },
            None => Held::<Tracking>::default(),
        };
        if tracking.value.paused {
            let text = format!("processor {} is paused: nothing can be appended", self.claim);
            return Err(ProcessingError::misuse(text));
        }
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(Placed::Behind);
        };
        if first.sequence_number.prev().unwrap_or_default() != tracking.value.after {
            return Ok(Placed::Behind);
        }
        let wanted =
            |event: &&StoredEvent| self.query.matches(event) && is_given(&self.query, event);
        let given: Vec<StoredEvent> = events.iter().filter(wanted).cloned().collect();
        let to = last.sequence_number;
        let next = Tracking {
            after: to,
            last: given.last().map(Into::into).or(tracking.value.last),
            events: tracking.value.events + given.len() as u64,
            // Who had events in hand has lost them: the batch is of all that there is.
            owner: None,
            suspect: None,
            ..tracking.value.clone()
        };
        let fence = Fence { claim: self.claim.clone(), tracking, definition: definition.revision };
        let fence = fence.moved(&next)?;
        Ok(Placed::Next(Inlined { events: given, fence, to }))
    }
}
