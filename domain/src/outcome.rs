//! What a decision returns.

use std::convert::Infallible;

use crate::event::Event;

/// What a decision may return: an event, an array, a `Vec` or an `Option` of them, or a `Result` of any of these, whose
/// error rejects the command.
pub trait Outcome<E> {
    /// Why a command is rejected.
    type Error;

    /// The events, in order; none if nothing happens.
    ///
    /// # Errors
    /// The rejection.
    fn into_events(self) -> Result<Vec<E>, Self::Error>;
}

impl<E: Event> Outcome<E> for E {
    type Error = Infallible;

    fn into_events(self) -> Result<Vec<E>, Infallible> {
        Ok(vec![self])
    }
}

macro_rules! collections {
    ($([$($generic:tt)*] $collection:ty;)*) => {$(
        impl<$($generic)*> Outcome<E> for $collection {
            type Error = Infallible;

            fn into_events(self) -> Result<Vec<E>, Infallible> {
                Ok(self.into_iter().collect())
            }
        }
    )*};
}

collections! {
    [E: Event] Vec<E>;
    [E: Event] Option<E>;
    [E: Event, const N: usize] [E; N];
}

impl<E, O: Outcome<E, Error = Infallible>, X> Outcome<E> for Result<O, X> {
    type Error = X;

    fn into_events(self) -> Result<Vec<E>, X> {
        self.map(|events| match events.into_events() {
            Ok(events) => events,
            Err(never) => match never {},
        })
    }
}
