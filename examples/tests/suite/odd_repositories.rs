//! Repositories that git itself frowns upon, settings and variables that change what git prints, and stores that are
//! in use: an import is exact, or says why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use annals::{
    Append, BoxError, Capabilities, Error, EventPages, EventStore, Query, ReadOptions, Result,
    StorageAdapter, StoredEvent,
};
use annals_examples::git::{Dated, GitError, Repository};
use annals_examples::import::{COMMIT_RECORDED, CommitRecorded, Imported, import};
use annals_memory::MemoryAdapter;
use async_trait::async_trait;
use tempfile::TempDir;

use crate::common::*;

/// Commits with these author lines, each with one file.
fn with_authors(folder: &std::path::Path, lines: &[(Option<&str>, &str)]) {
    let mut parent = None;
    for (nth, (author, committer)) in lines.iter().enumerate() {
        let blob =
            git_fed(folder, &["hash-object", "-w", "--stdin"], format!("{nth}\n").as_bytes());
        let tree = git_fed(folder, &["mktree"], format!("100644 blob {blob}\tf\n").as_bytes());
        let line = |name, text: Option<&str>| {
            text.map_or_else(String::new, |text| format!("{name} {text}\n"))
        };
        let text = [
            line("tree", Some(&tree)),
            line("parent", parent.as_deref()),
            line("author", *author),
            line("committer", Some(committer)),
            format!("\nnumber {nth}\n"),
        ]
        .concat();
        let arguments = ["hash-object", "-t", "commit", "-w", "--stdin", "--literally"];
        parent = Some(git_fed(folder, &arguments, text.as_bytes()));
    }
    git(folder, &["update-ref", "refs/heads/main", &parent.expect("a commit")]);
}

#[tokio::test]
async fn commits_without_a_readable_date_are_imported() {
    const COMMITTER: &str = "Cy <c@example.com> 1000000000 +0000";
    let lines = [
        (Some("Ann <a@example.com> 900000000 +0200"), COMMITTER),
        (Some("Ann <a@example.com>"), COMMITTER),
        (Some("Ann <a@example.com> notadate +0000"), COMMITTER),
        (Some("Ann <a@example.com> -1 +0000"), COMMITTER),
        (Some("Ann 900000000 +0000"), COMMITTER),
        (Some("Ann <a@example.com> 9223372036854775808 +0000"), COMMITTER),
        (Some("Ann <a@example.com> 99999999999999999999999 +0000"), COMMITTER),
        (Some("Ann <a@example.com> 300000000000 +0000"), COMMITTER),
        (None, COMMITTER),
        (Some("Ann <a@example.com>"), "Cy <c@example.com> later"),
        (Some("Ann <a@example.com> 900000001 +0000"), "Cy <c@example.com> later"),
    ];
    let folder = empty_repository();
    with_authors(folder.path(), &lines);
    let store = store();
    let count = lines.len() as u64;
    let expected = Imported { commits: count, events: 2 * count, known: 0, redated: count - 2 };
    assert_eq!(imported(&store, folder.path()).await, expected);

    let log = store.log().read(ReadOptions::default()).into_vec().await.expect("the log");
    let told: Vec<(i64, Dated)> = log
        .iter()
        .filter(|event| *event.name() == COMMIT_RECORDED)
        .map(|event| {
            let said: CommitRecorded = event.payload().to_json().expect("a commit");
            (event.occurred_at().unix_timestamp(), said.dated)
        })
        .collect();
    let mut expected = vec![(1_000_000_000, Dated::Committer); lines.len()];
    expected[0] = (900_000_000, Dated::Author);
    expected[9] = (0, Dated::Unknown);
    expected[10] = (900_000_001, Dated::Author);
    assert_eq!(told, expected);
    let months = projected(&store, folder.path()).await.state.months;
    let months: Vec<(&str, u64)> = months.iter().map(|(month, n)| (month.as_str(), *n)).collect();
    assert_eq!(months, [("1970-01", 1), ("1998-07", 2), ("2001-09", 8)]);
}

