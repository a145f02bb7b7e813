//! Reads the history of a repository through the `git` command, commit by commit.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The fields of a commit, each ended by a NUL. The hash comes last, to stand before its files.
const FORMAT: &str = "--format=%x01%an%x00%at%x00%s%x00%H%x00";

/// What can go wrong when a history is read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The `git` command is not there.
    #[error("cannot run git: {0}")]
    NoGit(std::io::Error),
    /// The path is no Git repository.
    #[error("{0} is no Git repository")]
    NoRepository(PathBuf),
    /// There is nothing to read.
    #[error("the repository at {0} has no commits")]
    Empty(PathBuf),
    /// `git` ended with an error.
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
    /// When it was made, in seconds since 1970.
    pub seconds: i64,
    /// The first line of its message.
    pub subject: String,
    /// What it changed; nothing for a merge.
    pub files: Vec<FileChange>,
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
    id: String,
    commits: u64,
}

impl Repository {
    /// The repository at `path`, or of which `path` is a folder.
    ///
    /// # Errors
    /// [`GitError`] tells whether git, the repository or its commits are missing.
    pub fn open(path: &Path) -> Result<Self, GitError> {
        if !path.is_dir()
            || git(path, &["rev-parse", "--git-dir"]).is_err_and(|error| error.is_refusal())
        {
            return Err(GitError::NoRepository(path.to_owned()));
        }
        if git(path, &["rev-parse", "--verify", "--quiet", "HEAD"])
            .is_err_and(|error| error.is_refusal())
        {
            return Err(GitError::Empty(path.to_owned()));
        }
        let roots = git(path, &["rev-list", "--max-parents=0", "HEAD"])?;
        let id = roots.lines().last().unwrap_or_default().to_owned();
        let count = git(path, &["rev-list", "--count", "HEAD"])?;
        let commits = count.trim().parse().map_err(|_| GitError::Unreadable(count.clone()))?;
        Ok(Self { path: path.to_owned(), id, commits })
    }

    /// What tells it from others: the hash of its first commit.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many commits it has.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Its commits, parents before children.
    ///
    /// # Errors
    /// [`GitError::NoGit`]; the iterator gives what goes wrong later, and ends there.
    pub fn history(&self) -> Result<History, GitError> {
        let mut child = command(&self.path)
            .args(["log", "--topo-order", "--reverse", "-z", "--numstat", "--no-renames"])
            .args([
                "--no-color",
                "--no-ext-diff",
                "--no-textconv",
                "--encoding=UTF-8",
                FORMAT,
                "HEAD",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(GitError::NoGit)?;
        let out = child.stdout.take().map(|out| BufReader::with_capacity(1 << 16, out));
        Ok(History { child, out, next: None })
    }
}

impl GitError {
    /// Whether git ran, and said no.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

fn command(path: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(path);
    // What the user's settings would add to a history, or leave out of it.
    for setting in [
        "log.showSignature=false",
        "log.showRoot=true",
        "core.quotePath=false",
        "diff.relative=false",
    ] {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a short git command, and gives what it prints.
fn git(path: &Path, arguments: &[&str]) -> Result<String, GitError> {
    let output = command(path).args(arguments).output().map_err(GitError::NoGit)?;
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
        let field = self.field()?.ok_or_else(|| GitError::Unreadable(format!("no {what}")))?;
        Ok(String::from_utf8_lossy(&field).into_owned())
    }

    fn commit(&mut self) -> Result<Option<Commit>, GitError> {
        let first = match self.next.take() {
            Some(author) => Some(author),
            None => self.field()?.map(|field| trimmed(&field).to_vec()),
        };
        let Some(first) = first.filter(|field| !field.is_empty()) else { return self.end() };
        let Some(author) = first.strip_prefix(&[1]) else {
            return Err(GitError::Unreadable(String::from_utf8_lossy(&first).into_owned()));
        };
        let author = String::from_utf8_lossy(author).into_owned();
        let seconds = self.text("time")?;
        let seconds = seconds.parse().map_err(|_| GitError::Unreadable(seconds.clone()))?;
        let subject = self.text("subject")?;
        let hash = self.text("hash")?;
        let mut files = Vec::new();
        while let Some(field) = self.field()? {
            let line = trimmed(&field);
            if line.first() == Some(&1) {
                self.next = Some(line.to_vec());
                break;
            }
            if !line.is_empty() {
                files.push(file_change(line)?);
            }
        }
        Ok(Some(Commit { hash, author, seconds, subject, files }))
    }

    /// The history is read: git must have ended well.
    fn end(&mut self) -> Result<Option<Commit>, GitError> {
        self.out = None;
        let status = self.child.wait().map_err(GitError::NoGit)?;
        if status.success() { Ok(None) } else { Err(GitError::Failed(status.to_string())) }
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
