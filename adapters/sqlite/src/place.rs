//! Where a store is.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the memory of one connection.
    Memory,
    /// In a file, and in two files beside it while it is open.
    File(PathBuf),
}

impl Place {
    pub(crate) fn new(path: &Path) -> Self {
        if path.as_os_str() == ":memory:" { Self::Memory } else { Self::File(path.to_owned()) }
    }
}
