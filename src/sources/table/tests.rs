use proptest::prelude::*;

use super::*;
use crate::sources::{Limits, MOST_RESERVED, Memory, Nobody, Remembered, Roster, Standing};

mod mirror;
mod restore;
mod room;

use room::List;

const WIRE: Wire = Wire { frames: 1, bytes: 60 };

fn sources(limits: Limits) -> prometheus::Result<Arc<Sources>> {
    Sources::new(limits, Arc::new(Nobody))
}

fn limits(per_interface: usize, total: usize) -> Limits {
    Limits { per_interface, total, idle_timeout: Duration::from_secs(10) }
}

fn at(seconds: u64) -> Moment {
    Moment { unix_ms: 1_790_000_000_000 + seconds * 1000, steady_ms: seconds * 1000 }
}

fn mac(n: u64) -> Mac {
    let octets = (0x0200_0000_0000 + n).to_be_bytes();
    Mac::new(octets[2..].try_into().unwrap())
}

/// Children of the frame vector: what `gather` would show.
fn in_vector(sources: &Sources) -> usize {
    use prometheus::core::Collector;
    sources.vectors().0.collect().iter().map(|family| family.get_metric().len()).sum()
}

#[test]
fn counts_under_the_source_and_remembers_when() {
    let sources = sources(limits(8, 8)).unwrap();
    let mut table = sources.open("eth0");
    table.count(Some(mac(1)), WIRE, at(1));
    table.count(Some(mac(1)), Wire { frames: 11, bytes: 15_306 }, at(5));
    table.count(None, WIRE, at(5));

    let [books] = &sources.snapshot()[..] else { panic!("one interface") };
    let [source] = &books.sources[..] else { panic!("one source") };
    assert_eq!((source.frames, source.bytes), (12, 15_366));
    assert_eq!(source.first_seen_unix_ms, at(1).unix_ms);
    assert_eq!(source.last_seen_unix_ms, at(5).unix_ms);
    assert_eq!((books.frames(), books.bytes(), books.runt_frames), (13, 15_366, 1));
}

#[test]
fn the_counter_vector_is_what_counts() {
    let sources = sources(limits(8, 8)).unwrap();
    let mut table = sources.open("eth0");
    for _ in 0..5 {
        table.count(Some(mac(7)), WIRE, at(0));
    }
    let (frames, bytes) = sources.vectors();
    let text = mac(7).to_string();
    assert_eq!(frames.with_label_values(&["eth0", &text]).get(), 5);
    assert_eq!(bytes.with_label_values(&["eth0", &text]).get(), 300);
}

#[test]
fn beyond_the_limit_frames_are_untracked() {
    let sources = sources(limits(2, 3)).unwrap();
    let (mut a, mut b) = (sources.open("a"), sources.open("b"));
    for n in 0..3 {
        a.count(Some(mac(n)), WIRE, at(0));
        b.count(Some(mac(n)), WIRE, at(0));
    }
    let books = sources.snapshot();
    assert_eq!(books[0].sources.len() + books[1].sources.len(), 3, "the total limit holds");
    assert_eq!(books[0].sources.len(), 2, "the limit per interface holds");
    assert_eq!(books[0].untracked_frames + books[1].untracked_frames, 3);
    assert_eq!(books.iter().map(|b| (b.frames(), b.bytes())).collect::<Vec<_>>(), [(3, 180); 2]);
}

#[test]
fn an_idle_source_expires_and_its_counts_stay_in_the_books() {
    let sources = sources(limits(2, 2)).unwrap();
    let mut table = sources.open("eth0");
    table.count(Some(mac(1)), WIRE, at(0));
    table.count(Some(mac(2)), WIRE, at(6));
    assert_eq!(table.expire(at(10)), Some(Duration::from_millis(1)), "ten seconds are not yet more than ten");
    assert!(table.expire(at(11)).is_some());
    let books = &sources.snapshot()[0];
    assert_eq!(books.sources.iter().map(|s| s.mac).collect::<Vec<_>>(), [mac(2)]);
    assert_eq!((books.expired_sources, books.expired_frames, books.expired_bytes), (1, 1, 60));
    assert_eq!((books.frames(), books.new_sources), (2, 2));
    assert_eq!(in_vector(&sources), 1);

    // Back again: it starts anew, and its room was free.
    table.count(Some(mac(1)), WIRE, at(12));
    let books = &sources.snapshot()[0];
    assert_eq!((books.sources.len(), books.sources[0].frames, books.untracked_frames), (2, 1, 0));
}

