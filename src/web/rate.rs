//! A limit on requests: one more every so often, and some at once after a pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many requests are let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// From one to the next.
    pub(super) interval: Duration,
    /// At once, after a pause.
    pub(super) burst: u32,
}

/// A bucket of tokens, as of the time when it was full: later by an interval for each one that was taken.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    rate: Rate,
    /// None until the first request. Clones share it.
    full_at: Arc<Mutex<Option<Instant>>>,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full_at: Arc::default() }
    }

    pub(super) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Whether one more is let through now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock();
        let begin = full_at.map_or(now, |full_at| full_at.max(now));
        // Beyond the end of time there is no room either.
        let next = begin.checked_add(self.rate.interval);
        let most = self.rate.interval.saturating_mul(self.rate.burst);
        match next.filter(|next| next.duration_since(now) <= most) {
            Some(next) => {
                *full_at = Some(next);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_one_at_a_time() {
        let limiter = Limiter::new(Rate { interval: SECOND, burst: 3 });
        let start = Instant::now();
        let at = |seconds: f64| limiter.allows(start + SECOND.mul_f64(seconds));
        assert_eq!([at(0.0), at(0.0), at(0.1), at(0.2)], [true, true, true, false]);
        assert_eq!([at(1.0), at(1.0), at(1.9), at(2.0)], [true, false, false, true]);
        // No more than a burst is saved up.
        assert_eq!([at(99.0), at(99.0), at(99.0), at(99.0)], [true, true, true, false]);
    }

    #[test]
    fn the_longest_interval_is_no_overflow() {
        let now = Instant::now();
        for (interval, burst, allowed) in
            [(Duration::MAX, 2, false), (SECOND * 900_000_000, 2, true), (SECOND, 0, false)]
        {
            assert_eq!(Limiter::new(Rate { interval, burst }).allows(now), allowed);
        }
    }
}
