//! What to read: sources, queries, options.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{StoredEvent, Tags};
use crate::name::{CategoryName, EventName, InvalidName, StreamId};
use crate::position::SequenceNumber;

/// A whole log, one of its categories, or one stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", content = "name", rename_all = "lowercase")]
pub enum Source {
    /// Every event.
    Log,
    /// The events of all streams of a category.
    Category(CategoryName),
    /// The events of one stream.
    Stream(StreamId),
}

impl Source {
    /// Whether the events of `stream` are part of it.
    #[must_use]
    pub fn contains(&self, stream: &StreamId) -> bool {
        match self {
            Self::Log => true,
            Self::Category(category) => *category == stream.category,
            Self::Stream(id) => id == stream,
        }
    }

    /// The narrowest source that holds both.
    fn join(self, other: &Self) -> Self {
        match (&self, other) {
            (Self::Stream(a), Self::Stream(b)) if a == b => self,
            (Self::Log, _) | (_, Self::Log) => Self::Log,
            _ if self.category() == other.category() => {
                self.category().cloned().map_or(Self::Log, Self::Category)
            }
            _ => Self::Log,
        }
    }

    fn category(&self) -> Option<&CategoryName> {
        match self {
            Self::Log => None,
            Self::Category(category) => Some(category),
            Self::Stream(stream) => Some(&stream.category),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str("the log"),
            Self::Category(category) => write!(f, "category {category}"),
            Self::Stream(stream) => write!(f, "stream {stream}"),
        }
    }
}

impl From<CategoryName> for Source {
    fn from(category: CategoryName) -> Self {
        Self::Category(category)
    }
}

impl From<StreamId> for Source {
    fn from(stream: StreamId) -> Self {
        Self::Stream(stream)
    }
}

/// One alternative of a [`Query`]: events of `source` that bear any of `names` and all of `tags`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QueryItem {
    /// Where to look.
    pub source: Source,
    /// The event has one of these names. None given: no restriction.
    pub names: Vec<EventName>,
    /// The event has all of these tags. None given: no restriction.
    pub tags: Tags,
}

impl QueryItem {
    /// Every event of `source`.
    #[must_use]
    pub fn new(source: impl Into<Source>) -> Self {
        Self { source: source.into(), names: Vec::new(), tags: Tags::NONE }
    }

    /// Restricts it to events with one of these names.
    ///
    /// # Errors
    /// [`InvalidName`] of the first that is none.
    pub fn with_names<N: TryInto<EventName, Error: Into<InvalidName>>>(
        mut self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, InvalidName> {
        let names = names.into_iter().map(|name| name.try_into().map_err(Into::into));
        self.names = names.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Restricts it to events that bear all of `tags`.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Whether the item asks for `event`.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        self.source.contains(&event.stream)
            && (self.names.is_empty() || self.names.contains(&event.event.name))
            && event.event.tags.contains_all(&self.tags)
    }
}

impl fmt::Display for QueryItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if !self.names.is_empty() {
            write!(f, " named {:?}", self.names)?;
        }
        if !self.tags.is_empty() {
            write!(f, " tagged {:?}", self.tags)?;
        }
        Ok(())
    }
}

/// Which events: those that any of its items asks for. Without items there is no restriction.
///
/// ```
/// use annals::{Query, QueryItem, Source, Tags};
/// let query = Query::any_of([
///     QueryItem::new(Source::Log).with_tags(Tags::parse(["course:42"])?),
///     QueryItem::new(Source::Log).with_names(["student-enrolled"])?.with_tags(Tags::parse(["student:7"])?),
/// ]);
/// assert_eq!(query.items().len(), 2);
/// # Ok::<(), annals::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Query {
    items: Vec<QueryItem>,
}

impl Query {
    /// Every event of the log.
    #[must_use]
    pub const fn all() -> Self {
        Self { items: Vec::new() }
    }

    /// The events that any of `items` asks for; of no items, every event.
    #[must_use]
    pub fn any_of(items: impl IntoIterator<Item = QueryItem>) -> Self {
        Self { items: items.into_iter().collect() }
    }

    /// The alternatives.
    #[must_use]
    pub fn items(&self) -> &[QueryItem] {
        &self.items
    }

    /// Whether the query asks for `event`.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        self.items.is_empty() || self.items.iter().any(|item| item.matches(event))
    }

    /// The narrowest source that holds all that the query can match.
    #[must_use]
    pub fn scope(&self) -> Source {
        let mut sources = self.items.iter().map(|item| &item.source);
        let Some(first) = sources.next() else { return Source::Log };
        sources.fold(first.clone(), Source::join)
    }

    /// Whether any item asks for tags.
    #[must_use]
    pub fn uses_tags(&self) -> bool {
        self.items.iter().any(|item| !item.tags.is_empty())
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.items.is_empty() {
            return write!(f, "{}", Source::Log);
        }
        for (nth, item) in self.items.iter().enumerate() {
            let or = if nth == 0 { "" } else { " or " };
            write!(f, "{or}{item}")?;
        }
        Ok(())
    }
}

impl From<QueryItem> for Query {
    fn from(item: QueryItem) -> Self {
        Self { items: vec![item] }
    }
}

impl From<Source> for Query {
    fn from(source: Source) -> Self {
        QueryItem::new(source).into()
    }
}

impl From<CategoryName> for Query {
    fn from(category: CategoryName) -> Self {
        Source::from(category).into()
    }
}

impl From<StreamId> for Query {
    fn from(stream: StreamId) -> Self {
        Source::from(stream).into()
    }
}

/// From which end a read begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Ascending sequence numbers.
    #[default]
    Forward,
    /// Descending sequence numbers.
    Backward,
}

/// Which part of what a query matches to read, and how.
///
/// The bounds are the same in both directions: `after` < sequence number ≤ `until`. The methods narrow: the
/// order in which they are called does not matter, and a second bound never widens the first.
///
/// ```
/// use annals::{ReadOptions, SequenceNumber};
/// let options = ReadOptions::default().after(SequenceNumber::new(7)).limit(100).limit(10);
/// assert_eq!(options.limit, Some(10));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Only events with a higher sequence number.
    pub after: SequenceNumber,
    /// Only events up to this sequence number, itself included.
    pub until: Option<SequenceNumber>,
    /// At most so many events, counted after everything else; 0 gives none.
    pub limit: Option<u64>,
    /// From which end.
    pub direction: Direction,
    /// Allow a read wider than [`Capabilities::order`](crate::Capabilities::order), which can skip events that
    /// commit late. Without it such a read is `Unsupported`.
    pub allow_skips: bool,
}

impl ReadOptions {
    /// The last `limit` events, newest first.
    #[must_use]
    pub fn last(limit: u64) -> Self {
        Self::default().backward().limit(limit)
    }

    /// Only events after this one.
    #[must_use]
    pub fn after(mut self, after: SequenceNumber) -> Self {
        self.after = self.after.max(after);
        self
    }

    /// Only events up to this one, itself included.
    #[must_use]
    pub fn until(mut self, until: SequenceNumber) -> Self {
        self.until = Some(self.until.map_or(until, |bound| bound.min(until)));
        self
    }

    /// At most so many events.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(self.limit.map_or(limit, |bound| bound.min(limit)));
        self
    }

    /// Newest first.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// Allow a read wider than the declared order; see the field of this name.
    #[must_use]
    pub fn allow_skips(mut self) -> Self {
        self.allow_skips = true;
        self
    }
}
