//! Names: categories, streams, events, tags and payload encodings.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The text has no characters.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than [`MAX_NAME_BYTES`].
    #[error("a name has at most {MAX_NAME_BYTES} bytes, got {0}")]
    TooLong(usize),
    /// The text holds a control character (U+0000–U+001F, U+007F–U+009F) at this byte.
    #[error("a name must not hold a control character, found one at byte {0}")]
    Control(usize),
}

/// A valid name: a literal or a shared string, so that a clone never copies text.
#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// The one rule for names, usable at compile time. Control characters are the `Cc` category:
/// one byte below 0x20, 0x7F, or 0xC2 followed by 0x80–0x9F.
#[expect(clippy::indexing_slicing, reason = "bounded by the loop; iterators are not const")]
const fn check(text: &str) -> Result<(), InvalidName> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(InvalidName::Empty);
    }
    if bytes.len() > MAX_NAME_BYTES {
        return Err(InvalidName::TooLong(bytes.len()));
    }
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let c1 = byte == 0xC2 && at + 1 < bytes.len() && bytes[at + 1] < 0xA0;
        if byte < 0x20 || byte == 0x7F || c1 {
            return Err(InvalidName::Control(at));
        }
        at += 1;
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Non-empty UTF-8 of at most [`MAX_NAME_BYTES`] bytes without control characters;
        /// case-sensitive and never normalised. A clone costs a reference count, of a literal nothing.
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Text);

        impl $name {
            /// Checks and shares `text`.
            ///
            /// # Errors
            /// [`InvalidName`] says which rule the text breaks.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
                let text = text.into();
                check(&text)?;
                Ok(Self(Text::Shared(text)))
            }

            /// A name from a literal; in a `const` an invalid one does not compile.
            ///
            /// # Panics
            /// When `text` is not a valid name.
            #[must_use]
            #[track_caller]
            pub const fn from_static(text: &'static str) -> Self {
                assert!(check(text).is_ok(), "not a valid name");
                Self(Text::Static(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }
    )*};
}

names! {
    /// The name of a category of streams, such as `orders`. Categories that begin with `annals.` are reserved for
    /// Annals itself: applications cannot append to them.
    CategoryName;
    /// The name of a stream inside its category, such as `o-1`.
    StreamName;
    /// What kind of event it is, such as `order-placed`: an explicit, stable text, never a type path.
    EventName;
    /// A label that queries and write conditions can ask for, such as `course:42`.
    Tag;
    /// How to read the bytes of a payload, such as `json`. Encodings that begin with `annals-` are reserved for
    /// layers of Annals: applications cannot append them.
    Encoding;
}

impl Encoding {
    /// UTF-8 JSON text.
    pub const JSON: Self = Self::from_static("json");
    /// Bytes of which the store knows nothing.
    pub const BYTES: Self = Self::from_static("bytes");
}

/// A stream: its category and its name inside it. `("a.b", "c")` and `("a", "b.c")` are different streams.
///
/// ```
/// use annals::StreamId;
/// let stream = StreamId::new("profiles", "joe.bloggs")?;
/// assert_eq!(stream.to_string(), "profiles/joe.bloggs");
/// # Ok::<(), annals::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// The category that the stream belongs to.
    pub category: CategoryName,
    /// The stream's name in its category.
    pub name: StreamName,
}

impl StreamId {
    /// Checks both names.
    ///
    /// # Errors
    /// [`InvalidName`] for the first invalid name.
    pub fn new(
        category: impl TryInto<CategoryName, Error: Into<InvalidName>>,
        name: impl TryInto<StreamName, Error: Into<InvalidName>>,
    ) -> Result<Self, InvalidName> {
        Ok(Self {
            category: category.try_into().map_err(Into::into)?,
            name: name.try_into().map_err(Into::into)?,
        })
    }

    /// A stream from two literals; in a `const` an invalid one does not compile.
    ///
    /// # Panics
    /// When either is not a valid name.
    #[must_use]
    #[track_caller]
    pub const fn from_static(category: &'static str, name: &'static str) -> Self {
        Self { category: CategoryName::from_static(category), name: StreamName::from_static(name) }
    }
}

impl fmt::Display for StreamId {
    /// For people: `category/name`. Not a key, since names may hold a `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.category, self.name)
    }
}

impl From<std::convert::Infallible> for InvalidName {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
