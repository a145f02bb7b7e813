//! Projections written as functions, one for each event name.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use crate::error::BoxError;
use crate::event::StoredEvent;
use crate::name::EventName;
use crate::projector::Projector;

type Handler<S> = Box<dyn Fn(&mut S, &StoredEvent) -> Result<(), BoxError> + Send + Sync>;

/// A [`Projector`] made of functions: one for each event name, matched exactly.
///
/// An event without a handler is an error that names it, unless [`ignore_missing`](Self::ignore_missing) or
/// [`on_missing`](Self::on_missing) says otherwise.
///
/// ```
/// # use annals::*;
/// let totals = Handlers::new("total", 0u64)
///     .on("deposited", |total, event| Ok(*total += event.payload().to_json::<u64>()?))
///     .on("withdrawn", |total, event| Ok(*total -= event.payload().to_json::<u64>()?))
///     .ignore_missing();
/// assert_eq!(totals.name(), "total");
/// ```
pub struct Handlers<S> {
    name: Cow<'static, str>,
    initial: S,
    table: HashMap<EventName, Handler<S>>,
    missing: Handler<S>,
}

impl<S: 'static> Handlers<S> {
    /// A table without handlers, for the projection `name` that begins with `initial`.
    pub fn new(name: impl Into<Cow<'static, str>>, initial: S) -> Self {
        let missing = |_: &mut S, event: &StoredEvent| {
            Err(format!("no handler for event {}", event.name()).into())
        };
        Self { name: name.into(), initial, table: HashMap::new(), missing: Box::new(missing) }
    }

    /// Handles events of this name; an alias is a second call with the other name.
    ///
    /// # Panics
    /// When `event` is not a valid event name or has a handler already: a mistake of the program, found as soon
    /// as the table is made.
    #[must_use]
    #[track_caller]
    pub fn on(
        mut self,
        event: &'static str,
        handler: impl Fn(&mut S, &StoredEvent) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        let before = self.table.insert(EventName::from_static(event), Box::new(handler));
        assert!(before.is_none(), "event {event} has a handler already");
        self
    }

    /// Skips events without a handler.
    #[must_use]
    pub fn ignore_missing(self) -> Self {
        self.on_missing(|_, _| Ok(()))
    }

    /// Handles events that have no handler of their own.
    #[must_use]
    pub fn on_missing(
        mut self,
        handler: impl Fn(&mut S, &StoredEvent) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.missing = Box::new(handler);
        self
    }
}

impl<S: Clone> Projector for Handlers<S> {
    type State = S;

    fn initial(&self) -> S {
        self.initial.clone()
    }

    fn apply(&self, state: &mut S, event: &StoredEvent) -> Result<(), BoxError> {
        self.table.get(event.name()).unwrap_or(&self.missing)(state, event)
    }

    fn name(&self) -> Cow<'_, str> {
        self.name.as_ref().into()
    }
}

impl<S> fmt::Debug for Handlers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.table.keys().collect();
        names.sort();
        f.debug_struct("Handlers")
            .field("name", &self.name)
            .field("on", &names)
            .finish_non_exhaustive()
    }
}
