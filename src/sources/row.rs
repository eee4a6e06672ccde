//! One source on one interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus::core::Metric;
use prometheus::{IntCounter, Opts};

use super::{BYTES, FRAMES, LABELS, Remembered, SourceSample, Sources};
use crate::clock::{LEAST_UNIX_MS, Moment};
use crate::frame::wire::Wire;
use crate::mac::Mac;
use crate::tally::{Place, Reading, Slot};

/// A clock that shows less than what is remembered may be set right soon after the start, as that of a machine without a
/// battery is. After this long it is taken for right, and what is remembered for the times of one that was ahead.
const CLOCK_PATIENCE_MS: u64 = 600_000;
/// Nothing is remembered, and the clock had not been set when it came.
const UNTIL_SET: u64 = u64::MAX;

/// One source: its counters, and when it was seen. Frames are counted through its handles, in the table.
#[derive(Debug)]
pub struct Row {
    frames: IntCounter,
    bytes: IntCounter,
    seen_unix_ms: AtomicU64,
    first_seen_unix_ms: AtomicU64,
    /// Until when, on the clock that never jumps, what is remembered is believed rather than a clock that shows less;
    /// or [`UNTIL_SET`]; 0 if its times are in no doubt.
    doubt_until_steady_ms: AtomicU64,
    /// Sources are numbered as they come.
    number: AtomicU64,
    /// Unix time in milliseconds when this process began to count it.
    counted_since_unix_ms: AtomicU64,
    /// The same on the clock that never jumps.
    first_seen_steady_ms: u64,
    mac: Mac,
    in_vector: bool,
    /// It was this host's own address when it was seen.
    own: AtomicBool,
}

impl Row {
    /// Makes the counters of a new source. The slow path: it formats, allocates and takes the vectors' locks.
    ///
    /// # Errors
    ///
    /// Only if the crate refuses the names of the vectors, which it accepted before.
    pub(super) fn new(
        sources: &Sources,
        interface: &str,
        mac: Mac,
        [first_seen, last_seen]: [Moment; 2],
    ) -> prometheus::Result<Self> {
        let text = mac.to_string();
        let values = [interface, text.as_str()];
        let mut frames = sources.frames.get_metric_with_label_values(&values)?;
        let mut bytes = sources.bytes.get_metric_with_label_values(&values)?;
        if frames.get() > 0 && is_labelled(&frames, &values) {
            // Those of books of the same name that are still being closed, on another thread: these begin at 0.
            drop(sources.frames.remove_label_values(&values));
            drop(sources.bytes.remove_label_values(&values));
            frames = sources.frames.get_metric_with_label_values(&values)?;
            bytes = sources.bytes.get_metric_with_label_values(&values)?;
        }
        // The vectors know their counters by a 64-bit hash of the labels alone, and strangers choose the
        // labels: two sources may meet in one counter. The later one gets a pair of its own, so that the
        // page stays true; only `gather` over the vectors does not see it.
        let in_vector = is_labelled(&frames, &values) && is_labelled(&bytes, &values);
        if !in_vector {
            tracing::warn!(
                interface,
                source_mac = text,
                "a source's labels hash like another's; counted outside the counter vector"
            );
            frames = lone_counter(FRAMES)?;
            bytes = lone_counter(BYTES)?;
        }
        Ok(Self {
            frames,
            bytes,
            number: AtomicU64::new(0),
            counted_since_unix_ms: AtomicU64::new(last_seen.unix_ms),
            seen_unix_ms: AtomicU64::new(last_seen.unix_ms),
            first_seen_unix_ms: AtomicU64::new(first_seen.unix_ms),
            doubt_until_steady_ms: AtomicU64::new(0),
            first_seen_steady_ms: first_seen.steady_ms,
            mac,
            in_vector,
            own: AtomicBool::new(false),
        })
    }

    /// Notes what there is to settle of its times, from what is remembered and what the clock shows.
    pub(super) fn doubt_clock(&self, remembered: Option<Remembered>, now: Moment) {
        let doubt = match remembered {
            Some(source) if source.last_seen_unix_ms > now.unix_ms => {
                self.first_seen_unix_ms.store(source.first_seen_unix_ms, Ordering::Relaxed);
                self.seen_unix_ms.store(source.last_seen_unix_ms, Ordering::Relaxed);
                now.steady_ms + CLOCK_PATIENCE_MS
            }
            None if now.unix_ms < LEAST_UNIX_MS => UNTIL_SET,
            _ => return,
        };
        self.doubt_until_steady_ms.store(doubt, Ordering::Relaxed);
    }

    /// Whether its newest frame came at this time: not if the clock is behind what is known.
    #[inline]
    fn believes(&self, time: Moment) -> bool {
        self.doubt_until_steady_ms.load(Ordering::Relaxed) == 0 || self.settle(time)
    }

    #[cold]
    fn settle(&self, time: Moment) -> bool {
        let is_set = time.unix_ms >= LEAST_UNIX_MS;
        let doubt = self.doubt_until_steady_ms.load(Ordering::Relaxed);
        if doubt == UNTIL_SET {
            if !is_set {
                return true;
            }
            // How long ago it came is known.
            let first_seen = time.back_to(self.first_seen_steady_ms);
            self.first_seen_unix_ms.store(first_seen.unix_ms, Ordering::Relaxed);
        } else if time.unix_ms < self.last_seen_unix_ms() {
            if !is_set || time.steady_ms < doubt {
                return false;
            }
            self.first_seen_unix_ms.fetch_min(time.unix_ms, Ordering::Relaxed);
        }
        self.doubt_until_steady_ms.store(0, Ordering::Relaxed);
        true
    }

