//! What to do when a write condition does not hold.

use std::num::NonZeroUsize;

use crate::error::{Error, Result};

/// Calls `decide` until its condition holds, at most `attempts` times in all. It must read, decide and append
/// anew each time. Only [`Error::ConditionFailed`] is tried again, at once.
///
/// `decide` borrows what it uses (`async || ..` or `|| async { .. }`); the future can be sent to another thread
/// when that can be shared.
///
/// ```
/// # use annals::*;
/// # use annals_memory::MemoryAdapter;
/// # use std::num::NonZeroUsize;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let stream = EventStore::new(MemoryAdapter::new()).stream(StreamId::from_static("counters", "a"));
/// let attempts = NonZeroUsize::new(3).unwrap();
/// retry_on_condition_failed(attempts, async || {
///     let expected = match stream.latest().await? {
///         Some(last) => WriteCondition::PositionIs(last.position),
///         None => WriteCondition::StreamIsEmpty,
///     };
///     stream.append([NewEvent::json("counted", &1)?], expected).await
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The last refusal when the attempts run out, and any other error at once.
///
/// # Cancel safety
/// As the append in `decide`: dropped before it is done, all or nothing of one attempt is stored.
pub async fn retry_on_condition_failed<T, F>(
    attempts: NonZeroUsize,
    mut decide: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut left = attempts.get();
    loop {
        left -= 1;
        match decide().await {
            Err(Error::ConditionFailed(_)) if left > 0 => {}
            outcome => return outcome,
        }
    }
}

/// `None` where a condition did not hold; any other error stays one.
///
/// # Errors
/// All but [`Error::ConditionFailed`].
pub fn ignore_condition_failed<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(Error::ConditionFailed(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