#[test]
fn a_source_that_comes_back_is_a_new_one() {
    let sources = sources(limits(8, 8)).unwrap();
    let (mut a, mut b) = (sources.open("a"), sources.open("b"));
    let numbers = || -> Vec<u64> {
        let (books, newest) = sources.numbered_snapshot();
        books.iter().flat_map(|books| &books.sources).map(|source| source.number).chain([newest]).collect()
    };
    assert_eq!(numbers(), [0]);
    b.count(Some(mac(1)), WIRE, at(0));
    a.count(Some(mac(1)), WIRE, at(0));
    a.count(Some(mac(1)), WIRE, at(1));
    assert_eq!(numbers(), [2, 1, 2], "of all interfaces together, in the order of the page");
    b.expire(at(11));
    b.count(Some(mac(1)), WIRE, at(11));
    assert_eq!(numbers(), [2, 3, 3]);
}

#[test]
fn a_page_has_every_source_up_to_its_newest_and_none_above() {
    const EACH: u64 = 2000;
    let sources = sources(limits(usize::MAX, usize::MAX)).unwrap();
    std::thread::scope(|scope| {
        // Read in this order: one on the former that came after one on the latter may be missing.
        for interface in ["a", "b"] {
            let mut table = sources.open(interface);
            scope.spawn(move || {
                (0..EACH).for_each(|n| table.count(Some(mac(n)), WIRE, at(0)));
                while table.sources.numbered_snapshot().1 < 2 * EACH {
                    std::thread::yield_now();
                }
            });
        }
        loop {
            let (books, newest) = sources.numbered_snapshot();
            let rows = books.iter().flat_map(|books| &books.sources);
            let mut numbers: Vec<u64> = rows.map(|source| source.number).collect();
            if numbers.is_empty() && newest == 2 * EACH {
                break;
            }
            numbers.sort_unstable();
            if books.len() == 2 {
                assert!(numbers.iter().copied().eq(1..=newest), "{newest}: {} sources", numbers.len());
            }
        }
    });
}

#[test]
fn the_next_look_is_when_the_oldest_source_may_fall_idle() {
    let sources = sources(limits(8, 8)).unwrap();
    let mut table = sources.open("eth0");
    assert_eq!(table.expire(at(0)), None);
    table.count(Some(mac(1)), WIRE, at(0));
    assert_eq!(table.expire(at(4)), Some(Duration::from_millis(6001)));
    table.count(Some(mac(1)), WIRE, at(9));
    table.expire(at(11));
    assert_eq!(table.expire(at(11)), Some(Duration::from_millis(8001)), "ten seconds after its newest frame");
}

#[test]
fn a_closed_table_leaves_nothing() {
    let sources = sources(limits(2, 2)).unwrap();
    let mut table = sources.open("eth0");
    table.count(Some(mac(1)), WIRE, at(0));
    table.count(Some(mac(2)), WIRE, at(0));
    drop(table);
    assert!(sources.snapshot().is_empty());
    assert_eq!(in_vector(&sources), 0);
    let mut other = sources.open("eth1");
    other.count(Some(mac(1)), WIRE, at(0));
    assert_eq!(sources.snapshot()[0].sources.len(), 1, "the room is free again");
}

/// These two strings have the same 64-bit FNV-1a hash, so with the same address behind them the crate takes
/// them for one counter.
const COLLIDING: [&str; 2] = ["77kepQFQ8Kl", "!0IC=VloaY"];

#[test]
fn sources_that_hash_alike_do_not_share_a_counter() {
    let sources = sources(limits(8, 8)).unwrap();
    let (mut a, mut b) = (sources.open(COLLIDING[0]), sources.open(COLLIDING[1]));
    a.count(Some(mac(1)), WIRE, at(0));
    for _ in 0..10 {
        b.count(Some(mac(1)), WIRE, at(0));
    }
    assert_eq!(in_vector(&sources), 1, "the crate does confuse them");
    let frames = |name: &str| {
        sources.snapshot().iter().find(|books| &*books.interface == name).map(|books| books.sources[0].frames)
    };
    assert_eq!((frames(COLLIDING[0]), frames(COLLIDING[1])), (Some(1), Some(10)));

    // The one outside the vector takes nothing out of it.
    drop(b);
    assert_eq!(in_vector(&sources), 1);
    drop(a);
    assert_eq!(in_vector(&sources), 0);
}

