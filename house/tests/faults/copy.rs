//! A copy of the workspace, in which faults are made.

use std::fs;
use std::path::{Path, PathBuf};

/// A copy below the folder of builds. It stays there: what was compiled of it serves the next run.
pub(crate) struct CopiedWorkspace {
    folder: PathBuf,
}

impl CopiedWorkspace {
    /// Copies what has changed since the last time, and takes back what was changed in the copy.
    pub(crate) fn of(workspace: &Path) -> Self {
        let copy = Self { folder: workspace.join("target/faults") };
        copy.take(workspace, Path::new(""));
        copy
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts `text` into a file of the copy. One that has it keeps its time: cargo compiles what is newer.
    pub(crate) fn write(&self, file: &str, text: &str) {
        put(&self.folder.join(file), text.as_bytes());
    }

    fn take(&self, workspace: &Path, below: &Path) {
        let folder = workspace.join(below);
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let entry = entry.expect("the folder can be listed");
            let (name, kind) = (entry.file_name(), entry.file_type().expect("a file has a type"));
            let path = below.join(&name);
            if kind.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                self.take(workspace, &path);
            } else if kind.is_file() {
                let content = fs::read(entry.path()).expect("a file can be read");
                put(&self.folder.join(path), &content);
            }
        }
    }
}

fn put(path: &Path, content: &[u8]) {
    if fs::read(path).is_ok_and(|found| found == content) {
        return;
    }
    let folder = path.parent().expect("a file is in a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, content))
        .expect("a file can be written");
}
