//! For the authors of typed events and aggregates: golden files of every released payload with a gate against breaking
//! changes, and laws.
//!
//! # Golden files
//! A log keeps payloads for ever, and a program that cannot read one of them finds out when it replays it, months later.
//! [`golden!`](crate::golden) keeps a sample of every released payload in a file beside the tests, and compares the
//! types of today with it:
//!
//! ```
//! use annals_domain::{Aggregate, Event};
//! use annals_testkit::domain::Released;
//!
//! #[derive(Event)]
//! enum WorldEvent {
//!     #[event(name = "World.Created")]
//!     Created { name: String },
//! }
//! # #[derive(Clone, Default)]
//! # struct World;
//! # impl Aggregate for World {
//! #     const CATEGORY: &'static str = "worlds";
//! #     type Id = String;
//! #     type Event = WorldEvent;
//! #     fn apply(&mut self, _: WorldEvent) {}
//! # }
//!
//! fn released() -> Released {
//!     Released::new().aggregate::<World>([WorldEvent::Created { name: "Earth".to_owned() }])
//! }
//!
//! # macro_rules! golden { ($($t:tt)*) => {} }
//! # #[allow(unused)]
//! // Under `#[test]`.
//! fn released_events_stay_readable() {
//!     golden!("tests/golden/worlds.json", released());
//! }
//! # released().compare(&annals_testkit::domain::GoldenFile::new());
//! ```
//!
//! With `ANNALS_UPDATE_GOLDEN=1` the test adds what the file lacks. It never changes or removes what is there, and adds
//! nothing while a change breaks what is there. Samples need fixed values: one with a random id would be new each time.
//! What to do about a refusal is in [`Breaking`].
//!
//! # Laws
//! [`Laws`] proves of an aggregate, for one line, what the domain layer takes for granted: see [`Law`].

mod breaking;
mod file;
mod laws;
mod released;

pub use breaking::Breaking;
pub use file::{GoldenEvent, GoldenFile};
pub use laws::{BrokenLaw, Law, Laws};
pub use released::{Compared, Released, UPDATE};

/// Compares the types of today with the payloads of all releases, in a file whose path begins at the package: see the
/// [module](crate::domain).
///
/// # Panics
/// If a change breaks what was released, or the file lacks something. The message says what, and what to do.
#[macro_export]
macro_rules! golden {
    ($path:literal, $released:expr $(,)?) => {
        $crate::domain::Released::check(
            &$released,
            ::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", $path),
        )
    };
}
