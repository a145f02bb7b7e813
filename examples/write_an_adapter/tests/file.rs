//! What the suite cannot know: how the file looks, and what becomes of a damaged one.

use std::fs;
use std::path::{Path, PathBuf};

use annals::{
    Error, EventStore, NewEvent, ReadOptions, Result, StoredEvent, StreamId, WriteCondition,
};
use annals_file::FileAdapter;
use tempfile::TempDir;

fn open(path: &Path) -> EventStore {
    EventStore::new(FileAdapter::open(path).expect("the file opens"))
}

async fn append(store: &EventStore, count: usize) -> Result<Vec<StoredEvent>> {
    let event = |_| NewEvent::json("happened", &serde_json::json!({ "café": "\n" }));
    let events = (0..count).map(event).collect::<Result<Vec<_>>>()?;
    let stream = store.stream(StreamId::new("orders", "o-1")?);
    Ok(stream.append(events, WriteCondition::Always).await?.into_vec())
}

async fn all(store: &EventStore) -> Result<Vec<StoredEvent>> {
    store.log().read(ReadOptions::default()).into_vec().await
}

/// A file with a batch of one and a batch of two events, and its length after each.
async fn two_batches(folder: &TempDir) -> Result<(PathBuf, Vec<u8>, usize)> {
    let path = folder.path().join("store.log");
    let store = open(&path);
    append(&store, 1).await?;
    let first = fs::read(&path).expect("a file").len();
    append(&store, 2).await?;
    let bytes = fs::read(&path).expect("a file");
    Ok((path, bytes, first))
}

#[tokio::test]
async fn the_file_is_lines_of_json_after_its_first() -> Result<()> {
    let folder = TempDir::new().expect("a folder");
    let (_, bytes, _) = two_batches(&folder).await?;
    let text = String::from_utf8(bytes).expect("text");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("annals-file 1"));
    let lines: Vec<serde_json::Value> =
        lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let numbers: Vec<_> = lines.iter().map(|line| line["number"].as_u64()).collect();
    assert_eq!(numbers, [None, Some(1), None, Some(2), Some(3)]);
    assert_eq!(lines[4]["payload"]["text"], r#"{"café":"\n"}"#);
    Ok(())
}

#[tokio::test]
async fn a_batch_cut_anywhere_is_gone_and_the_rest_goes_on() -> Result<()> {
    let folder = TempDir::new().expect("a folder");
    let (path, bytes, first) = two_batches(&folder).await?;
    let fillers = [&b""[..], b"\0\0\0", b"x\n", b"{}\n"];
    for (end, filler) in (first..bytes.len()).zip(fillers.into_iter().cycle()) {
        fs::write(&path, [&bytes[..end], filler].concat()).expect("a file");
        assert_eq!(all(&open(&path)).await?.len(), 1, "cut at {end}");
        let next = append(&open(&path), 2).await?;
        assert_eq!(next[1].sequence_number.value(), 3, "cut at {end}");
        assert_eq!(all(&open(&path)).await?.len(), 3, "cut at {end}");
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_damaged_anywhere_before_another_is_corrupt_and_kept() -> Result<()> {
    let folder = TempDir::new().expect("a folder");
    let (path, bytes, first) = two_batches(&folder).await?;
    let magic = b"annals-file 1\n".len();
    for at in magic..first {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).expect("a file");
        let error = append(&open(&path), 1).await.expect_err("a damaged file");
        assert!(matches!(error, Error::Corrupt(_)), "damaged at {at}: {error:?}");
        assert_eq!(fs::read(&path).expect("a file"), damaged, "damaged at {at}");
    }
    Ok(())
}

#[tokio::test]
async fn another_file_is_refused_and_left_alone() -> Result<()> {
    let folder = TempDir::new().expect("a folder");
    for content in ["something else\nentirely\n", "annals-file 2\n", "\n"] {
        let path = folder.path().join("other");
        fs::write(&path, content).expect("a file");
        let error = append(&open(&path), 1).await.expect_err("no event store");
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
        assert_eq!(fs::read_to_string(&path).expect("a file"), content);
    }
    Ok(())
}

#[tokio::test]
async fn a_file_begun_in_part_is_begun_again() -> Result<()> {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("store.log");
    fs::write(&path, "annals-f").expect("a file");
    append(&open(&path), 1).await?;
    assert_eq!(all(&open(&path)).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_file_that_shrank_is_corrupt() -> Result<()> {
    let folder = TempDir::new().expect("a folder");
    let (path, bytes, first) = two_batches(&folder).await?;
    let store = open(&path);
    assert_eq!(all(&store).await?.len(), 3);
    fs::write(&path, &bytes[..first]).expect("a file");
    let error = append(&store, 1).await.expect_err("a shorter file");
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    Ok(())
}
