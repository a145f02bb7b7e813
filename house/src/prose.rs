//! Words that a reader with plain English stumbles over, in comments and pages.

use std::path::Path;

use crate::files::lines_of;

/// A phrase that is out of place, what follows it where it is in its place, and what to write.
pub const ODD: &[(&str, &[&str], &str)] = &[
    ("is told", &[], "\"gets\", \"learns\", or name what is returned"),
    ("are told", &["apart", "from"], "\"get\", \"learn\", or name what is returned"),
    ("stands", &["for", "in for"], "\"is\""),
    ("whoever", &[], "\"a caller that\", \"if somebody\""),
    ("of the caller's", &[], "\"the caller's own\", or \"of the caller\""),
    ("can be had", &[], "\"is available\""),
    ("cannot be had", &[], "\"is not available\""),
    ("that is none", &[], "\"that is invalid\""),
    ("gives", &["back", "up", "way"], "\"returns\", or \"makes\""),
    ("tells", &["apart"], "\"reports\", \"says\", \"shows\""),
];

/// Where an odd phrase is.
#[derive(Debug)]
pub struct Finding {
    /// The line of its first word, from 1.
    pub line: usize,
    /// The phrase.
    pub phrase: &'static str,
    /// What to write instead.
    pub instead: &'static str,
    /// The words around it.
    pub around: String,
}

/// Which lines of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    All,
    Docs,
    Comments,
}

/// The odd phrases of a file: of a page in all its text; of Rust in the documentation, and with `comments` in all
/// comments that have a line of their own.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn odd_prose(file: &Path, comments: bool) -> Vec<Finding> {
    let lines = match file.extension() {
        Some(extension) if extension == "rs" && comments => Lines::Comments,
        Some(extension) if extension == "rs" => Lines::Docs,
        _ => Lines::All,
    };
    let words = words(file, lines);
    let mut found = Vec::new();
    for at in 0..words.len() {
        for (phrase, but, instead) in ODD {
            let after = match_at(&words, at, phrase);
            let Some(after) = after else { continue };
            if but.iter().any(|next| match_at(&words, after, next).is_some()) {
                continue;
            }
            let around = words[at.saturating_sub(4)..words.len().min(after + 4)].iter();
            let around: Vec<&str> = around.map(|(_, word)| word.as_str()).collect();
            found.push(Finding { line: words[at].0, phrase, instead, around: around.join(" ") });
        }
    }
    found
}

/// Where the words of `phrase` end, if they are at `at`.
fn match_at(words: &[(usize, String)], at: usize, phrase: &str) -> Option<usize> {
    let mut at = at;
    for wanted in phrase.split(' ') {
        let (_, word) = words.get(at)?;
        let bare = word.trim_matches(|character: char| !character.is_alphanumeric());
        if !bare.eq_ignore_ascii_case(wanted) {
            return None;
        }
        at += 1;
    }
    Some(at)
}

/// The words of a file, each with its line, those of wrapped lines one after the other.
fn words(file: &Path, read: Lines) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    // Code in a page is no prose.
    let mut fenced = false;
    for (number, line) in lines_of(file) {
        let trimmed = line.trim_start();
        let prose = match read {
            Lines::All => Some(trimmed),
            Lines::Docs | Lines::Comments => {
                let docs = trimmed.strip_prefix("///").or_else(|| trimmed.strip_prefix("//!"));
                docs.or_else(|| trimmed.strip_prefix("//").filter(|_| read == Lines::Comments))
            }
        };
        let Some(prose) = prose else {
            fenced = false;
            continue;
        };
        if prose.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            words.extend(prose.split_whitespace().map(|word| (number, word.to_owned())));
        }
    }
    words
}
