//! The table of one interface: from MAC to counters. The hot path.
//!
//! For a frame of a source that has a row, [`Table::count`] may not allocate, lock, format, log, read a
//! clock or touch a label. `benches/count.rs` measures it and counts its allocations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::room::Place;
use super::row::Handles;
use super::{Ledger, Row, Sources};
use crate::clock::Moment;
use crate::frame::wire::Wire;
use crate::mac::Mac;

/// Sources are looked through for idle ones at most this often.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Owned by the thread that captures; see the module's docs.
#[derive(Debug)]
pub struct Table {
    /// The hash is keyed at random: strangers choose the addresses, and must not choose the collisions.
    rows: HashMap<Mac, Handles, ahash::RandomState>,
    /// How many of them have ordinary room.
    ordinary: usize,
    /// The roster's generation when each row was last given its place.
    roster: u64,
    sources: Arc<Sources>,
    ledger: Arc<Ledger>,
    /// The log has been told that there is no room.
    told_full: bool,
    /// Steady time before which no source can have fallen idle.
    next_sweep_ms: u64,
}

impl Table {
    pub(super) fn new(sources: Arc<Sources>, ledger: Arc<Ledger>) -> Self {
        let roster = sources.roster.generation();
        let rows = HashMap::default();
        Self { rows, ordinary: 0, roster, sources, ledger, told_full: false, next_sweep_ms: 0 }
    }

    /// Counts one read that came from `source`, or from nobody if it was a runt.
    #[inline]
    pub fn count(&mut self, source: Option<Mac>, wire: Wire, now: Moment) {
        match source {
            Some(mac) => match self.rows.get_mut(&mac) {
                Some(handles) => handles.count(wire, now),
                None => self.first_sight(mac, wire, now),
            },
            None => self.ledger.count_runt(),
        }
    }

    /// A source without a row: it gets one if there is room.
    #[cold]
    fn first_sight(&mut self, mac: Mac, wire: Wire, now: Moment) {
        let standing = self.sources.roster.standing(mac);
        let place = match self.place(standing.is_reserved()) {
            Ok(place) => place,
            Err(limit) => {
                self.tell_full(limit);
                return self.ledger.count_untracked(wire);
            }
        };
        let row = match Row::new(&self.sources, self.ledger.interface(), mac, now) {
            Ok(row) => Arc::new(row),
            Err(error) => {
                tracing::error!(source_mac = %mac, %error, "no counter for a new source; counted as untracked");
                self.sources.room.give_back(place, 1);
                return self.ledger.count_untracked(wire);
            }
        };
        if standing.own {
            row.set_own();
        }
        let mut handles = Handles::new(&row, place, now);
        handles.count(wire, now);
        if self.rows.is_empty() {
            self.next_sweep_ms = after(now, self.sources.limits().idle_timeout);
        }
        if place == Place::Ordinary {
            self.ordinary += 1;
        }
        self.sources.enter(&self.ledger, mac, row);
        self.rows.insert(mac, handles);
    }

    /// Takes a place for a source: a reserved one if it may have one, else an ordinary one. Without room, says
    /// which limit it is.
    fn place(&self, reserved: bool) -> Result<Place, &'static str> {
        let room = &self.sources.room;
        if reserved && room.take(Place::Reserved) {
            Ok(Place::Reserved)
        } else if self.ordinary >= self.sources.limits().per_interface {
            Err("--sources.max")
        } else if room.take(Place::Ordinary) {
            Ok(Place::Ordinary)
        } else {
            Err("--sources.max-total")
        }
    }

    /// Gives each row the place that it now deserves. Nothing is forgotten here: one that loses its reserved
    /// place takes ordinary room even where there is none, and falls idle like any other.
    #[cold]
    fn settle(&mut self, now: Moment) {
        // Read first: what changes meanwhile is seen next time.
        self.roster = self.sources.roster.generation();
        for (mac, handles) in &mut self.rows {
            let standing = self.sources.roster.standing(*mac);
            if standing.own {
                handles.row().set_own();
            }
            match (handles.place, standing.is_reserved()) {
                (Place::Ordinary, true) if self.sources.room.take(Place::Reserved) => {
                    self.sources.room.give_back(Place::Ordinary, 1);
                    self.ordinary -= 1;
                    handles.place = Place::Reserved;
                }
                (Place::Reserved, false) => {
                    self.sources.room.demote();
                    self.ordinary += 1;
                    handles.place = Place::Ordinary;
                }
                _ => {}
            }
        }
        // It may have been silent for long.
        self.next_sweep_ms = now.steady_ms;
        self.told_full = false;
    }

    /// Says once that frames of further sources are counted as untracked, and again when there was room between.
    fn tell_full(&mut self, limit: &str) {
        if !self.told_full {
            self.told_full = true;
            let interface = &**self.ledger.interface();
            tracing::warn!(
                interface,
                limit,
                tracked = self.rows.len(),
                "no room for more sources; untracked"
            );
        }
    }

    /// Forgets the sources that have been silent for longer than the idle time-out, and says how long to wait
    /// before looking again; none while there are no sources. Cheap until the time has come.
    pub fn expire(&mut self, now: Moment) -> Option<Duration> {
        if self.roster != self.sources.roster.generation() {
            self.settle(now);
        }
        if self.rows.is_empty() {
            return None;
        }
        if now.steady_ms >= self.next_sweep_ms {
            self.sweep(now);
        }
        Some(Duration::from_millis(self.next_sweep_ms.saturating_sub(now.steady_ms)))
    }

    #[cold]
    fn sweep(&mut self, now: Moment) {
        let Self { rows, sources, ledger, .. } = self;
        let idle_timeout = sources.limits().idle_timeout;
        let mut oldest = now.steady_ms;
        let mut forgotten = 0;
        rows.retain(|mac, handles| {
            // Those with a place of their own are remembered for good.
            if handles.place == Place::Reserved {
                return true;
            }
            let seen = handles.last_seen_steady_ms();
            if now.since(seen) <= idle_timeout {
                oldest = oldest.min(seen);
                return true;
            }
            let row = handles.row();
            let mut entries = ledger.entries.lock();
            entries.live.remove(mac);
            entries.expired_sources += 1;
            entries.expired_frames += row.frames();
            entries.expired_bytes += row.bytes();
            drop(entries);
            row.forget(sources, ledger.interface());
            forgotten += 1;
            false
        });
        sources.room.give_back(Place::Ordinary, forgotten);
        self.ordinary -= forgotten;
        if forgotten > 0 {
            self.told_full = false;
        }
        // A flood leaves room for many behind; give it back to the system.
        if rows.capacity() > 4 * rows.len().max(64) {
            rows.shrink_to_fit();
        }
        let due = Moment { steady_ms: oldest, ..now };
        self.next_sweep_ms = after(due, idle_timeout).max(after(now, SWEEP_PAUSE));
    }
}

/// Steady time just after `pause` will have passed.
fn after(now: Moment, pause: Duration) -> u64 {
    now.steady_ms.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)).saturating_add(1)
}

/// Closes the books: the series are gone from the page and the vectors, the room is free.
impl Drop for Table {
    fn drop(&mut self) {
        self.sources.close(&self.ledger);
        for handles in self.rows.values() {
            handles.row().forget(&self.sources, self.ledger.interface());
        }
        self.sources.room.give_back(Place::Ordinary, self.ordinary);
        self.sources.room.give_back(Place::Reserved, self.rows.len() - self.ordinary);
    }
}

#[cfg(test)]
mod tests;
