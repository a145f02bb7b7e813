//! The import on repositories of every kind, made here with the git command.

use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use annals::ReadOptions;
use annals_examples::git::{GitError, Repository};
use annals_examples::import::{Imported, path_text};
use annals_examples::store;
use tempfile::TempDir;

use crate::common::*;

#[tokio::test]
async fn a_second_import_finds_nothing_new() {
    let folder = empty_repository();
    for nth in 0..5 {
        commit(folder.path(), "a.txt".as_ref(), format!("{nth}\n").as_bytes());
    }
    let store = store();
    let first = imported(&store, folder.path()).await;
    assert_eq!(first, Imported { commits: 5, events: 10, known: 0, redated: 0 });
    assert_eq!(
        imported(&store, folder.path()).await,
        Imported { commits: 0, events: 0, known: 5, redated: 0 }
    );

    commit(folder.path(), "b.txt".as_ref(), b"new\n");
    assert_eq!(
        imported(&store, folder.path()).await,
        Imported { commits: 1, events: 2, known: 5, redated: 0 }
    );
    let log = store.log().read(ReadOptions::default()).into_vec().await.expect("the log");
    assert_eq!(log.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_at_once_append_each_commit_once() {
    let folder = empty_repository();
    for nth in 0..30 {
        commit(folder.path(), format!("{}.txt", nth % 3).as_ref(), format!("{nth}\n").as_bytes());
    }
    let store = store();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, path) = (store.clone(), folder.path().to_owned());
        tasks.spawn(async move { imported(&store, &path).await });
    }
    let all = tasks.join_all().await;
    assert_eq!(all.iter().map(|one| one.commits).sum::<u64>(), 30);
    assert!(all.iter().all(|one| one.commits + one.known == 30), "{all:?}");
    assert_eq!(
        store.log().read(ReadOptions::default()).into_vec().await.expect("the log").len(),
        60
    );
}

#[tokio::test]
async fn the_folds_count_authors_lines_files_and_months() {
    let folder = empty_repository();
    commit(folder.path(), "a.txt".as_ref(), b"1\n2\n3\n");
    commit(folder.path(), "a.txt".as_ref(), b"1\n3\n");
    commit(folder.path(), "b.txt".as_ref(), b"1\n");
    let store = store();
    imported(&store, folder.path()).await;
    let projection = projected(&store, folder.path()).await;
    let author = &projection.state.authors["Ann Lee"];
    assert_eq!((author.commits, author.added, author.deleted), (3, 4, 1));
    assert_eq!(projection.state.top_files(9), [("a.txt", 2), ("b.txt", 1)]);
    assert_eq!(projection.state.commits(), 3);

    let chart = folder.path().join("chart.svg");
    annals_examples::chart::draw(&projection.state, "a <title>", &chart).expect("a chart");
    let svg = std::fs::read_to_string(chart).expect("the chart");
    assert!(svg.contains("Ann Lee") && svg.contains("a &lt;title&gt;"), "{svg}");
    assert!(annals_examples::tables::tables(&projection.state, 5).contains("a.txt"));
}

#[tokio::test]
async fn settings_of_the_user_change_nothing() {
    let folder = empty_repository();
    commit(folder.path(), "a.txt".as_ref(), b"a\n");
    commit(folder.path(), "sub/b.txt".as_ref(), b"b\n");
    git(folder.path(), &["config", "log.showRoot", "false"]);
    git(folder.path(), &["config", "diff.relative", "true"]);
    let expected = [("a.txt".to_owned(), 1), ("sub/b.txt".to_owned(), 1)];
    assert_eq!(files(&folder.path().join("sub")).await, expected);
}

