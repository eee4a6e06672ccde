//! The memory itself: bounded, and fair to those who have been around.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Entry, Seen};
use crate::mac::Mac;

/// Most sources that are remembered, those that somebody vouches for aside.
pub const MOST_ENTRIES: usize = 65_536;
/// Most of all, so that what is written can be read: two thirds of the largest file.
const MOST_AT_ALL: usize = 500_000;
/// They are counted out again when there are this many more: sorting for each one more would take long.
const SLACK: usize = MOST_ENTRIES / 8;
/// A source is remembered for this long after its newest frame.
pub const RETENTION_MS: u64 = 400 * 86_400_000;
/// A source whose whole life was shorter may have been a forged address.
const SHORT_LIFE_MS: u64 = 60_000;

/// When each source was seen.
#[derive(Debug, Default)]
pub struct Store {
    interfaces: HashMap<Arc<str>, HashMap<Mac, Seen, ahash::RandomState>>,
    len: usize,
    changed: bool,
}

impl Store {
    /// How many sources it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// When a source was seen.
    pub fn find(&self, interface: &str, mac: Mac) -> Option<Seen> {
        self.interfaces.get(interface)?.get(&mac).copied()
    }

    /// All sources of an interface, in no order.
    pub fn of(&self, interface: &str) -> impl Iterator<Item = (Mac, Seen)> {
        self.interfaces.get(interface).into_iter().flatten().map(|(mac, seen)| (*mac, *seen))
    }

    /// Takes what is true of a source now. Times before `floor_unix_ms` are those of a clock that had not been
    /// set: a source is stored with its first time after that.
    pub fn observe(&mut self, interface: &Arc<str>, mac: Mac, seen: Seen, floor_unix_ms: u64) {
        let last_unix_ms = seen.last_unix_ms;
        if last_unix_ms < floor_unix_ms {
            return;
        }
        let first = if seen.first_unix_ms < floor_unix_ms { last_unix_ms } else { seen.first_unix_ms };
        let stored = self.find(interface, mac);
        let first_unix_ms = stored.map_or(first, |stored| stored.first_unix_ms.min(first)).min(last_unix_ms);
        self.put(interface, mac, Seen { first_unix_ms, last_unix_ms });
    }

    /// Takes what a file says, which may be older than what is known already.
    pub fn merge(&mut self, entries: Vec<Entry>) {
        for Entry { interface, mac, seen } in entries {
            let stored = self.find(&interface, mac).unwrap_or(seen);
            let seen = Seen {
                first_unix_ms: stored.first_unix_ms.min(seen.first_unix_ms),
                last_unix_ms: stored.last_unix_ms.max(seen.last_unix_ms),
            };
            self.put(&interface, mac, seen);
        }
    }

    fn put(&mut self, interface: &Arc<str>, mac: Mac, seen: Seen) {
        if !self.interfaces.contains_key(interface) {
            self.interfaces.insert(Arc::clone(interface), HashMap::default());
        }
        if let Some(sources) = self.interfaces.get_mut(interface) {
            let before = sources.insert(mac, seen);
            self.len += usize::from(before.is_none());
            self.changed |= before != Some(seen);
        }
    }

    /// Whether [`Self::prune`] should be called before more is taken in.
    pub fn is_overfull(&self) -> bool {
        self.len > MOST_ENTRIES + SLACK
    }

    /// Forgets those that have been silent for too long, then as many as there are too many: first those that
    /// were seen once, then those whose whole life was short, of each the longest silent ones first. `listed`
    /// says who stays for being listed, as long as there is any way.
    pub fn prune(&mut self, now_unix_ms: u64, listed: impl Fn(Mac) -> bool) {
        let oldest = now_unix_ms.saturating_sub(RETENTION_MS);
        let before = self.len;
        for sources in self.interfaces.values_mut() {
            sources.retain(|_, seen| seen.last_unix_ms >= oldest);
        }
        self.count();
        if self.len > MOST_ENTRIES {
            let mut all: Vec<_> = self
                .interfaces
                .iter()
                .flat_map(|(interface, sources)| {
                    sources.iter().map(move |(mac, seen)| (interface, mac, seen))
                })
                .map(|(interface, mac, seen)| (listed(*mac), rank(*seen), *mac, Arc::clone(interface)))
                .collect();
            all.sort_unstable();
            let unlisted = all.partition_point(|(listed, ..)| !listed);
            let excess = (self.len - MOST_ENTRIES).min(unlisted).max(self.len.saturating_sub(MOST_AT_ALL));
            for (_, _, mac, interface) in &all[..excess] {
                if let Some(sources) = self.interfaces.get_mut(interface) {
                    sources.remove(mac);
                }
            }
        }
        self.interfaces.retain(|_, sources| !sources.is_empty());
        self.count();
        self.changed |= self.len != before;
    }

    fn count(&mut self) {
        self.len = self.interfaces.values().map(HashMap::len).sum();
    }

    /// Whether something has changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// All of it, in no order.
    pub fn entries(&self) -> Vec<Entry> {
        let entries = |(interface, sources): (&Arc<str>, _)| {
            let interface = Arc::clone(interface);
            let sources: &HashMap<Mac, Seen, ahash::RandomState> = sources;
            sources
                .iter()
                .map(move |(mac, seen)| Entry { interface: Arc::clone(&interface), mac: *mac, seen: *seen })
                .collect::<Vec<_>>()
        };
        self.interfaces.iter().flat_map(entries).collect()
    }
}

