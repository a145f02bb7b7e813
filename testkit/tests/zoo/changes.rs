//! Small changes that specimens make.

use annals::{Append, Error, EventRecord, ReadOptions, Result, StoredEvent, Unmet};

/// The same value after a change.
pub(super) fn but<T: Clone>(value: &T, change: impl FnOnce(&mut T)) -> T {
    let mut value = value.clone();
    change(&mut value);
    value
}
/// How many events `writes` have together.
pub(super) fn count(writes: &[Append]) -> usize {
    writes.iter().map(|write| write.events.len()).sum()
}
/// Whether the event lies within the bounds of the read.
pub(super) fn within(event: &StoredEvent, options: &ReadOptions) -> bool {
    event.sequence_number > options.after
        && options.until.is_none_or(|until| event.sequence_number <= until)
        && options.allows_position(event.position)
}
/// How many events the read gives at most.
pub(super) fn limit(options: &ReadOptions) -> usize {
    usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
}
/// Changes what the event says.
pub(super) fn amend(event: &mut StoredEvent, change: impl FnOnce(&mut EventRecord)) {
    let mut record = event.clone().into_record();
    change(&mut record);
    *event = record.into();
}
/// The outcome, with a refusal told otherwise.
pub(super) fn retold<T>(outcome: Result<T>, change: impl FnOnce(&mut Unmet)) -> Result<T> {
    outcome.map_err(|mut error| {
        if let Error::ConditionFailed(unmet) = &mut error {
            change(unmet);
        }
        error
    })
}
/// Lets other tasks run, a few times.
pub(super) async fn dawdle() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}
