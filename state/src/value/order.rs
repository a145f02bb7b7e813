//! The order of values.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::number::Decimal;

/// What kinds of values there are, in their order; false and true are of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }
}

/// Which of two values comes first: the one order of filters, sorts and indexes.
///
/// ```
/// # use annals_state::compare;
/// # use serde_json::json;
/// assert!(compare(&json!(null), &json!(false)).is_lt());
/// assert!(compare(&json!(1), &json!(1.0)).is_eq());
/// assert!(compare(&json!(18_446_744_073_709_551_615_u64), &json!("")).is_lt());
/// ```
#[must_use]
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => Decimal::of(a).cmp(&Decimal::of(b)),
        },
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Array(a), Value::Array(b)) => {
            let unequal = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
            unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs = sorted(a).into_iter().zip(sorted(b));
            let orders = pairs.map(|((a, x), (b, y))| a.cmp(b).then_with(|| compare(x, y)));
            orders.clone().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => Kind::of(a).cmp(&Kind::of(b)),
    }
}

/// The pairs of an object by name, also if `preserve_order` keeps them otherwise.
pub(super) fn sorted(object: &Map<String, Value>) -> Vec<(&[u8], &Value)> {
    let mut pairs: Vec<_> = object.iter().map(|(name, value)| (name.as_bytes(), value)).collect();
    pairs.sort_unstable_by_key(|(name, _)| *name);
    pairs
}

/// Whether values nest deeper than any JSON text that is read.
pub(crate) fn is_too_deep(value: &Value) -> bool {
    let mut rest = vec![(value, 1)];
    while let Some((value, depth)) = rest.pop() {
        match value {
            Value::Array(_) | Value::Object(_) if depth > 128 => return true,
            Value::Array(parts) => rest.extend(parts.iter().map(|part| (part, depth + 1))),
            Value::Object(parts) => rest.extend(parts.values().map(|part| (part, depth + 1))),
            _ => {}
        }
    }
    false
}
