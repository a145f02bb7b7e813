//! Circles of files: each file of one imports from each other, by some way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::modules::Modules;

/// The circles of a crate, each with its files in order.
#[must_use]
pub fn circles(modules: &Modules) -> Vec<Vec<&Path>> {
    let files = modules.files();
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        files.keys().map(|file| (*file, reachable(&files, file))).collect();
    let mut circles: Vec<Vec<&Path>> = Vec::new();
    for (file, from) in &reached {
        let circle: Vec<&Path> =
            from.iter().copied().filter(|other| reached[other].contains(file)).collect();
        if !circle.is_empty() && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

/// The files that `file` imports from, and they from in turn; itself among them if the way leads back.
fn reachable<'a>(
    files: &BTreeMap<&'a Path, BTreeSet<&'a Path>>,
    file: &Path,
) -> BTreeSet<&'a Path> {
    let mut found = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        for next in files.get(file).into_iter().flatten() {
            if found.insert(*next) {
                open.push(next);
            }
        }
    }
    found
}
