//! Who did what when: folded from the events of an import.

use std::collections::BTreeMap;

use annals::{
    BoxError, Error, EventStore, Projection, Projector, Query, QueryItem, ReadOptions, Source,
    StoredEvent,
};
use serde::Serialize;

use crate::import::{COMMIT_RECORDED, CommitRecorded, FILE_CHANGED, FileChanged, Streams};

/// Commits and lines of one author.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Author {
    /// Commits made.
    pub commits: u64,
    /// Lines added.
    pub added: u64,
    /// Lines deleted.
    pub deleted: u64,
}

/// What happened in a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// By name.
    pub authors: BTreeMap<String, Author>,
    /// How many commits changed each file.
    pub files: BTreeMap<String, u64>,
    /// Commits in each month, `1992-07`.
    pub months: BTreeMap<String, u64>,
}

impl Activity {
    /// The authors with the most commits, most first.
    #[must_use]
    pub fn top_authors(&self, most: usize) -> Vec<(&str, &Author)> {
        let mut authors: Vec<_> =
            self.authors.iter().map(|(name, author)| (name.as_str(), author)).collect();
        authors.sort_by(|a, b| b.1.commits.cmp(&a.1.commits).then(a.0.cmp(b.0)));
        authors.truncate(most);
        authors
    }

    /// The files that most commits changed, most first.
    #[must_use]
    pub fn top_files(&self, most: usize) -> Vec<(&str, u64)> {
        let mut files: Vec<_> =
            self.files.iter().map(|(path, changes)| (path.as_str(), *changes)).collect();
        files.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        files.truncate(most);
        files
    }

    /// All commits.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.months.values().sum()
    }
}

/// Folds [`Activity`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ActivityProjector;

impl Projector for ActivityProjector {
    type State = Activity;

    fn initial(&self) -> Activity {
        Activity::default()
    }

    fn apply(&self, activity: &mut Activity, event: &StoredEvent) -> Result<(), BoxError> {
        if *event.name() == COMMIT_RECORDED {
            let commit: CommitRecorded = event.payload().to_json()?;
            let at = event.occurred_at();
            let month = format!("{:04}-{:02}", at.year(), u8::from(at.month()));
            *activity.months.entry(month).or_default() += 1;
            activity.authors.entry(commit.author).or_default().commits += 1;
        } else if *event.name() == FILE_CHANGED {
            let change: FileChanged = event.payload().to_json()?;
            let author = activity.authors.entry(change.author).or_default();
            author.added += change.added.unwrap_or(0);
            author.deleted += change.deleted.unwrap_or(0);
            *activity.files.entry(change.path).or_default() += 1;
        } else {
            return Err(format!("no handler for event {}", event.name()).into());
        }
        Ok(())
    }
}

/// Folds what the store holds of one repository, commits and files in the order in which they were appended.
///
/// # Errors
/// Those of the store's read, and of an event that no import made.
///
/// # Cancel safety
/// Reads only: nothing is lost when it is dropped.
pub async fn activity(
    store: &EventStore,
    streams: &Streams,
) -> Result<Projection<Activity>, Error> {
    let query = Query::any_of([
        QueryItem::new(streams.repository.clone()),
        QueryItem::new(streams.files.clone()),
    ]);
    let mut projection = Projection::new(&ActivityProjector, Source::Log);
    projection.fold(&ActivityProjector, &store.query(query), ReadOptions::default()).await?;
    Ok(projection)
}
