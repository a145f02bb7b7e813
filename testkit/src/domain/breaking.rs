//! What breaks released events.

use std::fmt;

use super::file::GoldenEvent;

/// A change that breaks events of an earlier release, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Breaking {
    /// No kind has the name any more: keep the kind, or make the name an alias of the one that took its place.
    Unknown {
        /// Of which event.
        event: String,
    },
    /// The name is one of events elsewhere now: readers and conditions do not find it there. Keep the category.
    Moved {
        /// Of which event.
        event: String,
        /// Where a kind has the name today.
        to: String,
    },
    /// The kind has a lower schema version than was released: keep all steps.
    VersionLowered {
        /// Of which event.
        event: String,
        /// The version of today.
        to: u64,
    },
    /// The payload cannot be read: raise the version and add a step, or give the field a default.
    Unreadable {
        /// Of which event.
        event: String,
        /// Why.
        reason: String,
    },
    /// A step, or reading, panics: steps see only payloads of their version, and cope with every one of them.
    Panics {
        /// Of which event.
        event: String,
    },
    /// A value is lost, or is another one after it was read, and older programs miss it in what is appended now: raise the
    /// version and add a step, or undo the change.
    Changed {
        /// Of which event.
        event: String,
        /// Where in the payload.
        path: String,
        /// What was released, as JSON.
        was: String,
        /// What it is today; `None`: nothing.
        is: Option<String>,
    },
    /// A tag is no longer given: queries and conditions by it go blind. Keep the tag.
    TagLost {
        /// Of which event.
        event: String,
        /// The tag.
        tag: String,
    },
    /// The payload is written in another format without a new version: older programs cannot read it. Raise the version.
    Format {
        /// Of which event.
        event: String,
        /// The format of today.
        to: String,
    },
    /// No payload shows that this version of the kind can be read: add a sample, or the payload of an older version
    /// from a log by hand.
    Unproven {
        /// Which name and version.
        event: String,
    },
}

/// An event of a golden file, as messages name it.
pub(super) fn named(event: &GoldenEvent) -> String {
    format!("{} version {} in {}", event.name, event.version, event.source)
}

impl fmt::Display for Breaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { event } => {
                write!(f, "{event}: no kind has this name; keep it, or make it an alias")
            }
            Self::Moved { event, to } => {
                write!(f, "{event}: the name is one of {to} now; keep the place")
            }
            Self::VersionLowered { event, to } => {
                write!(f, "{event}: the version is only {to} now; keep all steps")
            }
            Self::Unreadable { event, reason } => {
                write!(f, "{event}: {reason}; add a version with a step, or a default")
            }
            Self::Panics { event } => {
                write!(f, "{event}: reading it panics; a step must cope with every payload")
            }
            Self::Changed { event, path, was, is } => {
                let is = is.as_deref().unwrap_or("nothing");
                write!(f, "{event}: {path} was {was} and is {is}; add a version with a step")
            }
            Self::TagLost { event, tag } => {
                write!(f, "{event}: the tag {tag} is lost; keep it, queries ask for it")
            }
            Self::Format { event, to } => {
                write!(f, "{event}: is written as {to} now; add a version")
            }
            Self::Unproven { event } => write!(f, "{event}: no payload shows that it can be read"),
        }
    }
}