#[tokio::test]
async fn commits_without_files_and_merges_are_recorded() {
    let folder = empty_repository();
    commit(folder.path(), "a.txt".as_ref(), b"a\n");
    git(folder.path(), &["commit", "--allow-empty", "--message", "nothing"]);
    git(folder.path(), &["commit", "--allow-empty", "--allow-empty-message", "--message", ""]);
    git(folder.path(), &["checkout", "-b", "side"]);
    commit(folder.path(), "side.txt".as_ref(), b"side\n");
    git(folder.path(), &["checkout", "main"]);
    commit(folder.path(), "main.txt".as_ref(), b"main\n");
    git(folder.path(), &["merge", "--no-ff", "--message", "merged", "side"]);
    let store = store();
    assert_eq!(
        imported(&store, folder.path()).await,
        Imported { commits: 6, events: 9, known: 0, redated: 0 }
    );
}

#[tokio::test]
async fn renames_deletes_and_binary_files_are_changes() {
    let folder = empty_repository();
    commit(folder.path(), "old.txt".as_ref(), b"text\n");
    commit(folder.path(), "image.bin".as_ref(), &[0, 159, 146, 150, 0]);
    git(folder.path(), &["mv", "old.txt", "new.txt"]);
    git(folder.path(), &["commit", "--message", "renamed"]);
    git(folder.path(), &["rm", "image.bin"]);
    git(folder.path(), &["commit", "--message", "deleted"]);
    let expected = [("image.bin", 2), ("old.txt", 2), ("new.txt", 1)];
    let expected: Vec<_> = expected.into_iter().map(|(path, n)| (path.to_owned(), n)).collect();
    assert_eq!(files(folder.path()).await, expected);
}

#[tokio::test]
async fn strange_paths_keep_apart() {
    let folder = empty_repository();
    let long = format!("{0}/{0}/{0}/{0}", "d".repeat(90));
    let paths: Vec<Vec<u8>> = vec![
        b"plain.txt".to_vec(),
        b"with \"quotes\" and 'more'".to_vec(),
        b"line\nbreak\tand tab".to_vec(),
        b"back\\slash".to_vec(),
        b"100%0A".to_vec(),
        b"\n100".to_vec(),
        "ünï/ço∂é/日本.txt".as_bytes().to_vec(),
        b"not\xFFutf8".to_vec(),
        b"not\xFEutf8".to_vec(),
        format!("{long}/one").into_bytes(),
        format!("{long}/two").into_bytes(),
    ];
    for path in &paths {
        commit(folder.path(), std::ffi::OsStr::from_bytes(path), path);
    }
    let mut expected: Vec<_> = paths.iter().map(|path| (path_text(path), 1)).collect();
    expected.sort();
    assert_eq!(files(folder.path()).await, expected);
    assert_eq!(path_text(b"100%0A"), "100%250A");
    assert_eq!(path_text(b"not\xFFutf8\n"), "not%FFutf8%0A");
}

#[tokio::test]
async fn an_author_that_is_no_text_is_still_an_author() {
    let folder = empty_repository();
    let author = b"commit refs/heads/main\nauthor Ren\xE9 <r@example.com> 900000000 +0200\n\
        committer Ren\xE9 <r@example.com> 900000000 +0200\ndata 2\nhi\nM 100644 inline f\ndata 2\nf\n\n";
    let mut import = Command::new("git")
        .arg("-C")
        .arg(folder.path())
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git runs");
    std::io::Write::write_all(&mut import.stdin.take().expect("a pipe"), author).expect("a commit");
    assert!(import.wait().expect("git ends").success());
    let store = store();
    imported(&store, folder.path()).await;
    let state = projected(&store, folder.path()).await.state;
    assert_eq!(state.authors.keys().collect::<Vec<_>>(), ["Ren\u{FFFD}"]);
    assert_eq!(state.months.keys().collect::<Vec<_>>(), ["1998-07"]);
}

#[tokio::test]
async fn bare_and_shallow_repositories_are_read() {
    let folder = empty_repository();
    for nth in 0..4 {
        commit(folder.path(), "a.txt".as_ref(), format!("{nth}\n").as_bytes());
    }
    let clones = TempDir::new().expect("a folder");
    let origin = format!("file://{}", folder.path().display());
    git(clones.path(), &["clone", "--bare", &origin, "bare"]);
    git(clones.path(), &["clone", "--depth", "2", &origin, "shallow"]);
    assert_eq!(imported(&store(), &clones.path().join("bare")).await.commits, 4);
    assert_eq!(imported(&store(), &clones.path().join("shallow")).await.commits, 2);
}

