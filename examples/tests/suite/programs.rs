//! The programs themselves, run as a user runs them, and what they leave behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use annals_postgres::tokio_postgres::Config;
use tempfile::TempDir;

use crate::common::*;

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

/// The quickstart in a folder of its own, where it leaves its file.
///
/// It is linked: a program that another test starts meanwhile inherits a copy that is still open for writing, and while
/// it has that, the copy cannot run.
fn quickstart_alone() -> (TempDir, PathBuf) {
    let quickstart = program("quickstart");
    let folder = TempDir::new_in(quickstart.parent().expect("a folder")).expect("a folder");
    let link = folder.path().join(quickstart.file_name().expect("a name"));
    std::fs::hard_link(quickstart, &link).expect("a link to the program");
    (folder, link)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
fn history(folder: &Path, count: u64) {
    git(folder, &["init", "--bare", "--initial-branch=main", "work"]);
    let commit = |nth| {
        let at = 1_700_000_000 + nth;
        format!(
            "commit refs/heads/main\ncommitter Ann Lee <ann@example.com> {at} +0000\ndata 1\nc\n\
             M 100644 inline {nth}.txt\ndata 1\nx\n"
        )
    };
    let commits: String = (0..count).map(commit).collect();
    git_fed(&folder.join("work"), &["fast-import", "--quiet"], commits.as_bytes());
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
    let causes =
        "git_history: store text.db cannot be opened\n  because sqlite is corrupt (open)\n";
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
    let (folder, quickstart) = quickstart_alone();
    for _ in 0..2 {
        let output = run(&quickstart, folder.path(), &[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with("store: quickstart.db\n"));
        assert!(folder.path().join("quickstart.db").exists());
    }
    // A store that is named is the user's: nothing in it is removed.
    let output = run(&quickstart, folder.path(), &["--store", "quickstart.db"]);
    assert!(!output.status.success());
    let told = text(&output.stderr);
    assert!(told.starts_with("quickstart: the story begins with an empty stream"), "{told}");
    let output = run(&quickstart, folder.path(), &["--store", "memory"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn the_quickstart_works_beside_other_events_and_with_connection_strings() {
    let folder = TempDir::new().expect("a folder");
    history(folder.path(), 3);
    let stored = run(&program("git_history"), folder.path(), &["work", "--store", "log.db"]);
    assert!(stored.status.success(), "{}", text(&stored.stderr));
    let output = run(&program("quickstart"), folder.path(), &["--store", "log.db"]);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let Some(url) = postgres() else { return };
    let config: Config = url.parse().expect("a URL");
    // No database of that name: what is shown is where it was looked for, and not the password.
    let (host, port) = ("127.0.0.1", config.get_ports().first().copied().unwrap_or(5432));
    let name = format!("host={host} port={port} user=postgres dbname=nowhere password='my secret'");
    let output = run(&program("quickstart"), folder.path(), &["--store", &name]);
    let told = text(&output.stderr);
    let place = format!("quickstart: store postgres://{host}:{port}/nowhere cannot be opened\n");
    assert!(told.starts_with(&place), "{told}");
    assert!(!told.contains("secret"), "{told}");
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").flatten().collect();
    assert!(files.iter().all(|file| !text(file.file_name().as_encoded_bytes()).contains("host")));
}

#[test]
fn an_empty_variable_names_no_store() {
    let (folder, quickstart) = quickstart_alone();
    let told = |variable: &str, arguments: &[&str]| {
        let mut command = Command::new(&quickstart);
        command.env("ANNALS_STORE", variable).args(arguments).current_dir(folder.path());
        let output = command.output().expect("the program runs");
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (done, said, error) = told("", &[]);
    assert!(done && said.ends_with("store: quickstart.db\n"), "{said}{error}");
    let (done, said, error) = told("other.db", &[]);
    assert!(done && said.ends_with("store: other.db\n"), "{said}{error}");
    let (done, said, error) = told("other.db", &["--store", "memory"]);
    assert!(done && said.ends_with("store: memory\n"), "{said}{error}");
    // On the command line it is a mistake.
    let (done, _, error) = told("", &["--store", ""]);
    assert!(!done && error.contains("there is no store"), "{error}");
}

#[test]
fn the_path_wins_over_the_environment_and_the_result_is_the_same_each_time() {
    let folder = TempDir::new().expect("a folder");
    history(folder.path(), 40);
    let other = TempDir::new().expect("a folder");
    history(other.path(), 1);
    let import = |variables: &[(&str, &str)]| {
        let mut command = Command::new(program("git_history"));
        command.args(["work", "--store", "memory", "--json"]).current_dir(folder.path());
        let output = command.envs(variables.iter().copied()).output().expect("the program runs");
        assert!(output.status.success(), "{variables:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let expected = import(&[]);
    let activity: serde_json::Value = serde_json::from_str(&expected).expect("JSON");
    assert_eq!(activity["files"].as_object().map(serde_json::Map::len), Some(40));
    assert_eq!(import(&[]), expected, "another process");
    let elsewhere = other.path().join("work").display().to_string();
    let variables = git(folder.path(), &["rev-parse", "--local-env-vars"]);
    assert!(variables.contains("GIT_DIR"), "{variables}");
    for variable in variables.lines() {
        assert_eq!(import(&[(variable, &elsewhere)]), expected, "{variable}");
    }
    assert_eq!(import(&[("GIT_EXTERNAL_DIFF", "false"), ("GIT_DIFF_OPTS", "-u9")]), expected);
    assert_eq!(import(&[("LC_ALL", "de_DE.UTF-8"), ("LANGUAGE", "de")]), expected);
}

#[test]
fn a_repository_of_another_user_is_named_with_what_git_advises() {
    let folder = TempDir::new().expect("a folder");
    history(folder.path(), 1);
    let output = Command::new(program("git_history"))
        .args(["work", "--store", "memory"])
        .current_dir(folder.path())
        .envs([("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("LANGUAGE", "de"), ("LC_ALL", "de_DE.UTF-8")])
        .output()
        .expect("the program runs");
    assert!(!output.status.success());
    let told = text(&output.stderr);
    assert!(told.contains("dubious ownership") && told.contains("safe.directory"), "{told}");
}

#[test]
fn of_programs_that_import_at_once_all_end_well() {
    const COMMITS: u64 = 120;
    let folder = TempDir::new().expect("a folder");
    history(folder.path(), COMMITS);
    let programs: Vec<_> = (0..3)
        .map(|_| {
            Command::new(program("git_history"))
                .args(["work", "--store", "log.db", "--json"])
                .current_dir(folder.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs")
        })
        .collect();
    let mut commits = 0;
    let mut activities = Vec::new();
    for program in programs {
        let output = program.wait_with_output().expect("the program ends");
        let told = text(&output.stderr);
        assert!(output.status.success(), "{told}");
        let numbers: Vec<u64> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [imported, events, known] = numbers[..] else { panic!("{told}") };
        assert_eq!((imported + known, events), (COMMITS, imported * 2), "{told}");
        commits += imported;
        activities.push(text(&output.stdout));
    }
    assert_eq!(commits, COMMITS, "each commit was appended once");
    assert!(activities.windows(2).all(|two| two[0] == two[1]), "{activities:?}");
}
