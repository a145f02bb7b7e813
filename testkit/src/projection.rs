//! Projections for tests: valid and random in every field that a test does not give.

use annals::{Handlers, Projection, Source, StoredEvent};

use crate::builder::{StoredEventBuilder, fresh_seed};
use crate::generate::Generator;

/// Builds a projection as folding leaves it, for tests of what reads, saves or resumes projections.
///
/// ```
/// use annals_testkit::ProjectionBuilder;
/// let profile = ProjectionBuilder::new("Joe Bloggs").with_name("profile").build();
/// assert_eq!((profile.name.as_str(), profile.state), ("profile", "Joe Bloggs"));
/// assert!(profile.last.is_some());
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ProjectionBuilder<S>(Projection<S>);

impl<S: Clone + 'static> ProjectionBuilder<S> {
    /// A projection with this state that is another one each time.
    pub fn new(state: S) -> Self {
        Self::seeded(fresh_seed(), state)
    }

    /// The projection of this seed with this state.
    pub fn seeded(seed: u64, state: S) -> Self {
        Self::drawn(&mut Generator::new(seed), state)
    }

    /// The next projection of `generator` with this state. It is of one stream, and has folded an event of it.
    pub fn drawn(generator: &mut Generator, state: S) -> Self {
        let last = StoredEventBuilder::drawn(generator).build();
        let projector = Handlers::new(generator.event_name().to_string(), state);
        let projection = Projection::new(&projector, last.stream.clone().into());
        Self(projection).with_id(generator.event_id().to_string()).with_last(&last)
    }

    /// Sets this id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.0.id = id.into();
        self
    }

    /// Sets this name.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// Lets it fold the events of this source.
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = source.into();
        self
    }

    /// Lets it have folded the events up to this one, or none.
    pub fn with_last<'a>(mut self, last: impl Into<Option<&'a StoredEvent>>) -> Self {
        self.0.last = last.into().map(Into::into);
        self
    }

    /// The projection.
    #[must_use]
    pub fn build(self) -> Projection<S> {
        self.0
    }
}
