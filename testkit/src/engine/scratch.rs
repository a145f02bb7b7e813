//! A folder for stores that live in files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Names the folder: in child processes that of their parent.
pub(crate) const VARIABLE: &str = "ANNALS_TESTKIT_SCRATCH";

static FOLDER: Mutex<Option<(&'static Path, bool)>> = Mutex::new(None);

/// An empty folder for the stores of this run, the same in child processes that the suite starts.
///
/// [`main`](crate::main) removes it at its end. `ANNALS_TESTKIT_SCRATCH` names another, on a disk of your choice,
/// which is made if need be and kept.
///
/// # Errors
/// Those of the file system.
pub fn scratch() -> io::Result<&'static Path> {
    let mut folder = FOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((path, _)) = *folder {
        return Ok(path);
    }
    let (path, own) = match std::env::var_os(VARIABLE) {
        Some(path) => (PathBuf::from(path), false),
        None => (tempfile::Builder::new().prefix("annals-testkit-").tempdir()?.keep(), true),
    };
    std::fs::create_dir_all(&path)?;
    let path: &'static Path = Box::leak(path.into_boxed_path());
    *folder = Some((path, own));
    Ok(path)
}

/// The folder, if it was asked for.
pub(crate) fn made() -> Option<&'static Path> {
    FOLDER.lock().unwrap_or_else(PoisonError::into_inner).map(|(path, _)| path)
}

/// Removes the folder, if this process made it.
pub(crate) fn remove() {
    let folder = FOLDER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((path, true)) = folder {
        // What cannot be removed is left to whoever cleans the system's folder for such things.
        let _ = std::fs::remove_dir_all(path);
    }
}
