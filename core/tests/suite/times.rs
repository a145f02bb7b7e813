//! Times: kept in UTC, cut to the microsecond and never rounded up.

use annals::adapter::cut_to_micros;
use annals::{
    Clock, EventName, NewEvent, Payload, Position, SequenceNumber, StoredEvent, StreamId,
    SystemClock,
};
use proptest::prelude::*;
use time::macros::{datetime, offset};
use time::{OffsetDateTime, UtcOffset};

/// Any nanosecond of the years 1677 to 2262, seen from anywhere.
fn moment() -> impl Strategy<Value = OffsetDateTime> {
    (any::<i64>(), -86_399i32..86_400).prop_map(|(nanos, seconds)| {
        let offset = UtcOffset::from_whole_seconds(seconds).expect("less than a day");
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanos.into()).expect("a near year");
        time.to_offset(offset)
    })
}

fn micros(time: OffsetDateTime) -> i128 {
    time.unix_timestamp_nanos().div_euclid(1_000)
}

proptest! {
    #[test]
    fn a_cut_time_is_the_microsecond_that_it_lies_in(time in moment()) {
        let cut = cut_to_micros(time);
        prop_assert_eq!(cut.offset(), UtcOffset::UTC);
        prop_assert_eq!(cut.unix_timestamp_nanos(), micros(time) * 1_000);
        prop_assert_eq!(cut_to_micros(cut), cut);
    }

    #[test]
    fn a_stored_event_keeps_both_times_apart(occurred_at in moment(), recorded_at in moment()) {
        let mut event = NewEvent::new(EventName::from_static("opened"), Payload::bytes("x"));
        event.occurred_at = occurred_at;
        let stream = StreamId::from_static("a", "b");
        let stored = StoredEvent::new(event, stream, Position::FIRST, SequenceNumber::new(1), recorded_at);
        for (kept, given) in [(stored.event.occurred_at, occurred_at), (stored.recorded_at, recorded_at)] {
            prop_assert_eq!(kept.offset(), UtcOffset::UTC);
            prop_assert_eq!(kept.unix_timestamp_nanos(), micros(given) * 1_000);
        }
    }
}

#[test]
fn a_new_event_occurs_now_in_whole_microseconds() {
    let before = cut_to_micros(SystemClock.now());
    let event = NewEvent::json("opened", &1).expect("valid");
    assert!(event.occurred_at >= before && event.occurred_at <= SystemClock.now());
    assert_eq!(event.occurred_at, cut_to_micros(event.occurred_at));
    let told = event.with_occurred_at(datetime!(2026-01-01 12:00:00.123_456_789 +2));
    assert_eq!(told.occurred_at, datetime!(2026-01-01 10:00:00.123_456 UTC));
}

/// Its UTC form has no name in four digits; it is refused when it is appended.
#[test]
fn a_time_beyond_the_last_year_is_left_alone() {
    let late = datetime!(9999-12-31 23:59 UTC).replace_offset(offset!(-1));
    assert_eq!(cut_to_micros(late), late);
}

#[test]
fn a_fresh_id_is_a_uuid_of_version_7_and_grows() {
    let event = || NewEvent::new(EventName::from_static("opened"), Payload::bytes("1"));
    let ids: Vec<_> = (0..1_000).map(|_| event().id).collect();
    assert!(ids.iter().all(|id| id.as_uuid().get_version_num() == 7));
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
}
