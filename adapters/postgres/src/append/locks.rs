//! The locks that appends need: the log's, or in the weaker orders those of categories or streams.

use annals::{Append, Order};

use crate::store::Store;

/// The locks that `writes` need, in the one order that keeps transactions from waiting for each other in a circle.
pub(crate) fn locks<'a>(store: &Store, writes: impl IntoIterator<Item = &'a Append>) -> Vec<i64> {
    if store.order() == Order::Log {
        return vec![store.tables.lock_key(&["log"])];
    }
    let key = |write: &Append| {
        let category = write.stream.category.as_str();
        match store.order() {
            Order::Stream => {
                store.tables.lock_key(&["stream", category, write.stream.name.as_str()])
            }
            _ => store.tables.lock_key(&["category", category]),
        }
    };
    let mut keys: Vec<_> = writes.into_iter().map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
