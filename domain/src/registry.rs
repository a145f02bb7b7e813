//! The kinds of events of a program, by where they are found.

use annals::{EventName, Source, StreamId};

use crate::event::Event;
use crate::kind::Kind;
use crate::state::Aggregate;

/// All kinds of events that a program knows: what reads raw events by today's names ([`Upcast`](crate::Upcast)), and what
/// a schema test compares with the payloads of earlier releases.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    source: Source,
    kinds: &'static [Kind],
}

impl Registry {
    /// Without kinds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the events of an aggregate, which are in its category.
    ///
    /// # Panics
    /// If another kind of event of that category has one of the names: a mistake of the program, found when it starts.
    #[must_use]
    #[track_caller]
    pub fn aggregate<A: Aggregate>(self) -> Self {
        self.events::<A::Event>(A::category())
    }

    /// Adds events that are anywhere in `source`.
    ///
    /// # Panics
    /// If another kind of event of a source that overlaps has one of the names.
    #[must_use]
    #[track_caller]
    pub fn events<E: Event>(mut self, source: impl Into<Source>) -> Self {
        let source = source.into();
        for entry in self.entries.iter().filter(|entry| overlap(&entry.source, &source)) {
            // A type that is added again, as the part of another one, has the same kinds.
            let other = |kind: &&Kind| {
                !entry.kinds.iter().any(|known| std::ptr::eq(known.name(), kind.name()))
            };
            for kind in E::KINDS.iter().filter(other) {
                for name in kind.names() {
                    assert!(
                        Kind::find(entry.kinds, name).is_none(),
                        "two kinds of events in {source} are called {name}"
                    );
                }
            }
        }
        self.entries.push(Entry { source, kinds: E::KINDS });
        self
    }

    /// The kind of an event of this name in this stream.
    #[must_use]
    pub fn find(&self, stream: &StreamId, name: &str) -> Option<&'static Kind> {
        self.entries
            .iter()
            .filter(|entry| entry.source.contains(stream))
            .find_map(|entry| Kind::find(entry.kinds, name))
    }

    /// All kinds that events of `source` may be, each with where it is found.
    pub fn kinds(&self) -> impl Iterator<Item = (&Source, &'static Kind)> {
        self.entries
            .iter()
            .flat_map(|entry| entry.kinds.iter().map(move |kind| (&entry.source, kind)))
    }

    /// `name` and all other names of the kinds in `source` that are or were called so: what a query for `name` must ask for.
    pub(crate) fn names_of(&self, source: &Source, name: &EventName) -> Vec<EventName> {
        let mut names = vec![name.clone()];
        for (place, kind) in self.kinds() {
            if overlap(place, source) && kind.names().any(|known| known == name.as_str()) {
                names.extend(kind.names().map(EventName::from_static));
            }
        }
        names
    }
}

/// Whether an event can be in both.
fn overlap(a: &Source, b: &Source) -> bool {
    match (a, b) {
        (Source::Log, _) | (_, Source::Log) => true,
        (Source::Stream(stream), other) | (other, Source::Stream(stream)) => other.contains(stream),
        (Source::Category(a), Source::Category(b)) => a == b,
    }
}
