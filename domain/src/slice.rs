//! Slices: state that is folded from the events of a query, as part of a decision.

use annals::{InvalidName, Query, QueryItem, Source, StoredEvent, Tag, Tags};

use crate::error::Result;
use crate::event::{Event, Unknown, decode_or};
use crate::kind::Kind;
use crate::state::State;

/// The state of one thing that a decision looks at: folded from all events of `S::Event` that have certain tags.
#[derive(Debug, Clone)]
pub struct Slice<S> {
    item: QueryItem,
    state: S,
}

impl<S: State> Slice<S> {
    /// The events that have all of these tags, wherever they are.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) (`Invalid`) for the first invalid tag.
    pub fn tagged<T: TryInto<Tag, Error: Into<InvalidName>>>(
        tags: impl IntoIterator<Item = T>,
    ) -> Result<Self> {
        let mut slice = Self::all();
        slice.item = slice.item.with_tags(Tags::parse(tags)?);
        Ok(slice)
    }

    /// All events of `S::Event`, wherever they are.
    #[must_use]
    pub fn all() -> Self {
        let names = Kind::names_of(S::Event::KINDS).collect();
        let mut item = QueryItem::new(Source::Log);
        item.names = Some(names);
        Self { item, state: S::default() }
    }

    /// Only those in this category or stream.
    #[must_use]
    pub fn within(mut self, source: impl Into<Source>) -> Self {
        self.item.source = source.into();
        self
    }

    /// What was folded.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// What was folded, moved out.
    #[must_use]
    pub fn into_state(self) -> S {
        self.state
    }
}

/// What a decision looks at: a [`Slice`], a tuple of two to five of them, or `()` for nothing.
pub trait Slices: Send {
    /// How the decision sees them: `&S` of a `Slice<S>`, a tuple of references of a tuple.
    type View<'a>
    where
        Self: 'a;

    /// What each of them asks for.
    #[doc(hidden)]
    fn items(&self) -> Vec<QueryItem>;

    /// Folds an event that one of them asked for.
    #[doc(hidden)]
    fn apply(&mut self, stored: &StoredEvent) -> Result<()>;

    /// The view.
    #[doc(hidden)]
    fn view(&self) -> Self::View<'_>;
}

/// What all of them ask for: the query of the read and of the condition.
pub(crate) fn query(slices: &impl Slices) -> Query {
    Query::any_of(slices.items())
}

impl<S: State> Slices for Slice<S> {
    type View<'a> = &'a S;

    fn items(&self) -> Vec<QueryItem> {
        vec![self.item.clone()]
    }

    fn apply(&mut self, stored: &StoredEvent) -> Result<()> {
        if self.item.matches(stored)
            && let Some(event) = decode_or(stored, Unknown::Error)?
        {
            self.state.apply(event);
        }
        Ok(())
    }

    fn view(&self) -> &S {
        &self.state
    }
}

impl Slices for () {
    type View<'a> = ();

    fn items(&self) -> Vec<QueryItem> {
        Vec::new()
    }

    fn apply(&mut self, _: &StoredEvent) -> Result<()> {
        Ok(())
    }

    fn view(&self) {}
}

macro_rules! tuples {
    ($(($($part:ident $nth:tt),*))*) => {$(
        impl<$($part: State),*> Slices for ($(Slice<$part>,)*) {
            type View<'a> = ($(&'a $part,)*);

            fn items(&self) -> Vec<QueryItem> {
                vec![$(self.$nth.item.clone()),*]
            }

            fn apply(&mut self, stored: &StoredEvent) -> Result<()> {
                $(self.$nth.apply(stored)?;)*
                Ok(())
            }

            fn view(&self) -> Self::View<'_> {
                ($(&self.$nth.state,)*)
            }
        }
    )*};
}

tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
}
