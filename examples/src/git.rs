//! Reads the history of a repository through the `git` command, commit by commit.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The fields of a commit, each ended by a NUL. The hash comes last, directly before its files.
const FORMAT: &str = "--format=%x01%an%x00%at%x00%ct%x00%s%x00%H%x00";
/// Flags against every setting that would add to the history, or leave out of it, or count its lines differently.
const LOG: &[&str] = &[
    "log",
    "--topo-order",
    "--reverse",
    "-z",
    "--numstat",
    "--no-renames",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-mailmap",
    "--no-relative",
    "--diff-algorithm=myers",
    "--ignore-submodules=none",
    "--submodule=short",
    "-O/dev/null",
    "--encoding=UTF-8",
    FORMAT,
    "HEAD",
];
/// The same for settings that have no flag, or none in older versions of git.
const SETTINGS: &[&str] = &[
    "log.showSignature=false",
    "log.showRoot=true",
    "core.quotePath=false",
    "core.bigFileThreshold=512m",
    "core.attributesFile=/dev/null",
    "diff.ignoreSubmodules=none",
];
/// How much of what git says about an error is kept.
const REASON: u64 = 4_096;

/// What can go wrong when a history is read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The `git` command is not there.
    #[error("cannot run git: {0}")]
    NoGit(std::io::Error),
    /// The path is no Git repository, nor a folder of one.
    #[error("{0} is no Git repository")]
    NoRepository(PathBuf),
    /// There is nothing to read.
    #[error("the repository at {0} has no commits")]
    Empty(PathBuf),
    /// `git` ended with an error; what it said about it.
    #[error("git failed: {0}")]
    Failed(String),
    /// `git` printed something that is no history.
    #[error("cannot read what git printed: {0}")]
    Unreadable(String),
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// Its author; bytes that are no UTF-8 are replaced.
    pub author: String,
    /// When it was made.
    pub at: OffsetDateTime,
    /// Where that time is from.
    pub dated: Dated,
    /// The first line of its message.
    pub subject: String,
    /// What it changed; nothing for a merge.
    pub files: Vec<FileChange>,
}

/// Where the time of a commit is from. Not every commit has a readable date of its author: some tools wrote none, or
/// one that is no number or beyond the years 1 to 9999, which is all that a store keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dated {
    /// From its author's line, as it should be.
    #[default]
    Author,
    /// From its committer's line, since the author's has no readable date.
    Committer,
    /// Neither line has a readable date: the time is the beginning of 1970.
    Unknown,
}

impl Dated {
    /// Whether the time is the author's.
    #[must_use]
    pub fn is_author(&self) -> bool {
        *self == Self::Author
    }

    fn of(author: &str, committer: &str) -> (OffsetDateTime, Self) {
        let read = |text: &str| OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok();
        let readable = |text| read(text).filter(|at| at.year() >= 1);
        match (readable(author), readable(committer)) {
            (Some(at), _) => (at, Self::Author),
            (None, Some(at)) => (at, Self::Committer),
            (None, None) => (OffsetDateTime::UNIX_EPOCH, Self::Unknown),
        }
    }
}

/// A file that a commit changed. A file that was renamed is one that went and one that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Its path from the root of the repository: bytes, not always text.
    pub path: Vec<u8>,
    /// Lines added; `None` for a binary file.
    pub added: Option<u64>,
    /// Lines deleted; `None` for a binary file.
    pub deleted: Option<u64>,
}

/// A repository with at least one commit.
#[derive(Debug, Clone)]
pub struct Repository {
    path: PathBuf,
    roots: Vec<String>,
    shallow: bool,
    commits: u64,
}

