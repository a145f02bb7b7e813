//! Where a store is.

use std::path::{Path, PathBuf};

use annals::{Error, Result};

use crate::error::Outcome;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the memory of one connection.
    Memory,
    /// In a file, and in two files beside it while it is open.
    File(PathBuf),
}

impl Place {
    /// The path is absolute from here on: all connections mean the same file, whatever becomes the current
    /// directory, and SQLite takes no path for a URI or for a file of its own.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        if path.as_os_str() == ":memory:" {
            return Ok(Self::Memory);
        }
        if path.as_os_str().is_empty() {
            return Err(Error::invalid("the path of a store is empty"));
        }
        let absolute = std::path::absolute(path);
        let backend = |error| Error::backend(error);
        Ok(Self::File(absolute.map_err(backend)?))
    }

    /// Where the store is that was opened here, without symbolic links: a link may be changed while it is open, and
    /// SQLite keeps the two other files beside the file itself.
    pub(crate) fn resolved(self) -> Self {
        match self {
            Self::Memory => Self::Memory,
            Self::File(path) => Self::File(path.canonicalize().unwrap_or(path)),
        }
    }
}

/// The file that was opened, to see whether it is still where it was: what is appended to a file that was moved or
/// removed is found by nobody.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    /// `None` where files have no numbers.
    file: Option<FileId>,
}

impl Opened {
    /// The file at `path`, which was opened just now.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), file: FileId::of(path) }
    }

    /// # Errors
    /// [`Error::Backend`] if the file is no longer there, or another one is.
    pub(crate) fn check(&self) -> Outcome<()> {
        if self.file.is_some() && FileId::of(&self.path) != self.file {
            return Err(
                Error::backend("the file of the store was moved, removed or replaced").into()
            );
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let file = path.metadata().ok()?;
        Some(Self { device: file.dev(), number: file.ino() })
    }

    #[cfg(not(unix))]
    fn of(_path: &Path) -> Option<Self> {
        None
    }
}
