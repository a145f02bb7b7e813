//! What to read: sources, queries, options.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{EventId, StoredEvent, Tags};
use crate::name::{CategoryName, EventName, InvalidName, StreamId};
use crate::position::{Position, SequenceNumber};

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
    pub(crate) fn join(self, other: &Self) -> Self {
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

/// One alternative of a [`Query`]: events of `source` that have any of `names`, any of `ids` and all of `tags`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueryItem {
    /// Where to look.
    pub source: Source,
    /// The event has one of these names. `None`: no restriction; no names: nothing matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<EventName>>,
    /// The event has one of these ids. `None`: no restriction; no ids: nothing matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<EventId>>,
    /// The event has all of these tags. No tags: no restriction.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl QueryItem {
    const ALL: Self = Self { source: Source::Log, names: None, ids: None, tags: Tags::NONE };

    /// Every event of `source`.
    #[must_use]
    pub fn new(source: impl Into<Source>) -> Self {
        Self { source: source.into(), ..Self::ALL }
    }

    /// Restricts it to events with one of these names. Without names it matches nothing.
    ///
    /// # Errors
    /// [`InvalidName`] for the first invalid name.
    pub fn with_names<N: TryInto<EventName, Error: Into<InvalidName>>>(
        mut self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, InvalidName> {
        let names = names.into_iter().map(|name| name.try_into().map_err(Into::into));
        self.names = Some(names.collect::<Result<_, _>>()?);
        Ok(self)
    }

    /// Restricts it to events with one of these ids. Without ids it matches nothing. Needs
    /// [`KnownIds::Forever`](crate::KnownIds::Forever).
    #[must_use]
    pub fn with_ids(mut self, ids: impl IntoIterator<Item = EventId>) -> Self {
        self.ids = Some(ids.into_iter().collect());
        self
    }

    /// Restricts it to events that have all of `tags`.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Whether it asks for `event`.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        self.source.contains(&event.stream)
            && self.names.as_ref().is_none_or(|names| names.contains(event.name()))
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&event.id()))
            && event.tags().contains_all(&self.tags)
    }

    /// Whether any event could match: `false` of an item with an empty list of names or ids.
    #[must_use]
    pub fn can_match(&self) -> bool {
        self.names.as_ref().is_none_or(|names| !names.is_empty())
            && self.ids.as_ref().is_none_or(|ids| !ids.is_empty())
    }
}

impl fmt::Display for QueryItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if let Some(names) = &self.names {
            f.write_str(" named ")?;
            list(f, names, " or ")?;
        }
        if let Some(ids) = &self.ids {
            f.write_str(" with id ")?;
            list(f, ids, " or ")?;
        }
        if !self.tags.is_empty() {
            f.write_str(" tagged ")?;
            list(f, &self.tags, " and ")?;
        }
        Ok(())
    }
}

fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    all: impl IntoIterator<Item = T>,
    word: &str,
) -> fmt::Result {
    let mut none = true;
    for one in all {
        write!(f, "{}{one}", if none { "" } else { word })?;
        none = false;
    }
    if none { f.write_str("nothing") } else { Ok(()) }
}

/// What to read: every event, or the events that any of several items asks for.
///
/// This is all that a read can ask for: there are no constraints of an adapter or a program of their own, so that each
/// query has one meaning in every store, and layers and [`NoMatch`](crate::WriteCondition::NoMatch) can judge it. What
/// else a program looks for it tags when it appends, or picks from the events that it reads.
///
/// ```
/// use annals::{CategoryName, Query, QueryItem, Tags};
/// let course = QueryItem::new(CategoryName::from_static("courses"))
///     .with_names(["student-enrolled"])?
///     .with_tags(Tags::parse(["course:42"])?);
/// assert_eq!(
///     Query::from(course).to_string(),
///     "category courses named student-enrolled tagged course:42",
/// );
/// # Ok::<(), annals::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// Every event of the log.
    All,
    /// The events that any of these asks for; without items, no event.
    AnyOf(Vec<QueryItem>),
}

impl Query {
    /// Every event of the log.
    #[must_use]
    pub const fn all() -> Self {
        Self::All
    }

    /// The events that any of `items` asks for. Without items it matches nothing: a read is one empty page, a follow
    /// waits, and [`NoMatch`](crate::WriteCondition::NoMatch) holds.
    #[must_use]
    pub fn any_of(items: impl IntoIterator<Item = QueryItem>) -> Self {
        Self::AnyOf(items.into_iter().collect())
    }

