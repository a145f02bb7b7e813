//! Causal waits: a processor that takes an event only once others have.

use std::fmt;
use std::time::Duration;

use annals_state::Write;
use async_trait::async_trait;

use crate::claim::Claim;
use crate::error::ProcessingError;
use crate::progress::Progress;
use crate::sink::{Batch, Sink, SinkError};

/// For how long it waits at once: in between the processor can be asked to stop.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A sink that takes a batch only once other processors have applied all events of it: what they make of them can be read
/// then. They may run anywhere, and must not wait for this one.
///
/// A processor that waits longer than a second has the status [`Retrying`](crate::Phase::Retrying), and says for whom.
pub struct After<S> {
    sink: S,
    others: Vec<Progress>,
}

impl<S: Sink> After<S> {
    /// Takes with `sink` what all `others`, processors of the same log, have applied.
    #[must_use]
    pub fn new(sink: S, others: impl IntoIterator<Item = Progress>) -> Self {
        Self { sink, others: others.into_iter().collect() }
    }
}

#[async_trait]
impl<S: Sink> Sink for After<S> {
    fn begin(&mut self, claim: &Claim) {
        self.sink.begin(claim);
    }

    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        if let Some(last) = batch.events().last() {
            for other in &self.others {
                match other.wait(last.sequence_number, AT_ONCE).await {
                    Ok(()) => {}
                    Err(error @ ProcessingError::Timeout { .. }) => {
                        let text = format!("processor {} is behind: {error}", other.claim());
                        return Err(annals::Error::unavailable(text).into());
                    }
                    Err(error) => return Err(annals::Error::unavailable(error).into()),
                }
            }
        }
        self.sink.take(batch).await
    }

    fn forget(&mut self) {
        self.sink.forget();
    }

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        self.sink.clear(guard).await
    }
}

impl<S> fmt::Debug for After<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("After").field("others", &self.others.len()).finish_non_exhaustive()
    }
}
