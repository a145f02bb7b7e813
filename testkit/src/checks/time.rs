//! Times to the microsecond, and independence of clocks.

use annals::{NewEvent, ReadOptions, StoredEvent};
use time::macros::datetime;
use time::{Duration, OffsetDateTime, UtcOffset};

use crate::engine::{Outcome, ensure, ensure_eq};
use crate::storage::{Check, check};
use crate::subject::{Context, but, event};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "time.precision",
        [R3],
        Required,
        [],
        precision,
        "microseconds are kept, nanoseconds cut and never rounded"
    ),
    check!(
        "time.range",
        [R3],
        Required,
        [],
        range,
        "times from year 1 to 9999 with any offset are kept as the same instant in UTC"
    ),
    check!(
        "time.zones",
        [R3],
        Required,
        [],
        zones,
        "instants around the hours that clocks leave out or repeat are kept, whatever zone the store lives in"
    ),
    check!(
        "time.both_kept",
        [R3],
        Required,
        [],
        both_kept,
        "when it occurred and when it was recorded are not mixed"
    ),
    check!(
        "time.recorded",
        [R3],
        Required,
        [],
        recorded,
        "the time of recording is the same wherever it is seen"
    ),
    check!("time.order", [A3 R2], Required, [], order, "order comes from the numbers, not from any clock"),
];

/// Sets the field itself: what the builder does to a time must not be relied on.
fn at(time: OffsetDateTime) -> NewEvent {
    but(&event("occurred"), |it| it.occurred_at = time)
}

/// The instant that a store must give back for `time`.
fn kept(time: OffsetDateTime) -> OffsetDateTime {
    let utc = time.to_offset(UtcOffset::UTC);
    utc - Duration::nanoseconds(i64::from(utc.nanosecond() % 1_000))
}

async fn come_back(cx: &Context, times: &[OffsetDateTime]) -> Outcome {
    let store = cx.open().await?;
    let alone = ("alone", if times.len() < 100 { 1 } else { 100 });
    for (name, size) in [alone, ("batch", 10)] {
        let stream = store.stream("times", name);
        let mut returned: Vec<StoredEvent> = Vec::new();
        for part in times.chunks(size) {
            let events: Vec<_> = part.iter().map(|time| at(*time)).collect();
            returned.extend(store.put(&stream, &events).await?);
        }
        let read = store.stream_events(&stream).await?;
        for (what, events) in [("append returned", &returned), ("a read gave", &read)] {
            ensure_eq!(events.len(), times.len(), "events that {what}");
            for (time, stored) in times.iter().zip(events) {
                let found = stored.event.occurred_at;
                ensure!(
                    found == kept(*time) && found.offset() == UtcOffset::UTC,
                    "of {time} ({name}) {what} {found}, expected {}",
                    kept(*time)
                );
            }
        }
    }
    Ok(())
}

async fn precision(cx: Context) -> Outcome {
    let second = datetime!(2024-02-29 23:59:59 UTC);
    let nanos = [
        0,
        1,
        499,
        500,
        501,
        999,
        1_000,
        1_999,
        123_456_000,
        123_456_789,
        500_000_000,
        999_999_000,
        999_999_499,
        999_999_500,
        999_999_999,
    ];
    let times: Vec<_> =
        nanos.into_iter().map(|nanos| second + Duration::nanoseconds(nanos)).collect();
    come_back(&cx, &times).await
}

async fn range(cx: Context) -> Outcome {
    let times = [
        datetime!(0001-01-01 00:00:00 UTC),
        datetime!(0001-01-01 00:00:00.000001 UTC),
        datetime!(0099-12-31 23:59:59.999999999 UTC),
        datetime!(1582-10-15 12:00 UTC),
        datetime!(1900-02-28 23:59:59.5 UTC),
        datetime!(1969-12-31 23:59:59.999999999 UTC),
        datetime!(1969-12-31 23:59:58.0000015 UTC),
        datetime!(1970-01-01 00:00:00 UTC),
        datetime!(2000-01-01 00:00:00 UTC),
        datetime!(2016-12-31 23:59:59.999999 UTC),
        datetime!(2024-03-31 02:30:00 +2),
        datetime!(2024-06-30 12:00:00.123456 +5:30),
        datetime!(2024-06-30 12:00:00.123456 -11:45),
        datetime!(2038-01-19 03:14:08 UTC),
        datetime!(2106-02-07 06:28:16 UTC),
        datetime!(2262-04-11 23:47:17 UTC),
        datetime!(9999-12-31 23:59:59.999999999 UTC),
        datetime!(9999-12-31 23:59:59 +14),
    ];
    come_back(&cx, &times).await
}

