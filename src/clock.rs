//! Time, read once per batch of frames instead of once per frame.

use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::build;

/// A clock that shows an earlier Unix time, in milliseconds, has not been set. A day less than the build's date, for the
/// committer's clock may have been ahead of ours.
pub const LEAST_UNIX_MS: u64 = build::DATE.saturating_sub(86_400) * 1000;

/// One instant on both clocks.
///
/// People and Prometheus want Unix time; how long a source has been silent must not depend on a clock that
/// NTP or a person may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
    /// Milliseconds on the clock that never jumps (`CLOCK_MONOTONIC`); only differences mean anything. Times
    /// long before the machine was started can be told.
    pub steady_ms: u64,
}

/// The monotonic clock begins when the machine starts; what is remembered from before must not be negative.
const STEADY_ORIGIN_MS: u64 = 1 << 42;

impl Moment {
    /// This instant. Both clocks are read without entering the kernel (vDSO), at some 20 ns each.
    pub fn now() -> Self {
        Self {
            unix_ms: milliseconds(clock_gettime(ClockId::Realtime)),
            steady_ms: STEADY_ORIGIN_MS + milliseconds(clock_gettime(ClockId::Monotonic)),
        }
    }

    /// This instant as it was when Unix time was `unix_ms`; not later than now.
    pub fn back_at(self, unix_ms: u64) -> Self {
        let ago = self.unix_ms.saturating_sub(unix_ms);
        Self { unix_ms: self.unix_ms - ago, steady_ms: self.steady_ms.saturating_sub(ago) }
    }

    /// This instant as it was at `steady_ms`; not later than now.
    pub fn back_to(self, steady_ms: u64) -> Self {
        let ago = self.steady_ms.saturating_sub(steady_ms);
        Self { unix_ms: self.unix_ms.saturating_sub(ago), steady_ms: self.steady_ms - ago }
    }

    /// How long after `earlier_steady_ms` this is; zero if it is not.
    pub fn since(self, earlier_steady_ms: u64) -> Duration {
        Duration::from_millis(self.steady_ms.saturating_sub(earlier_steady_ms))
    }
}

/// A reading of the monotonic clock in nanoseconds, as [`Moment::steady_ms`] tells it.
pub fn steady_ms(monotonic_ns: u64) -> u64 {
    STEADY_ORIGIN_MS + monotonic_ns / 1_000_000
}

/// By how many nanoseconds this process's monotonic clock is ahead of the machine's, which is what the kernel's own
/// times are of: a time namespace may shift it (time_namespaces(7)).
pub fn namespace_ns() -> i64 {
    std::fs::read_to_string("/proc/self/timens_offsets")
        .ok()
        .as_deref()
        .and_then(monotonic_offset)
        .unwrap_or(0)
}

/// From lines of a clock's name, seconds and nanoseconds.
fn monotonic_offset(offsets: &str) -> Option<i64> {
    let mut words = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?.split_whitespace();
    let (seconds, nanoseconds): (i64, i64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// A clock set before 1970 counts as 1970: a machine without a battery may start there.
fn milliseconds(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Unix time in seconds; 0 for a clock set before 1970.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A deadline that has passed or lies ahead, as a time-out from now.
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespaces_offset_is_read() {
        let told = "monotonic      200000         5\nboottime            7         0\n";
        assert_eq!(monotonic_offset(told), Some(200_000_000_000_005));
        // As the kernel writes what is less than nothing: the nanoseconds are added.
        assert_eq!(monotonic_offset("monotonic -2 500000000\n"), Some(-1_500_000_000));
        for told in
            ["", "monotonic\n", "monotonic x 0\n", "boottime 1 2\n", "monotonic 9223372036854775807 0\n"]
        {
            assert_eq!(monotonic_offset(told), None, "{told}");
        }
    }
}
