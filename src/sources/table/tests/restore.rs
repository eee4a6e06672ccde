//! Who is there from the start, and for how long.

use super::*;

/// Books of one interface that are opened after a burst of `forged` sources, seen so many seconds ago, beside one that has
/// been around, for a day at the most.
struct Restarted {
    sources: Arc<Sources>,
    table: Table,
    begun: Moment,
}

impl Restarted {
    fn after_burst(limits: (usize, usize), forged: u64, ago: u64) -> Self {
        let notes = Arc::new(Notes::default());
        let begun = Moment::now();
        let burst = (1..=forged).map(|n| remembered(n, begun, ago, ago));
        *notes.0.lock() = burst.chain([remembered(100, begun, 80_000, ago)]).collect();
        let limits =
            Limits { per_interface: limits.0, total: limits.1, idle_timeout: Duration::from_secs(86_400) };
        let sources = Sources::with_memory(limits, Arc::new(Nobody), notes).unwrap();
        let table = sources.open("eth0");
        Self { sources, table, begun }
    }

    fn later(&self, seconds: u64) -> Moment {
        let ms = seconds * 1000;
        Moment { unix_ms: self.begun.unix_ms + ms, steady_ms: self.begun.steady_ms + ms }
    }

    /// How many sources there are so many seconds after the start, and when to look again.
    fn look(&mut self, seconds: u64) -> (usize, Option<u64>) {
        let due = self.table.expire(self.later(seconds));
        (self.sources.snapshot()[0].sources.len(), due.map(|due| due.as_secs()))
    }
}

#[test]
fn after_a_burst_and_a_restart_room_is_free_in_ten_minutes() {
    for limits in [(8, 100), (100, 8)] {
        let mut restarted = Restarted::after_burst(limits, 20, 100);
        // As many as there may be, which leaves a quarter.
        assert_eq!(restarted.look(0).0, 6, "{limits:?}");
        let (tracked, due) = restarted.look(1);
        assert_eq!(tracked, 6);
        assert!((498..=499).contains(&due.unwrap()), "{due:?}");
        assert_eq!(restarted.look(502).0, 1);
        let books = &restarted.sources.snapshot()[0];
        assert_eq!((books.sources[0].mac, books.expired_sources), (mac(100), 5));
    }
}

#[test]
fn a_burst_of_long_ago_is_not_brought_back() {
    for limits in [(8, 100), (100, 8)] {
        let mut restarted = Restarted::after_burst(limits, 20, 700);
        assert_eq!(restarted.look(0).0, 1, "{limits:?}");
        assert_eq!(restarted.sources.snapshot()[0].sources[0].mac, mac(100));
    }
}

#[test]
fn where_there_is_room_for_all_they_stay_for_a_day() {
    let mut restarted = Restarted::after_burst((8, 100), 5, 700);
    for seconds in [0, 601, 80_000] {
        assert_eq!(restarted.look(seconds).0, 6, "after {seconds} s");
    }
    assert_eq!(restarted.look(86_400).0, 0);
}

#[test]
fn room_is_scarce_no_longer_than_that() {
    let mut restarted = Restarted::after_burst((8, 100), 20, 100);
    restarted.look(0);
    restarted.table.count(Some(mac(200)), WIRE, restarted.later(300));
    assert_eq!(restarted.look(502).0, 2);
    // Looked through once more, and then as ever.
    assert_eq!(restarted.look(602).0, 2);
    let (tracked, due) = restarted.look(5000);
    assert_eq!((tracked, due), (2, Some(86_400 - 100 - 5000)), "for the one that has been around");
}

