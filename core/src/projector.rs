//! Projections: state folded from events.

use std::borrow::Cow;

use heck::ToKebabCase;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::error::{BoxError, Error, ProjectionError, Result};
use crate::event::StoredEvent;
use crate::position::{Position, SequenceNumber};
use crate::query::{Direction, ReadOptions, Source};
use crate::source::EventSource;

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
    /// What is folded. A fold copies it once a page, so that an event that fails leaves no half of itself; see
    /// [`fails_whole`](Self::fails_whole). A large state is best kept in parts behind `Arc`.
    type State: Clone;

    /// The state before the first event.
    fn initial(&self) -> Self::State;

    /// Changes `state` by one event.
    ///
    /// # Errors
    /// Any error stops the fold. The projection is then as it was before this event, whatever was changed in `state`.
    fn apply(&self, state: &mut Self::State, event: &StoredEvent) -> Result<(), BoxError>;

    /// Whether [`apply`](Self::apply) leaves `state` as it was whenever it fails, because it checks before it changes.
    /// If so, a fold copies no state. `false` unless overridden.
    fn fails_whole(&self) -> bool {
        false
    }

    /// The projection's name: by default that of the type, `order-totals` for `OrderTotalsProjector`. A projection that
    /// is stored needs a name of its own here, since a renamed type would change the default.
    fn name(&self) -> Cow<'_, str> {
        kebab_case(std::any::type_name::<Self>()).into()
    }

    /// The id of the projection of `source`: by default the name of the stream or category, or `log`.
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

impl From<&StoredEvent> for Progress {
    fn from(event: &StoredEvent) -> Self {
        Self {
            position: event.position,
            sequence_number: event.sequence_number,
            recorded_at: event.recorded_at,
        }
    }
}

/// State folded from the events of a source, and how far. Folding can resume from it, also after it was saved
/// and loaded: `fold(a ++ b) = resume(fold(a), b)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Projection<S> {
    /// Distinguishes it from others of its name.
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

impl<S: Clone> Projection<S> {
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

    /// Folds one event; one that it has seen before changes nothing. It copies the state, unless the projector
    /// [fails whole](Projector::fails_whole).
    ///
    /// # Errors
    /// [`Error::Projection`] names the event that the projector rejected; the projection is as it was before it.
    pub fn apply<P>(&mut self, projector: &P, event: &StoredEvent) -> Result<()>
    where
        P: Projector<State = S>,
    {
        self.apply_all(projector, std::slice::from_ref(event))
    }

    /// Folds events in ascending order; those that it has seen before change nothing. It copies the state once, unless
    /// the projector [fails whole](Projector::fails_whole).
    ///
    /// # Errors
    /// As [`apply`](Self::apply): the projection is then after the last event before the one that failed.
    pub fn apply_all<P>(&mut self, projector: &P, events: &[StoredEvent]) -> Result<()>
    where
        P: Projector<State = S>,
    {
        let copy = (!projector.fails_whole() && !events.is_empty())
            .then(|| (self.state.clone(), self.last));
        let mut folded = Ok(());
        for (nth, event) in events.iter().enumerate() {
            folded = self.step(projector, event);
            if folded.is_err() {
                if let Some((state, last)) = copy {
                    (self.state, self.last) = (state, last);
                    let whole = events.get(..nth).unwrap_or_default();
                    // They were applied a moment ago; a projector that depends on nothing else takes them again.
                    whole.iter().try_for_each(|event| self.step(projector, event))?;
                }
                break;
            }
        }
        self.id = projector.id(&self.state, &self.source);
        folded
    }

    /// Folds what `source` has after the last event folded, as far as `options` bound it.
    ///
    /// # Errors
    /// Those of the read, and as [`apply`](Self::apply): the projection is as it was before the event that failed.
    /// [`Error::Invalid`] if the read goes backward, or if it follows without a bound, so that it would never end.
    ///
    /// # Cancel safety
    /// The projection is then after some whole number of events, and can be resumed.
    pub async fn fold<P, E>(
        &mut self,
        projector: &P,
        source: &E,
        options: ReadOptions,
    ) -> Result<()>
    where
        P: Projector<State = S>,
        E: EventSource + ?Sized,
    {
        if options.direction == Direction::Backward {
            return Err(Error::invalid("a fold goes forward"));
        }
        if options.is_unbounded() {
            return Err(Error::invalid("a fold of an unbounded follow never ends"));
        }
        let mut pages = source.pages(options.after(self.sequence_number()));
        loop {
            let page = std::future::poll_fn(|context| pages.as_mut().poll_next(context)).await;
            let Some(page) = page.transpose()? else { return Ok(()) };
            self.apply_all(projector, &page.events)?;
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
        self.last = Some(event.into());
        Ok(())
    }
}
