//! Reads of a fork: the base up to its end, and the overlay behind it.

use std::sync::Arc;

use annals::{
    Direction, Error, EventPages, Page, Position, Query, ReadOptions, Result, SequenceNumber,
    Source, StorageAdapter,
};
use futures_util::{StreamExt, stream};

use super::{Parts, length};

/// Which part is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Base,
    Overlay,
}

struct Reading<B, O> {
    parts: Arc<Parts<B, O>>,
    query: Query,
    options: ReadOptions,
    /// The part that is read, and whether the other one comes after it.
    part: Part,
    other_follows: bool,
    pages: Option<EventPages>,
    left: Option<u64>,
    is_done: bool,
}

pub(super) fn pages<B: StorageAdapter, O: StorageAdapter>(
    parts: Arc<Parts<B, O>>,
    query: Query,
    options: ReadOptions,
) -> EventPages {
    let at = parts.at();
    let reaches_base = options.after < at;
    let reaches_overlay = options.until.is_none_or(|until| until > at);
    let (part, other_follows) = match options.direction {
        Direction::Forward if reaches_base => (Part::Base, reaches_overlay),
        Direction::Forward => (Part::Overlay, false),
        Direction::Backward if reaches_overlay => (Part::Overlay, reaches_base),
        Direction::Backward => (Part::Base, false),
    };
    let left = options.limit;
    let reading =
        Reading { parts, query, options, part, other_follows, pages: None, left, is_done: false };
    stream::unfold(reading, |mut reading| async {
        let page = reading.next().await.transpose()?;
        reading.is_done |= page.is_err();
        Some((page, reading))
    })
    .boxed()
}

impl<B: StorageAdapter, O: StorageAdapter> Reading<B, O> {
    async fn next(&mut self) -> Result<Option<Page>> {
        while !self.is_done {
            self.parts.check_open()?;
            let pages = match &mut self.pages {
                Some(pages) => pages,
                none => {
                    let pages = match self.part {
                        Part::Base => self.parts.base.read(
                            self.query.clone(),
                            base(&self.options, self.left, self.parts.at()),
                        ),
                        Part::Overlay => {
                            let options =
                                overlay(&self.parts, &self.query, &self.options, self.left).await?;
                            self.parts.overlay.read(self.query.clone(), options)
                        }
                    };
                    none.insert(pages)
                }
            };
            let page = match pages.next().await.transpose() {
                Ok(page) => page,
                Err(error) => return Err(self.error(error)),
            };
            let Some(mut page) = page else {
                // It ended by its limit.
                self.is_done = true;
                return Ok(None);
            };
            let is_end = page.at_head;
            if self.part == Part::Overlay {
                page = translated(&Arc::clone(&self.parts), page).await?;
            } else if self.options.direction == Direction::Forward && is_end {
                // A base whose head is the fork's end, or beyond it.
                page.through = page.through.max(self.options.after);
            }
            self.left = self.left.map(|left| left.saturating_sub(page.events.len() as u64));
            if is_end && self.other_follows && self.left != Some(0) {
                page.at_head = false;
                self.part = if self.part == Part::Base { Part::Overlay } else { Part::Base };
                self.other_follows = false;
                self.pages = None;
                if page.events.is_empty() {
                    // The other part says how far the read has come.
                    continue;
                }
            }
            return Ok(Some(page));
        }
        Ok(None)
    }

    fn error(&self, error: Error) -> Error {
        match (self.part, error) {
            (Part::Overlay, Error::AheadOfLog { after, head }) => {
                Error::AheadOfLog { after: self.parts.number(after), head: self.parts.number(head) }
            }
            (_, error) => error,
        }
    }
}

fn base(options: &ReadOptions, left: Option<u64>, at: SequenceNumber) -> ReadOptions {
    let mut options = *options;
    options.limit = left;
    // Up to the end of the fork's part it is there already: nothing needs to be waited for.
    options.follow = false;
    options.until(at)
}

async fn overlay<B: StorageAdapter, O: StorageAdapter>(
    parts: &Parts<B, O>,
    query: &Query,
    options: &ReadOptions,
    left: Option<u64>,
) -> Result<ReadOptions> {
    let mut options = *options;
    options.limit = left;
    options.after = parts.below(options.after);
    options.until = options.until.map(|until| parts.below(until));
    if options.from_position.or(options.until_position).is_some()
        && let Some(Source::Stream(stream)) = query.scope()
    {
        let length = length(parts.end(&stream).await?.as_ref());
        let less = |at: Position| Position::new(at.value().saturating_sub(length));
        if options.until_position.is_some_and(|until| until.value() < length) {
            // All of it is in the base: here is nothing between these two.
            options.from_position = Some(Position::new(1));
            options.until_position = Some(Position::FIRST);
        } else {
            options.from_position = options.from_position.map(less);
            options.until_position = options.until_position.map(less);
        }
    }
    Ok(options)
}

async fn translated<B: StorageAdapter, O: StorageAdapter>(
    parts: &Parts<B, O>,
    page: Page,
) -> Result<Page> {
    let mut translated =
        Page::new(Vec::with_capacity(page.events.len()), parts.number(page.through));
    translated.at_head = page.at_head;
    for event in page.events {
        translated.events.push(parts.translate(event).await?);
    }
    Ok(translated)
}
