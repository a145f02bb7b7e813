//! Imports the history of a repository into an event store: once, however often and by whomever it is tried.

use std::collections::HashSet;
use std::fmt::Write as _;

use annals::{
    Append, BoxError, CategoryName, Error, EventId, EventName, EventStore, NewEvent, Payload,
    ReadOptions, SequenceNumber, StreamId, StreamName, WriteCondition,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::git::{Commit, FileChange, Repository};

/// The name of the event that a commit leaves in the stream of its repository.
pub const COMMIT_RECORDED: EventName = EventName::from_static("commit-recorded");
/// The name of the event that a commit leaves in the stream of each file that it changed.
pub const FILE_CHANGED: EventName = EventName::from_static("file-changed");

/// What a `commit-recorded` event says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in git")]
pub struct CommitRecorded {
    pub hash: String,
    pub author: String,
    pub subject: String,
    pub files: usize,
}

/// What a `file-changed` event says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in git")]
pub struct FileChanged {
    pub commit: String,
    pub author: String,
    /// The path; bytes that are no UTF-8, control characters and `%` as `%` and two hexadecimal digits.
    pub path: String,
    pub added: Option<u64>,
    pub deleted: Option<u64>,
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Commits appended by this import.
    pub commits: u64,
    /// Events appended by this import.
    pub events: u64,
    /// Commits that were in the store already, or that another import appended meanwhile.
    pub known: u64,
}

/// The streams of one repository.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Its commits.
    pub repository: StreamId,
    /// The category of its files, a stream each.
    pub files: CategoryName,
}

impl Streams {
    /// The streams of `repository`.
    ///
    /// # Errors
    /// Does not happen for a repository that git knows: its id is a hash.
    pub fn of(repository: &Repository) -> Result<Self, Error> {
        let id: String = repository.id().chars().take(12).collect();
        Ok(Self {
            repository: StreamId::new("repositories", id.as_str())?,
            files: CategoryName::new(format!("files:{id}"))?,
        })
    }

    fn file(&self, path: &[u8]) -> Result<StreamId, Error> {
        Ok(StreamId { category: self.files.clone(), name: StreamName::new(stream_name(path))? })
    }
}

/// A path as text: what is no printable text, and `%`, becomes `%` and two hexadecimal digits. Different paths
/// give different texts.
#[must_use]
pub fn path_text(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    let escape = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    };
    for chunk in path.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '%' || letter.is_control() {
                escape(&mut text, letter.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(letter);
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

/// The name of a file's stream: its path as text, or of a path too long for a name its end and a digest. `%~`
/// never stands in a path's text, so the two kinds do not meet.
fn stream_name(path: &[u8]) -> String {
    let text = path_text(path);
    if text.len() <= annals::MAX_NAME_BYTES {
        return text;
    }
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_URL, path);
    let mut start = text.len() - 200;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("%~{digest}:{}", text.get(start..).unwrap_or_default())
}

/// Appends each commit of `repository` that the store does not hold yet: one `commit-recorded` event to the
/// repository's stream and one `file-changed` event to each file's, all in one call. `progress` is told of each
/// commit.
///
/// The repository's stream must stand where this import last saw it, so that two imports at once append each
/// commit once: the one that loses reads what the other did, and goes on.
///
/// # Errors
/// Those of git and of the store. What was appended until then stays, and a later import goes on from there.
///
/// # Cancel safety
/// Dropped, the import ends between two commits or with one whole; a later import goes on from there.
pub async fn import(
    store: &EventStore,
    repository: &Repository,
    mut progress: impl FnMut(),
) -> Result<Imported, BoxError> {
    let streams = Streams::of(repository)?;
    let mut seen = Seen::default();
    seen.catch_up(store, &streams).await?;
    let mut imported = Imported::default();
    for commit in repository.history()? {
        let commit = commit?;
        loop {
            if seen.commits.contains(&commit.hash) {
                imported.known += 1;
                break;
            }
            match store.append(writes(&streams, &commit, &seen.condition)?).await {
                Ok(stored) => {
                    imported.commits += 1;
                    imported.events += stored.len() as u64;
                    let own = stored.into_iter().find(|event| event.stream == streams.repository);
                    if let Some(own) = own {
                        seen.note(commit.hash.clone(), own.sequence_number, own.position);
                    }
                    break;
                }
                // Another import was faster: by the commits that it appended this one has less to do.
                Err(Error::ConditionFailed(_) | Error::DuplicateEvent(_)) => {
                    let before = seen.commits.len();
                    seen.catch_up(store, &streams).await?;
                    if seen.commits.len() == before {
                        return Err(format!(
                            "commit {} is refused, and nobody appended it",
                            commit.hash
                        )
                        .into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        progress();
    }
    Ok(imported)
}

/// What an import knows of the repository's stream.
#[derive(Debug)]
struct Seen {
    commits: HashSet<String>,
    last: SequenceNumber,
    condition: WriteCondition,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            commits: HashSet::new(),
            last: SequenceNumber::START,
            condition: WriteCondition::StreamIsEmpty,
        }
    }
}

impl Seen {
    fn note(&mut self, commit: String, last: SequenceNumber, position: annals::Position) {
        self.commits.insert(commit);
        self.last = last;
        self.condition = WriteCondition::PositionIs(position);
    }

    async fn catch_up(&mut self, store: &EventStore, streams: &Streams) -> Result<(), BoxError> {
        let stream = store.stream(streams.repository.clone());
        let mut events = stream.read(ReadOptions::default().after(self.last));
        while let Some(event) = events.next().await {
            let event = event?;
            let said: CommitRecorded = event.event.payload.to()?;
            self.note(said.hash, event.sequence_number, event.position);
        }
        Ok(())
    }
}

/// What is appended for a commit. The ids follow from the repository and the commit, so that it cannot be stored
/// twice, and repositories that share commits fit in one store.
fn writes(
    streams: &Streams,
    commit: &Commit,
    condition: &WriteCondition,
) -> Result<Vec<Append>, BoxError> {
    let at = OffsetDateTime::from_unix_timestamp(commit.seconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .clamp(EARLIEST, LATEST);
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, streams.files.as_str().as_bytes());
    let namespace = Uuid::new_v5(&namespace, commit.hash.as_bytes());
    let event = |name: EventName, payload: Payload, key: &[u8]| NewEvent {
        id: EventId::from_uuid(Uuid::new_v5(&namespace, key)),
        name,
        payload,
        metadata: None,
        tags: annals::Tags::NONE,
        occurred_at: at,
    };
    let recorded = Payload::json(&CommitRecorded {
        hash: commit.hash.clone(),
        author: commit.author.clone(),
        subject: commit.subject.clone(),
        files: commit.files.len(),
    })?;
    let recorded = event(COMMIT_RECORDED, recorded, b"");
    let mut writes = vec![Append::new(streams.repository.clone(), [recorded], condition.clone())];
    for FileChange { path, added, deleted } in &commit.files {
        let changed = Payload::json(&FileChanged {
            commit: commit.hash.clone(),
            author: commit.author.clone(),
            path: path_text(path),
            added: *added,
            deleted: *deleted,
        })?;
        let changed = event(FILE_CHANGED, changed, path);
        writes.push(Append::new(streams.file(path)?, [changed], WriteCondition::Always));
    }
    Ok(writes)
}

/// Commits can claim any time; a store keeps the years 1 to 9999.
const EARLIEST: OffsetDateTime = time::macros::datetime!(0001-01-01 0:00 UTC);
const LATEST: OffsetDateTime = time::macros::datetime!(9999-12-31 23:59:59 UTC);
