//! How commands write a time.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A clock beyond the year 9999 shows its end.
pub(super) fn timestamp(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// Local time of day, to the millisecond.
pub(super) fn clock_time(unix_ms: u64, zone: &TimeZone) -> String {
    timestamp(unix_ms).to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string()
}

/// Local date and time, to the second, and how far that is from UTC.
pub(super) fn date_time(unix_ms: u64, zone: &TimeZone) -> String {
    timestamp(unix_ms).to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}
