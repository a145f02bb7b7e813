//! Imports the history of a repository into an event store: once, however often and by whomever it is tried.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use annals::{
    Append, BoxError, CategoryName, Error, EventName, EventStore, NewEvent, Payload, QueryItem,
    ReadOptions, SequenceNumber, StoredEvent, StreamId, StreamName, WriteCondition,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::git::{Commit, Dated, FileChange, Repository};

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
    /// Where the time of the event is from; left out if it is the author's.
    #[serde(default, skip_serializing_if = "Dated::is_author")]
    pub dated: Dated,
}

impl CommitRecorded {
    fn of(event: &StoredEvent) -> Result<Self, Error> {
        event.payload().to_json().map_err(Error::corrupt)
    }
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
    /// Of the commits appended, those whose author's line has no readable date; see [`Dated`].
    pub redated: u64,
}

/// How often an append is tried again while the store is unavailable, in a row. An SQLite file that another program
/// appends to all the time is, as each append waits for its lock only so long.
const PATIENCE: u32 = 10;
/// Between two of those tries, for a server that starts again.
const PAUSE: Duration = Duration::from_millis(200);

/// The streams of one repository.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Its commits.
    pub repository: StreamId,
    /// The category of its files, a stream each.
    pub files: CategoryName,
}

impl Streams {
    /// The streams that `repository` has in `store`, or will have: named after its first commit, and after what that
    /// was at the first import. A shallow clone that learns of older commits keeps its streams, and a shallow clone of
    /// a repository that the store has already shares those.
    ///
    /// # Errors
    /// Those of the store's read, and of git.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost when it is dropped.
    pub async fn of(store: &EventStore, repository: &Repository) -> Result<Self, BoxError> {
        let own = Self::named(repository.id())?;
        if store.stream(own.repository.clone()).latest().await?.is_some() {
            return Ok(own);
        }
        // Whether a repository of the store is this one, by its name: that of a commit.
        let mut others: BTreeMap<StreamName, bool> = BTreeMap::new();
        let query =
            QueryItem::new(own.repository.category.clone()).with_names([COMMIT_RECORDED])?;
        let mut events = store.read(query, ReadOptions::default());
        while let Some(event) = events.next().await {
            let event = event?;
            let name = &event.stream.name;
            let same = if let Some(same) = others.get(name) {
                *same
            } else {
                // A commit that is the first no more, since there are older ones now.
                let root = repository.roots().iter().any(|root| root.starts_with(name.as_str()));
                let same = !root && repository.has(name.as_str())?;
                others.insert(name.clone(), same);
                same
            };
            // Or it has the commit at which this clone was cut.
            let holds_cut = || -> Result<bool, Error> {
                let said = CommitRecorded::of(&event)?;
                Ok(repository.is_shallow() && repository.roots().contains(&said.hash))
            };
            if same || holds_cut()? {
                return Ok(Self::named(name.as_str())?);
            }
        }
        Ok(own)
    }

    fn named(id: &str) -> Result<Self, Error> {
        let id: String = id.chars().take(12).collect();
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
/// never occurs in the text of a path, so the two kinds do not meet.
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
/// repository's stream and one `file-changed` event to each file's, all in one call. `progress` is called for each
/// commit.
///
/// The repository's stream must be where this import last saw it, so that two imports at once append each commit
/// once: the one that loses reads what the other did, and goes on. While the store is unavailable, or does not say
/// whether it took an append, the import reads what is there and tries again, a few times in a row.
///
/// # Errors
/// Those of git, and of the store if it stays unavailable. What was appended until then stays, and a later import goes on from there.
///
/// # Cancel safety
/// Dropped, the import ends between two commits or with one whole; a later import goes on from there.
pub async fn import(
    store: &EventStore,
    repository: &Repository,
    mut progress: impl FnMut(),
) -> Result<Imported, BoxError> {
    let streams = Streams::of(store, repository).await?;
    let mut seen = Seen::default();
    seen.catch_up(store, &streams).await?;
    let mut imported = Imported::default();
    for commit in repository.history()? {
        let commit = commit?;
        let mut patience = PATIENCE;
        loop {
            if seen.commits.contains(&commit.hash) {
                imported.known += 1;
                break;
            }
            match store.append(writes(&streams, &commit, &seen.condition)?).await {
                Ok(stored) => {
                    imported.commits += 1;
                    imported.events += stored.len() as u64;
                    imported.redated += u64::from(!commit.dated.is_author());
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
                Err(Error::Unavailable(_) | Error::OutcomeUnknown(_)) if patience > 0 => {
                    tokio::time::sleep(PAUSE).await;
                    patience -= 1;
                    match seen.catch_up(store, &streams).await {
                        Err(Error::Unavailable(_)) => {}
                        read => read?,
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

    async fn catch_up(&mut self, store: &EventStore, streams: &Streams) -> Result<(), Error> {
        let stream = store.stream(streams.repository.clone());
        let mut events = stream.read(ReadOptions::default().after(self.last));
        while let Some(event) = events.next().await {
            let event = event?;
            let said = CommitRecorded::of(&event)?;
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
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, streams.files.as_str().as_bytes());
    let namespace = Uuid::new_v5(&namespace, commit.hash.as_bytes());
    let event = |name: EventName, payload: Payload, key: &[u8]| {
        NewEvent::from_parts(Uuid::new_v5(&namespace, key).into(), name, payload, commit.at)
    };
    let recorded = Payload::json(&CommitRecorded {
        hash: commit.hash.clone(),
        author: commit.author.clone(),
        subject: commit.subject.clone(),
        files: commit.files.len(),
        dated: commit.dated,
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
