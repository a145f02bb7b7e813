//! The retry helpers: only a condition that did not hold is tried again, so often and no more.

use std::cell::Cell;
use std::num::NonZeroUsize;

use annals::adapter::Facts;
use annals::{
    Error, EventId, EventStore, NewEvent, Result, StreamId, WriteCondition,
    ignore_condition_failed, retry_on_condition_failed,
};
use annals_memory::MemoryAdapter;

const STREAM: StreamId = StreamId::from_static("counters", "a");

fn condition_failed() -> Error {
    let refused = WriteCondition::StreamExists.evaluate(&STREAM, &Facts::default());
    refused.expect_err("the stream is empty")
}

fn others() -> [Error; 7] {
    [
        Error::DuplicateEvent(EventId::generate()),
        Error::unsupported("x", "tags"),
        Error::invalid("a stream twice"),
        Error::unavailable("gone"),
        Error::outcome_unknown("cut"),
        Error::corrupt("torn"),
        Error::backend("odd"),
    ]
}

fn times(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("not 0")
}

#[tokio::test]
async fn it_stops_at_the_first_success() {
    for needed in 1..=5 {
        let calls = Cell::new(0);
        let outcome = retry_on_condition_failed(times(5), async || {
            calls.set(calls.get() + 1);
            if calls.get() < needed { Err(condition_failed()) } else { Ok(calls.get()) }
        });
        assert_eq!(outcome.await.expect("the last one succeeds"), needed);
        assert_eq!(calls.get(), needed);
    }
}

#[tokio::test]
async fn it_gives_up_with_the_last_refusal() {
    for attempts in [1, 2, 7] {
        let calls = Cell::new(0);
        let outcome: Result<()> = retry_on_condition_failed(times(attempts), async || {
            calls.set(calls.get() + 1);
            Err(condition_failed())
        })
        .await;
        assert!(outcome.is_err_and(|why| why.is_condition_failed()));
        assert_eq!(calls.get(), attempts);
    }
}

#[tokio::test]
async fn any_other_error_ends_it_at_once() {
    for error in others() {
        let shown = error.to_string();
        let (calls, error) = (Cell::new(0), Cell::new(Some(error)));
        let outcome: Result<()> = retry_on_condition_failed(times(5), async || {
            calls.set(calls.get() + 1);
            Err(error.take().expect("called once"))
        })
        .await;
        assert_eq!(outcome.expect_err("it failed").to_string(), shown);
        assert_eq!(calls.get(), 1);
    }
}

#[test]
fn only_a_condition_that_did_not_hold_is_ignored() {
    assert_eq!(ignore_condition_failed(Ok(1)).expect("done"), Some(1));
    assert_eq!(ignore_condition_failed::<()>(Err(condition_failed())).expect("ignored"), None);
    for error in others() {
        let shown = error.to_string();
        let kept = ignore_condition_failed::<()>(Err(error)).expect_err("another error");
        assert_eq!(kept.to_string(), shown);
    }
}

#[test]
fn only_an_unavailable_store_is_worth_the_same_call() {
    let retryable: Vec<_> = others().iter().map(Error::is_retryable).collect();
    assert_eq!(retryable, [false, false, false, true, false, false, false]);
    assert!(!condition_failed().is_retryable() && condition_failed().is_condition_failed());
    assert!(!others().iter().any(Error::is_condition_failed));
}

/// Ten writers each count once, all at the same time: none loses its event.
#[tokio::test]
async fn a_loop_of_read_decide_append_loses_no_update() {
    let stream = EventStore::new(MemoryAdapter::new()).stream(STREAM);
    let writer = |_| {
        let stream = stream.clone();
        async move {
            retry_on_condition_failed(times(10), async || {
                let expected = match stream.latest().await? {
                    Some(last) => WriteCondition::PositionIs(last.position),
                    None => WriteCondition::StreamIsEmpty,
                };
                tokio::task::yield_now().await;
                stream.append([NewEvent::json("counted", &1)?], expected).await
            })
            .await
        }
    };
    let outcomes = futures_util::future::join_all((0..10).map(writer)).await;
    for outcome in outcomes {
        outcome.expect("ten attempts are enough for ten writers");
    }
    let last = stream.latest().await.expect("reads").expect("there are ten");
    assert_eq!(last.position.value(), 9);
}
