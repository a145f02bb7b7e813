//! The files of the repository, but what is built and what is not ours.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below `folder`, in order.
#[must_use]
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files(folder, "rs")
}

/// Every Markdown file below `folder`, in order.
#[must_use]
pub fn text_files(folder: &Path) -> Vec<PathBuf> {
    files(folder, "md")
}

/// The lines of a file, each with its number from 1.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn lines_of(file: &Path) -> Vec<(usize, String)> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let entry = entry.expect("the folder can be listed");
            let (path, kind) = (entry.path(), entry.file_type().expect("a file has a type"));
            let name = entry.file_name();
            // Without folders of builds and of tools, and without links, which might lead in a circle.
            if kind.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