/// A memory that can be looked into.
#[derive(Debug, Default)]
struct Notes(parking_lot::Mutex<Vec<Remembered>>);

impl Memory for Notes {
    fn find(&self, _: &str, mac: Mac) -> Option<Remembered> {
        self.0.lock().iter().find(|one| one.mac == mac).copied()
    }
    fn appeared(&self) {}
    fn recall(&self, _: &str) -> Vec<Remembered> {
        self.0.lock().clone()
    }
    fn keep(&self, _: &Arc<str>, source: Remembered, _: Moment) {
        let mut notes = self.0.lock();
        notes.retain(|one| one.mac != source.mac);
        notes.push(source);
    }
}

/// Remembered for having been there between these seconds before now.
fn remembered(n: u64, now: Moment, first: u64, last: u64) -> Remembered {
    let before = |seconds| now.unix_ms - seconds * 1000;
    Remembered { mac: mac(n), first_seen_unix_ms: before(first), last_seen_unix_ms: before(last) }
}

#[test]
fn who_is_remembered_is_there_from_the_start_and_expires_in_its_time() {
    let notes = Arc::new(Notes::default());
    let now = Moment::now();
    *notes.0.lock() = vec![remembered(1, now, 500, 4), remembered(2, now, 500, 20)];
    let sources = Sources::with_memory(limits(8, 8), Arc::new(Nobody), Arc::<Notes>::clone(&notes)).unwrap();
    let mut table = sources.open("eth0");
    let books = &sources.snapshot()[0];
    let [source] = &books.sources[..] else { panic!("the one that would not have expired") };
    assert_eq!((source.mac, source.frames, books.new_sources), (mac(1), 0, 0));
    assert_eq!(source.first_seen_unix_ms, now.unix_ms - 500_000);
    assert_eq!(source.last_seen_unix_ms, now.unix_ms - 4_000);
    // What it sent before the restart is not in its counts.
    assert_eq!(source.counted_since_unix_ms, books.opened_unix_ms);
    assert!(books.opened_unix_ms >= now.unix_ms);

    // The other one comes back: new to the page, not to us.
    let later = |seconds: u64| Moment {
        unix_ms: now.unix_ms + seconds * 1000,
        steady_ms: now.steady_ms + seconds * 1000,
    };
    table.count(Some(mac(2)), WIRE, later(1));
    let books = &sources.snapshot()[0];
    assert_eq!(books.sources[1].first_seen_unix_ms, now.unix_ms - 500_000);
    assert_eq!((books.sources[1].frames, books.new_sources), (1, 1));
    assert_eq!(books.sources[1].counted_since_unix_ms, later(1).unix_ms);

    // Six seconds after the restart the first has been silent for ten.
    table.expire(later(5));
    assert_eq!(sources.snapshot()[0].sources.len(), 2);
    table.expire(later(7));
    assert_eq!(sources.snapshot()[0].sources.len(), 1);
    // Both are handed over in the end.
    drop(table);
    let last: Vec<_> = notes.0.lock().iter().map(|one| (one.mac, one.last_seen_unix_ms)).collect();
    assert_eq!(last, [(mac(1), now.unix_ms - 4_000), (mac(2), now.unix_ms + 1_000)]);
}

#[test]
fn a_quarter_of_the_room_is_left_for_who_comes() {
    let list = Arc::new(List::default());
    list.set(&[100], &[]);
    let notes = Arc::new(Notes::default());
    let now = Moment::now();
    // The listed one has been silent for longer than any other may be; it would not have been forgotten.
    *notes.0.lock() = (0..20).map(|n| remembered(n, now, 100 + n, 5)).collect();
    notes.0.lock().push(remembered(100, now, 5000, 4000));
    for (limits, most) in [(limits(8, 100), 6), (limits(100, 8), 6), (limits(5, 100), 3), (limits(1, 1), 0)] {
        let sources = Sources::with_memory(limits, Arc::<List>::clone(&list), Arc::<Notes>::clone(&notes));
        let sources = sources.unwrap();
        let table = sources.open("eth0");
        let tracked: Vec<Mac> = sources.snapshot()[0].sources.iter().map(|source| source.mac).collect();
        let mut expected: Vec<Mac> = (20 - most..20).map(mac).collect();
        expected.push(mac(100));
        assert_eq!(tracked, expected, "the longest-lived of {limits:?}");
        // Do not hand over to the next round.
        let before = notes.0.lock().clone();
        drop(table);
        *notes.0.lock() = before;
    }
}

