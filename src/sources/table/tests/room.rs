//! Reserved room: whom a flood never pushes out.

use super::*;

/// A roster that can be changed.
#[derive(Debug, Default)]
pub(super) struct List {
    listed: parking_lot::RwLock<Vec<Mac>>,
    own: parking_lot::RwLock<Vec<Mac>>,
    generation: std::sync::atomic::AtomicU64,
}

impl List {
    pub(super) fn set(&self, listed: &[u64], own: &[u64]) {
        *self.listed.write() = listed.iter().map(|n| mac(*n)).collect();
        *self.own.write() = own.iter().map(|n| mac(*n)).collect();
        self.generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Roster for List {
    fn standing(&self, mac: Mac) -> Standing {
        Standing { own: self.own.read().contains(&mac), listed: self.listed.read().contains(&mac) }
    }

    fn generation(&self) -> u64 {
        self.generation.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn reserved(&self) -> Vec<Mac> {
        self.listed.read().iter().chain(self.own.read().iter()).copied().collect()
    }
}

#[test]
fn a_flood_never_pushes_out_who_is_listed_or_our_own() {
    let list = Arc::new(List::default());
    list.set(&[100, 101], &[102]);
    let sources = Sources::new(limits(2, 2), Arc::<List>::clone(&list)).unwrap();
    let mut table = sources.open("eth0");
    table.count(Some(mac(100)), WIRE, at(0));
    for n in 0..50 {
        table.count(Some(mac(n)), WIRE, at(1));
    }
    // They are seen for the first time when all ordinary room is taken.
    table.count(Some(mac(101)), WIRE, at(2));
    table.count(Some(mac(102)), WIRE, at(2));
    let books = &sources.snapshot()[0];
    let tracked: Vec<Mac> = books.sources.iter().map(|source| source.mac).collect();
    assert_eq!(tracked, [mac(0), mac(1), mac(100), mac(101), mac(102)]);
    assert_eq!((books.untracked_frames, books.frames()), (48, 53));
    let own: Vec<bool> = books.sources.iter().map(|source| source.own).collect();
    assert_eq!(own, [false, false, false, false, true]);

    // Once seen they are remembered for good.
    table.expire(at(1000));
    let books = &sources.snapshot()[0];
    let tracked: Vec<Mac> = books.sources.iter().map(|source| source.mac).collect();
    assert_eq!(tracked, [mac(100), mac(101), mac(102)]);
    assert_eq!(books.frames(), 53);
}

#[test]
fn who_is_approved_moves_to_reserved_room_and_back() {
    let list = Arc::new(List::default());
    let sources = Sources::new(limits(1, 1), Arc::<List>::clone(&list)).unwrap();
    let mut table = sources.open("eth0");
    let tracked = |sources: &Sources| -> Vec<(Mac, u64)> {
        sources.snapshot()[0].sources.iter().map(|source| (source.mac, source.frames)).collect()
    };
    table.count(Some(mac(1)), WIRE, at(0));
    table.count(Some(mac(2)), WIRE, at(0));
    assert_eq!(tracked(&sources), [(mac(1), 1)]);

    // Approved: its ordinary place is free for another, and its counts go on.
    list.set(&[1], &[]);
    table.expire(at(1));
    table.count(Some(mac(2)), WIRE, at(1));
    table.count(Some(mac(1)), WIRE, at(1));
    assert_eq!(tracked(&sources), [(mac(1), 2), (mac(2), 1)]);

    // Struck off: nothing is lost at once, but it falls idle like any other, and no third finds room.
    list.set(&[], &[]);
    table.expire(at(2));
    table.count(Some(mac(3)), WIRE, at(2));
    assert_eq!(tracked(&sources), [(mac(1), 2), (mac(2), 1)]);
    table.expire(at(100));
    assert_eq!(tracked(&sources), []);
    table.count(Some(mac(3)), WIRE, at(100));
    assert_eq!(tracked(&sources), [(mac(3), 1)]);
}

#[test]
fn an_own_address_stays_ours_until_it_is_forgotten() {
    let list = Arc::new(List::default());
    list.set(&[], &[1]);
    let sources = Sources::new(limits(1, 1), Arc::<List>::clone(&list)).unwrap();
    let mut table = sources.open("eth0");
    table.count(Some(mac(1)), WIRE, at(0));
    // Its interface has gone.
    list.set(&[], &[]);
    table.expire(at(5));
    assert!(sources.snapshot()[0].sources[0].own);
    table.expire(at(100));
    table.count(Some(mac(1)), WIRE, at(100));
    assert!(!sources.snapshot()[0].sources[0].own, "whoever uses it now is a stranger");
}

#[test]
fn reserved_room_has_an_end() {
    #[derive(Debug)]
    struct Everybody;
    impl Roster for Everybody {
        fn standing(&self, _: Mac) -> Standing {
            Standing { own: false, listed: true }
        }
        fn generation(&self) -> u64 {
            0
        }
        fn reserved(&self) -> Vec<Mac> {
            Vec::new()
        }
    }
    let sources = Sources::new(limits(10, 10), Arc::new(Everybody)).unwrap();
    let mut table = sources.open("eth0");
    for n in 0..5000 {
        table.count(Some(mac(n)), WIRE, at(0));
    }
    let books = &sources.snapshot()[0];
    assert_eq!(books.sources.len(), MOST_RESERVED + 10);
    assert_eq!(books.frames(), 5000);
    assert!(sources.room.has_told());
}
