//! The file, and what is known of it. Everything here blocks, and runs while nobody else may use the file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use annals::adapter::Facts;
use annals::{
    Append, Direction, Error, Page, Position, Query, ReadOptions, Result, SequenceNumber,
    StoredEvent,
};
use time::OffsetDateTime;

use crate::index::{Index, Span};
use crate::record::{HEADER, decode, encode, next_batch};

/// The first line of every file: no other file is ever taken for a store, and cut.
const MAGIC: &[u8] = b"annals-file 1\n";

/// How many events a page looks at.
const LOOKS: usize = 256;

/// A log in a file. Its user holds the lock of the file.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// Up to here the file is known, and whole.
    end: u64,
    index: Index,
}

/// A read, and what is left of it.
pub(crate) struct Scan {
    query: Query,
    options: ReadOptions,
    left: ReadOptions,
    /// The head as the first page saw it: the read ends there, however fast others append.
    head: Option<SequenceNumber>,
}

impl Scan {
    pub(crate) fn new(query: Query, options: ReadOptions) -> Self {
        Self { query, options, left: options, head: None }
    }
}

impl Log {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // A file survives a power loss only if its folder knows it.
        #[cfg(unix)]
        if let Some(folder) = path.canonicalize()?.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self { file, end: 0, index: Index::default() })
    }

    /// Takes the lock of the file, if no other handle of any process has it.
    pub(crate) fn try_lock(&self) -> Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    pub(crate) fn unlock(&self) {
        // It fails only when the file is closed, and then nobody has the lock.
        let _ = self.file.unlock();
    }

    /// Takes up what other handles appended, and cuts off what a crash left of an append that was never
    /// acknowledged.
    pub(crate) fn catch_up(&mut self) -> Result<()> {
        if self.end == 0 {
            self.begin()?;
        }
        let len = self.file.metadata().map_err(failed)?.len();
        if len < self.end {
            return corrupt("the file is shorter than it was");
        }
        let mut reader = BufReader::new(&self.file);
        reader.seek(SeekFrom::Start(self.end)).map_err(failed)?;
        while let Some(batch) = next_batch(&mut reader).map_err(failed)? {
            self.end += batch.header as u64;
            for line in batch.lines.split_inclusive(|byte| *byte == b'\n') {
                let event = decode(line).map_err(Error::corrupt)?;
                self.index.add(&event, Span { start: self.end, len: line.len() })?;
                self.end += line.len() as u64;
            }
        }
        if self.end < len { self.cut() } else { Ok(()) }
    }

    /// Begins a new file; refuses one that is something else.
    fn begin(&mut self) -> Result<()> {
        let mut start = Vec::new();
        (&self.file).seek(SeekFrom::Start(0)).map_err(failed)?;
        (&self.file).take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
        if !MAGIC.starts_with(&start) {
            return corrupt("the file is no event store");
        }
        if start.len() < MAGIC.len() {
            self.write_at(0, MAGIC).map_err(failed)?;
        }
        self.end = MAGIC.len() as u64;
        Ok(())
    }

    /// Cuts off an end that no whole batch follows: a batch that does was acknowledged, so its place is damaged.
    fn cut(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        (&self.file).seek(SeekFrom::Start(self.end)).map_err(failed)?;
        (&self.file).read_to_end(&mut rest).map_err(failed)?;
        let headers = rest.windows(HEADER.len()).enumerate().filter(|(_, bytes)| *bytes == HEADER);
        for (start, _) in headers {
            let mut after = rest.get(start..).unwrap_or_default();
            if next_batch(&mut after).map_err(failed)?.is_some() {
                return corrupt(&format!("the batch at byte {} is damaged", self.end));
            }
        }
        self.truncate().map_err(failed)
    }

    /// All of `writes` or none: everything that can refuse comes before the first byte is written.
    pub(crate) fn append(
        &mut self,
        writes: Vec<Append>,
        recorded_at: OffsetDateTime,
    ) -> Result<Vec<StoredEvent>> {
        let mut events = writes.iter().flat_map(|write| &write.events);
        if let Some(known) = events.find(|event| self.index.contains(event.id)) {
            return Err(Error::DuplicateEvent(known.id));
        }
        for write in &writes {
            write.condition.evaluate(&write.stream, &self.facts(write)?)?;
        }
        let mut stored = Vec::new();
        let mut number = self.index.head();
        for write in writes {
            let first = self.index.len_of(&write.stream);
            for (nth, event) in write.events.into_iter().enumerate() {
                let position = Position::new((first + nth) as u64);
                let full = || Error::invalid("the log has no sequence numbers left");
                number = number.next().ok_or_else(full)?;
                let stream = write.stream.clone();
                stored.push(StoredEvent::new(event, stream, position, number, recorded_at));
            }
        }
        if !stored.is_empty() {
            self.commit(&stored)?;
        }
        Ok(stored)
    }

    /// What the condition of `write` is judged on.
    fn facts(&self, write: &Append) -> Result<Facts> {
        let count = self.index.len_of(&write.stream);
        let head = count.checked_sub(1).map(|last| Position::new(last as u64));
        let queries = write.condition.queries().into_iter();
        let matches = queries.map(|(query, after)| self.first_match(query, after));
        let facts = Facts::new(head).with_matches(matches.collect::<Result<_>>()?);
        if write.condition.needs_last_event() || write.condition.needs_last_id() {
            let last = self.index.last_of(&write.stream);
            return Ok(facts.with_last(last.map(|span| self.event(span)).transpose()?));
        }
        Ok(facts)
    }

    fn first_match(&self, query: &Query, after: SequenceNumber) -> Result<Option<SequenceNumber>> {
        let options = ReadOptions::default().after(after);
        for span in self.index.candidates(query, options) {
            let event = self.event(span)?;
            if query.matches(&event) {
                return Ok(Some(event.sequence_number));
            }
        }
        Ok(None)
    }

    /// Writes a batch and waits until it is on disk. On an error nothing is written, or that is unknown.
    fn commit(&mut self, events: &[StoredEvent]) -> Result<()> {
        let batch = encode(events).map_err(Error::invalid)?;
        if let Err(error) = self.write_at(self.end, &batch) {
            return Err(match self.truncate() {
                Ok(()) => failed(error),
                Err(_) => Error::outcome_unknown(error),
            });
        }
        // The index learns from the file only, here as after a restart.
        self.catch_up().map_err(Error::outcome_unknown)
    }

    fn write_at(&self, start: u64, bytes: &[u8]) -> io::Result<()> {
        (&self.file).seek(SeekFrom::Start(start))?;
        (&self.file).write_all(bytes)?;
        self.file.sync_data()
    }

    fn truncate(&self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync_all()
    }

    /// The next page of a read, and what is left after it.
    pub(crate) fn page(&self, mut scan: Scan) -> Result<(Page, Option<Scan>)> {
        let head = *scan.head.get_or_insert(self.index.head());
        let mut left = scan.left.until(head);
        let mut page = Page::new(Vec::new(), left.begin(head));
        let mut spans = self.index.candidates(&scan.query, left);
        for span in spans.by_ref().take(LOOKS) {
            if left.limit == Some(0) {
                break;
            }
            let event = self.event(span)?;
            page.through = event.sequence_number;
            left = match left.direction {
                Direction::Forward => left.after(event.sequence_number),
                Direction::Backward => left.until(before(event.sequence_number)),
            };
            if left.allows_position(event.position) && scan.query.matches(&event) {
                left.limit = left.limit.map(|limit| limit - 1);
                page.events.push(event);
            }
        }
        if left.limit == Some(0) {
            return Ok((page, None));
        }
        if spans.next().is_none() {
            page.through = scan.options.end(head);
            return Ok((page.at_head(), None));
        }
        drop(spans);
        scan.left = left;
        Ok((page, Some(scan)))
    }

    fn event(&self, span: Span) -> Result<StoredEvent> {
        let mut line = vec![0; span.len];
        (&self.file).seek(SeekFrom::Start(span.start)).map_err(failed)?;
        (&self.file).read_exact(&mut line).map_err(failed)?;
        decode(&line).map_err(Error::corrupt)
    }
}

/// The number before that of an event, which is at least 1.
fn before(number: SequenceNumber) -> SequenceNumber {
    SequenceNumber::new(number.value() - 1)
}

fn failed(error: io::Error) -> Error {
    Error::backend(error)
}

fn corrupt<T>(what: &str) -> Result<T> {
    Err(Error::corrupt(what))
}