#[test]
fn when_room_is_scarce_short_lives_go_first() {
    let limits = Limits { per_interface: 8, total: 100, idle_timeout: Duration::from_secs(86_400) };
    let sources = sources(limits).unwrap();
    let mut table = sources.open("eth0");
    let tracked = || -> Vec<Mac> { sources.snapshot()[0].sources.iter().map(|source| source.mac).collect() };
    // One that has been around, and five that were not: three quarters, which is not more.
    table.count(Some(mac(0)), WIRE, at(0));
    table.count(Some(mac(0)), WIRE, at(60));
    for n in 1..6 {
        table.count(Some(mac(n)), WIRE, at(60));
    }
    assert_eq!(table.expire(at(5000)), Some(Duration::from_millis((86_400 - 5000) * 1000 + 1)));
    assert_eq!(tracked().len(), 6);

    // One more: those that have been silent for ten minutes go at once.
    table.count(Some(mac(6)), WIRE, at(5000));
    let due = table.expire(at(5000));
    assert_eq!(tracked(), [mac(0), mac(6)]);
    assert_eq!(due, Some(Duration::from_millis(600_001)), "for the short life that is left");

    // A burst: counted out ten minutes after, and not before.
    for n in 10..30 {
        table.count(Some(mac(n)), WIRE, at(5001));
    }
    table.expire(at(5001));
    assert_eq!(tracked().len(), 8);
    assert_eq!(table.expire(at(5600)), Some(Duration::from_millis(1)));
    table.expire(at(5602));
    assert_eq!(tracked(), [mac(0)]);
    assert_eq!(sources.snapshot()[0].frames(), 28);
}

#[test]
fn room_that_others_take_is_scarce_too() {
    let limits = Limits { per_interface: 8, total: 8, idle_timeout: Duration::from_secs(86_400) };
    let sources = sources(limits).unwrap();
    let (mut a, mut b) = (sources.open("a"), sources.open("b"));
    for n in 0..3 {
        a.count(Some(mac(n)), WIRE, at(0));
    }
    a.expire(at(0));
    for n in 0..4 {
        b.count(Some(mac(n)), WIRE, at(1000));
    }
    a.count(Some(mac(0)), WIRE, at(1000));
    a.expire(at(1000));
    let books = sources.snapshot();
    assert_eq!((books[0].sources.len(), books[1].sources.len()), (1, 4));
}

proptest! {
    /// Whatever happens, every frame is in exactly one place.
    #[test]
    fn the_books_balance(
        steps in proptest::collection::vec((0u64..12, 0u64..4, 1u64..50, any::<bool>()), 1..200),
        per_interface in 1usize..6,
        total in 1usize..8,
    ) {
        let sources = sources(limits(per_interface, total)).unwrap();
        let mut tables = [sources.open("a"), sources.open("b")];
        let mut sent = [(0, 0); 2];
        let mut now = 0;
        for (n, pause, frames, second) in steps {
            now += pause;
            let wire = Wire { frames, bytes: frames * 100 };
            let at = at(now);
            let which = usize::from(second);
            tables[which].count(Some(mac(n)), wire, at);
            tables[which].expire(at);
            sent[which].0 += wire.frames;
            sent[which].1 += wire.bytes;
            let books = sources.snapshot();
            for (books, sent) in books.iter().zip(sent) {
                prop_assert_eq!((books.frames(), books.bytes()), sent);
                prop_assert!(books.sources.len() <= per_interface);
                prop_assert_eq!(books.new_sources - books.expired_sources, books.sources.len() as u64);
            }
            let held: usize = books.iter().map(|b| b.sources.len()).sum();
            prop_assert!(held <= total);
            prop_assert_eq!(in_vector(&sources), held);
        }
    }
}