/// Those that are forgotten first come first.
fn rank(seen: Seen) -> (u8, u64) {
    let class = match seen.life_ms() {
        0 => 0,
        life if life < SHORT_LIFE_MS => 1,
        _ => 2,
    };
    (class, seen.last_unix_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const NOW: u64 = 20_000 * DAY;

    fn mac(n: usize) -> Mac {
        let octets = (0x0200_0000_0000 + n as u64).to_be_bytes();
        Mac::new(octets[2..].try_into().unwrap())
    }

    fn seen(first: u64, last: u64) -> Seen {
        Seen { first_unix_ms: first, last_unix_ms: last }
    }

    fn eth0() -> Arc<str> {
        "eth0".into()
    }

    #[test]
    fn first_seen_stays_and_last_seen_follows() {
        let mut store = Store::default();
        store.observe(&eth0(), mac(1), seen(NOW, NOW + 5), 0);
        // Forgotten by the table, and back.
        store.observe(&eth0(), mac(1), seen(NOW + 100, NOW + 200), 0);
        assert_eq!(store.find("eth0", mac(1)), Some(seen(NOW, NOW + 200)));
        assert!(store.take_changed());
        store.observe(&eth0(), mac(1), seen(NOW, NOW + 200), 0);
        assert!(!store.take_changed(), "nothing new");
        // The clock was wrong and is set back.
        store.observe(&eth0(), mac(1), seen(NOW, NOW - 50), 0);
        assert_eq!(store.find("eth0", mac(1)), Some(seen(NOW - 50, NOW - 50)));
        assert_eq!(store.find("eth1", mac(1)), None);
    }

    #[test]
    fn a_clock_that_is_not_set_is_not_believed() {
        let mut store = Store::default();
        store.observe(&eth0(), mac(1), seen(5, 6000), NOW);
        assert!(store.is_empty() && !store.take_changed());
        // Set at last: this is the first time that means anything.
        store.observe(&eth0(), mac(1), seen(5, NOW + 1), NOW);
        store.observe(&eth0(), mac(1), seen(5, NOW + 9), NOW);
        assert_eq!(store.find("eth0", mac(1)), Some(seen(NOW + 1, NOW + 9)));
        // Not set again after a restart: what was true stays.
        store.observe(&eth0(), mac(1), seen(7, 8), NOW);
        assert_eq!(store.find("eth0", mac(1)), Some(seen(NOW + 1, NOW + 9)));
    }

    #[test]
    fn what_a_file_says_is_merged() {
        let mut store = Store::default();
        store.observe(&eth0(), mac(1), seen(NOW, NOW + 9), 0);
        let entry = |n, seen| Entry { interface: eth0(), mac: mac(n), seen };
        store.merge(vec![entry(1, seen(NOW - 9, NOW + 3)), entry(2, seen(1, 2))]);
        assert_eq!(store.find("eth0", mac(1)), Some(seen(NOW - 9, NOW + 9)));
        assert_eq!((store.find("eth0", mac(2)), store.len()), (Some(seen(1, 2)), 2));
    }

    #[test]
    fn the_silent_are_forgotten_in_time() {
        let mut store = Store::default();
        store.observe(&eth0(), mac(1), seen(NOW - 500 * DAY, NOW - 401 * DAY), 0);
        store.observe(&"eth1".into(), mac(1), seen(NOW - 500 * DAY, NOW - 399 * DAY), 0);
        store.take_changed();
        store.prune(NOW, |_| true);
        assert_eq!(store.find("eth0", mac(1)), None);
        assert!(store.find("eth1", mac(1)).is_some());
        assert!(store.take_changed());
        assert_eq!((store.len(), store.entries().len()), (1, 1));
    }

    #[test]
    fn too_many_go_in_order_of_how_little_they_were_there() {
        let mut store = Store::default();
        // Listed though seen once and long ago; a long life; a short one; seen once, early and late.
        store.observe(&eth0(), mac(1), seen(NOW - 300 * DAY, NOW - 300 * DAY), 0);
        store.observe(&eth0(), mac(2), seen(NOW - 300 * DAY, NOW - 200 * DAY), 0);
        store.observe(&eth0(), mac(3), seen(NOW - 30_000, NOW), 0);
        store.observe(&eth0(), mac(4), seen(NOW - DAY, NOW - DAY), 0);
        for n in 5..MOST_ENTRIES + 5 {
            store.observe(&eth0(), mac(n), seen(NOW, NOW), 0);
        }
        let listed = |one: Mac| one == mac(1);
        assert!(!store.is_overfull());
        store.prune(NOW, listed);
        assert_eq!((store.len(), store.entries().len()), (MOST_ENTRIES, MOST_ENTRIES));
        for n in 1..=3 {
            assert!(store.find("eth0", mac(n)).is_some(), "{n}");
        }
        assert!(store.find("eth0", mac(4)).is_none(), "seen once and longest silent");

        // All others have been there longer: now the short life goes, then the longest silent.
        for n in 5..MOST_ENTRIES + 5 {
            store.observe(&eth0(), mac(n), seen(NOW - DAY, NOW), 0);
        }
        store.prune(NOW, listed);
        assert_eq!(store.len(), MOST_ENTRIES);
        assert!(store.find("eth0", mac(3)).is_none() && store.find("eth0", mac(2)).is_none());
        assert!(store.find("eth0", mac(1)).is_some(), "listed");
    }

    #[test]
    fn the_listed_are_never_counted_out() {
        let mut store = Store::default();
        for n in 0..MOST_ENTRIES + SLACK + 1 {
            store.observe(&eth0(), mac(n), seen(NOW, NOW), 0);
        }
        assert!(store.is_overfull());
        store.prune(NOW, |_| true);
        assert_eq!(store.len(), MOST_ENTRIES + SLACK + 1);
        store.prune(NOW, |_| false);
        assert_eq!(store.len(), MOST_ENTRIES);
    }
}
