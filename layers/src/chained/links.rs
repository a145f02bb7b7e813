//! The links of a stream, page by page.

use annals::{Error, EventPages, Result, SequenceNumber};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::reading::Reading;
use crate::link::{Hash, Link, Method};

/// The links of the events of `pages`, which are those of one stream from its first on.
pub(super) fn of(
    pages: EventPages,
    reading: Reading,
    method: Method,
    after: SequenceNumber,
    name: String,
) -> BoxStream<'static, Result<Vec<Link>>> {
    let last = Hash::GENESIS;
    let walk = Walk { pages: Some(pages), failed: None, reading, method, after, name, last };
    stream::unfold(walk, |mut walk| async move {
        let links = walk.next().await?;
        Some((links, walk))
    })
    .boxed()
}

struct Walk {
    /// `None` after an error.
    pages: Option<EventPages>,
    /// The error that comes behind the links before it.
    failed: Option<Error>,
    reading: Reading,
    method: Method,
    after: SequenceNumber,
    name: String,
    /// The hash of the event before the next one.
    last: Hash,
}

impl Walk {
    async fn next(&mut self) -> Option<Result<Vec<Link>>> {
        let error = match self.failed.take() {
            Some(error) => error,
            None => match self.step().await.transpose()? {
                Ok(links) => return Some(Ok(links)),
                Err(error) => error,
            },
        };
        self.pages = None;
        Some(Err(error))
    }

    /// The links of the next page that has events; `None` after the last.
    async fn step(&mut self) -> Result<Option<Vec<Link>>> {
        while let Some(pages) = &mut self.pages {
            let Some(page) = pages.next().await.transpose()? else { return Ok(None) };
            let mut links = Vec::with_capacity(page.events.len());
            for event in &page.events {
                match self.reading.fold(&self.method, self.after, event) {
                    Ok(hash) => {
                        let previous = std::mem::replace(&mut self.last, hash);
                        let (position, event) = (event.position, event.id());
                        links.push(Link { position, event, previous, hash });
                    }
                    Err(error) => {
                        self.failed = Some(error.at(&self.name, "read"));
                        break;
                    }
                }
            }
            if !links.is_empty() {
                return Ok(Some(links));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
        }
        Ok(None)
    }
}