#[tokio::test]
async fn repositories_that_share_commits_fit_in_one_store() {
    let (inner, outer) = (empty_repository(), empty_repository());
    for nth in 0..4 {
        commit(inner.path(), "a.txt".as_ref(), format!("{nth}\n").as_bytes());
    }
    commit(outer.path(), "b.txt".as_ref(), b"b\n");
    let store = store();
    assert_eq!(commits_after_import(&store, inner.path()).await, 4);
    let origin = format!("file://{}", inner.path().display());
    let pull = ["pull", "--no-rebase", "--no-edit", "--allow-unrelated-histories"];
    git(outer.path(), &[&pull[..], &[origin.as_str(), "main"]].concat());
    assert_eq!(commits_after_import(&store, outer.path()).await, 6);
}

#[test]
fn what_is_no_history_is_a_clear_error() {
    let folder = TempDir::new().expect("a folder");
    let error = Repository::open(folder.path()).expect_err("no repository");
    assert!(matches!(error, GitError::NoRepository(_)), "{error}");
    let error = Repository::open(&folder.path().join("missing")).expect_err("no folder");
    assert!(matches!(error, GitError::NoRepository(_)), "{error}");
    let empty = empty_repository();
    let error = Repository::open(empty.path()).expect_err("no commits");
    assert!(matches!(error, GitError::Empty(_)), "{error}");
    assert!(error.to_string().ends_with("has no commits"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_named() {
    for (name, message) in [
        ("oracle://u:p@host", "there is no store \"oracle://host\"; give: memory, the"),
        ("", "there is no store \"\"; give: memory, the"),
        (
            "host=127.0.0.1 port=1 user=u password=p",
            "store postgres://127.0.0.1:1/ cannot be opened",
        ),
        ("password=not all of it host=h", "store postgres://... cannot be opened"),
        ("postgres://u:p@127.0.0.1:1/db", "store postgres://127.0.0.1:1/db cannot be opened"),
        ("nowhere/log.db", "store nowhere/log.db cannot be opened"),
    ] {
        let error = store::open(name).await.expect_err("no such store");
        assert!(error.to_string().starts_with(message), "{error}");
    }
    for name in ["password=a my-secret", "hots=a passwd=my-secret", "postgres://h/d?my-secret=a"] {
        let error = store::open(name).await.expect_err("no connection string");
        let source = error.source().expect("a cause").to_string();
        assert!(source.contains("cannot be read as PostgreSQL's"), "{source}");
        assert!(!format!("{error} {source} {error:?}").contains("secret"), "{error:?}");
        assert!(!std::path::Path::new(name).exists());
    }
}

#[test]
fn no_password_is_shown() {
    let shown = annals_examples::store::shown;
    assert_eq!(shown("postgres://me:secret@host:1/db?password=secret"), "postgres://host:1/db");
    assert_eq!(shown("postgres://host/db?password=secret"), "postgres://host/db");
    assert_eq!(shown("postgres://host/db?password=a@secret"), "postgres://...");
    assert_eq!(shown("postgres://me:se?cret@host/db"), "postgres://...");
    assert_eq!(shown("a/file.db"), "a/file.db");
    assert_eq!(shown("./a=b.db"), "./a=b.db");
    assert_eq!(shown("host=h,i port=5,6 password='se cret' dbname=d"), "postgres://h:5,i:6/d");
    assert_eq!(shown(" password = secret host = h port = 5"), "postgres://h:5/");
    assert_eq!(shown("password=se cret host=h"), "postgres://...");
    assert_eq!(shown("hots=h password=secret"), "postgres://...");
    assert_eq!(shown("password secret host=h"), "postgres://...");
}
