//! When the state is worth a write: soon after a new source, else once a minute, and never more than a disk
//! should bear. Pure logic over a steady clock in milliseconds.

/// New sources rarely come alone: what follows within this time is written with the first.
const GATHER_MS: u64 = 1_000;
/// Times of last frames are written this often.
const PERIOD_MS: u64 = 60_000;
/// What may be written at once for new sources, beyond the write a minute: this many bytes …
const BURST: u64 = 1 << 20;
/// … and as many a second from then on.
const BYTES_PER_SECOND: u64 = 4 << 10;
/// What a write costs at the least: a journal and two folders are written too.
const LEAST_COST: u64 = 16 << 10;
/// After a failure it is tried again after this time, which doubles up to the period.
const FIRST_RETRY_MS: u64 = 2_000;

/// See the module's docs.
#[derive(Debug)]
pub struct Pace {
    /// When the first new source came that has not been written.
    fresh_since: Option<u64>,
    /// When it was last written, or looked at and found unchanged.
    last: u64,
    retry: Option<u64>,
    /// What may be written for new sources; below zero after a large file.
    budget: i64,
    budget_at: u64,
    cost: u64,
}

impl Pace {
    /// Nothing is pending, and the last write was now.
    pub fn new(now: u64) -> Self {
        Self {
            fresh_since: None,
            last: now,
            retry: None,
            budget: signed(BURST),
            budget_at: now,
            cost: LEAST_COST,
        }
    }

    /// A source came that has to be written.
    pub fn fresh(&mut self, now: u64) {
        self.fresh_since.get_or_insert(now);
    }

    /// When to look for changes and write them next.
    pub fn due(&self) -> u64 {
        let periodic = self.last.saturating_add(PERIOD_MS);
        if let Some(retry) = self.retry {
            return self.last.saturating_add(retry);
        }
        let Some(since) = self.fresh_since else { return periodic };
        // One write must fit into the budget, or all of it for a file that is larger than that.
        let missing = signed(self.cost.min(BURST)) - self.budget;
        let affordable = match u64::try_from(missing) {
            Ok(missing) => self.budget_at.saturating_add((missing * 1000).div_ceil(BYTES_PER_SECOND)),
            Err(_) => 0,
        };
        (since.saturating_add(GATHER_MS)).max(affordable).min(periodic)
    }

    /// It was written, or there was nothing to write (0 bytes).
    pub fn done(&mut self, now: u64, bytes: u64) {
        self.refill(now);
        self.last = now;
        self.retry = None;
        let fresh = self.fresh_since.take().is_some();
        if bytes > 0 {
            self.cost = bytes.max(LEAST_COST);
        }
        if bytes > 0 && fresh {
            self.budget = (self.budget - signed(self.cost)).max(-signed(BURST));
        }
    }

    /// It could not be written.
    pub fn failed(&mut self, now: u64) {
        self.last = now;
        self.retry = Some(self.retry.map_or(FIRST_RETRY_MS, |retry| (retry * 2).min(PERIOD_MS)));
    }

    fn refill(&mut self, now: u64) {
        let earned = now.saturating_sub(self.budget_at).saturating_mul(BYTES_PER_SECOND) / 1000;
        self.budget = self.budget.saturating_add(signed(earned)).min(signed(BURST));
        self.budget_at = now;
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// Bytes written and writes made in an hour, with a file of this size. `arrivals` is the time between two
    /// new sources; without, only the times of known ones change.
    fn hour(bytes: u64, arrivals: Option<u64>) -> (u64, u64, u64) {
        let mut pace = Pace::new(0);
        let (mut written, mut writes, mut longest) = (0, 0, 0);
        let mut waiting = None;
        let mut arrival = 0;
        for now in (0..HOUR).step_by(100) {
            if let Some(pause) = arrivals.filter(|_| now >= arrival) {
                arrival = now + pause;
                pace.fresh(now);
                waiting.get_or_insert(now);
            }
            if now >= pace.due() {
                pace.done(now, bytes);
                (written, writes) = (written + bytes, writes + 1);
                longest = longest.max(now - waiting.take().unwrap_or(now));
            }
        }
        (written, writes, longest)
    }

    #[test]
    fn sources_that_are_known_cost_a_write_a_minute() {
        // 5,000 sources at 62 bytes.
        let (written, writes, _) = hour(310_000, None);
        assert_eq!((writes, written), (59, 59 * 310_000));
    }

    #[test]
    fn a_new_source_is_written_within_two_seconds() {
        let mut pace = Pace::new(0);
        assert_eq!(pace.due(), PERIOD_MS);
        pace.fresh(100);
        pace.fresh(900);
        assert_eq!(pace.due(), 100 + GATHER_MS);
        pace.done(1_100, 60_000);
        assert_eq!(pace.due(), 1_100 + PERIOD_MS);
        // Now and then, for an hour: never late.
        for (bytes, pause) in [(6_000, 4_000), (60_000, 17_000), (310_000, 90_000), (4_000_000, 1_100_000)] {
            let (_, _, longest) = hour(bytes, Some(pause));
            assert!(longest <= 2_000, "{bytes}: {longest}");
        }
        // One after the other in a small network: not late either, as long as the burst lasts.
        let mut pace = Pace::new(0);
        for n in 0..60 {
            pace.fresh(n * 1_000);
            assert_eq!(pace.due(), n * 1_000 + GATHER_MS);
            pace.done((n + 1) * 1_000, 6_000);
        }
    }

    #[test]
    fn a_flood_of_new_sources_does_not_wear_out_the_disk() {
        for bytes in [1_000, 60_000, 310_000, 1_000_000, 4_000_000] {
            let (written, writes, longest) = hour(bytes, Some(100));
            let most = BURST + 3600 * BYTES_PER_SECOND + 61 * bytes;
            assert!(written <= most, "{bytes}: {written} of {most}");
            assert!(longest <= PERIOD_MS, "{bytes}: {longest}");
            assert!(writes <= 1_000, "{bytes}: {writes}");
        }
    }

    #[test]
    fn a_failure_is_tried_again_ever_less_often() {
        let mut pace = Pace::new(0);
        pace.fresh(0);
        let mut now = pace.due();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pace.failed(now);
            pauses.push((pace.due() - now) / 1000);
            now = pace.due();
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        pace.done(now, 10);
        assert_eq!(pace.due(), now + PERIOD_MS);
    }
}
