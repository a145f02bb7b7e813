//! Saving aggregates of any types in one append.

use annals::{Append, Context, EventStore, StoredEvent};

use crate::error::{Error, Result};
use crate::resolve::{self, Written};
use crate::retry::Retry;
use crate::root::Root;
use crate::state::Aggregate;

/// An aggregate with events that may be pending: a [`Root`] of any type.
pub trait Unsaved: sealed::Sealed + Send {}

mod sealed {
    use super::{Append, Context, Result, StoredEvent};

    #[expect(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {
        /// What is to be appended; `None` if nothing is pending.
        fn write(&self, context: &Context) -> Result<Option<Append>>;

        /// Its pending events are in the log.
        fn saved(&mut self, stored: &[StoredEvent]);
    }
}

impl<A: Aggregate> Unsaved for Root<A> {}

impl<A: Aggregate> sealed::Sealed for Root<A> {
    fn write(&self, context: &Context) -> Result<Option<Append>> {
        if self.pending().is_empty() {
            return Ok(None);
        }
        let stamped = self.pending().iter().map(|event| context.stamp(event.clone()));
        let events = stamped.collect::<annals::Result<Vec<_>>>()?;
        Ok(Some(Append::new(self.stream().clone(), events, self.is_current())))
    }

    fn saved(&mut self, stored: &[StoredEvent]) {
        let own = stored.iter().rfind(|event| event.stream == *self.stream());
        Self::saved(self, own);
    }
}

/// Saves what is pending in all of `roots`, in one append: all or nothing. Returns the events as stored, root by root;
/// none if nothing is pending. An answer that was lost is resolved inside, so that each event is stored once.
///
/// # Errors
/// [`Error::Conflict`] if one of them was changed meanwhile; [`Error::Store`] with those of the append. Everything stays
/// pending, and the same save may be tried again.
///
/// # Cancel safety
/// If it is dropped, all or nothing is stored and everything stays pending; the same save may be tried again.
pub async fn save(
    store: &EventStore,
    context: &Context,
    roots: &mut [&mut dyn Unsaved],
) -> Result<Vec<StoredEvent>> {
    save_with(store, context, Retry::default(), roots).await
}

pub(crate) async fn save_with(
    store: &EventStore,
    context: &Context,
    retry: Retry,
    roots: &mut [&mut dyn Unsaved],
) -> Result<Vec<StoredEvent>> {
    let mut writes = Vec::with_capacity(roots.len());
    for root in roots.iter() {
        writes.extend(root.write(context)?);
    }
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let written = resolve::append(store, writes, retry).await;
    let (Written::Now(stored) | Written::Before { stored, .. }) =
        written.map_err(|error| Error::of_attempt(error, 1))?;
    for root in roots.iter_mut() {
        root.saved(&stored);
    }
    Ok(stored)
}
