//! Plans: along which index a find goes, and through which ranges of it. A pure function that changes no result.

use std::fmt;

use annals::Direction;
use bytes::Bytes;
use serde_json::Value;

use crate::collection::{Collection, Index, Part};
use crate::error::Result;
use crate::filter::Filter;
use crate::find::{By, Find};
use crate::range::{KeyRange, merge, of_comparison};
use crate::scan::Along;
use crate::value::{Kind, Path, encode};

/// The most alternatives and ranges that a plan looks through; beyond, it takes a wider range.
const MAX_RANGES: usize = 64;

/// How a find is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(crate) along: Along,
    pub(crate) ranges: Vec<KeyRange>,
    /// In which direction documents come in the order of the find, if they do.
    pub(crate) ordered: Option<Direction>,
    /// Where each part of an index in order takes its key from, to find the place of a cursor.
    pub(crate) sources: Vec<Source>,
}

/// Where a part of an index takes its key from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The filter permits only this value, given as its ascending key.
    Constant(Bytes),
    /// It is this field of the sort.
    Sort(usize),
}

impl Plan {
    /// What it goes along.
    #[must_use]
    pub fn along(&self) -> &Along {
        &self.along
    }

    /// How many ranges of keys it looks through; 0: nothing can match.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Whether documents come in the order of the sort, so that a page ends as soon as it is full.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.ordered.is_some()
    }

    /// Whether it looks at every document of the collection, and then at nothing else.
    #[must_use]
    pub fn looks_at_all(&self) -> bool {
        matches!(&self.ranges[..], [range] if range.from.is_none() && range.to.is_none())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.along {
            Along::Ids => f.write_str("along ids")?,
            Along::Index(index) => write!(f, "along index {index}")?,
        }
        match self.ranges.len() {
            0 => f.write_str(", nothing can match")?,
            1 if self.looks_at_all() => f.write_str(", everything")?,
            1 => f.write_str(", one range")?,
            many => write!(f, ", {many} ranges")?,
        }
        f.write_str(if self.is_ordered() { ", in order" } else { ", sorted in memory" })
    }
}

impl<T> Collection<T> {
    /// How `find` would be made: a pure function of the two, which changes no result.
    ///
    /// # Errors
    /// [`StateError::Invalid`](crate::StateError::Invalid) if the find makes no sense or goes beyond a bound; it says which.
    pub fn plan(&self, find: &Find) -> Result<Plan> {
        find.check(&self.name)?;
        Ok(plan(&self.indexes, find))
    }
}

/// The plan whose index binds most of the filter; of those, one that yields the sort.
pub(crate) fn plan(indexes: &[Index], find: &Find) -> Plan {
    let cases = find.filter.as_ref().map_or_else(|| vec![Vec::new()], cases);
    let constants = match &cases[..] {
        [only] => constants(only),
        _ => Vec::new(),
    };
    let walk = Plan {
        along: Along::Ids,
        ranges: if cases.is_empty() { Vec::new() } else { vec![KeyRange::default()] },
        ordered: order(&[], &find.sort, &constants, find.ids_descend()).map(|(way, _)| way),
        sources: Vec::new(),
    };
    let mut best = ((0, walk.is_ordered()), walk);
    if cases.is_empty() {
        return best.1;
    }
    for index in indexes {
        let mut ranges = Vec::new();
        let mut bound = usize::MAX;
        for case in &cases {
            let (more, score) = ranges_of(index, case);
            ranges.extend(more);
            bound = bound.min(score);
        }
        let ranges = merge(ranges);
        // Several ranges are each in order, but not together.
        let order = (ranges.len() <= 1)
            .then(|| order(&index.parts, &find.sort, &constants, find.ids_descend()))
            .flatten();
        let score = (bound, order.is_some());
        if score > best.0 {
            let (ordered, sources) = order.map_or((None, Vec::new()), |(way, s)| (Some(way), s));
            let along = Along::Index(index.name.clone());
            best = (score, Plan { along, ranges, ordered, sources });
        }
    }
    best.1
}

/// The fields that an index for this find should have: what the filter binds to a value, what is sorted by, and what
/// the filter binds to a range.
pub(crate) fn advice(find: &Find) -> String {
    let cases = find.filter.as_ref().map(cases).unwrap_or_default();
    let leaves = || cases.iter().flatten();
    let equal = leaves().filter_map(|leaf| match leaf {
        Filter::Is(path, _) | Filter::In(path, _) => Some(path.to_string()),
        _ => None,
    });
    let sorted = find.sort.iter().filter_map(|by| match by {
        By::Ascending(path) => Some(path.to_string()),
        By::Descending(path) => Some(format!("{path} descending")),
        By::Similarity { .. } => None,
    });
    let between = leaves().filter_map(|leaf| match leaf {
        Filter::Less(path, _)
        | Filter::AtMost(path, _)
        | Filter::More(path, _)
        | Filter::AtLeast(path, _) => Some(path.to_string()),
        _ => None,
    });
    let mut fields: Vec<String> = Vec::new();
    for field in equal.chain(sorted).chain(between) {
        let known = |other: &String| *other == field || *other == format!("{field} descending");
        if !fields.iter().any(known) {
            fields.push(field);
        }
    }
    if fields.is_empty() {
        return "no index can serve this filter: add a condition with a value, and declare an index on it".into();
    }
    format!("declare an index on ({})", fields.join(", "))
}