/// Every quarter of an hour around the nights in which zones turned their clocks, forth and back: also by half an hour,
/// at midnight, by a whole day, and before zones were regular.
async fn zones(cx: Context) -> Outcome {
    let nights = [
        // Berlin, New York, Lord Howe, Chatham, Sao Paulo, Apia, Casablanca, London 1968 and Paris 1911.
        datetime!(2024-03-31 01:00 UTC),
        datetime!(2024-10-27 01:00 UTC),
        datetime!(2024-03-10 07:00 UTC),
        datetime!(2024-11-03 06:00 UTC),
        datetime!(2024-04-06 15:00 UTC),
        datetime!(2024-10-05 15:30 UTC),
        datetime!(2024-04-06 14:00 UTC),
        datetime!(2018-11-04 03:00 UTC),
        datetime!(2011-12-30 10:00 UTC),
        datetime!(2024-03-10 02:00 UTC),
        datetime!(1968-02-18 02:00 UTC),
        datetime!(1911-03-11 00:00 UTC),
    ];
    let around = |night: OffsetDateTime| {
        (-10..=14).map(move |quarter| night + Duration::minutes(15 * quarter))
    };
    let mut times: Vec<_> = nights.into_iter().flat_map(around).collect();
    // The same by the clocks of the place: hours that were left out or came twice there, told with another offset.
    for night in nights.iter().take(4) {
        for offset in [1, 2, -4, -5] {
            let offset = UtcOffset::from_hms(offset, 0, 0).unwrap_or(UtcOffset::UTC);
            times.extend(around(*night).map(|time| time.replace_offset(offset)));
        }
    }
    come_back(&cx, &times).await
}

async fn both_kept(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("times", "both");
    let first = datetime!(2001-02-03 04:05:06.789 UTC);
    let second = datetime!(2050-02-03 04:05:06.789 UTC);
    store.put(&stream, &[at(first), at(second)]).await?;
    let read = store.stream_events(&stream).await?;
    let occurred: Vec<_> = read.iter().map(|event| event.event.occurred_at).collect();
    ensure_eq!(occurred, [first, second], "when the events occurred");
    for stored in &read {
        ensure!(
            stored.recorded_at != first && stored.recorded_at != second,
            "the time of recording is that of occurring: {}",
            stored.recorded_at
        );
    }
    Ok(())
}

async fn recorded(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("times", "recorded");
    let returned = store.fill(&stream, 3).await?;
    for (what, read) in [
        ("the stream", store.stream_events(&stream).await?),
        ("the widest source", store.all_events(std::slice::from_ref(&stream)).await?),
        ("the stream again", store.stream_events(&stream).await?),
    ] {
        for (expected, found) in returned.iter().zip(&read) {
            ensure_eq!(found.recorded_at, expected.recorded_at, "the time of recording in {what}");
        }
    }
    for stored in &returned {
        let time = stored.recorded_at;
        ensure!(
            time.nanosecond() % 1_000 == 0 && time.offset() == UtcOffset::UTC,
            "the time of recording {time} is not in UTC to the microsecond"
        );
    }
    Ok(())
}

async fn order(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let streams = [store.stream("times", "a"), store.stream("times", "b")];
    let start = datetime!(2030-01-01 00:00 UTC);
    let mut expected = Vec::new();
    for nth in 0..12_i64 {
        // Backwards, now and then forwards, and twice the same.
        let jump = [nth * -3_600, nth * 7, 0, -1][usize::try_from(nth % 4).unwrap_or(0)];
        let time = start + Duration::seconds(jump);
        let stream = &streams[usize::try_from(nth % 2).unwrap_or(0)];
        let stored = store.put(stream, &[at(time), at(time - Duration::days(1))]).await?;
        expected.extend(stored.iter().map(|event| event.event.id));
    }
    for stream in &streams {
        let found = store.stream_events(stream).await?;
        let positions: Vec<u64> = found.iter().map(|event| event.position.value()).collect();
        ensure!(positions.iter().copied().eq(0..12), "positions of {stream}: {positions:?}");
        let latest = store.latest(stream.clone()).await?;
        ensure_eq!(latest.as_ref(), found.last(), "the latest of {stream}");
        let middle = found[5].sequence_number;
        let rest = store.read(stream.clone(), ReadOptions::default().after(middle)).await?;
        ensure_eq!(rest, found[6..], "what {stream} holds after {middle}");
    }
    if store.capabilities.order >= annals::Order::Category {
        let all = store.all_events(&streams).await?;
        let found: Vec<_> = all.iter().map(|event| event.event.id).collect();
        ensure_eq!(found, expected, "events in the order in which they were appended");
    }
    Ok(())
}
