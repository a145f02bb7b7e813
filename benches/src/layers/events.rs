//! The events that layers are measured with: of the seeded generator, and of a Git history.

use std::path::Path;
use std::sync::Arc;

use annals::{BoxError, EventStore, Payload, Query, ReadOptions, StorageAdapter};
use annals_examples::git::Repository;
use annals_examples::import::import;
use annals_memory::MemoryAdapter;
use futures_util::TryStreamExt;

use crate::orders::{Orders, SIZES};

/// With fewer events of a history than this there is nothing to measure, and no dictionary to train.
const FEWEST: usize = 100;

/// Where events come from. What of them is measured is made before: making it is not.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Orders of the seeded generator, of about so many bytes.
    Orders(usize),
    /// A Git history, the oldest events first.
    History(Arc<[Payload]>),
}

impl Kind {
    /// Those of the generator.
    #[must_use]
    pub fn orders() -> Vec<Self> {
        SIZES.map(Self::Orders).to_vec()
    }

    /// The history of the repository of this folder.
    ///
    /// # Errors
    /// Git's, if the folder is in no repository or there is no git; and of a history that is too short.
    pub async fn history(repository: &Path) -> Result<Self, BoxError> {
        let memory = MemoryAdapter::new();
        let repository = Repository::open(repository)?;
        import(&EventStore::new(memory.clone()), &repository, || ()).await?;
        let events = payloads(&memory).await?;
        if events.len() < FEWEST {
            return Err(format!("a history of only {} events", events.len()).into());
        }
        Ok(Self::History(events.into()))
    }

    /// What they are, for a line of a table.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Orders(bytes) => format!("{bytes} B"),
            Self::History(_) => format!("a Git history of {} B an event", self.bytes()),
        }
    }

    /// The bytes of an event, on average.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Orders(bytes) => *bytes,
            Self::History(events) => bytes(events) / events.len().max(1),
        }
    }

    /// The first `count` of those that are measured, or all if there are fewer.
    ///
    /// # Errors
    /// The generator's.
    pub fn measured(&self, count: usize) -> Result<Arc<[Payload]>, BoxError> {
        match self {
            Self::Orders(bytes) => generated(7, *bytes, count),
            Self::History(events) => {
                Ok(events.iter().skip(events.len() / 5).take(count).cloned().collect())
            }
        }
    }

    /// At most `count` others of the same kind, to train a dictionary with: of the generator those of another seed, of a
    /// history the first fifth.
    ///
    /// # Errors
    /// The generator's.
    pub fn samples(&self, count: usize) -> Result<Arc<[Payload]>, BoxError> {
        match self {
            Self::Orders(bytes) => generated(11, *bytes, count),
            Self::History(events) => {
                Ok(events.iter().take(events.len() / 5).take(count).cloned().collect())
            }
        }
    }
}

fn generated(seed: u64, bytes: usize, count: usize) -> Result<Arc<[Payload]>, BoxError> {
    let mut orders = Orders::new(seed);
    (0..count).map(|_| Ok(Payload::json_bytes(orders.order(bytes))?)).collect()
}

/// All payloads of a store, as they are in it.
pub(super) async fn payloads(log: &MemoryAdapter) -> Result<Vec<Payload>, BoxError> {
    let pages: Vec<_> = log.read(Query::all(), ReadOptions::default()).try_collect().await?;
    let events = pages.into_iter().flat_map(|page| page.events);
    Ok(events.map(|event| event.payload().clone()).collect())
}

pub(super) fn bytes(payloads: &[Payload]) -> usize {
    payloads.iter().map(|payload| payload.as_bytes().len()).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::Kind;

    /// A repository of one commit of so many files.
    pub(crate) fn repository(files: usize) -> TempDir {
        let folder = TempDir::new().expect("a folder");
        for nth in 0..files {
            let file = folder.path().join(format!("chapter-{nth}.md"));
            std::fs::write(file, format!("The {nth}th chapter.\n")).expect("a file");
        }
        for arguments in [
            &["init", "--quiet"][..],
            &["add", "--all"],
            &["commit", "--quiet", "--message", "All chapters"],
        ] {
            let mut git = Command::new("git");
            git.arg("-C").arg(folder.path()).args(["-c", "user.name=Ann Lee"]);
            git.args(["-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false"]);
            assert!(git.args(arguments).status().expect("git runs").success());
        }
        folder
    }

    #[tokio::test]
    async fn a_history_has_samples_and_others_that_are_measured() {
        let folder = repository(149);
        let kind = Kind::history(folder.path()).await.expect("a history");
        let (samples, measured) = (kind.samples(1_000).unwrap(), kind.measured(1_000).unwrap());
        assert_eq!((samples.len(), measured.len()), (30, 120), "the commit, and each file");
        assert!(measured.iter().all(|event| !samples.contains(event)));
        assert_eq!(kind.measured(7).unwrap()[..], measured[..7]);
        let said = kind.name();
        assert!(kind.bytes() > 50 && said.contains(&kind.bytes().to_string()), "{said}");
    }

    #[tokio::test]
    async fn where_there_is_no_history_the_error_says_so() {
        let none = TempDir::new().expect("a folder");
        let error = Kind::history(none.path()).await.expect_err("no repository").to_string();
        assert!(error.contains("repository"), "{error}");
        let short = repository(9);
        let error = Kind::history(short.path()).await.expect_err("too short").to_string();
        assert!(error.contains("10 events"), "{error}");
    }
}
