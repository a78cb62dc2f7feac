//! A map that forgets: bounded in entries and in age.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// A map in two generations; the older one is dropped whole once the newer has half the capacity
/// or half the lifetime. So an entry lives between half of `lifetime` and all of it, and there
/// are never more than `capacity`.
#[derive(Debug)]
pub struct Generations<K, V> {
    recent: HashMap<K, V>,
    older: HashMap<K, V>,
    turned: Instant,
    lifetime: Duration,
    capacity: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// An empty map.
    pub fn new(lifetime: Duration, capacity: usize) -> Self {
        Self {
            recent: HashMap::new(),
            older: HashMap::new(),
            turned: Instant::now(),
            lifetime,
            capacity,
        }
    }

    /// The value of a key that is not forgotten.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.turn();
        self.recent.get(key).or_else(|| self.older.get(key))
    }

    /// Sets the value of a key; its life begins anew.
    pub fn insert(&mut self, key: K, value: V) {
        self.turn();
        self.older.remove(&key);
        self.recent.insert(key, value);
    }

    /// Takes a key out.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Takes a key out, with its value.
    pub fn remove_entry<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        self.recent.remove_entry(key).or_else(|| {
            if self.older.is_empty() {
                None
            } else {
                self.older.remove_entry(key)
            }
        })
    }

    fn turn(&mut self) {
        let (now, half) = (Instant::now(), self.lifetime / 2);
        let age = now - self.turned;
        if self.recent.len() >= self.capacity / 2 || age >= half {
            self.older = std::mem::take(&mut self.recent);
            if age >= self.lifetime {
                self.older.clear();
            }
            // When it was due, however late it is noticed: what is older now must not live longer.
            let is_due = (half..self.lifetime).contains(&age);
            self.turned = if is_due { self.turned + half } else { now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn forgets_between_half_the_lifetime_and_all_of_it() {
        let mut map = Generations::new(Duration::from_secs(60), 100);
        map.insert("a", 1);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(map.get("a"), Some(&1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(map.get("a"), Some(&1));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(map.get("a"), None);
        map.insert("b", 1);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(map.get("b"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn forgets_in_time_though_nobody_looks_for_a_while() {
        let mut map = Generations::new(Duration::from_secs(60), 100);
        map.insert("a", 1);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(map.get("a"), Some(&1));
        map.insert("b", 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(map.get("a"), None);
        assert_eq!(map.get("b"), Some(&1));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(map.get("b"), Some(&1));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(map.get("b"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn never_holds_more_than_its_capacity() {
        let mut map = Generations::new(Duration::from_secs(60), 100);
        for key in 0..10_000 {
            map.insert(key, ());
            assert!(map.recent.len() + map.older.len() <= 100);
        }
        assert_eq!(map.get(&9_999), Some(&()));
        assert_eq!(map.get(&0), None);
        assert_eq!(map.remove(&9_999), Some(()));
        assert_eq!(map.get(&9_999), None);
    }
}