#[tokio::test]
async fn no_setting_of_the_repository_changes_what_is_read() {
    let (inner, folder) = (empty_repository(), empty_repository());
    commit(inner.path(), "i.txt".as_ref(), b"i\n");
    let origin = inner.path().display().to_string();
    git(folder.path(), &["submodule", "add", &origin, "sub"]);
    git(folder.path(), &["commit", "--message", "a submodule"]);
    commit(folder.path(), "a.txt".as_ref(), b"a\nb\nc\na\nb\nb\na\n");
    commit(folder.path(), "a.txt".as_ref(), b"c\nb\na\nb\na\nc\n");
    commit(folder.path(), "ü.bin".as_ref(), b"text\n");
    let facts = async || {
        let store = store();
        let did = imported(&store, folder.path()).await;
        (did, projected(&store, folder.path()).await.state)
    };
    let expected = facts().await;
    let files: Vec<&str> = expected.1.files.keys().map(String::as_str).collect();
    assert_eq!(files, [".gitmodules", "a.txt", "sub", "ü.bin"]);

    for (key, value) in [
        ("diff.ignoreSubmodules", "all"),
        ("submodule.sub.ignore", "all"),
        ("diff.submodule", "log"),
        ("diff.orderFile", "missing"),
        ("diff.renames", "copies"),
        ("diff.algorithm", "patience"),
        ("diff.external", "false"),
        ("diff.relative", "true"),
        ("diff.noprefix", "true"),
        ("diff.d.binary", "true"),
        ("diff.d.textconv", "false"),
        ("diff.d.command", "false"),
        ("log.showSignature", "true"),
        ("log.showRoot", "false"),
        ("log.mailmap", "true"),
        ("log.decorate", "full"),
        ("log.diffMerges", "first-parent"),
        ("log.date", "human"),
        ("log.abbrevCommit", "true"),
        ("format.pretty", "oneline"),
        ("core.quotePath", "true"),
        ("core.bigFileThreshold", "1"),
        ("color.ui", "always"),
        ("i18n.logOutputEncoding", "latin1"),
    ] {
        git(folder.path(), &["config", key, value]);
        assert_eq!(facts().await, expected, "{key}={value}");
    }
    std::fs::write(folder.path().join(".mailmap"), "Bo <ann@example.com>\n").expect("a file");
    std::fs::write(folder.path().join(".gitattributes"), "*.txt -diff\n*.bin diff=d\n")
        .expect("a file");
    assert_eq!(facts().await, expected, "files of the working tree");
    git(folder.path(), &["replace", "--graft", "HEAD"]);
    assert_eq!(facts().await, expected, "a replacement");
}

