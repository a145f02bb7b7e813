//! Appending: what is stored, what is returned, how large it may be.

use annals::{ReadOptions, Source, WriteCondition};

use crate::check::{Check, Outcome, check, ensure_eq};
use crate::context::{Context, event, events};

pub(super) const CHECKS: &[Check] = &[
    check!("append.roundtrip", [A1 R3], Required, [], roundtrip, "an event and later ones come back whole"),
    check!(
        "append.returned_equals_stored",
        [R3],
        Required,
        [],
        returned_equals_stored,
        "what append returns equals what every read gives, field by field"
    ),
];

async fn roundtrip(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("orders", "o-1");
    let mut proposed = vec![event("placed")];
    store.append(&stream, proposed.clone(), WriteCondition::Always).await?;
    for _ in 0..3 {
        let next = event("changed");
        proposed.push(next.clone());
        store.append(&stream, vec![next], WriteCondition::Always).await?;
    }
    let read = store.stream_events(&stream).await?;
    let found: Vec<_> = read.iter().map(|stored| stored.event.clone()).collect();
    ensure_eq!(found, proposed, "the events of the stream");
    Ok(())
}

async fn returned_equals_stored(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("orders", "o-1");
    let mut returned = store.append(&stream, events(3), WriteCondition::StreamIsEmpty).await?;
    returned.extend(store.append(&stream, vec![event("changed")], WriteCondition::Always).await?);
    ensure_eq!(store.stream_events(&stream).await?, returned, "the stream");
    ensure_eq!(
        store.all_events(std::slice::from_ref(&stream)).await?,
        returned,
        "the widest source"
    );
    ensure_eq!(
        store.latest(Source::Stream(stream.clone())).await?,
        returned.last().cloned(),
        "the latest"
    );
    let one = ReadOptions::default().limit(1);
    ensure_eq!(store.read(stream, one).await?.first(), returned.first(), "the first");
    Ok(())
}
