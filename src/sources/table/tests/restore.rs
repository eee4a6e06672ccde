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
