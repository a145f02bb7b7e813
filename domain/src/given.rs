//! Tests of decisions: given events, when a decision is made, then events or a rejection.

use std::fmt::Debug;

use crate::outcome::Outcome;
use crate::state::State;

/// State after events that have happened.
#[derive(Debug, Clone)]
pub struct Given<S>(S);

/// What a decision led to.
#[derive(Debug, Clone)]
#[must_use = "say what is expected"]
pub struct When<E, X>(Result<Vec<E>, X>);

/// The state after `events`: of an aggregate or of a slice, without a store.
///
/// ```
/// use annals_domain::{Event, State, given};
///
/// #[derive(Event, Debug, PartialEq)]
/// #[event(name = "taken")]
/// struct Taken(u32);
///
/// #[derive(Clone, Default)]
/// struct Seats(u32);
///
/// impl State for Seats {
///     type Event = Taken;
///     fn apply(&mut self, taken: Taken) {
///         self.0 += taken.0;
///     }
/// }
///
/// fn take(seats: &Seats, wanted: u32) -> Result<Taken, &'static str> {
///     if seats.0 + wanted > 3 { Err("full") } else { Ok(Taken(wanted)) }
/// }
///
/// given::<Seats>([Taken(2)]).when(|seats| take(seats, 1)).then([Taken(1)]);
/// given::<Seats>([Taken(2)]).when(|seats| take(seats, 2)).then_rejected("full");
/// ```
pub fn given<S: State>(events: impl IntoIterator<Item = S::Event>) -> Given<S> {
    let mut state = S::default();
    events.into_iter().for_each(|event| state.apply(event));
    Given(state)
}

impl<S: State> Given<S> {
    /// The state itself.
    #[must_use]
    pub const fn state(&self) -> &S {
        &self.0
    }

    /// Decides on the state.
    pub fn when<O: Outcome<S::Event>>(
        &self,
        decide: impl FnOnce(&S) -> O,
    ) -> When<S::Event, O::Error> {
        When(decide(&self.0).into_events())
    }
}

impl<E, X: Debug> When<E, X> {
    /// The decision led to exactly these events.
    ///
    /// # Panics
    /// If it led to others, or was rejected.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = E>)
    where
        E: PartialEq + Debug,
    {
        match self.0 {
            Ok(events) => assert_eq!(events, expected.into_iter().collect::<Vec<_>>()),
            Err(rejection) => panic!("the decision was rejected: {rejection:?}"),
        }
    }

    /// The decision was rejected for this reason.
    ///
    /// # Panics
    /// If it was rejected for another, or led to events.
    #[track_caller]
    pub fn then_rejected(self, expected: impl Into<X>)
    where
        E: Debug,
        X: PartialEq,
    {
        match self.0 {
            Ok(events) => panic!("the decision was not rejected, it led to {events:?}"),
            Err(rejection) => assert_eq!(rejection, expected.into()),
        }
    }
}
