//! What a program asks a collection: find, find one, count.

use futures_util::TryStreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cursor::Cursor;
use crate::documents::{Documents, Known};
use crate::envelope::{open, typed};
use crate::error::{Result, StateError};
use crate::filter::Filter;
use crate::find::{Find, Found, MAX_LOOKED_AT, Paging, Stored};
use crate::plan::Plan;
use crate::run::{Hits, too_much};
use crate::scan::Along;

/// How often a call starts again because the definition was made again meanwhile.
const MAX_TRIES: u32 = 8;

impl<T: Serialize + DeserializeOwned> Documents<T> {
    /// Finds documents.
    ///
    /// Along an index of this collection a page costs what it returns, and what the filter drops on the way. Otherwise
    /// every document is looked at, or every one of a range, and the best are kept in memory: as many as the pages up to
    /// the one asked for hold, and at most 1 MiB of others, beside one page of the store. Documents of the collection that
    /// change meanwhile may be found as they were or as they are; one that does not change is found.
    ///
    /// # Errors
    /// - [`StateError::Invalid`] if the find makes no sense, goes beyond a bound, or looks at more than
    ///   [`MAX_LOOKED_AT`] documents; it says which index would help.
    /// - [`StateError::DefinitionChanged`] along an index that the store does not have as this program declares it.
    /// - [`StateError::Undecodable`] of a document that was looked at and cannot be read.
    /// - Those of the store.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn find(&self, find: &Find) -> Result<Found<T>> {
        let plan = self.collection.plan(find)?;
        let mut watch = Watch::begin(self, &plan).await?;
        let Hits { hits, more } = loop {
            let result = self.run(find, &plan).await;
            if watch.was_whole(self).await? {
                break result?;
            }
        };
        let fingerprint = find.fingerprint(&self.collection.name)?;
        let cursor = |hit: Option<&crate::run::Hit>| {
            hit.map(|hit| Cursor::at(fingerprint, hit.spot.clone()))
        };
        let (before, after) = match &find.paging {
            Paging::Everything => (false, false),
            Paging::First(_) => (false, more),
            Paging::Offset { page, .. } => (*page > 1, more),
            Paging::After(..) => (true, more),
            Paging::Before(..) => (more, true),
        };
        let next = cursor(hits.last().filter(|_| after));
        let previous = cursor(hits.first().filter(|_| before));
        let documents = hits.into_iter().map(|hit| typed(&self.collection, hit.document));
        Ok(Found { documents: documents.collect::<Result<_>>()?, next, previous })
    }

    /// The one document that matches; `None` if none does.
    ///
    /// # Errors
    /// [`StateError::Several`] if more than one matches, and those of [`Self::find`].
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn find_one(&self, filter: Filter) -> Result<Option<Stored<T>>> {
        let find = Find::default().filter(filter).paging(Paging::First(2));
        let mut found = self.find(&find).await?.documents;
        if found.len() > 1 {
            return Err(StateError::Several(Box::new(self.collection.name.clone())));
        }
        Ok(found.pop())
    }

    /// How many documents match; without a filter, how many there are. Paging does not matter.
    ///
    /// It reads every document that it counts. Of those that do not match it looks at [`MAX_LOOKED_AT`] at most.
    ///
    /// # Errors
    /// Those of [`Self::find`].
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn count(&self, filter: Option<Filter>) -> Result<u64> {
        let find = Find { filter, ..Find::default() };
        let plan = self.collection.plan(&find)?;
        let mut watch = Watch::begin(self, &plan).await?;
        loop {
            let result = self.count_along(&find, &plan).await;
            if watch.was_whole(self).await? {
                return result;
            }
        }
    }

    async fn count_along(&self, find: &Find, plan: &Plan) -> Result<u64> {
        let mut count = 0;
        let mut others = 0;
        for range in &plan.ranges {
            let mut pages = self.store.scan(self.scan_of(&plan.along, range));
            while let Some(page) = pages.try_next().await? {
                let Some(filter) = &find.filter else {
                    count += page.len() as u64;
                    continue;
                };
                for one in page {
                    if filter.holds(&open(&self.collection, &one.document)?.value) {
                        count += 1;
                    } else {
                        others += 1;
                    }
                }
                if others > MAX_LOOKED_AT {
                    return Err(too_much(find));
                }
            }
        }
        Ok(count)
    }
}

/// Makes sure that the index of a plan was whole all the time.
///
/// Each change of the definition makes a revision that never was: if it has the same before and after, nothing
/// happened in between.
struct Watch {
    indexed: bool,
    before: Option<Known>,
    tries: u32,
}

impl Watch {
    /// Begins before the first look at the index.
    async fn begin<T>(documents: &Documents<T>, plan: &Plan) -> Result<Self> {
        let indexed = plan.along != Along::Ids && !plan.ranges.is_empty();
        let before = match documents.remembered() {
            None if indexed => documents.look_up().await?,
            known => known,
        };
        Ok(Self { indexed, before, tries: 0 })
    }

    /// Whether what was read since the last call is all that there was; if not, it must be read again.
    async fn was_whole<T>(&mut self, documents: &Documents<T>) -> Result<bool> {
        if !self.indexed {
            return Ok(true);
        }
        let after = documents.look_up().await?;
        if self.before != after {
            self.before = after;
            self.tries += 1;
            if self.tries == MAX_TRIES {
                let text = "the definition of the collection changes all the time";
                return Err(StateError::unavailable(text));
            }
            return Ok(false);
        }
        if after.is_some_and(|known| known.reindexing) {
            let text = "it is being reindexed, or that was broken off";
            return Err(StateError::definition_changed(&documents.collection.name, text));
        }
        Ok(true)
    }
}
