//! The books of one interface, as a page sees them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Remembered, Row};
use crate::clock::Moment;
use crate::frame::wire::Wire;
use crate::mac::Mac;
use crate::tally::Outside;

/// What the capturing thread writes and pages read.
#[derive(Debug)]
pub struct Ledger {
    interface: Arc<str>,
    opened_unix_ms: u64,
    untracked: Tally,
    runts: AtomicU64,
    /// Taken when a source appears or is forgotten and when a page is made, never for a frame of a source
    /// that has a row. A source moves from its row to `expired` under it, so no page sees it in both or in
    /// neither.
    pub(super) entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
pub(super) struct Entries {
    /// In the order of the page.
    pub(super) live: BTreeMap<Mac, Arc<Row>>,
    pub(super) appeared: u64,
    pub(super) expired_sources: u64,
    pub(super) expired_frames: u64,
    pub(super) expired_bytes: u64,
}

/// Frames and bytes that belong to no row.
#[derive(Debug, Default)]
struct Tally {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Ledger {
    pub(super) fn new(interface: &str) -> Self {
        Self {
            interface: interface.into(),
            opened_unix_ms: Moment::now().unix_ms,
            untracked: Tally::default(),
            runts: AtomicU64::new(0),
            entries: Mutex::default(),
        }
    }

    /// The interface whose books these are.
    pub fn interface(&self) -> &Arc<str> {
        &self.interface
    }

    /// Unix time when they were opened, in milliseconds: since then it is counted.
    pub(super) fn opened_unix_ms(&self) -> u64 {
        self.opened_unix_ms
    }

    #[inline]
    pub(super) fn count_untracked(&self, wire: Wire) {
        self.untracked.frames.fetch_add(wire.frames, Ordering::Relaxed);
        self.untracked.bytes.fetch_add(wire.bytes, Ordering::Relaxed);
    }

    /// What was counted elsewhere, beside the rows.
    pub(super) fn catch_up(&self, outside: Outside) {
        self.untracked.frames.store(outside.untracked_frames, Ordering::Relaxed);
        self.untracked.bytes.store(outside.untracked_bytes, Ordering::Relaxed);
        self.runts.store(outside.runt_frames, Ordering::Relaxed);
    }

    pub(super) fn count_runt(&self) {
        self.runts.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads each counter once; the totals are sums of what was read.
    pub fn snapshot(&self) -> Snapshot {
        let entries = self.entries.lock();
        let sources: Vec<_> = entries.live.values().map(|row| row.sample()).collect();
        let snapshot = Snapshot {
            interface: Arc::clone(&self.interface),
            opened_unix_ms: self.opened_unix_ms,
            sources,
            untracked_frames: self.untracked.frames.load(Ordering::Relaxed),
            untracked_bytes: self.untracked.bytes.load(Ordering::Relaxed),
            expired_frames: entries.expired_frames,
            expired_bytes: entries.expired_bytes,
            runt_frames: self.runts.load(Ordering::Relaxed),
            new_sources: entries.appeared,
            expired_sources: entries.expired_sources,
        };
        drop(entries);
        snapshot
    }
}

/// One interface's books at one time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The interface.
    pub interface: Arc<str>,
    /// Unix time when its books were opened, in milliseconds.
    pub opened_unix_ms: u64,
    /// Its sources, in order of address.
    pub sources: Vec<SourceSample>,
    /// Frames of sources beyond the limit.
    pub untracked_frames: u64,
    /// Bytes of sources beyond the limit.
    pub untracked_bytes: u64,
    /// Frames of sources that have since been forgotten.
    pub expired_frames: u64,
    /// Bytes of sources that have since been forgotten.
    pub expired_bytes: u64,
    /// Frames shorter than an Ethernet header. They have no source, and their bytes are not counted.
    pub runt_frames: u64,
    /// Sources that appeared so far.
    pub new_sources: u64,
    /// Sources that fell idle so far.
    pub expired_sources: u64,
}

impl Snapshot {
    /// All frames captured: the sum of what this snapshot holds, so it cannot disagree with it.
    pub fn frames(&self) -> u64 {
        let live: u64 = self.sources.iter().map(|source| source.frames).sum();
        live + self.expired_frames + self.untracked_frames + self.runt_frames
    }

    /// All bytes captured.
    pub fn bytes(&self) -> u64 {
        let live: u64 = self.sources.iter().map(|source| source.bytes).sum();
        live + self.expired_bytes + self.untracked_bytes
    }
}

/// One source at one time: all numbers, side by side, for a page goes through them once for each family.
#[derive(Clone, Copy, Debug)]
pub struct SourceSample {
    /// Its address.
    pub mac: Mac,
    /// It is, or was when it was seen, this host's own.
    pub own: bool,
    /// Its place in the order in which sources came.
    pub number: u64,
    /// Frames on the wire.
    pub frames: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Unix time of its first frame, in milliseconds.
    pub first_seen_unix_ms: u64,
    /// Unix time of its newest frame, in milliseconds.
    pub last_seen_unix_ms: u64,
    /// Unix time when this process began to count it, in milliseconds.
    pub counted_since_unix_ms: u64,
}

impl SourceSample {
    /// What there is to remember of it.
    pub fn remembered(&self) -> Remembered {
        let Self { mac, first_seen_unix_ms, last_seen_unix_ms, .. } = *self;
        Remembered { mac, first_seen_unix_ms, last_seen_unix_ms }
    }
}
