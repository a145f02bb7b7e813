//! Documents for tests: valid and random in every field that a test does not give.

use annals::{InvalidName, Payload};
use annals_state::{CollectionName, Document, DocumentId, DocumentKey, Revision};
use serde::Serialize;

use crate::builder::fresh_seed;
use crate::generate::{Generator, valid};

/// Builds a document as a store returns it, for tests of what reads documents.
///
/// ```
/// use annals_testkit::state::DocumentBuilder;
/// let tea = DocumentBuilder::new().with_collection("products").with_id("p-1").with_json(&["tea"]).build();
/// assert_eq!(tea.key.to_string(), "products/p-1");
/// assert_ne!(tea.revision, DocumentBuilder::new().build().revision);
/// assert_eq!(DocumentBuilder::seeded(7).build(), DocumentBuilder::seeded(7).build());
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct DocumentBuilder(Document);

impl Default for DocumentBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl DocumentBuilder {
    /// A document that is another one each time.
    pub fn new() -> Self {
        Self::seeded(fresh_seed())
    }

    /// The document of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self::drawn(&mut Generator::new(seed))
    }

    /// The next document of `generator`.
    pub fn drawn(generator: &mut Generator) -> Self {
        let stream = generator.stream();
        let collection = valid(CollectionName::new(stream.category.as_str().to_owned()));
        let id = valid(DocumentId::new(stream.name.as_str().to_owned()));
        let revision = Revision::from_uuid(generator.event_id().as_uuid());
        let body = valid(Payload::json(&generator.ordinary(100)));
        Self(Document { key: DocumentKey { collection, id }, revision, body })
    }

    /// With this key.
    pub fn with_key(mut self, key: DocumentKey) -> Self {
        self.0.key = key;
        self
    }

    /// Puts it in this collection.
    ///
    /// # Panics
    /// If `name` is not a valid name.
    #[track_caller]
    pub fn with_collection(
        mut self,
        name: impl TryInto<CollectionName, Error = InvalidName>,
    ) -> Self {
        self.0.key.collection = valid(name.try_into());
        self
    }

    /// With this id.
    ///
    /// # Panics
    /// If `id` is not a valid name.
    #[track_caller]
    pub fn with_id(mut self, id: impl TryInto<DocumentId, Error = InvalidName>) -> Self {
        self.0.key.id = valid(id.try_into());
        self
    }

    /// With this revision.
    pub fn with_revision(mut self, revision: Revision) -> Self {
        self.0.revision = revision;
        self
    }

    /// With this body.
    pub fn with_body(mut self, body: Payload) -> Self {
        self.0.body = body;
        self
    }

    /// With a body of JSON.
    ///
    /// # Panics
    /// If `state` cannot be JSON.
    #[track_caller]
    pub fn with_json(self, state: &(impl Serialize + ?Sized)) -> Self {
        self.with_body(valid(Payload::json(state)))
    }

    /// The document.
    #[must_use]
    pub fn build(self) -> Document {
        self.0
    }
}
