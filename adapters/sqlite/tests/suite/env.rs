//! Stores that an environment describes.

use std::time::Duration;

use annals::Error;
use annals_sqlite::{SqliteAdapter, SqliteOptions, Synchronous};

fn options(names: &[(&str, &str)]) -> annals::Result<SqliteOptions> {
    SqliteOptions::from_lookup(|key| {
        names.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn each_name_sets_its_option() {
    let defaults = SqliteOptions::new();
    assert_eq!(format!("{:?}", options(&[]).unwrap()), format!("{defaults:?}"));
    let empty = options(&[("SQLITE_READERS", ""), ("SQLITE_SYNCHRONOUS", " ")]).unwrap();
    assert_eq!(format!("{empty:?}"), format!("{defaults:?}"));
    let all = options(&[
        ("SQLITE_SYNCHRONOUS", "normal"),
        ("SQLITE_READERS", " 7\n"),
        ("SQLITE_WATCH_INTERVAL", "0.25"),
        ("SQLITE_LOCK_TIMEOUT", "2.5"),
        ("SQLITE_PAGE_SIZE", "100"),
        ("SQLITE_QUEUE_BOUND", "200"),
        ("SQLITE_CACHE_BOUND", "300"),
        ("SQLITE_IMMUTABLE_LOG", "yes"),
    ]);
    let all = all.unwrap();
    assert_eq!(all.synchronous(), Synchronous::Normal);
    assert_eq!((all.readers().get(), all.page_size().get()), (7, 100));
    assert_eq!((all.queue_bound().get(), all.cache_bound().get()), (200, 300));
    assert_eq!(all.lock_timeout(), Duration::from_millis(2_500));
    assert!(all.immutable_log());
    assert!(format!("{all:?}").contains("250ms"), "{all:?}");
}

#[test]
fn a_bad_value_is_shown_with_its_name() {
    for (name, value) in [
        ("SQLITE_SYNCHRONOUS", "off"),
        ("SQLITE_READERS", "0"),
        ("SQLITE_READERS", "-1"),
        ("SQLITE_LOCK_TIMEOUT", "soon"),
        ("SQLITE_LOCK_TIMEOUT", "-1"),
        ("SQLITE_LOCK_TIMEOUT", "NaN"),
        ("SQLITE_LOCK_TIMEOUT", "1e300"),
        ("SQLITE_PAGE_SIZE", "1.5"),
        ("SQLITE_IMMUTABLE_LOG", "perhaps"),
    ] {
        let error = options(&[(name, value)]).unwrap_err();
        let Error::Invalid(reason) = error else { panic!("{error:?}") };
        let reason = reason.to_string();
        assert!(reason.starts_with(&format!("{name} is {value:?}, expected ")), "{reason}");
    }
}

#[tokio::test]
async fn a_store_needs_its_path_and_options_within_their_bounds() {
    let none = SqliteAdapter::from_lookup(|_| None).await.err().unwrap();
    assert!(format!("{none:?}").contains("SQLITE_PATH is not set"), "{none:?}");
    let large = |key: &str| match key {
        "SQLITE_PATH" => Some(":memory:".to_owned()),
        "SQLITE_READERS" => Some("100000".to_owned()),
        _ => None,
    };
    assert!(matches!(SqliteAdapter::from_lookup(large).await.err(), Some(Error::Invalid(_))));
}
