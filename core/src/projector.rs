//! Projections: state folded from events.

use std::borrow::Cow;

use heck::ToKebabCase;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::adapter::EventPages;
use crate::error::{BoxError, Error, ProjectionError, Result};
use crate::event::StoredEvent;
use crate::position::{Position, SequenceNumber};
use crate::query::Source;

/// How events become state: synchronous and free of I/O, so that a fold can be repeated and resumed.
///
/// For projections written as functions see [`Handlers`](crate::Handlers).
///
/// ```
/// # use annals::*;
/// #[derive(Debug)]
/// struct CountProjector;
///
/// impl Projector for CountProjector {
///     type State = u64;
///
///     fn initial(&self) -> u64 {
///         0
///     }
///
///     fn apply(&self, count: &mut u64, _: &StoredEvent) -> Result<(), BoxError> {
///         *count += 1;
///         Ok(())
///     }
/// }
/// assert_eq!(CountProjector.name(), "count");
/// ```
pub trait Projector {
    /// What is folded.
    type State;

    /// The state before the first event.
    fn initial(&self) -> Self::State;

    /// Changes `state` by one event.
    ///
    /// # Errors
    /// Any error stops the fold before this event; it must leave `state` as it was.
    fn apply(&self, state: &mut Self::State, event: &StoredEvent) -> Result<(), BoxError>;

    /// The projection's name: of the type `OrderTotalsProjector` it is `order-totals` unless told otherwise.
    fn name(&self) -> Cow<'_, str> {
        kebab_case(std::any::type_name::<Self>()).into()
    }

    /// The id of the projection of `source`: the name of the stream or category, or `log`, unless told otherwise.
    fn id(&self, _state: &Self::State, source: &Source) -> String {
        match source {
            Source::Log => "log".to_owned(),
            Source::Category(category) => category.as_str().to_owned(),
            Source::Stream(stream) => stream.name.as_str().to_owned(),
        }
    }
}

/// A type's own name without its path, its generics and the word `Projector`, in kebab case; an acronym is
/// one word.
fn kebab_case(type_name: &str) -> String {
    let path = type_name.split('<').next().unwrap_or_default();
    let name = path.rsplit("::").next().unwrap_or_default();
    let name = name.strip_suffix("Projector").filter(|rest| !rest.is_empty()).unwrap_or(name);
    name.to_kebab_case()
}

/// The last event that a projection has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Its place in its stream.
    pub position: Position,
    /// Its place in the log.
    pub sequence_number: SequenceNumber,
    /// When it was appended.
    pub recorded_at: OffsetDateTime,
}

/// State folded from the events of a source, and how far. Folding can resume from it, also after it was saved
/// and loaded: `fold(a ++ b) = resume(fold(a), b)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Projection<S> {
    /// Tells it from others of its name.
    pub id: String,
    /// What kind of projection it is.
    pub name: String,
    /// Whose events it folds.
    pub source: Source,
    /// The state after [`last`](Self::last).
    pub state: S,
    /// The last event folded; `None` before the first.
    pub last: Option<Progress>,
}

impl<S> Projection<S> {
    /// The projection of `source` before its first event.
    pub fn new<P: Projector<State = S>>(projector: &P, source: Source) -> Self {
        let state = projector.initial();
        let id = projector.id(&state, &source);
        Self { id, name: projector.name().into_owned(), source, state, last: None }
    }

    /// The sequence number of the last event folded; [`SequenceNumber::START`] before the first.
    #[must_use]
    pub fn sequence_number(&self) -> SequenceNumber {
        self.last.map_or(SequenceNumber::START, |last| last.sequence_number)
    }

    /// Folds one event; one that it has seen before changes nothing.
    ///
    /// # Errors
    /// [`Error::Projection`] names the event that the projector refused; the projection stands before it.
    pub fn apply<P>(&mut self, projector: &P, event: &StoredEvent) -> Result<()>
    where
        P: Projector<State = S>,
    {
        self.step(projector, event)?;
        self.id = projector.id(&self.state, &self.source);
        Ok(())
    }

    /// Folds pages of events, as [`EventStore::pages`](crate::EventStore::pages) gives them: in ascending order, as an
    /// event that is not beyond the last one changes nothing.
    ///
    /// # Errors
    /// Those of the pages, and as [`apply`](Self::apply); the projection stands before the event that failed.
    ///
    /// # Cancel safety
    /// The projection then stands after some whole number of events, and can be resumed.
    pub async fn fold<P>(&mut self, projector: &P, mut pages: EventPages) -> Result<()>
    where
        P: Projector<State = S>,
    {
        loop {
            let page = std::future::poll_fn(|context| pages.as_mut().poll_next(context)).await;
            let Some(page) = page.transpose()? else { return Ok(()) };
            let folded = page.iter().try_for_each(|event| self.step(projector, event));
            self.id = projector.id(&self.state, &self.source);
            folded?;
        }
    }

    fn step<P>(&mut self, projector: &P, event: &StoredEvent) -> Result<()>
    where
        P: Projector<State = S>,
    {
        if event.sequence_number <= self.sequence_number() {
            return Ok(());
        }
        if let Err(source) = projector.apply(&mut self.state, event) {
            let at = ProjectionError::new(self.name.clone(), event, source);
            return Err(Error::Projection(Box::new(at)));
        }
        self.last = Some(Progress {
            position: event.position,
            sequence_number: event.sequence_number,
            recorded_at: event.recorded_at,
        });
        Ok(())
    }
}
