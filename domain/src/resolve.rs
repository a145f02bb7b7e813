//! Appends whose answer may be lost: the same ids are appended again, and the log says whether it has them.

use annals::{
    Append, EventStore, KnownIds, NewEvent, Query, QueryItem, ReadOptions, Source, StoredEvent,
};

use crate::retry::Retry;

/// What became of an append.
#[derive(Debug)]
pub(crate) enum Written {
    /// It was made now.
    Now(Vec<StoredEvent>),
    /// Its events were in the log already, each with what it says. `unknown`: perhaps since an attempt of this call.
    Before { stored: Vec<StoredEvent>, unknown: bool },
}

/// Appends all of `writes`, and appends them again while it is unknown whether they were. Sound because a known id is
/// `DuplicateEvent` whatever the conditions (storage.A7), so a repeat writes nothing twice.
pub(crate) async fn append(
    store: &EventStore,
    writes: Vec<Append>,
    retry: Retry,
) -> annals::Result<Written> {
    let mut attempt = 1;
    loop {
        match store.append_reserved(writes.clone()).await {
            Ok(stored) => return Ok(Written::Now(stored.into_vec())),
            Err(error) if error.is_duplicate() => {
                let known = known(store, &writes).await?;
                let unknown = attempt > 1;
                return known.map(|stored| Written::Before { stored, unknown }).ok_or(error);
            }
            Err(error) if error.is_outcome_unknown() && attempt < retry.most() => {
                retry.pause(attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The events of `writes` in the log; `None` if one is missing, elsewhere, or says something else.
async fn known(store: &EventStore, writes: &[Append]) -> annals::Result<Option<Vec<StoredEvent>>> {
    let mut all = Vec::new();
    for write in writes.iter().filter(|write| !write.events.is_empty()) {
        let item = QueryItem::new(Source::Stream(write.stream.clone()));
        let ids = write.events.iter().map(|event| event.id);
        let query: Query = match store.capabilities().known_ids {
            KnownIds::Forever => item.with_ids(ids).into(),
            _ => item.into(),
        };
        let read = store.read(query, ReadOptions::default()).into_vec().await?;
        let found: Option<Vec<StoredEvent>> = write
            .events
            .iter()
            .map(|event| read.iter().find(|stored| is_same(&stored.event, event)).cloned())
            .collect();
        let Some(found) = found else { return Ok(None) };
        let runs = found.windows(2).all(|pair| match pair {
            [one, next] => one.position.next() == Some(next.position),
            _ => true,
        });
        if !runs {
            return Ok(None);
        }
        all.extend(found);
    }
    Ok(Some(all))
}

/// Whether both are one event. Metadata is not compared: who appends again may have another context.
fn is_same(one: &NewEvent, other: &NewEvent) -> bool {
    one.id == other.id && one.name == other.name && one.payload == other.payload
}
