//! Queries by number: what the columns of events hold instead of names.

use annals::{Query, QueryItem, Source, StreamId};
use uuid::Uuid;

/// Where to look, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole log.
    Log,
    /// One category.
    Category(i64),
    /// One stream.
    Stream(i64),
}

/// One alternative of a query, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where to look.
    pub scope: Scope,
    /// Any of these names; `None`: no restriction.
    pub names: Option<Vec<i64>>,
    /// Any of these event ids; `None`: no restriction.
    pub ids: Option<Vec<Uuid>>,
    /// All of these tags.
    pub tags: Vec<i64>,
}

impl Item {
    /// Every event of the log.
    pub const ALL: Self = Self::of(Scope::Log);

    /// Every event of `scope`.
    #[must_use]
    pub const fn of(scope: Scope) -> Self {
        Self { scope, names: None, ids: None, tags: Vec::new() }
    }
}

/// Where the numbers of names come from; `None`: the store has no such name.
pub trait Ids {
    /// Why a look-up failed.
    type Error;

    /// The number of a category, event name or tag.
    ///
    /// # Errors
    /// A failed look-up.
    fn name(&mut self, name: &str) -> Result<Option<i64>, Self::Error>;

    /// The number of a stream.
    ///
    /// # Errors
    /// A failed look-up.
    fn stream(&mut self, stream: &StreamId) -> Result<Option<i64>, Self::Error>;
}

/// The items of `query` that can match, by number. Of none of them nothing matches.
///
/// # Errors
/// Those of `ids`.
pub fn resolve<I: Ids>(query: &Query, ids: &mut I) -> Result<Vec<Item>, I::Error> {
    let mut items = Vec::with_capacity(query.items().len());
    for item in query.items() {
        match resolve_item(item, ids)? {
            Some(item) if item == Item::ALL => return Ok(vec![item]),
            item => items.extend(item),
        }
    }
    Ok(items)
}

fn resolve_item<I: Ids>(item: &QueryItem, numbers: &mut I) -> Result<Option<Item>, I::Error> {
    if !item.can_match() {
        return Ok(None);
    }
    let scope = match &item.source {
        Source::Log => Some(Scope::Log),
        Source::Category(category) => numbers.name(category.as_str())?.map(Scope::Category),
        Source::Stream(stream) => numbers.stream(stream)?.map(Scope::Stream),
    };
    let Some(scope) = scope else { return Ok(None) };
    let mut tags = Vec::with_capacity(item.tags.len());
    for tag in &item.tags {
        let Some(tag) = numbers.name(tag.as_str())? else { return Ok(None) };
        tags.push(tag);
    }
    let ids = item.ids.as_ref();
    let ids = ids.map(|ids| ids.iter().map(annals::EventId::as_uuid).collect());
    let Some(wanted) = &item.names else {
        return Ok(Some(Item { scope, names: None, ids, tags }));
    };
    let mut names = Vec::with_capacity(wanted.len());
    for name in wanted {
        names.extend(numbers.name(name.as_str())?);
    }
    Ok((!names.is_empty()).then_some(Item { scope, names: Some(names), ids, tags }))
}
