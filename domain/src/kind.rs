//! Kinds of events: their names, and the steps from each older schema to the current one.

use annals::{BoxError, EventName, Payload};
use serde_json::Value;

use crate::format::{self, Format, Json};

/// Lifts the payload of one schema version to the next. It cannot fail: a payload of that version was written by a
/// program that is known.
pub type Step = fn(&mut Value);

/// The entry of an event's metadata with the schema version of its payload; absent at version 1.
pub const SCHEMA_VERSION: &str = "$schemaVersion";

/// The name of the event by which [`Repository::discard`](crate::Repository::discard) ends an aggregate.
pub const DISCARDED: &str = "discarded";

/// A kind of event. What `#[derive(Event)]` makes of `#[event(..)]`; a constant, so that what is wrong in it does not
/// compile.
///
/// ```
/// use annals_domain::Kind;
/// const RENAMED: Kind = Kind::new("item-renamed").with_aliases(&["item-name-changed"]);
/// assert_eq!((RENAMED.name(), RENAMED.version()), ("item-renamed", 1));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    name: &'static str,
    aliases: &'static [&'static str],
    steps: &'static [Step],
    value: fn(&Payload) -> Result<Value, BoxError>,
}

impl Kind {
    /// A kind of this name, at schema version 1, in JSON.
    ///
    /// # Panics
    /// If the name is none, or is reserved; in a `const` it does not compile.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        check(name);
        Self { name, aliases: &[], steps: &[], value: format::read::<Json, Value> }
    }

    /// Also reads events of these names.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "bounded by the loop; iterators are not const")]
    pub const fn with_aliases(mut self, aliases: &'static [&'static str]) -> Self {
        let mut nth = 0;
        while nth < aliases.len() {
            check(aliases[nth]);
            nth += 1;
        }
        self.aliases = aliases;
        self
    }

    /// The steps from version 1 to 2, from 2 to 3, and so on: the current version is the one that the last leads to.
    #[must_use]
    pub const fn with_steps(mut self, steps: &'static [Step]) -> Self {
        self.steps = steps;
        self
    }

    /// Its payloads are written in this format.
    #[must_use]
    pub const fn with_format<F: Format>(mut self) -> Self {
        self.value = format::read::<F, Value>;
        self
    }

    /// The name under which it is appended.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The names under which it is read, too.
    #[must_use]
    pub const fn aliases(&self) -> &'static [&'static str] {
        self.aliases
    }

    /// The schema version under which it is appended: one more than it has steps.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.steps.len() as u64 + 1
    }

    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The one of `kinds` with this name or alias.
    #[must_use]
    pub fn find<'k>(kinds: &'k [Self], name: &str) -> Option<&'k Self> {
        kinds
            .iter()
            .find(|kind| kind.name == name)
            .or_else(|| kinds.iter().find(|kind| kind.aliases.contains(&name)))
    }

    /// Whether one of `kinds` has this name (aliases do not count): where an event of several types goes to.
    #[must_use]
    pub fn named(kinds: &[Self], name: &str) -> bool {
        kinds.iter().any(|kind| kind.name == name)
    }

    /// All names and aliases of `kinds`, for queries.
    pub fn names_of(kinds: &'static [Self]) -> impl Iterator<Item = EventName> {
        kinds.iter().flat_map(Self::names).map(EventName::from_static)
    }

    /// A payload of this kind as a JSON value, whatever its format.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn to_value(&self, payload: &Payload) -> Result<Value, BoxError> {
        (self.value)(payload)
    }

    /// The payload of schema version `version`, lifted to the current one, as JSON. `None`: it is current.
    ///
    /// # Errors
    /// The version is 0 or higher than this program knows, or the payload cannot be read.
    pub(crate) fn upcast(
        &self,
        version: u64,
        payload: &Payload,
    ) -> Result<Option<Payload>, BoxError> {
        let current = self.version();
        if version == 0 || version > current {
            let text = format!("schema version {version} is unknown, {current} is the highest");
            return Err(text.into());
        }
        let done = usize::try_from(version - 1)?;
        let steps = self.steps.get(done..).unwrap_or_default();
        if steps.is_empty() {
            return Ok(None);
        }
        let mut value = (self.value)(payload)?;
        for step in steps {
            step(&mut value);
        }
        Ok(Some(Payload::json(&value)?))
    }

    /// Joins the kinds of the parts of a type.
    ///
    /// # Panics
    /// If a name or alias occurs twice, or `N` is not the number of all; in a `const` it does not compile.
    #[doc(hidden)]
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "bounded by the loops; iterators are not const")]
    pub const fn join<const N: usize>(parts: &[&[Self]]) -> [Self; N] {
        let mut joined =
            [Self { name: "", aliases: &[], steps: &[], value: format::read::<Json, Value> }; N];
        let (mut part, mut filled) = (0, 0);
        while part < parts.len() {
            let mut nth = 0;
            while nth < parts[part].len() {
                let kind = parts[part][nth];
                let mut before = 0;
                while before < filled {
                    assert!(
                        !kind.shares_name(&joined[before]),
                        "two kinds of events of one type have the same name or alias"
                    );
                    before += 1;
                }
                joined[filled] = kind;
                filled += 1;
                nth += 1;
            }
            part += 1;
        }
        assert!(filled == N, "as many kinds as the parts have");
        joined
    }

    const fn shares_name(&self, other: &Self) -> bool {
        self.has(other.name) || other.has(self.name) || {
            let mut shared = false;
            let mut nth = 0;
            while nth < self.aliases.len() {
                #[expect(clippy::indexing_slicing, reason = "bounded by the loop")]
                let alias = self.aliases[nth];
                shared |= other.has(alias);
                nth += 1;
            }
            shared
        }
    }

    const fn has(&self, name: &str) -> bool {
        let mut found = equal(self.name, name);
        let mut nth = 0;
        while nth < self.aliases.len() {
            #[expect(clippy::indexing_slicing, reason = "bounded by the loop")]
            let alias = self.aliases[nth];
            found |= equal(alias, name);
            nth += 1;
        }
        found
    }
}

/// That `name` can be the name of a user's event.
const fn check(name: &'static str) {
    let valid = EventName::from_static(name);
    // A name is dropped at run time only; this one holds a literal.
    std::mem::forget(valid);
    assert!(!equal(name, DISCARDED), "the event name `discarded` is reserved");
}

#[expect(clippy::indexing_slicing, reason = "bounded by the loop; `==` is not const")]
const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
