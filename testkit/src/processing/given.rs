//! Given, when, then: tests of views without a processor.

use std::collections::BTreeMap;
use std::fmt;

use annals::StoredEvent;
use annals_processing::View;

/// A view and the documents that it has made of the events that a test gave it.
///
/// ```
/// use annals::{BoxError, StoredEvent};
/// use annals_processing::View;
/// use annals_state::DocumentId;
/// use annals_testkit::StoredEventBuilder;
/// use annals_testkit::processing::Given;
///
/// struct Counts;
///
/// impl View for Counts {
///     type State = u64;
///     fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
///         Ok(vec![DocumentId::new(event.name().as_str())?])
///     }
///     fn apply(&self, _: &DocumentId, count: &mut Option<u64>, _: &StoredEvent) -> Result<(), BoxError> {
///         *count.get_or_insert_default() += 1;
///         Ok(())
///     }
/// }
///
/// let placed = || StoredEventBuilder::new().with_name("order-placed").build();
/// Given::new(Counts)
///     .event(&placed())
///     .when(&placed())
///     .then("order-placed", &2)
///     .then_nothing("order-paid");
/// ```
#[must_use = "a given view is looked at with `then`"]
pub struct Given<V: View> {
    view: V,
    documents: BTreeMap<String, V::State>,
    failed: Option<String>,
}

impl<V: View> Given<V> {
    /// A view that has seen nothing.
    pub fn new(view: V) -> Self {
        Self { view, documents: BTreeMap::new(), failed: None }
    }

    /// Given that it has seen this event.
    ///
    /// # Panics
    /// If the view cannot apply it.
    #[track_caller]
    pub fn event(self, event: &StoredEvent) -> Self {
        let given = self.when(event);
        if let Some(error) = &given.failed {
            panic!("the view cannot apply {event}, which is given: {error}");
        }
        given
    }

    /// When it sees this event, which it may not be able to apply: see [`then_error`](Self::then_error).
    pub fn when(mut self, event: &StoredEvent) -> Self {
        self.failed = self.apply(event).err().map(|error| error.to_string());
        self
    }

    /// All or nothing, as a processor does it.
    fn apply(&mut self, event: &StoredEvent) -> Result<(), annals::BoxError> {
        let mut ids = self.view.ids(event)?;
        ids.sort_unstable();
        ids.dedup();
        let mut changed = Vec::new();
        for id in ids {
            let mut state = self.documents.get(id.as_str()).cloned();
            self.view.apply(&id, &mut state, event)?;
            changed.push((id.as_str().to_owned(), state));
        }
        for (id, state) in changed {
            match state {
                Some(state) => drop(self.documents.insert(id, state)),
                None => drop(self.documents.remove(&id)),
            }
        }
        Ok(())
    }

    /// Then the document of this id is this.
    ///
    /// # Panics
    /// If it is not, or if the last event could not be applied.
    #[track_caller]
    pub fn then(self, id: &str, expected: &V::State) -> Self
    where
        V::State: PartialEq + fmt::Debug,
    {
        self.assert_applied();
        assert_eq!(self.documents.get(id), Some(expected), "document {id}");
        self
    }

    /// Then there is no document of this id.
    ///
    /// # Panics
    /// If there is one, or if the last event could not be applied.
    #[track_caller]
    pub fn then_nothing(self, id: &str) -> Self
    where
        V::State: fmt::Debug,
    {
        self.assert_applied();
        let found = self.documents.get(id);
        assert!(found.is_none(), "there is a document {id}: {found:?}");
        self
    }

    /// Then the last event could not be applied, with an error that says this.
    ///
    /// # Panics
    /// If it could, or if the error does not say it.
    #[track_caller]
    pub fn then_error(self, text: &str) -> Self {
        match &self.failed {
            Some(error) => assert!(error.contains(text), "{error} does not say {text}"),
            None => panic!("the event was applied"),
        }
        self
    }

    #[track_caller]
    fn assert_applied(&self) {
        if let Some(error) = &self.failed {
            panic!("the last event could not be applied: {error}");
        }
    }
}

impl<V: View> fmt::Debug for Given<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given")
            .field("documents", &self.documents.keys())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