/// The filter as alternatives of conditions that all hold; a filter that is neither a group nor a plain condition counts
/// as one that says nothing. No alternatives: nothing can match.
fn cases(filter: &Filter) -> Vec<Vec<&Filter>> {
    match filter {
        Filter::Any(filters) => {
            let all: Vec<_> = filters.iter().flat_map(cases).collect();
            if all.len() > MAX_RANGES { vec![Vec::new()] } else { all }
        }
        Filter::All(filters) => filters.iter().fold(vec![Vec::new()], |mut left, filter| {
            let right = cases(filter);
            if let [only] = &right[..] {
                for case in &mut left {
                    case.extend(only);
                }
                return left;
            }
            if left.len() * right.len() > MAX_RANGES {
                return left;
            }
            let pairs =
                |left: &Vec<_>| right.iter().map(|right| [&left[..], right].concat()).collect();
            left.iter().flat_map::<Vec<_>, _>(pairs).collect()
        }),
        leaf => vec![vec![leaf]],
    }
}

/// Which paths have one value only, and the ascending keys of these values.
fn constants<'a>(case: &[&'a Filter]) -> Vec<(&'a Path, Bytes)> {
    let constant = |leaf: &&'a Filter| match leaf {
        Filter::Is(path, value) => Some((path, key(value))),
        _ => None,
    };
    case.iter().filter_map(constant).collect()
}

fn key(value: &Value) -> Bytes {
    let mut key = Vec::new();
    encode(value, &mut key);
    key.into()
}

/// In which direction an index of these parts (none: the ids) yields the sort, and where its parts come from.
///
/// What is constant is no matter in either. All else must be the same fields one by one, each in the same direction as
/// in the index or each in the other, and then the ids.
fn order(
    parts: &[Part],
    sort: &[By],
    constants: &[(&Path, Bytes)],
    ids_descend: bool,
) -> Option<(Direction, Vec<Source>)> {
    let constant = |path: &Path| constants.iter().find(|(other, _)| *other == path);
    let mut fields = Vec::new();
    for (nth, by) in sort.iter().enumerate() {
        let (path, descending) = match by {
            By::Ascending(path) => (path, false),
            By::Descending(path) => (path, true),
            By::Similarity { .. } => return None,
        };
        // A field that came before has no say any more.
        let repeated = fields.iter().any(|(_, other, _)| *other == path);
        if !repeated && constant(path).is_none() {
            fields.push((nth, path, descending));
        }
    }
    let mut fields = fields.into_iter();
    let mut sources = Vec::new();
    for part in parts {
        if let Some((_, key)) = constant(&part.path) {
            sources.push(Source::Constant(key.clone()));
            continue;
        }
        let (nth, path, descending) = fields.next()?;
        if *path != part.path || (descending != part.descending) != ids_descend {
            return None;
        }
        sources.push(Source::Sort(nth));
    }
    if fields.next().is_some() {
        return None;
    }
    let way = if ids_descend { Direction::Backward } else { Direction::Forward };
    Some((way, sources))
}

/// The ranges of an index in which everything lies that these conditions permit, and how much they bind: 2 for each part
/// that has given values, 1 for one that has a range.
fn ranges_of(index: &Index, case: &[&Filter]) -> (Vec<KeyRange>, usize) {
    let mut prefixes = vec![Vec::new()];
    let mut range = KeyRange::default();
    let mut score = 0;
    for part in &index.parts {
        if let Some(keys) = given(&part.path, case)
            && prefixes.len() * keys.len() <= MAX_RANGES
        {
            let longer = |prefix: &Vec<u8>, ascending: &Bytes| {
                let mut prefix = prefix.clone();
                part.write(ascending, &mut prefix);
                prefix
            };
            prefixes = prefixes
                .iter()
                .flat_map(|prefix| keys.iter().map(move |key| longer(prefix, key)))
                .collect();
            score += 2;
            continue;
        }
        for leaf in case {
            let (Filter::Less(path, value)
            | Filter::AtMost(path, value)
            | Filter::More(path, value)
            | Filter::AtLeast(path, value)) = leaf
            else {
                continue;
            };
            if *path != part.path {
                continue;
            }
            if value.is_null() {
                return (Vec::new(), usize::MAX);
            }
            let bound = of_comparison(leaf, &key(value), Kind::of(value), part.descending);
            range = range.intersect(bound);
            score |= 1;
        }
        break;
    }
    let ranges = prefixes.iter().filter_map(|prefix| range.under(prefix)).collect();
    (ranges, score)
}

/// The values that a path must have one of, as ascending keys.
fn given(path: &Path, case: &[&Filter]) -> Option<Vec<Bytes>> {
    let is = case.iter().find_map(|leaf| match leaf {
        Filter::Is(other, value) if other == path => Some(vec![key(value)]),
        _ => None,
    });
    is.or_else(|| {
        case.iter().find_map(|leaf| match leaf {
            Filter::In(other, values) if other == path => {
                let mut keys: Vec<Bytes> = values.iter().map(key).collect();
                keys.sort_unstable();
                keys.dedup();
                Some(keys)
            }
            _ => None,
        })
    })
}
