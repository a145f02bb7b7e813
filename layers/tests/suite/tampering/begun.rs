//! Chains that begin in the middle of a log, or get their key there: rule L16.

use std::sync::Arc;

use annals::{
    Append, Error, EventStore, ReadOptions, SequenceNumber, StorageAdapter, WriteCondition,
};
use annals_layers::{Chained, Finding};
use annals_memory::MemoryAdapter;

use super::{EARTH, Kind, Outcome, Tampered, at, chained, changed, event};

#[tokio::test]
async fn l16_a_chain_that_begins_later_covers_what_was_before_it() -> Outcome {
    let memory = MemoryAdapter::new();
    let old = EventStore::new(memory.clone()).stream(EARTH);
    old.append([event("a"), event("b"), event("c")], WriteCondition::Always).await?;
    let strict = Chained::new(memory.clone())?;
    let append = |layer: &Chained<MemoryAdapter>| {
        let layer = layer.clone();
        async move { layer.append(vec![Append::new(EARTH, [event("d")], WriteCondition::Always)]).await }
    };
    assert!(
        matches!(append(&strict).await, Err(Error::Corrupt(_))),
        "nothing says that unchained events are fine"
    );
    let since = SequenceNumber::new(3);
    let layer = Chained::new(memory.clone())?.with_chained_after(since);
    let before = layer.head(&EARTH).await?.unwrap();
    append(&layer).await?;
    append(&layer).await?;
    assert_eq!(layer.verify(&EARTH, Some(before)).await?.findings, []);
    let all = EventStore::new(layer.clone())
        .stream(EARTH)
        .read(ReadOptions::default())
        .into_vec()
        .await?;
    assert_eq!(all.len(), 5);

    let rows =
        EventStore::new(memory).stream(EARTH).read(ReadOptions::default()).into_vec().await?;
    let mut rows: Vec<_> = rows.iter().map(|row| row.event.clone()).collect();
    rows[1].payload = event("B").payload;
    let tampered = Chained::new(Tampered::renumbered(&rows))?.with_chained_after(since);
    assert_eq!(tampered.verify(&EARTH, None).await?.findings, [Finding::BrokenLink(at(3))]);
    assert!(
        EventStore::new(tampered)
            .stream(EARTH)
            .read(ReadOptions::default())
            .into_vec()
            .await
            .is_err()
    );
    Ok(())
}

/// Rows of a stream that grew unchained, then chained without a key, then under one: of each as many as it says.
async fn grown(counts: [u64; 3]) -> annals::Result<(MemoryAdapter, Chained<MemoryAdapter>)> {
    let memory = MemoryAdapter::new();
    let [unchained, plain, _] = counts;
    let first = SequenceNumber::new(unchained);
    let keyed_after = SequenceNumber::new(unchained + plain);
    let layers: [Arc<dyn StorageAdapter>; 3] = [
        Arc::new(memory.clone()),
        Arc::new(chained(memory.clone(), Kind::Plain)?.with_chained_after(first)),
        Arc::new(chained(memory.clone(), Kind::Keyed)?.with_chained_after(keyed_after)),
    ];
    for (layer, count) in layers.iter().zip(counts) {
        for nth in 0..count {
            let event = event(&format!("{} {nth}", layer.name()));
            layer.append(vec![Append::new(EARTH, [event], WriteCondition::Always)]).await?;
        }
    }
    Ok((memory.clone(), chained(memory, Kind::Keyed)?.with_chained_after(keyed_after)))
}

/// Which method hashed an event is stored with it, so that what was chained before a key was given stays valid, up to where
/// that is permitted.
#[tokio::test]
async fn l16_a_chain_that_gets_a_key_later_covers_what_was_before_it() -> Outcome {
    for counts in [[0, 3, 3], [2, 3, 3], [2, 0, 3], [0, 3, 0], [2, 2, 0]] {
        let (memory, keyed) = grown(counts).await?;
        let total: u64 = counts.iter().sum();
        let report = keyed.verify(&EARTH, None).await?;
        assert_eq!((report.events, &report.findings), (total, &vec![]), "{counts:?}");
        assert_eq!(keyed.head(&EARTH).await?, report.head, "{counts:?}");
        for options in [ReadOptions::default(), ReadOptions::default().backward()] {
            let read = EventStore::new(keyed.clone()).stream(EARTH).read(options);
            assert_eq!(read.into_vec().await?.len() as u64, total, "{counts:?}");
        }
        // Each event in turn is changed: found, wherever it is.
        let rows = EventStore::new(memory).stream(EARTH).read(ReadOptions::default());
        let rows: Vec<_> = rows.into_vec().await?.iter().map(|row| row.event.clone()).collect();
        let after = SequenceNumber::new(counts[0] + counts[1]);
        for nth in 0..rows.len() - usize::from(counts[2] == 0) {
            let mut rows = rows.clone();
            rows[nth] = changed(&rows[nth]);
            let tampered = chained(Tampered::renumbered(&rows), Kind::Keyed)?;
            let report = tampered.with_chained_after(after).verify(&EARTH, None).await?;
            assert!(!report.findings.is_empty(), "{counts:?}: event {nth}");
        }
    }
    // Beyond the number, no key is no link: nobody chains on without it.
    let (memory, keyed) = grown([0, 3, 1]).await?;
    let rows =
        EventStore::new(memory).stream(EARTH).read(ReadOptions::default()).into_vec().await?;
    let rows: Vec<_> = rows.iter().map(|row| row.event.clone()).collect();
    let strict = || chained(Tampered::renumbered(&rows), Kind::Keyed);
    let earlier = strict()?.with_chained_after(SequenceNumber::new(2));
    assert!(earlier.verify(&EARTH, None).await?.findings.contains(&Finding::Changed(at(2))));
    let read =
        EventStore::new(strict()?).stream(EARTH).read(ReadOptions::default()).into_vec().await;
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
    assert_eq!(keyed.verify(&EARTH, None).await?.findings, []);
    Ok(())
}