/// Sources that were there for an hour until now, by their own clock; and a table that is opened by one that is behind.
fn behind() -> (Arc<Notes>, Arc<Sources>, Table, Moment) {
    let notes = Arc::new(Notes::default());
    let now = Moment::now();
    // As seen from here, the clock that remembered is two hours ahead.
    let hour = 3_600_000;
    let ahead = |n| Remembered {
        mac: mac(n),
        first_seen_unix_ms: now.unix_ms + hour,
        last_seen_unix_ms: now.unix_ms + 2 * hour,
    };
    *notes.0.lock() = vec![ahead(1), ahead(2)];
    let limits = Limits { per_interface: 8, total: 8, idle_timeout: Duration::from_secs(86_400) };
    let sources = Sources::with_memory(limits, Arc::new(Nobody), Arc::<Notes>::clone(&notes)).unwrap();
    let table = sources.open("eth0");
    (notes, sources, table, now)
}

fn times(sources: &Sources, now: Moment) -> Vec<(i64, i64)> {
    let minutes = |unix_ms: u64| (unix_ms.cast_signed() - now.unix_ms.cast_signed()) / 60_000;
    let times = |source: &crate::sources::SourceSample| {
        (minutes(source.first_seen_unix_ms), minutes(source.last_seen_unix_ms))
    };
    let mut books = sources.snapshot();
    books[0].sources.sort_by_key(|source| source.mac);
    books[0].sources.iter().map(times).collect()
}

/// `minutes` later, when the clock was put forward by so many more.
fn set(now: Moment, minutes: u64, forward: u64) -> Moment {
    Moment {
        unix_ms: now.unix_ms + (minutes + forward) * 60_000,
        steady_ms: now.steady_ms + minutes * 60_000,
    }
}

#[test]
fn a_clock_that_is_behind_does_not_change_what_is_remembered() {
    let (notes, sources, mut table, now) = behind();
    assert_eq!(times(&sources, now), [(60, 120); 2]);
    table.count(Some(mac(1)), WIRE, set(now, 1, 0));
    assert_eq!(times(&sources, now), [(60, 120); 2]);
    // NTP sets it right.
    table.count(Some(mac(1)), WIRE, set(now, 2, 180));
    assert_eq!(times(&sources, now), [(60, 182), (60, 120)]);
    // From then on it is believed, whatever it shows.
    table.count(Some(mac(1)), WIRE, set(now, 3, 90));
    assert_eq!(times(&sources, now), [(60, 93), (60, 120)]);
    drop(table);
    let mut kept: Vec<u64> = notes.0.lock().iter().map(|one| one.first_seen_unix_ms).collect();
    kept.dedup();
    assert_eq!(kept, [now.unix_ms + 3_600_000]);
}

#[test]
fn a_clock_that_stays_behind_is_right_in_the_end() {
    let (_, sources, mut table, now) = behind();
    table.count(Some(mac(1)), WIRE, set(now, 9, 0));
    assert_eq!(times(&sources, now), [(60, 120); 2]);
    table.count(Some(mac(1)), WIRE, set(now, 11, 0));
    table.count(Some(mac(1)), WIRE, set(now, 12, 0));
    assert_eq!(times(&sources, now), [(11, 12), (60, 120)]);
    // Not one that has not been set at all.
    let unset = Moment { unix_ms: 60_000, ..set(now, 20, 0) };
    table.count(Some(mac(2)), WIRE, unset);
    assert_eq!(times(&sources, now)[1], (60, 120));
}

#[test]
fn who_came_before_the_clock_was_set_came_when_it_did() {
    let sources = sources(limits(8, 8)).unwrap();
    let mut table = sources.open("eth0");
    let now = Moment::now();
    let unset = Moment { unix_ms: 60_000, ..now };
    table.count(Some(mac(1)), WIRE, unset);
    table.count(Some(mac(1)), WIRE, Moment { unix_ms: 61_000, steady_ms: now.steady_ms + 1000 });
    let seen = |sources: &Sources| {
        let source = sources.snapshot()[0].sources[0];
        (source.first_seen_unix_ms, source.last_seen_unix_ms)
    };
    assert_eq!(seen(&sources), (60_000, 61_000));
    table.count(Some(mac(1)), WIRE, set(now, 2, 0));
    assert_eq!(seen(&sources), (now.unix_ms, now.unix_ms + 120_000));
}