    /// The alternatives: of [`All`](Self::All) one item, the whole log.
    #[must_use]
    pub fn items(&self) -> &[QueryItem] {
        static ALL: [QueryItem; 1] = [QueryItem::ALL];
        match self {
            Self::All => &ALL,
            Self::AnyOf(items) => items,
        }
    }

    /// Whether the query asks for `event`.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        self.items().iter().any(|item| item.matches(event))
    }

    /// The narrowest source that holds all that the query can match; `None` if it matches nothing.
    #[must_use]
    pub fn scope(&self) -> Option<Source> {
        let sources = self.items().iter().filter(|item| item.can_match()).map(|item| &item.source);
        sources.fold(None, |scope, source| match scope {
            None => Some(source.clone()),
            Some(scope) => Some(scope.join(source)),
        })
    }

    /// Whether any item asks for tags.
    #[must_use]
    pub fn uses_tags(&self) -> bool {
        self.items().iter().any(|item| !item.tags.is_empty())
    }

    /// Whether any item asks for event ids.
    #[must_use]
    pub fn uses_ids(&self) -> bool {
        self.items().iter().any(|item| item.ids.is_some())
    }

    /// Whether every item asks for event ids: such events are found one by one, wherever they are.
    #[must_use]
    pub fn is_of_ids(&self) -> bool {
        self.items().iter().all(|item| item.ids.is_some())
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.items(), " or ")
    }
}

impl From<QueryItem> for Query {
    fn from(item: QueryItem) -> Self {
        Self::AnyOf(vec![item])
    }
}

impl FromIterator<QueryItem> for Query {
    fn from_iter<I: IntoIterator<Item = QueryItem>>(items: I) -> Self {
        Self::any_of(items)
    }
}

impl From<Source> for Query {
    fn from(source: Source) -> Self {
        match source {
            Source::Log => Self::All,
            source => QueryItem::new(source).into(),
        }
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
    /// Only events from this position on, itself included. The query must be one stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_position: Option<Position>,
    /// Only events up to this position, itself included. The query must be one stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_position: Option<Position>,
    /// At most so many events, counted after everything else; of 0 none.
    pub limit: Option<u64>,
    /// From which end.
    pub direction: Direction,
    /// Allow a read wider than [`Capabilities::order`](crate::Capabilities::order), which can skip events that
    /// commit late. Without it such a read is `Unsupported`.
    pub allow_skips: bool,
    /// Go on past the head with what is appended later; see rule R6 of
    /// [`StorageAdapter`](crate::StorageAdapter). Forward only.
    #[serde(default)]
    pub follow: bool,
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

    /// Only events of the one stream from this position on, itself included.
    #[must_use]
    pub fn from_position(mut self, from: Position) -> Self {
        self.from_position = Some(self.from_position.map_or(from, |bound| bound.max(from)));
        self
    }

    /// Only events of the one stream up to this position, itself included.
    #[must_use]
    pub fn until_position(mut self, until: Position) -> Self {
        self.until_position = Some(self.until_position.map_or(until, |bound| bound.min(until)));
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

    /// Go on past the head with what is appended later; see the field of this name.
    #[must_use]
    pub fn follow(mut self) -> Self {
        self.follow = true;
        self
    }

    /// For adapters: the `through` of a page that claims nothing yet (rule R5), where the head is `head`.
    #[must_use]
    pub fn begin(&self, head: SequenceNumber) -> SequenceNumber {
        match self.direction {
            Direction::Forward => self.after,
            Direction::Backward => {
                let upper = self.until.map_or(head, |until| until.min(head));
                SequenceNumber::new(upper.value().saturating_add(1))
            }
        }
    }

    /// For adapters: the `through` of the page that completes the read (rule R5), where the head is `head`.
    #[must_use]
    pub fn end(&self, head: SequenceNumber) -> SequenceNumber {
        match (self.direction, self.until) {
            (Direction::Backward, _) => {
                SequenceNumber::new(self.after.value().saturating_add(1)).min(self.begin(head))
            }
            (Direction::Forward, Some(until)) if until < self.after => self.after,
            (Direction::Forward, Some(until)) => until.min(head),
            (Direction::Forward, None) => head,
        }
    }

    /// Whether the read need not end by itself: it follows, and neither a limit nor a bound ends it.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        self.follow && self.limit.is_none() && self.until.is_none()
    }

    /// Whether `position` is within the bounds on positions.
    #[must_use]
    pub fn allows_position(&self, position: Position) -> bool {
        self.from_position.is_none_or(|from| position >= from)
            && self.until_position.is_none_or(|until| position <= until)
    }
}
