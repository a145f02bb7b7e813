//! Appends through a chain: several at once, in one process and in several, dropped and waiting ones.

use annals::{Append, Error, EventStore, SequenceNumber, StorageAdapter, WriteCondition};
use annals_layers::Chained;
use annals_memory::MemoryAdapter;
use annals_testkit::{Recording, Request};
use futures_util::FutureExt;
use futures_util::future::join_all;

use super::{EARTH, Outcome, at, event};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l13_sixteen_writers_on_two_handles_all_succeed() -> Outcome {
    let memory = MemoryAdapter::new();
    let handles = [Chained::new(memory.clone())?, Chained::new(memory.clone())?];
    let writers = (0..16).map(|writer| {
        let handle = handles[writer % 2].clone();
        tokio::spawn(async move {
            for nth in 0..20 {
                let write =
                    Append::new(EARTH, [event(&format!("{writer} {nth}"))], WriteCondition::Always);
                handle.append(vec![write]).await?;
            }
            Ok::<_, Error>(())
        })
    });
    for done in join_all(writers).await {
        done??;
    }
    let report = handles[0].verify(&EARTH, None).await?;
    assert_eq!(
        (report.events, report.findings.len(), report.head.unwrap().position),
        (320, 0, at(319))
    );
    Ok(())
}
fn count(recording: &Recording<MemoryAdapter>) -> (usize, usize) {
    let calls = recording.take();
    let appends = calls.iter().filter(|call| matches!(call.request, Request::Append(_))).count();
    (appends, calls.len() - appends)
}
#[tokio::test]
async fn l13_waiting_appends_of_one_stream_are_made_together() -> Outcome {
    let recording = Recording::new(MemoryAdapter::new());
    let slow = annals_testkit::Faulty::new(recording.clone());
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let delay = annals_testkit::Fault::delay(released.map(|_| ()));
    slow.inject(annals_testkit::Point::BeforeAppend, delay);
    let layer = Chained::new(slow)?;
    let append = |n: usize| {
        let layer = layer.clone();
        async move {
            layer
                .append(vec![Append::new(EARTH, [event(&n.to_string())], WriteCondition::Always)])
                .await
        }
    };
    let release = async {
        tokio::task::yield_now().await;
        release.send(()).unwrap();
    };
    let (stored, ()) = futures_util::future::join(join_all((0..64).map(append)), release).await;
    for (nth, stored) in stored.into_iter().enumerate() {
        assert_eq!(
            stored?[0].payload().to_json::<String>()?,
            nth.to_string(),
            "each gets its own events"
        );
    }
    let (appends, reads) = count(&recording);
    assert_eq!(
        (appends, reads),
        (2, 1),
        "the first, then all that wait; and one look at the stream"
    );
    // One after the other: a call each, and no look-up.
    for n in 0..100 {
        append(n).await?;
    }
    assert_eq!(count(&recording), (100, 0));
    assert_eq!(layer.verify(&EARTH, None).await?.findings, []);
    Ok(())
}
#[tokio::test]
async fn l13_conditions_of_appends_that_wait_are_judged_one_after_the_other() -> Outcome {
    let layer = Chained::new(MemoryAdapter::new())?;
    let append = |condition: WriteCondition, text: &str| {
        let (layer, event) = (layer.clone(), event(text));
        async move { layer.append(vec![Append::new(EARTH, [event], condition)]).await }
    };
    let position = |n| WriteCondition::PositionIs(at(n));
    let outcomes = join_all([
        append(WriteCondition::StreamIsEmpty, "0"),
        append(position(0), "1"),
        append(position(0), "lost"),
        append(WriteCondition::StreamIsEmpty, "lost"),
        append(position(1), "2"),
        append(WriteCondition::StreamExists, "3"),
        append(WriteCondition::no_match(EARTH, SequenceNumber::START), "lost"),
    ])
    .await;
    let won: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(won, [true, true, false, false, true, true, false]);
    for (nth, expected) in [(2, position(0)), (3, WriteCondition::StreamIsEmpty)] {
        let Err(Error::ConditionFailed(unmet)) = &outcomes[nth] else {
            panic!("it lost: {:?}", outcomes[nth])
        };
        assert_eq!(unmet.failed, expected, "the caller's condition, never that of the layer");
    }
    assert_eq!(layer.verify(&EARTH, None).await?.findings, []);
    Ok(())
}
#[tokio::test]
async fn l13_appends_are_not_made_together_on_what_a_stale_head_promised() -> Outcome {
    let memory = MemoryAdapter::new();
    let slow = annals_testkit::Faulty::new(memory.clone());
    let (one, other) = (Chained::new(slow.clone())?, Chained::new(memory)?);
    let write = |text: &str, condition| vec![Append::new(EARTH, [event(text)], condition)];
    one.append(write("known", WriteCondition::Always)).await?;
    other.append(write("not known", WriteCondition::Always)).await?;
    // Two appends wait for one that fails, which does not say that the stream went on.
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let fault = annals_testkit::Fault::error(Error::unavailable("busy"));
    slow.inject(annals_testkit::Point::BeforeAppend, fault.after(released.map(|_| ())));
    let release = async {
        tokio::task::yield_now().await;
        release.send(()).unwrap();
    };
    let last = || WriteCondition::PositionIs(at(1));
    let appends = [write("x", WriteCondition::Always), write("a", last()), write("b", last())];
    let appends = join_all(appends.map(|writes| one.append(writes)));
    let (outcomes, ()) = futures_util::future::join(appends, release).await;
    let won: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(won, [false, true, false], "of two that expect one position, one is made");
    assert_eq!(one.verify(&EARTH, None).await?.findings, []);
    Ok(())
}
#[tokio::test]
async fn l13_a_cached_head_is_never_trusted() -> Outcome {
    let memory = MemoryAdapter::new();
    let (one, other) = (Chained::new(memory.clone())?, Chained::new(memory)?);
    for nth in 0..6 {
        let handle = if nth % 2 == 0 { &one } else { &other };
        handle.append(vec![Append::new(EARTH, [event("x")], WriteCondition::Always)]).await?;
    }
    // A caller that asks for the very event that the layer knows gets its own refusal.
    let stale = one.head(&EARTH).await?.unwrap();
    let last = EventStore::new(one.clone()).stream(EARTH).latest().await?.unwrap();
    other.append(vec![Append::new(EARTH, [event("y")], WriteCondition::Always)]).await?;
    let refused = one
        .append(vec![Append::new(EARTH, [event("z")], WriteCondition::LastEventIs(last.id()))])
        .await;
    let Err(Error::ConditionFailed(unmet)) = refused else { panic!("it is refused: {refused:?}") };
    assert_eq!((unmet.failed, unmet.actual), (WriteCondition::LastEventIs(last.id()), Some(at(6))));
    assert_eq!(one.verify(&EARTH, Some(stale)).await?.findings, []);
    Ok(())
}
#[tokio::test]
async fn an_append_that_is_dropped_or_not_polled_holds_up_nobody() -> Outcome {
    let recording = annals_testkit::Faulty::new(MemoryAdapter::new());
    recording.inject(
        annals_testkit::Point::BeforeAppend,
        annals_testkit::Fault::delay(annals_testkit::polls(2)),
    );
    let layer = Chained::new(recording.clone())?;
    let append = || layer.append(vec![Append::new(EARTH, [event("x")], WriteCondition::Always)]);
    let mut stopped = append();
    assert!((&mut stopped).now_or_never().is_none());
    // It is under way, and is never polled again.
    append().await?;
    recording.inject(
        annals_testkit::Point::BeforeAppend,
        annals_testkit::Fault::delay(annals_testkit::polls(9)),
    );
    let mut dropped = append();
    assert!((&mut dropped).now_or_never().is_none());
    drop(dropped);
    append().await?;
    stopped.await?;
    let report = layer.verify(&EARTH, None).await?;
    assert_eq!((report.events, report.findings.len()), (3, 0));
    Ok(())
}
