//! Paths: which part of a document's state is meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StateError;

/// The most steps of a path.
pub const MAX_PATH_STEPS: usize = 32;
const MAX_PATH_BYTES: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Name(Box<str>),
    Nth(usize),
}

/// Where in a document's state a value is: names of fields and places in arrays, from 0.
///
/// As text: names are joined by dots, places stand in brackets, and so do names that hold one of `.[]` or are empty, as
/// JSON strings. `$` is the whole state. At most [`MAX_PATH_STEPS`] steps and 1,000 bytes.
///
/// ```
/// use annals_state::Path;
/// let path = Path::new("lines[0].price")?;
/// assert_eq!(path.to_string(), "lines[0].price");
/// assert_eq!(*path.of(&serde_json::json!({ "lines": [{ "price": 5 }] })), 5);
/// assert_eq!(Path::new(r#"a["b.c"]"#)?.of(&serde_json::json!({ "a": { "b.c": true } })), true);
/// # Ok::<(), annals_state::StateError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(Arc<[Step]>);

impl Path {
    /// Reads a path from its text.
    ///
    /// # Errors
    /// [`StateError::Invalid`] says where it is none.
    pub fn new(text: &str) -> Result<Self, StateError> {
        let wrong = |at: usize, what: &str| {
            StateError::invalid(format!("the path {text:?} {what} at byte {at}"))
        };
        if text.len() > MAX_PATH_BYTES {
            return Err(StateError::invalid(format!("a path has at most {MAX_PATH_BYTES} bytes")));
        }
        if text == "$" {
            return Ok(Self::root());
        }
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() || steps.is_empty() {
            let at = text.len() - rest.len();
            if let Some(inside) = rest.strip_prefix('[') {
                let (step, after) =
                    bracketed(inside).ok_or_else(|| wrong(at, "has no place or name"))?;
                steps.push(step);
                rest = after;
                continue;
            }
            let name = if steps.is_empty() { Some(rest) } else { rest.strip_prefix('.') };
            let name = name.ok_or_else(|| wrong(at, "lacks a dot"))?;
            let end = name.find(['.', '[', ']']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            if name.is_empty() || after.starts_with(']') {
                return Err(wrong(at, "has no name"));
            }
            steps.push(Step::Name(name.into()));
            rest = after;
        }
        if steps.len() > MAX_PATH_STEPS {
            return Err(StateError::invalid(format!("a path has at most {MAX_PATH_STEPS} steps")));
        }
        Ok(Self(steps.into()))
    }

    /// The whole state.
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::new([]))
    }

    /// The value there; null if there is none.
    #[must_use]
    pub fn of<'a>(&self, state: &'a Value) -> &'a Value {
        let step = |value: &'a Value, step: &Step| match step {
            Step::Name(name) => value.as_object()?.get(&**name),
            Step::Nth(nth) => value.as_array()?.get(*nth),
        };
        self.0.iter().try_fold(state, step).unwrap_or(&Value::Null)
    }
}

/// What is in brackets, and what comes after them.
fn bracketed(inside: &str) -> Option<(Step, &str)> {
    if inside.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(inside).into_iter::<Box<str>>();
        let name = names.next()?.ok()?;
        let after = inside.get(names.byte_offset()..)?.strip_prefix(']')?;
        return Some((Step::Name(name), after));
    }
    let (nth, after) = inside.split_once(']')?;
    let digits = nth.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (nth == "0" || !nth.starts_with('0'));
    Some((Step::Nth(nth.parse().ok().filter(|_| canonical)?), after))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("$");
        }
        for (nth, step) in self.0.iter().enumerate() {
            match step {
                Step::Nth(place) => write!(f, "[{place}]")?,
                Step::Name(name) => {
                    let alone = self.0.len() == 1 && **name == *"$";
                    if name.is_empty() || name.contains(['.', '[', ']']) || alone {
                        write!(f, "[{}]", Value::from(&**name))?;
                    } else {
                        write!(f, "{}{name}", if nth == 0 { "" } else { "." })?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Path {
    type Error = StateError;

    fn try_from(text: &str) -> Result<Self, StateError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Path {
    type Error = StateError;

    fn try_from(text: String) -> Result<Self, StateError> {
        Self::new(&text)
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}