impl Repository {
    /// The repository at `path`, or of which `path` is a folder. Variables of the environment that name another
    /// repository to git (`GIT_DIR` and its kin) have no effect.
    ///
    /// # Errors
    /// [`GitError::NoGit`], [`GitError::NoRepository`] and [`GitError::Empty`] if git, the repository or its commits
    /// are missing; [`GitError::Failed`] with git's own words if git does not read it, for example since it belongs to
    /// another user.
    pub fn open(path: &Path) -> Result<Self, GitError> {
        if !path.is_dir() {
            return Err(GitError::NoRepository(path.to_owned()));
        }
        let shallow = match git(path, &["rev-parse", "--is-shallow-repository"]) {
            Err(GitError::Failed(reason)) if reason.contains("not a git repository") => {
                return Err(GitError::NoRepository(path.to_owned()));
            }
            answer => answer?.trim() == "true",
        };
        match git(path, &["rev-parse", "--verify", "--quiet", "HEAD"]) {
            // Of a branch without commits it says nothing.
            Err(GitError::Failed(reason)) if reason.is_empty() => {
                return Err(GitError::Empty(path.to_owned()));
            }
            answer => answer?,
        };
        let roots = git(path, &["rev-list", "--max-parents=0", "HEAD"])?;
        let roots = roots.lines().map(str::to_owned).collect();
        let count = git(path, &["rev-list", "--count", "HEAD"])?;
        let commits = count.trim().parse().map_err(|_| GitError::Unreadable(count.clone()))?;
        Ok(Self { path: path.to_owned(), roots, shallow, commits })
    }

    /// The hash of its first commit.
    #[must_use]
    pub fn id(&self) -> &str {
        self.roots.last().map_or("", String::as_str)
    }

    /// The hashes of its commits without parents, in a shallow clone also of those whose parents were left out.
    #[must_use]
    pub fn roots(&self) -> &[String] {
        &self.roots
    }

    /// Whether it is a clone that left older commits out.
    #[must_use]
    pub fn is_shallow(&self) -> bool {
        self.shallow
    }

