//! Filters: which documents are meant, judged by one pure function that never fails.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Result, StateError};
use crate::value::{Kind, Path, compare, is_too_deep};

/// How deep filters may nest.
pub const MAX_FILTER_DEPTH: usize = 64;
/// The most parts of a filter: conditions, groups and the values of [`Filter::In`].
pub const MAX_FILTER_PARTS: usize = 10_000;
const MAX_PATTERN_BYTES: usize = 1_000;
/// What a compiled pattern may take, in bytes: enough for Unicode classes, little enough for a server.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A regular expression in the syntax of the crate `regex`, of at most 1,000 bytes. It is found anywhere in a text
/// unless it has anchors, in time linear in the text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if it does not parse or is too large.
    pub fn new(pattern: &str) -> Result<Self> {
        if pattern.len() > MAX_PATTERN_BYTES {
            let text = format!("a pattern has at most {MAX_PATTERN_BYTES} bytes");
            return Err(StateError::invalid(text));
        }
        let regex = RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build();
        regex.map(Self).map_err(StateError::invalid)
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}

impl TryFrom<String> for Pattern {
    type Error = StateError;

    fn try_from(pattern: String) -> Result<Self> {
        Self::new(&pattern)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().to_owned()
    }
}

/// What must hold of a document's state. What is missing in it is null.
///
/// Comparisons follow [`compare`]. A comparison of values of different kinds does not hold, and is no error. Filters
/// compose with `&`, `|` and `!`.
///
/// ```
/// use annals_state::Filter;
/// let cheap = Filter::at_most("price", 10)? & !Filter::matches("name", "(?i)gift")?;
/// assert!(cheap.holds(&serde_json::json!({ "price": 9.5, "name": "Tea" })));
/// assert!(!cheap.holds(&serde_json::json!({ "price": "9.5", "name": "Tea" })));
/// # Ok::<(), annals_state::StateError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Filter {
    /// The value is equal, nested values too. Null is equal to what is missing.
    Is(Path, Value),
    /// The value is less and of the same kind; never of null.
    Less(Path, Value),
    /// The value is less or equal and of the same kind; never of null.
    AtMost(Path, Value),
    /// The value is greater and of the same kind; never of null.
    More(Path, Value),
    /// The value is greater or equal and of the same kind; never of null.
    AtLeast(Path, Value),
    /// The value is equal to one of these; of none, it does not hold.
    In(Path, Vec<Value>),
    /// The value is an array with an element that is equal, or a text that holds this text.
    Contains(Path, Value),
    /// The value is a text in which the pattern is found.
    Matches(Path, Pattern),
    /// This does not hold. So it holds of the negation of a comparison with a value of another kind.
    Not(Box<Self>),
    /// All of these hold; of none, it holds.
    All(Vec<Self>),
    /// Any of these holds; of none, it does not.
    Any(Vec<Self>),
}

macro_rules! leaves {
    ($($(#[$doc:meta])* $new:ident $leaf:ident;)*) => {
        impl Filter {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`StateError::Invalid`] if the path is none.
            pub fn $new(
                path: impl TryInto<Path, Error: Into<StateError>>,
                value: impl Into<Value>,
            ) -> Result<Self> {
                Ok(Self::$leaf(path.try_into().map_err(Into::into)?, value.into()))
            }
        )*}
    };
}

leaves! {
    /// The value at `path` is equal: see [`Filter::Is`].
    is Is;
    /// The value at `path` is less: see [`Filter::Less`].
    less Less;
    /// The value at `path` is less or equal: see [`Filter::AtMost`].
    at_most AtMost;
    /// The value at `path` is greater: see [`Filter::More`].
    more More;
    /// The value at `path` is greater or equal: see [`Filter::AtLeast`].
    at_least AtLeast;
    /// The array or text at `path` holds it: see [`Filter::Contains`].
    contains Contains;
}

