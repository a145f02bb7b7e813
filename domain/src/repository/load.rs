//! How an aggregate is loaded: from the cache, from a snapshot, or from its first event, and forward by what the log has
//! after it.

use std::sync::Arc;

use annals::{Position, ReadOptions, StreamId};
use futures_util::StreamExt;

use super::Repository;
use crate::error::{Error, Result};
use crate::loaded::Loaded;
use crate::state::Aggregate;

impl<A: Aggregate> Repository<A> {
    pub(super) fn cached_entry(&self, stream: &StreamId) -> Option<Arc<Loaded<A>>> {
        self.cache.as_ref().and_then(|cache| cache.get(stream))
    }

    pub(super) fn keep(&self, stream: &StreamId, loaded: &Arc<Loaded<A>>) {
        if let Some(cache) = &self.cache
            && loaded.version > 0
        {
            cache.put(stream, loaded);
        }
    }

    /// The current state: from `base`, from the cache, from a snapshot, or from the first event.
    pub(super) async fn load(
        &self,
        stream: &StreamId,
        base: Option<Arc<Loaded<A>>>,
    ) -> Result<Arc<Loaded<A>>> {
        let base = base.or_else(|| self.cached_entry(stream));
        self.load_until(stream, base, None).await
    }

    pub(super) async fn load_until(
        &self,
        stream: &StreamId,
        base: Option<Arc<Loaded<A>>>,
        until: Option<Position>,
    ) -> Result<Arc<Loaded<A>>> {
        if let Some(base) = base
            && let Some(loaded) = self.forward(stream, base, until).await?
        {
            return Ok(loaded);
        }
        let at_most = until.map_or(u64::MAX, |until| until.value().saturating_add(1));
        if let Some(snapshots) = &self.snapshots
            && let Some(base) = snapshots.load(stream, at_most).await
        {
            let version = base.version;
            if let Some(loaded) = self.forward(stream, Arc::new(base), until).await? {
                self.keep(stream, &loaded);
                return Ok(loaded);
            }
            tracing::warn!(%stream, version, "annals.snapshot_of_another_log");
        }
        let fresh = self.forward(stream, Arc::new(Loaded::new()), until).await?;
        fresh.ok_or_else(|| Error::not_found(stream))
    }

    /// Folds what the log has after `base`. The read begins at the last event of `base`; `None` if the log has another
    /// one there: `base` belongs to another history.
    async fn forward(
        &self,
        stream: &StreamId,
        base: Arc<Loaded<A>>,
        until: Option<Position>,
    ) -> Result<Option<Arc<Loaded<A>>>> {
        let mut options = ReadOptions::default();
        // Both say the same. The index of a stream is sorted by number in SQLite, and by position in PostgreSQL.
        if let Some(before) = base.last.and_then(|last| last.sequence_number.prev())
            && let Some(position) = base.next().prev()
        {
            options = options.after(before).from_position(position);
        }
        if let Some(until) = until {
            options = options.until_position(until);
        }
        let mut pages = self.commands.store.pages(stream.clone(), options);
        let mut proven = base.last.is_none();
        let mut base = Some(base);
        let mut loaded = None;
        let mut at_head = false;
        while !at_head && let Some(page) = pages.next().await {
            let page = page?;
            at_head = page.at_head;
            let mut events = page.events.as_slice();
            if !proven && let Some((first, rest)) = events.split_first() {
                if !base.as_ref().is_some_and(|base| base.ends_with(first)) {
                    break;
                }
                (proven, events) = (true, rest);
            }
            if events.is_empty() {
                continue;
            }
            if let Some(base) = base.take() {
                if let Some(cache) = &self.cache {
                    cache.remove(stream, &base);
                }
                loaded = Some(Arc::unwrap_or_clone(base));
            }
            if let Some(loaded) = &mut loaded {
                events.iter().try_for_each(|event| loaded.apply(event, self.unknown))?;
            }
        }
        if !proven {
            if let (Some(cache), Some(base)) = (&self.cache, &base) {
                cache.remove(stream, base);
            }
            return Ok(None);
        }
        let Some(loaded) = loaded else { return Ok(base) };
        let loaded = Arc::new(loaded);
        self.keep(stream, &loaded);
        Ok(Some(loaded))
    }
}
