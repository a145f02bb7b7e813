//! A bounded memory of what was used lately.

use std::hash::Hash;
use std::num::NonZeroUsize;

use hashbrown::{Equivalent, HashMap};

/// How many entries are kept, unless an adapter is configured otherwise.
pub const CACHE_BOUND: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);

/// Remembers what was used lately, in two generations: what is found in the old one moves to the young one, and
/// when that is full the old one is forgotten. A find in the young one costs no more than that of a hash table:
/// exact recency, as a list keeps it, took a quarter of a scan of the log.
#[derive(Debug)]
pub struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// How many entries a generation has at most.
    half: usize,
}

impl<K: Eq + Hash, V> Cache<K, V> {
    /// Keeps at most `bound` entries; of a bound of one, two.
    #[must_use]
    pub fn new(bound: NonZeroUsize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (bound.get() / 2).max(1) }
    }

    /// What is remembered of `key`.
    pub fn get<Q: Equivalent<K> + Hash + ?Sized>(&mut self, key: &Q) -> Option<&V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.put(key, value);
        }
        self.young.get(key)
    }

    /// The same as a value of its own, looked up once where it was used lately.
    pub fn cloned<Q: Equivalent<K> + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        V: Clone,
    {
        let young = self.young.get(key).cloned();
        if young.is_some() { young } else { self.get(key).cloned() }
    }

    /// Whether `key` is remembered; does not count as use.
    #[must_use]
    pub fn contains<Q: Equivalent<K> + Hash + ?Sized>(&self, key: &Q) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    /// Remembers `value`, in place of what was remembered of `key`.
    pub fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(bound: usize) -> Cache<u32, u32> {
        Cache::new(NonZeroUsize::new(bound).unwrap())
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut cache = cache(8);
        for n in 0..100 {
            cache.put(n, n * 2);
            assert_eq!(cache.get(&n), Some(&(n * 2)), "what was put last is there");
            assert_eq!(cache.get(&0), Some(&0), "what is asked for again and again is there");
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert_eq!(cache.get(&50), None);
    }

    #[test]
    fn a_new_value_replaces_the_old_in_either_generation() {
        let mut cache = cache(4);
        for (key, value) in [(1, 1), (2, 2), (3, 3), (1, 10), (4, 4)] {
            cache.put(key, value);
        }
        assert_eq!(cache.get(&1), Some(&10));
        cache.clear();
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    fn the_smallest_bound_keeps_the_last() {
        let mut cache = cache(1);
        for n in 0..5 {
            cache.put(n, n);
            assert_eq!(cache.get(&n), Some(&n));
        }
    }
}
