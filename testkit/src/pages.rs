//! What holds of the pages of every read (rule R5).

use annals::{Capabilities, Direction, Page, Query, ReadOptions, SequenceNumber};

use crate::engine::{Failure, Outcome, ensure};

/// The pages of a read so far, judged by what each says of those before it.
pub(crate) struct Pages {
    query: Query,
    options: ReadOptions,
    keeps_order: bool,
    /// How far the read has come; `None` before its first page.
    through: Option<SequenceNumber>,
    last: Option<SequenceNumber>,
    count: u64,
    at_head: bool,
}

impl Pages {
    pub(crate) fn new(capabilities: &Capabilities, query: &Query, options: ReadOptions) -> Self {
        let keeps_order = capabilities.keeps_order(query);
        let query = query.clone();
        Self { query, options, keeps_order, through: None, last: None, count: 0, at_head: false }
    }

    /// Judges the next page.
    pub(crate) fn take(&mut self, page: &Page) -> Outcome {
        let judged = self.judge(page);
        let about = || {
            let (events, head) =
                (page.events.len(), if page.at_head { ", at the head" } else { "" });
            let before = self.through.map_or("none".to_owned(), |through| through.to_string());
            format!(
                "a page of {events} events through {}{head}, after one through {before}, of {} ({:?})",
                page.through, self.query, self.options
            )
        };
        judged.map_err(|failure| failure.in_context(about()))?;
        self.count += page.events.len() as u64;
        self.last = page.events.last().map(|event| event.sequence_number).or(self.last);
        self.through = Some(page.through);
        self.at_head = page.at_head;
        Ok(())
    }

    fn judge(&self, page: &Page) -> Outcome {
        ensure!(!self.at_head || self.options.follow, "a plain read went on past the head");
        self.within_claims(page)?;
        let mut numbers = page.events.iter().map(|event| event.sequence_number);
        let last = numbers.next_back().or(self.last);
        let count = self.count + page.events.len() as u64;
        let is_full = self.options.limit.is_some_and(|limit| count >= limit);
        ensure!(
            self.options.limit.is_none_or(|limit| count <= limit),
            "{count} events are more than its limit"
        );
        ensure!(!(is_full && page.at_head), "the limit ends the read, not the head");
        if is_full && let Some(last) = last {
            ensure!(page.through == last, "the limit ends the read at its last event {last}");
        }
        if is_full && last.is_none() && self.options.direction == Direction::Forward {
            ensure!(page.through == self.options.after, "a read of no events claims something");
        }
        if !self.keeps_order
            && let Some(last) = last
        {
            ensure!(page.through == last, "a read wider than the order claims more than {last}");
        }
        if page.at_head && self.keeps_order { self.judge_end(page) } else { Ok(()) }
    }

    /// What a page returns lies after all that was claimed before, and within what it claims itself.
    fn within_claims(&self, page: &Page) -> Outcome {
        let numbers = page.events.iter().map(|event| event.sequence_number);
        match self.options.direction {
            Direction::Forward => {
                let before = self.through.unwrap_or(self.options.after);
                // A read that begins beyond the head says where the head is.
                let begins_beyond =
                    self.through.is_none() && page.events.is_empty() && page.at_head;
                ensure!(page.through >= before || begins_beyond, "the pages go back");
                for number in numbers {
                    ensure!(number > before, "event {number} was claimed before");
                    ensure!(number <= page.through, "event {number} is beyond what is claimed");
                }
                let until = self.options.until.map(|until| until.max(self.options.after));
                ensure!(
                    until.is_none_or(|until| page.through <= until),
                    "it claims past its bound"
                );
            }
            Direction::Backward => {
                for number in numbers {
                    let before = self.through;
                    ensure!(
                        before.is_none_or(|it| number < it),
                        "event {number} was claimed before"
                    );
                    ensure!(number >= page.through, "event {number} is beyond what is claimed");
                }
                ensure!(self.through.is_none_or(|it| page.through <= it), "the pages go back");
            }
        }
        Ok(())
    }

    fn judge_end(&self, page: &Page) -> Outcome {
        let ReadOptions { after, until, direction, .. } = self.options;
        let lowest = SequenceNumber::new(after.value().saturating_add(1));
        let expected = match (direction, until) {
            // With `after` at or beyond its upper bound, which is at most the head, it claims nothing.
            (Direction::Backward, _) => Some(page.through.min(lowest))
                .filter(|_| self.count == 0 && page.events.is_empty())
                .or(Some(lowest)),
            (Direction::Forward, Some(until)) if until < after => Some(after),
            _ => None,
        };
        let is_right = expected.is_none_or(|expected| page.through == expected);
        ensure!(is_right, "a whole read comes to {}", expected.unwrap_or_default());
        Ok(())
    }

    /// Judges that the read ends here, without an error.
    pub(crate) fn end(&self) -> Outcome {
        let is_full = self.options.limit.is_some_and(|limit| self.count >= limit);
        let about = || format!("a read of {} ({:?})", self.query, self.options);
        if self.through.is_none() {
            return Err(Failure::new(format!("{} ended without a page", about())));
        }
        ensure!(self.at_head || is_full, "{} ended before the head and its limit", about());
        Ok(())
    }
}