    /// Whether `commit`, a hash or an unambiguous beginning of one, is among its commits.
    ///
    /// # Errors
    /// [`GitError::NoGit`].
    pub fn has(&self, commit: &str) -> Result<bool, GitError> {
        // Nothing else may be taken for an option.
        if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(false);
        }
        // It answers by how it ends, for a hash that it does not know as well.
        match git(&self.path, &["merge-base", "--is-ancestor", commit, "HEAD"]) {
            Err(GitError::Failed(_)) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// How many commits it has.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Its commits, parents before children.
    ///
    /// # Errors
    /// [`GitError::NoGit`]; the iterator returns what goes wrong later, and ends there.
    pub fn history(&self) -> Result<History, GitError> {
        // Attributes would count differently where files are checked out: what was committed is counted, by itself.
        let empty_tree = git(&self.path, &["hash-object", "-t", "tree", "/dev/null"])?;
        let mut child = command(&self.path)?
            .env("GIT_ATTR_SOURCE", empty_tree.trim())
            .env("GIT_ATTR_NOSYSTEM", "1")
            .args(LOG)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(GitError::NoGit)?;
        let out = child.stdout.take().map(|out| BufReader::with_capacity(1 << 16, out));
        let reason = child.stderr.take().map(|text| std::thread::spawn(|| reason(text)));
        Ok(History { child, out, reason, next: None })
    }
}

/// What git says about an error: its beginning. The rest is read as well, or git would wait for it.
fn reason(mut stderr: ChildStderr) -> String {
    let mut text = Vec::new();
    // Where it cannot be read there is nothing to show.
    let _ = stderr.by_ref().take(REASON).read_to_end(&mut text);
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// The variables of the environment that name a repository to git, whatever the path is.
fn local_variables() -> Result<&'static [String], GitError> {
    static VARIABLES: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(variables) = VARIABLES.get() {
        return Ok(variables);
    }
    let mut ask = Command::new("git");
    let printed = answer(ask.args(["rev-parse", "--local-env-vars"]))?;
    Ok(VARIABLES.get_or_init(|| printed.lines().map(str::to_owned).collect()))
}

fn command(path: &Path) -> Result<Command, GitError> {
    let mut command = Command::new("git");
    for variable in local_variables()? {
        command.env_remove(variable);
    }
    // Replacements are one clone's own view of the history.
    command.arg("--no-replace-objects").arg("-C").arg(path);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    // Its words are looked at: in its own language.
    command.env("LC_ALL", "C").stdin(Stdio::null());
    Ok(command)
}

/// Runs a short git command, and returns what it prints.
fn git(path: &Path, arguments: &[&str]) -> Result<String, GitError> {
    answer(command(path)?.args(arguments))
}

fn answer(command: &mut Command) -> Result<String, GitError> {
    let output = command.output().map_err(GitError::NoGit)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(GitError::Failed(text));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The commits of a repository as git prints them: one at a time is held in memory.
#[derive(Debug)]
pub struct History {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    reason: Option<JoinHandle<String>>,
    /// The author field of the next commit, which ends the files of the one before.
    next: Option<Vec<u8>>,
}

impl History {
    /// The bytes up to the next NUL; `None` at the end.
    fn field(&mut self) -> Result<Option<Vec<u8>>, GitError> {
        let Some(out) = &mut self.out else { return Ok(None) };
        let mut field = Vec::new();
        // A path is bounded by the system, and a subject by git's own memory.
        out.by_ref()
            .read_until(0, &mut field)
            .map_err(|error| GitError::Unreadable(error.to_string()))?;
        if field.pop_if(|byte| *byte == 0).is_none() && field.is_empty() {
            return Ok(None);
        }
        Ok(Some(field))
    }

    fn text(&mut self, what: &str) -> Result<String, GitError> {
        let Some(field) = self.field()? else {
            self.end()?;
            return Err(GitError::Unreadable(format!("no {what}")));
        };
        Ok(String::from_utf8_lossy(&field).into_owned())
    }

    fn commit(&mut self) -> Result<Option<Commit>, GitError> {
        let first = match self.next.take() {
            Some(author) => Some(author),
            None => self.field()?.map(|field| trimmed(&field).to_vec()),
        };
        let Some(first) = first.filter(|field| !field.is_empty()) else {
            self.end()?;
            return Ok(None);
        };
        let Some(author) = first.strip_prefix(&[1]) else {
            return Err(GitError::Unreadable(String::from_utf8_lossy(&first).into_owned()));
        };
        let author = String::from_utf8_lossy(author).into_owned();
        let (authored, committed) = (self.text("time")?, self.text("time")?);
        let (at, dated) = Dated::of(&authored, &committed);
        let subject = self.text("subject")?;
        let hash = self.text("hash")?;
        let mut files = Vec::new();
        loop {
            let Some(field) = self.field()? else {
                // If git failed, the files of this commit may not be all of them.
                self.end()?;
                break;
            };
            let line = trimmed(&field);
            if line.first() == Some(&1) {
                self.next = Some(line.to_vec());
                break;
            }
            if !line.is_empty() {
                files.push(file_change(line)?);
            }
        }
        Ok(Some(Commit { hash, author, at, dated, subject, files }))
    }

    /// The history is read: git must have ended well.
    fn end(&mut self) -> Result<(), GitError> {
        self.out = None;
        let status = self.child.wait().map_err(GitError::NoGit)?;
        if status.success() {
            return Ok(());
        }
        let reason = self.reason.take().and_then(|reason| reason.join().ok()).unwrap_or_default();
        Err(GitError::Failed(if reason.is_empty() { status.to_string() } else { reason }))
    }
}

/// Between commits and files git leaves line ends.
fn trimmed(field: &[u8]) -> &[u8] {
    let start = field.iter().position(|byte| *byte != b'\n').unwrap_or(field.len());
    field.get(start..).unwrap_or_default()
}

/// `added TAB deleted TAB path`, with `-` for the lines of a binary file.
fn file_change(line: &[u8]) -> Result<FileChange, GitError> {
    let unreadable = || GitError::Unreadable(String::from_utf8_lossy(line).into_owned());
    let mut fields = line.splitn(3, |byte| *byte == b'\t');
    let mut lines = || -> Result<Option<u64>, GitError> {
        let field = fields.next().and_then(|field| std::str::from_utf8(field).ok());
        match field.ok_or_else(unreadable)? {
            "-" => Ok(None),
            number => number.parse().map(Some).map_err(|_| unreadable()),
        }
    };
    let (added, deleted) = (lines()?, lines()?);
    let path = fields.next().filter(|path| !path.is_empty()).ok_or_else(unreadable)?;
    Ok(FileChange { path: path.to_vec(), added, deleted })
}

impl Iterator for History {
    type Item = Result<Commit, GitError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.out.as_ref()?;
        let commit = self.commit();
        if commit.is_err() {
            self.out = None;
        }
        commit.transpose()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
