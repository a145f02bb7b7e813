//! How an append with an inline view is tried: the processor catches up where others have appended without the view.

use std::fmt;
use std::sync::Arc;

use annals::{Error, StoredEvent};
use annals_state::StateError;
use futures_util::future::BoxFuture;
use futures_util::lock::Mutex;

use crate::error::{ProcessingError, Result};
use crate::inline::Inline;
use crate::processor::Processor;
use crate::sink::SinkError;

/// How often an inline view catches up before an append, while others append without it.
const TRIES: usize = 8;

/// The steps of an append with an inline view, for adapters.
pub struct InlineSteps {
    inline: Arc<Inline>,
    processor: Mutex<Processor>,
}

impl InlineSteps {
    /// Those of the view that this processor makes.
    ///
    /// # Errors
    /// As [`Processor::inline`].
    pub fn new(processor: Processor) -> Result<Self> {
        let inline = Arc::new(processor.inline()?);
        Ok(Self { inline, processor: Mutex::new(processor) })
    }

    /// Appends by `once`, which appends and makes the view in one transaction, or does nothing and returns `None` if the
    /// view is [`Behind`](crate::Placed::Behind).
    ///
    /// # Errors
    /// Those of `once` and of the processor; [`Error::Unavailable`] if others append all the time without the view, or
    /// change what it makes.
    ///
    /// # Cancel safety
    /// As `once`.
    pub async fn append<'a>(
        &self,
        once: impl Fn(Arc<Inline>) -> BoxFuture<'a, Result<Option<Vec<StoredEvent>>, InlineError>>,
    ) -> Result<Vec<StoredEvent>, InlineError> {
        for _ in 0..TRIES {
            match once(Arc::clone(&self.inline)).await {
                Ok(Some(stored)) => return Ok(stored),
                // The processor has moved between, or somebody changed a document of the view.
                Err(InlineError::State(StateError::Conflict(_))) => continue,
                // Others have appended without the view.
                Ok(None) => {}
                Err(error) => return Err(error),
            }
            self.processor.lock().await.settle().await?;
        }
        Err(Error::unavailable("others append all the time without the inline view").into())
    }
}

impl fmt::Debug for InlineSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineSteps").field("inline", &self.inline).finish_non_exhaustive()
    }
}

/// Why an append with an inline view was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InlineError {
    /// The append was rejected, or the database failed.
    #[error(transparent)]
    Append(#[from] Error),
    /// The view cannot apply the events. Nothing was appended.
    #[error("an inline view cannot apply what is appended")]
    View(#[source] annals::BoxError),
    /// The view could not be brought to where the log is. Nothing was appended.
    #[error(transparent)]
    Processor(#[from] ProcessingError),
    /// The state store rejected the tracking, or failed. Nothing was appended, unless it is an unknown outcome.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<SinkError> for InlineError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Handler { source, .. } => Self::View(source),
            SinkError::State(error) => Self::State(error),
            other => Self::View(other.into()),
        }
    }
}

impl InlineError {
    /// Whether the append may have been made or not.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::Append(Error::OutcomeUnknown(_)) | Self::State(StateError::OutcomeUnknown(_))
        )
    }
}
