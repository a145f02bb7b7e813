//! The locks that appends need: the log's, or in the weaker orders those of categories or streams.

use annals::{Append, Order};

use crate::store::Store;

/// Adds the locks that `writes` need to `keys`.
pub(crate) fn locks(store: &Store, writes: &[Append], keys: &mut Vec<i64>) {
    if store.order() == Order::Log {
        keys.push(store.tables.lock_key(&["log"]));
        return;
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
    keys.extend(writes.iter().map(key));
}

/// Puts locks in the one order that keeps transactions from waiting for each other in a circle.
pub(crate) fn in_order(keys: &mut Vec<i64>) {
    keys.sort_unstable();
    keys.dedup();
}