impl Filter {
    /// The value at `path` is equal to one of `values`.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the path is none.
    pub fn is_in<V: Into<Value>>(
        path: impl TryInto<Path, Error: Into<StateError>>,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Self> {
        let path = path.try_into().map_err(Into::into)?;
        Ok(Self::In(path, values.into_iter().map(Into::into).collect()))
    }

    /// The value at `path` is a text in which `pattern` is found.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the path or the pattern is none.
    pub fn matches(
        path: impl TryInto<Path, Error: Into<StateError>>,
        pattern: &str,
    ) -> Result<Self> {
        Ok(Self::Matches(path.try_into().map_err(Into::into)?, Pattern::new(pattern)?))
    }

    /// Whether it holds of a document with this state.
    #[must_use]
    pub fn holds(&self, state: &Value) -> bool {
        let order = |path: &Path, value: &Value| {
            let found = path.of(state);
            let comparable = Kind::of(found) == Kind::of(value) && !value.is_null();
            comparable.then(|| compare(found, value))
        };
        let equal = |path: &Path, value: &Value| compare(path.of(state), value).is_eq();
        match self {
            Self::Is(path, value) => equal(path, value),
            Self::Less(path, value) => order(path, value).is_some_and(Ordering::is_lt),
            Self::AtMost(path, value) => order(path, value).is_some_and(Ordering::is_le),
            Self::More(path, value) => order(path, value).is_some_and(Ordering::is_gt),
            Self::AtLeast(path, value) => order(path, value).is_some_and(Ordering::is_ge),
            Self::In(path, values) => values.iter().any(|value| equal(path, value)),
            Self::Contains(path, value) => match (path.of(state), value) {
                (Value::Array(parts), value) => {
                    parts.iter().any(|part| compare(part, value).is_eq())
                }
                (Value::String(text), Value::String(part)) => text.contains(&**part),
                _ => false,
            },
            Self::Matches(path, Pattern(regex)) => {
                path.of(state).as_str().is_some_and(|text| regex.is_match(text))
            }
            Self::Not(filter) => !filter.holds(state),
            Self::All(filters) => filters.iter().all(|filter| filter.holds(state)),
            Self::Any(filters) => filters.iter().any(|filter| filter.holds(state)),
        }
    }

    /// Rejects what nests or grows beyond the bounds, without recursion.
    pub(crate) fn check(&self) -> Result<()> {
        let mut rest = vec![(self, 1)];
        let mut parts = 0;
        while let Some((filter, depth)) = rest.pop() {
            if depth > MAX_FILTER_DEPTH {
                let text = format!("a filter nests at most {MAX_FILTER_DEPTH} deep");
                return Err(StateError::invalid(text));
            }
            let values = match filter {
                Self::Not(filter) => {
                    rest.push((filter, depth + 1));
                    &[]
                }
                Self::All(filters) | Self::Any(filters) => {
                    rest.extend(filters.iter().map(|filter| (filter, depth + 1)));
                    &[]
                }
                Self::In(_, values) => &values[..],
                Self::Is(_, value)
                | Self::Less(_, value)
                | Self::AtMost(_, value)
                | Self::More(_, value)
                | Self::AtLeast(_, value)
                | Self::Contains(_, value) => std::slice::from_ref(value),
                Self::Matches(..) => &[],
            };
            if values.iter().any(is_too_deep) {
                return Err(StateError::invalid("a value of a filter nests at most 128 deep"));
            }
            parts += 1 + values.len();
            if parts > MAX_FILTER_PARTS {
                let text = format!("a filter has at most {MAX_FILTER_PARTS} parts");
                return Err(StateError::invalid(text));
            }
        }
        Ok(())
    }
}

impl Not for Filter {
    type Output = Self;

    /// It does not hold.
    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl BitAnd for Filter {
    type Output = Self;

    /// Both hold.
    fn bitand(self, other: Self) -> Self {
        match self {
            Self::All(mut filters) => {
                filters.push(other);
                Self::All(filters)
            }
            one => Self::All(vec![one, other]),
        }
    }
}

impl BitOr for Filter {
    type Output = Self;

    /// Either holds.
    fn bitor(self, other: Self) -> Self {
        match self {
            Self::Any(mut filters) => {
                filters.push(other);
                Self::Any(filters)
            }
            one => Self::Any(vec![one, other]),
        }
    }
}
