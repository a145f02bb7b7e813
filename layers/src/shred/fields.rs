//! Where the personal values of a JSON text are.
//!
//! A marker is a key of an object that says `$personal`. It is found by walking over the strings of the text, so text
//! inside a string is no marker, and an escaped key is one. Only one form of it is taken, byte for byte; every other form is
//! an error, so that nothing stays in the clear by a stray blank.

use std::ops::Range;

use crate::shred::personal::Subject;

const MARKER: &[u8] = b"$personal";
const KEY: &[u8] = b"\"$personal\"";
const VALUE: &[u8] = b",\"value\":";
const SEALED: &[u8] = b",\"sealed\":\"";
const REDACTED: &[u8] = b",\"redacted\":true}";

/// A personal value in its text.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) subject: Subject,
    /// From the comma behind the subject to the brace that closes the object, itself excluded.
    pub(crate) form: Range<usize>,
    pub(crate) content: Content,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    /// The bytes of the value.
    Value(Range<usize>),
    /// The Base64 of the sealed value.
    Sealed(Range<usize>),
    Redacted,
}

/// A marker that is not in the one form.
#[derive(Debug, PartialEq)]
pub(crate) struct Misspelt;

/// Whether the bytes may hold a marker, in any encoding.
pub(crate) fn may_hold(bytes: &[u8]) -> bool {
    contains(bytes, MARKER)
}

/// The personal values of `json` in their order. Bytes that are no JSON never panic, and may have any outcome.
pub(crate) fn find(json: &[u8]) -> Result<Vec<Field>, Misspelt> {
    let mut fields = Vec::new();
    // A key that is a marker is written as it is, or with an escape.
    if !contains(json, KEY) && !contains(json, b"\\u") {
        return Ok(fields);
    }
    let mut at = 0;
    while let Some((marker, end)) = next_marker(json, at) {
        let field = parse(json, marker, end).ok_or(Misspelt)?;
        at = field.form.end;
        fields.push(field);
    }
    Ok(fields)
}

/// The next key that says `$personal`: where its quote is, and where it ends.
fn next_marker(json: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let quote = at + json.get(at..)?.iter().position(|byte| *byte == b'"')?;
        let end = string_end(json, quote)?;
        let raw = json.get(quote..end)?;
        if json.get(blank_end(json, end)) == Some(&b':') && is_marker(raw) {
            return Some((quote, end));
        }
        at = end;
    }
}

fn is_marker(raw: &[u8]) -> bool {
    raw == KEY
        || raw.contains(&b'\\')
            && serde_json::from_slice::<String>(raw).is_ok_and(|text| text.as_bytes() == MARKER)
}

fn parse(json: &[u8], marker: usize, end: usize) -> Option<Field> {
    let is_first = marker.checked_sub(1).and_then(|before| json.get(before)) == Some(&b'{');
    if !is_first || json.get(marker..end)? != KEY || json.get(end) != Some(&b':') {
        return None;
    }
    let quote = end + 1;
    if json.get(quote) != Some(&b'"') {
        return None;
    }
    let form = string_end(json, quote)?;
    let subject = serde_json::from_slice(json.get(quote..form)?).ok()?;
    let rest = json.get(form..)?;
    if rest.starts_with(REDACTED) {
        let form = form..form + REDACTED.len() - 1;
        return Some(Field { subject, form, content: Content::Redacted });
    }
    if rest.starts_with(SEALED) {
        let text = form + SEALED.len();
        let quote = string_end(json, text - 1)?;
        let closed = json.get(quote) == Some(&b'}');
        let content = Content::Sealed(text..quote - 1);
        return closed.then_some(Field { subject, form: form..quote, content });
    }
    if !rest.starts_with(VALUE) {
        return None;
    }
    let start = form + VALUE.len();
    let brace = blank_end(json, value_end(json, start)?);
    let value = json.get(start..brace)?;
    let closed = json.get(brace) == Some(&b'}') && next_marker(value, 0).is_none();
    // All up to the brace is sealed, so that it comes back byte for byte.
    closed.then_some(Field { subject, form: form..brace, content: Content::Value(start..brace) })
}

/// Behind the blanks that begin at `at`.
fn blank_end(json: &[u8], at: usize) -> usize {
    let blanks = json.get(at..).unwrap_or_default();
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    at + blanks.iter().take_while(is_blank).count()
}

/// Behind the string whose quote is at `quote`.
fn string_end(json: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Behind the value that begins at `at`, or behind blanks there.
fn value_end(json: &[u8], at: usize) -> Option<usize> {
    let mut at = blank_end(json, at);
    let mut depth = 0_usize;
    loop {
        match json.get(at)? {
            b'"' => at = string_end(json, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            _ => {
                let rest = json.get(at..)?;
                let ends = |byte: &u8| b"\",:{}[] \t\n\r".contains(byte);
                at += rest.iter().position(ends)?;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some((first, _)) = wanted.split_first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(wanted) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}