    /// Takes the counters out of the vectors.
    pub(super) fn forget(&self, sources: &Sources, interface: &str) {
        if self.in_vector {
            let text = self.mac.to_string();
            let values = [interface, text.as_str()];
            // An error says that they are not there, which is what is wanted.
            drop(sources.frames.remove_label_values(&values));
            drop(sources.bytes.remove_label_values(&values));
        }
    }

    /// Frames on the wire so far.
    pub fn frames(&self) -> u64 {
        self.frames.get()
    }

    /// Bytes on the wire so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether it is, or was when it was seen, this host's own address. That stays until it is forgotten, also
    /// when the interface is gone: its last frames are no stranger's.
    pub fn is_own(&self) -> bool {
        self.own.load(Ordering::Relaxed)
    }

    pub(super) fn set_own(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// The address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Its place in the order in which sources came, of all interfaces together, from 1. One that comes back after
    /// being forgotten is a new one.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    pub(super) fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    /// Unix time when this process began to count it, in milliseconds: its first frame's, unless it was there before
    /// it was heard, remembered from an earlier process.
    pub fn counted_since_unix_ms(&self) -> u64 {
        self.counted_since_unix_ms.load(Ordering::Relaxed)
    }

    pub(super) fn set_counted_since(&self, unix_ms: u64) {
        self.counted_since_unix_ms.store(unix_ms, Ordering::Relaxed);
    }

    /// Unix time of its first frame, in milliseconds.
    pub fn first_seen_unix_ms(&self) -> u64 {
        self.first_seen_unix_ms.load(Ordering::Relaxed)
    }

    pub(super) fn first_seen_steady_ms(&self) -> u64 {
        self.first_seen_steady_ms
    }

    /// What there is to remember of it.
    pub fn remembered(&self) -> Remembered {
        self.sample().remembered()
    }

    /// What there is to tell of it now.
    pub fn sample(&self) -> SourceSample {
        SourceSample {
            mac: self.mac,
            own: self.is_own(),
            number: self.number(),
            frames: self.frames(),
            bytes: self.bytes(),
            first_seen_unix_ms: self.first_seen_unix_ms(),
            last_seen_unix_ms: self.last_seen_unix_ms(),
            counted_since_unix_ms: self.counted_since_unix_ms(),
        }
    }

    /// Unix time of its newest frame, in milliseconds.
    pub fn last_seen_unix_ms(&self) -> u64 {
        self.seen_unix_ms.load(Ordering::Relaxed)
    }
}

/// The cached handles of one source, for the thread that counts its frames.
///
/// They lie in the table itself: the counters' addresses are there together with the source's, not one more
/// cache miss away in the row. Among 16,384 sources that is a seventh of the cost of a frame.
#[derive(Clone, Debug)]
pub(super) struct Handles {
    frames: IntCounter,
    bytes: IntCounter,
    seen_steady_ms: u64,
    /// Where the source has its room.
    pub(super) place: Place,
    /// Where its frames are counted, if that is elsewhere.
    pub(super) slot: Option<Slot>,
    row: Arc<Row>,
}

impl Handles {
    pub(super) fn new(row: &Arc<Row>, place: Place, now: Moment) -> Self {
        Self {
            frames: row.frames.clone(),
            bytes: row.bytes.clone(),
            seen_steady_ms: now.steady_ms,
            place,
            slot: None,
            row: Arc::clone(row),
        }
    }

    /// Counts one read. The path of every frame: two atomic additions and no more.
    #[inline]
    pub(super) fn count(&mut self, wire: Wire, now: Moment) {
        self.frames.inc_by(wire.frames);
        self.bytes.inc_by(wire.bytes);
        // Written once per batch of frames, not once per frame: `now` is that of the batch.
        if self.seen_steady_ms != now.steady_ms {
            self.seen_steady_ms = now.steady_ms;
            if self.row.believes(now) {
                self.row.seen_unix_ms.store(now.unix_ms, Ordering::Relaxed);
            }
        }
    }

    /// Brings the counters up to what was counted elsewhere.
    pub(super) fn catch_up(&mut self, reading: Reading, now: Moment) {
        self.frames.inc_by(reading.frames.saturating_sub(self.frames.get()));
        self.bytes.inc_by(reading.bytes.saturating_sub(self.bytes.get()));
        // Only when there was a newer frame, or the time would wobble with the clock that people set.
        if reading.last_steady_ms > 0 && self.seen_steady_ms != reading.last_steady_ms {
            self.seen_steady_ms = reading.last_steady_ms;
            let seen = now.back_to(reading.last_steady_ms);
            if self.row.believes(seen) {
                // The clock there is a few milliseconds late.
                let seen_unix_ms = seen.unix_ms.max(self.row.first_seen_unix_ms());
                self.row.seen_unix_ms.store(seen_unix_ms, Ordering::Relaxed);
            }
        }
    }

    /// When its newest frame came, on the clock that never jumps.
    pub(super) fn last_seen_steady_ms(&self) -> u64 {
        self.seen_steady_ms
    }

    pub(super) fn row(&self) -> &Arc<Row> {
        &self.row
    }
}

/// Whether the counter that the vector handed out is that of these labels, in the order of [`LABELS`].
fn is_labelled(counter: &IntCounter, values: &[&str; 2]) -> bool {
    let metric = counter.metric();
    let pairs = metric.get_label();
    pairs.len() == LABELS.len()
        && LABELS
            .iter()
            .zip(values)
            .all(|(name, value)| pairs.iter().any(|pair| pair.name() == *name && pair.value() == *value))
}

/// A counter that belongs to no vector.
fn lone_counter((name, help): (&str, &str)) -> prometheus::Result<IntCounter> {
    IntCounter::with_opts(Opts::new(name, help))
}
