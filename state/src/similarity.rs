//! How similar two texts are, by the trigrams that they share.
//!
//! The measure is that of PostgreSQL's `pg_trgm`: each word in lower case gets two spaces before it and one after it; the
//! similarity is the number of trigrams that both texts have, divided by the number that either has.

use std::collections::BTreeSet;

/// From 0 (no trigram in common) to 1 (the same words).
///
/// ```
/// # use annals_state::similarity;
/// assert!((similarity("word", "two words") - 4.0 / 11.0).abs() < 1e-9);
/// ```
#[must_use]
pub fn similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (trigrams(a), trigrams(b));
    let shared = a.intersection(&b).count();
    let either = a.len() + b.len() - shared;
    if either == 0 {
        return 0.0;
    }
    // Texts are far shorter than 2^52 bytes.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let ratio = shared as f64 / either as f64;
    ratio
}

fn trigrams(text: &str) -> BTreeSet<[char; 3]> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut trigrams = BTreeSet::new();
    for word in words {
        let (mut first, mut second) = (' ', ' ');
        for third in word.chars().chain([' ']) {
            trigrams.insert([first, second, third]);
            (first, second) = (second, third);
        }
    }
    trigrams
}
