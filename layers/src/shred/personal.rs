//! Personal values, as a type of the fields of events.

use std::fmt;
use std::str::FromStr;

use annals::{InvalidName, StreamName};
use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whom a personal value is about: 1 to 255 bytes, by the rules of names of streams. It stays readable beside the sealed
/// value, so take an id, not a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(StreamName);

impl Subject {
    /// Checks the text.
    ///
    /// # Errors
    /// [`InvalidName`] says why it is none.
    pub fn new(text: impl Into<std::sync::Arc<str>>) -> Result<Self, InvalidName> {
        StreamName::new(text).map(Self)
    }

    /// The subject as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Subject {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

/// A value that is about a person, and is gone when that person is forgotten. Use it as the type of a field of an event
/// whose payload is JSON; [`Shredding`](crate::Shredding) seals it under the subject's key.
///
/// As JSON it is `{"$personal":"<subject>","value":…}`, or `{"$personal":"<subject>","redacted":true}`. Personal values do
/// not nest. `Debug` does not show the value.
///
/// ```
/// use annals_layers::{Personal, Subject};
/// let name = Personal::new(Subject::new("p-17")?, "Ada".to_owned());
/// assert_eq!(serde_json::to_string(&name)?, r#"{"$personal":"p-17","value":"Ada"}"#);
/// let gone: Personal<String> = serde_json::from_str(r#"{"$personal":"p-17","redacted":true}"#)?;
/// assert_eq!((gone.subject(), gone.value()), (name.subject(), None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Personal<T> {
    /// The value.
    Known {
        /// Whom it is about.
        subject: Subject,
        /// What it is.
        value: T,
    },
    /// The subject was forgotten.
    Redacted {
        /// Whom it was about.
        subject: Subject,
    },
}

impl<T> Personal<T> {
    /// A value about `subject`.
    pub const fn new(subject: Subject, value: T) -> Self {
        Self::Known { subject, value }
    }

    /// Whom it is about.
    pub const fn subject(&self) -> &Subject {
        match self {
            Self::Known { subject, .. } | Self::Redacted { subject } => subject,
        }
    }

    /// The value; `None` if the subject was forgotten.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Redacted { .. } => None,
        }
    }

    /// The value; `None` if the subject was forgotten.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Redacted { .. } => None,
        }
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { subject, .. } => write!(f, "Personal({subject:?}, ..)"),
            Self::Redacted { subject } => write!(f, "Personal({subject:?}, redacted)"),
        }
    }
}

impl<T: Serialize> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("$personal", self.subject())?;
        match self {
            Self::Known { value, .. } => map.serialize_entry("value", value)?,
            Self::Redacted { .. } => map.serialize_entry("redacted", &true)?,
        }
        map.end()
    }
}

/// The form in JSON. A value may be null, so null is not the same as no value.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Form<T> {
    #[serde(rename = "$personal")]
    subject: Subject,
    #[serde(default = "none", deserialize_with = "some")]
    value: Option<T>,
    #[serde(default)]
    redacted: bool,
}

const fn none<T>() -> Option<T> {
    None
}

fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form { subject, value: Some(value), redacted: false } => {
                Ok(Self::Known { subject, value })
            }
            Form { subject, value: None, redacted: true } => Ok(Self::Redacted { subject }),
            _ => Err(D::Error::custom(
                "a personal value has either a value or redacted; a sealed one is read through Shredding",
            )),
        }
    }
}
