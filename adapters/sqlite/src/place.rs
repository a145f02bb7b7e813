//! Where a store is.

use std::path::{Path, PathBuf};

use annals::{Error, Result};

use crate::NAME;

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
        let backend = |error| Error::Backend { adapter: NAME, source: Box::new(error) };
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
