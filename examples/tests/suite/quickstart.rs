//! The story of the quickstart in memory, SQLite and PostgreSQL: the same function, with all that it asserts.

use annals::{BoxError, EventId, EventStore, ReadOptions};
use annals_examples::quickstart::story;
use annals_memory::MemoryAdapter;
use annals_postgres::PostgresOptions;
use annals_sqlite::SqliteAdapter;

/// Plays the story on an empty store, and again on a store that holds other events.
async fn play(store: &EventStore) -> Result<(), BoxError> {
    let mut lines = Vec::new();
    story(store, |line| lines.push(line)).await?;
    assert_eq!(lines.len(), 11, "{lines:?}");
    let log = store.log().read(ReadOptions::default()).into_vec().await?;
    let names: Vec<&str> = log.iter().map(|event| event.name().as_str()).collect();
    assert_eq!(names, ["profile-created", "date-of-birth-set", "note-added"]);

    let error = story(store, |_| {}).await.expect_err("the story was played here").to_string();
    assert!(error.starts_with("the story begins with an empty stream"), "{error}");
    let after = store.log().read(ReadOptions::default()).into_vec().await?;
    assert_eq!(after, log, "a story that cannot begin appends nothing");
    Ok(())
}

/// Other events, some of the same category.
async fn play_beside_others(store: &EventStore) -> Result<(), BoxError> {
    use annals::{NewEvent, StreamId, WriteCondition};
    for stream in [StreamId::new("profiles", "somebody")?, StreamId::new("others", "joe.bloggs")?] {
        let event = NewEvent::json("something-else", &1)?;
        store.stream(stream).append([event], WriteCondition::Always).await?;
    }
    story(store, |_| {}).await
}

#[tokio::test]
async fn the_story_in_memory() -> Result<(), BoxError> {
    play(&EventStore::new(MemoryAdapter::new())).await?;
    play_beside_others(&EventStore::new(MemoryAdapter::new())).await
}

#[tokio::test]
async fn the_story_in_sqlite() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    for (name, beside) in [("alone.db", false), ("beside.db", true)] {
        let adapter = SqliteAdapter::open(folder.path().join(name)).await?;
        let store = EventStore::new(adapter.clone());
        if beside {
            play_beside_others(&store).await?;
        } else {
            play(&store).await?;
        }
        annals::StorageAdapter::close(&adapter).await;
    }
    Ok(())
}

#[tokio::test]
async fn the_story_in_postgresql() -> Result<(), BoxError> {
    let Some(url) = tokio::task::spawn_blocking(crate::common::postgres).await? else {
        return Ok(());
    };
    for beside in [false, true] {
        let schema = format!("t{}", EventId::generate().as_uuid().simple());
        let options = PostgresOptions::new(&url)?.with_schema(&schema);
        options.migrate().await?;
        let adapter = options.connect().await?;
        let store = EventStore::new(adapter.clone());
        if beside {
            play_beside_others(&store).await?;
        } else {
            play(&store).await?;
        }
        annals::StorageAdapter::close(&adapter).await;
    }
    Ok(())
}