#[tokio::test]
async fn what_git_says_is_shown() {
    // A clone without file contents, whose origin is gone.
    let (origin, clones) = (empty_repository(), TempDir::new().expect("a folder"));
    commit(origin.path(), "a.txt".as_ref(), b"a\n");
    commit(origin.path(), "a.txt".as_ref(), b"b\n");
    git(origin.path(), &["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", origin.path().display());
    git(clones.path(), &["clone", "--no-checkout", "--filter=blob:none", &url, "partial"]);
    drop(origin);
    let repository = Repository::open(&clones.path().join("partial")).expect("a repository");
    let store = store();
    let error = import(&store, &repository, || {}).await.expect_err("contents are missing");
    let error = error.to_string();
    assert!(error.starts_with("git failed: ") && error.contains("promisor remote"), "{error}");
    // Not even its commit, whose files are unknown.
    assert!(store.log().latest().await.expect("the log").is_none());

    // An object that is lost.
    let broken = empty_repository();
    commit(broken.path(), "a.txt".as_ref(), b"a\n");
    let tree = git(broken.path(), &["rev-parse", "HEAD^{tree}"]);
    let (folder, file) = tree.split_at(2);
    std::fs::remove_file(broken.path().join(".git/objects").join(folder).join(file)).expect("gone");
    let repository = Repository::open(broken.path()).expect("a repository");
    let error = import(&store, &repository, || {}).await.expect_err("a tree is missing");
    assert!(error.to_string().contains(&tree), "{error}");

    let strange = empty_repository();
    git(strange.path(), &["config", "core.repositoryFormatVersion", "99"]);
    let error = Repository::open(strange.path()).expect_err("a version of the future");
    assert!(matches!(&error, GitError::Failed(reason) if reason.contains("99")), "{error}");
}

#[tokio::test]
async fn a_shallow_clone_stays_the_same_repository() {
    let (inner, clones) = (empty_repository(), TempDir::new().expect("a folder"));
    for nth in 0..6 {
        commit(inner.path(), "a.txt".as_ref(), format!("{nth}\n").as_bytes());
    }
    let origin = format!("file://{}", inner.path().display());
    git(clones.path(), &["clone", "--depth", "2", &origin, "shallow"]);
    let shallow = clones.path().join("shallow");

    let deepened = store();
    assert_eq!(commits_after_import(&deepened, &shallow).await, 2);
    git(&shallow, &["fetch", "--depth", "3"]);
    assert_eq!(imported(&deepened, &shallow).await.known, 2);
    assert_eq!(projected(&deepened, &shallow).await.state.commits(), 3);
    git(&shallow, &["fetch", "--unshallow"]);
    let did = imported(&deepened, &shallow).await;
    assert_eq!((did.commits, did.known), (3, 3));
    assert_eq!(commits_after_import(&deepened, &shallow).await, 6);
    // So does the repository that it is a clone of.
    assert_eq!(imported(&deepened, inner.path()).await.known, 6);
    let log = deepened.log().read(ReadOptions::default()).into_vec().await.expect("the log");
    assert_eq!(log.len(), 12, "each commit is there once");

    // The other way round: a shallow clone of what the store has.
    let whole = store();
    assert_eq!(commits_after_import(&whole, inner.path()).await, 6);
    git(clones.path(), &["clone", "--depth", "2", &origin, "later"]);
    let later = clones.path().join("later");
    assert_eq!(imported(&whole, &later).await.known, 2);
    assert_eq!(projected(&whole, &later).await.state.commits(), 6);
}

/// An adapter whose appends are sometimes unavailable, or made and not known to be, as those of a file that another
/// program appends to, and of a server that starts again.
#[derive(Debug, Clone)]
struct Busy {
    memory: MemoryAdapter,
    calls: Arc<AtomicU32>,
    always: bool,
}

#[async_trait]
impl StorageAdapter for Busy {
    fn name(&self) -> &'static str {
        "busy"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        match self.calls.fetch_add(1, Ordering::Relaxed) % 3 {
            _ if self.always => Err(Error::unavailable("database is locked")),
            0 => Err(Error::unavailable("database is locked")),
            1 => {
                self.memory.append(writes).await?;
                Err(Error::outcome_unknown("the connection is gone"))
            }
            _ => self.memory.append(writes).await,
        }
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        self.memory.read(query, options)
    }

    async fn close(&self) {
        self.memory.close().await;
    }
}

#[tokio::test]
async fn a_store_that_is_busy_is_tried_again() -> std::result::Result<(), BoxError> {
    let folder = empty_repository();
    for nth in 0..4 {
        commit(folder.path(), "a.txt".as_ref(), format!("{nth}\n").as_bytes());
    }
    let calls = Arc::new(AtomicU32::new(0));
    let busy = Busy { memory: MemoryAdapter::new(), calls, always: false };
    let store = EventStore::new(busy.clone());
    let did = imported(&store, folder.path()).await;
    assert_eq!(did.commits + did.known, 4, "{did:?}");
    let log = store.log().read(ReadOptions::default()).into_vec().await?;
    assert_eq!(log.len(), 8, "each commit is there once");
    assert_eq!(projected(&store, folder.path()).await.state.commits(), 4);

    // Not for ever.
    let store = EventStore::new(Busy { memory: MemoryAdapter::new(), always: true, ..busy });
    let repository = Repository::open(folder.path())?;
    let error = import(&store, &repository, || {}).await.expect_err("it stays busy");
    assert!(error.downcast_ref::<Error>().is_some_and(Error::is_retryable), "{error}");
    Ok(())
}
