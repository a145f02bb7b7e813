//! An append and a commit in one transaction, for the tests of every adapter.

use annals::{
    Append, Error, EventStore, NewEvent, Payload, ReadOptions, StorageAdapter, StoredEvent,
    StreamId, WriteCondition,
};
use annals_state::{Commit, DocumentKey, Expected, Revision, StateStore, TogetherError, Write};

pub(crate) fn append(condition: WriteCondition) -> Vec<Append> {
    let event = NewEvent::json("placed", &1).unwrap();
    vec![Append::new(StreamId::from_static("orders", "o-1"), [event], condition)]
}

pub(crate) fn put(expected: Expected) -> Commit {
    let key = DocumentKey::new("orders", "o-1").unwrap();
    Commit::new([Write::put(key, Payload::json(&"placed").unwrap(), expected)])
}

/// How many events there are, and whether the document is there.
pub(crate) async fn counts(
    adapter: &(impl StorageAdapter + Clone),
    state: &impl StateStore,
) -> (usize, usize) {
    let events = EventStore::new(adapter.clone()).log().read(ReadOptions::default());
    let key = DocumentKey::new("orders", "o-1").unwrap();
    let got = state.get(vec![key]).await.unwrap();
    (events.into_vec().await.unwrap().len(), got.documents.iter().flatten().count())
}

/// Both are made or neither, and the error says which contract refused. `made` is asked once both are there; at last
/// the adapter is closed. The store is empty at first.
pub(crate) async fn assert_both_or_neither(
    adapter: &(impl StorageAdapter + Clone),
    state: &impl StateStore,
    together: impl AsyncFn(Vec<Append>, Commit) -> Result<Vec<StoredEvent>, TogetherError>,
    made: impl FnOnce(),
) {
    let refused = put(Expected::Is(Revision::generate()));
    let error = together(append(WriteCondition::Always), refused).await.unwrap_err();
    assert!(matches!(&error, TogetherError::Commit(error) if error.is_conflict()), "{error}");
    assert_eq!(counts(adapter, state).await, (0, 0), "a refused commit leaves no event");

    let (event, commit) = (append(WriteCondition::StreamIsEmpty), put(Expected::Absent));
    let stored = together(event.clone(), commit.clone()).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(counts(adapter, state).await, (1, 1));
    made();
    let error = together(event, commit).await.unwrap_err();
    assert!(
        matches!(&error, TogetherError::Append(Error::DuplicateEvent(id)) if *id == stored[0].id()),
        "sent again: {error}"
    );
    let late = append(WriteCondition::StreamIsEmpty);
    let error = together(late, put(Expected::Any)).await.unwrap_err();
    assert!(matches!(&error, TogetherError::Append(Error::ConditionFailed(_))), "{error}");
    assert_eq!(counts(adapter, state).await, (1, 1), "a refused append leaves no document");
    adapter.append(append(WriteCondition::Always)).await.unwrap();
    assert_eq!(counts(adapter, state).await, (2, 1), "the writer goes on behind it");

    adapter.close().await;
    let closed = together(append(WriteCondition::Always), put(Expected::Any)).await;
    assert!(matches!(closed, Err(TogetherError::Append(Error::Closed { .. }))));
}
