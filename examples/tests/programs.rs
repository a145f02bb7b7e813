//! The programs themselves, run as a user runs them, and what they leave behind.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The example `name`: `cargo test` builds it, but not with `--all-targets`, and puts it beside the tests in a folder
/// of its own.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let folder = test.ancestors().nth(2).expect("a folder").join("examples");
    folder.join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

fn run(program: &Path, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(folder).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Ann Lee", "-c", "user.email=ann@example.com"])
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
}

#[test]
fn a_second_process_appends_only_what_is_new() {
    let folder = TempDir::new().expect("a folder");
    git(folder.path(), &["init", "--initial-branch=main", "work"]);
    let work = folder.path().join("work");
    let change = |content: &str| {
        std::fs::write(work.join("a.txt"), content).expect("a file");
        git(&work, &["add", "--all"]);
        git(&work, &["commit", "--message", "a change"]);
    };
    for content in ["1\n", "2\n", "3\n"] {
        change(content);
    }
    let import = || {
        let output =
            run(&program("git_history"), folder.path(), &["work", "--store", "log.db", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stderr), text(&output.stdout))
    };
    let (first, activity) = import();
    let summary = "store log.db: 3 commits imported as 6 events, 0 known before\n";
    assert_eq!(first, summary);
    let file = std::fs::read(folder.path().join("log.db")).expect("the store");
    assert!(!folder.path().join("log.db-wal").exists(), "the store was closed");

    let (second, again) = import();
    assert_eq!(second, "store log.db: 0 commits imported as 0 events, 3 known before\n");
    assert_eq!(again, activity);
    let same = std::fs::read(folder.path().join("log.db")).expect("the store") == file;
    assert!(same, "a run that finds nothing new leaves the file as it was");

    change("4\n");
    let (third, more) = import();
    assert_eq!(third, "store log.db: 1 commits imported as 2 events, 3 known before\n");
    assert_ne!(more, activity);
}

/// A repository of `count` commits, each of a file of its own, made in one go.
fn history(folder: &Path, count: usize) {
    git(folder, &["init", "--bare", "--initial-branch=main", "work"]);
    let mut import = Command::new("git")
        .arg("-C")
        .arg(folder.join("work"))
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut input = import.stdin.take().expect("a pipe");
    for nth in 0..count {
        let commit = format!(
            "commit refs/heads/main\ncommitter Ann Lee <ann@example.com> {} +0000\ndata 1\nc\n\
             M 100644 inline {nth}.txt\ndata 1\nx\n",
            1_700_000_000 + nth
        );
        input.write_all(commit.as_bytes()).expect("a commit");
    }
    drop(input);
    assert!(import.wait().expect("git ends").success());
}

#[test]
fn a_run_that_was_killed_is_resumed() {
    let folder = TempDir::new().expect("a folder");
    history(folder.path(), 300);
    let arguments = ["work", "--store", "log.db", "--json"];
    let mut first = Command::new(program("git_history"))
        .args(arguments)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    // Until it is at work: the log that commits are written to first has some.
    let written = || std::fs::metadata(folder.path().join("log.db-wal")).map_or(0, |log| log.len());
    while written() < 400_000 && first.try_wait().expect("a child").is_none() {
        std::thread::yield_now();
    }
    first.kill().expect("a child");
    first.wait().expect("a child");

    let output = run(&program("git_history"), folder.path(), &arguments);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    let numbers: Vec<u64> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [imported, events, known] = numbers[..] else { panic!("{told}") };
    assert_eq!((imported + known, events), (300, imported * 2));
    assert!(known > 0, "nothing was kept: {told}");
    let activity: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(activity["authors"]["Ann Lee"]["commits"], 300);
}

#[test]
fn what_cannot_be_done_is_told_with_its_place_and_its_cause() {
    let folder = TempDir::new().expect("a folder");
    history(folder.path(), 1);
    let refused = |arguments: &[&str]| {
        let output = run(&program("git_history"), folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        text(&output.stderr)
    };
    assert_eq!(refused(&["nowhere"]), "git_history: nowhere is no Git repository\n");
    std::fs::write(folder.path().join("text.db"), "not a database").expect("a file");
    let told = refused(&["work", "--store", "text.db"]);
    let causes = "git_history: store text.db cannot be opened\n  because the store is corrupt\n";
    assert!(told.starts_with(causes), "{told}");
    let told = refused(&["work", "--store", "memory", "--chart", "nowhere/chart.svg"]);
    assert!(told.contains("chart nowhere/chart.svg cannot be drawn: "), "{told}");
}

#[test]
fn whoever_reads_may_go_before_the_end() {
    let folder = TempDir::new().expect("a folder");
    history(folder.path(), 1);
    let mut program = Command::new(program("git_history"))
        .args(["work", "--store", "memory"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(program.stdout.take());
    let output = program.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn the_quickstart_can_be_repeated() {
    // A copy, so that the file beside it is this test's.
    let folder = TempDir::new().expect("a folder");
    let copy = folder.path().join("quickstart").with_extension(std::env::consts::EXE_EXTENSION);
    std::fs::copy(program("quickstart"), &copy).expect("a copy of the program");
    for _ in 0..2 {
        let output = run(&copy, folder.path(), &[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with("store: quickstart.db\n"));
        assert!(folder.path().join("quickstart.db").exists());
    }
    // A store that is named is the user's: nothing in it is removed.
    let output = run(&copy, folder.path(), &["--store", "quickstart.db"]);
    assert!(!output.status.success());
    let told = text(&output.stderr);
    assert!(told.starts_with("quickstart: the story begins with an empty stream"), "{told}");
    let output = run(&copy, folder.path(), &["--store", "memory"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
