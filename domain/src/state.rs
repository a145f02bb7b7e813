//! State that is folded from events.

use std::fmt::Display;

use annals::{CategoryName, StreamId};

use crate::error::Result;
use crate::event::Event;

/// State that events change: what a decision looks at. Every [`Aggregate`] is one; others are folded by a
/// [`Slice`](crate::Slice).
pub trait State: Default + Clone + Send + Sync + 'static {
    /// What changes it.
    type Event: Event;

    /// Changes it by an event that has happened. It cannot fail: to judge is for the decision.
    fn apply(&mut self, event: Self::Event);
}

/// State with a stream of its own.
///
/// `Default` is the state before the first event. A command is a function from the state to events:
///
/// ```
/// use annals_domain::{Aggregate, Event};
///
/// #[derive(Event)]
/// enum WorldEvent {
///     #[event(name = "World.Created")]
///     Created { name: String },
///     #[event(name = "World.SomethingHappened")]
///     SomethingHappened { what: String },
/// }
///
/// #[derive(Clone, Default)]
/// struct World {
///     name: String,
///     history: Vec<String>,
/// }
///
/// impl Aggregate for World {
///     const CATEGORY: &'static str = "worlds";
///     type Id = String;
///     type Event = WorldEvent;
///
///     fn apply(&mut self, event: WorldEvent) {
///         match event {
///             WorldEvent::Created { name } => self.name = name,
///             WorldEvent::SomethingHappened { what } => self.history.push(what),
///         }
///     }
/// }
///
/// impl World {
///     fn make_it_so(&self, what: &str) -> WorldEvent {
///         WorldEvent::SomethingHappened { what: what.to_owned() }
///     }
/// }
/// ```
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    /// The category of its streams. Two types with one category share streams, so each has its own. One that is no name, or
    /// begins with `annals.`, does not compile once the aggregate is used.
    const CATEGORY: &'static str;
    /// What identifies one of them: its text names the stream.
    type Id: Display + Clone + Send + Sync + 'static;
    /// What changes it.
    type Event: Event;

    /// Changes it by an event that has happened. It cannot fail: to judge is for the decision.
    fn apply(&mut self, event: Self::Event);

    /// [`CATEGORY`](Self::CATEGORY), checked when the program is compiled.
    #[must_use]
    fn category() -> CategoryName {
        const { category(Self::CATEGORY) }
    }

    /// The stream of the aggregate with this id.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) (`Invalid`) if the id's text is no name of a stream.
    fn stream(id: &Self::Id) -> Result<StreamId> {
        Ok(StreamId::new(Self::category(), id.to_string())?)
    }
}

/// A category that applications may use.
const fn category(text: &'static str) -> CategoryName {
    let bytes = text.as_bytes();
    let reserved = matches!(bytes, [b'a', b'n', b'n', b'a', b'l', b's', b'.', ..]);
    assert!(!reserved, "categories that begin with `annals.` are reserved");
    CategoryName::from_static(text)
}

impl<A: Aggregate> State for A {
    type Event = A::Event;

    fn apply(&mut self, event: Self::Event) {
        Aggregate::apply(self, event);
    }
}

/// Rule E6 for categories: only a build finds out, which a test of `cargo check` does not see.
#[cfg(doctest)]
macro_rules! e6_category {
    ($name:ident, $fence:literal, $category:literal) => {
        #[doc = concat!(
            "```", $fence, "\n",
            "use annals_domain::{Aggregate, Event};\n",
            "#[derive(Event)]\n#[event(name = \"opened\")]\nstruct Opened;\n",
            "#[derive(Clone, Default)]\nstruct Account;\n",
            "impl Aggregate for Account {\n",
            "    const CATEGORY: &'static str = ", stringify!($category), ";\n",
            "    type Id = String;\n    type Event = Opened;\n    fn apply(&mut self, _: Opened) {}\n}\n",
            "assert!(Account::stream(&\"ann\".to_owned()).is_ok());\n",
            "```",
        )]
        #[allow(dead_code)]
        struct $name;
    };
}

#[cfg(doctest)]
e6_category!(Valid, "", "accounts");
#[cfg(doctest)]
e6_category!(Empty, "compile_fail,E0080", "");
#[cfg(doctest)]
e6_category!(Reserved, "compile_fail,E0080", "annals.accounts");
#[cfg(doctest)]
e6_category!(Control, "compile_fail,E0080", "a\nb");
