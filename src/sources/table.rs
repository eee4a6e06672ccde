//! The table of one interface: from MAC to counters. The hot path.
//!
//! For a frame of a source that has a row, [`Table::count`] may not allocate, lock, format, log, read a
//! clock or touch a label. `benches/count.rs` measures it and counts its allocations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::room::is_crowded;
use super::row::Handles;
use super::{Ledger, Limits, Remembered, Row, Sources};
use crate::clock::Moment;
use crate::frame::wire::Wire;
use crate::mac::Mac;
use crate::tally::{Place, Reading, Slot, Tallies};

mod mirror;
mod restore;

/// Sources are looked through for idle ones at most this often.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// When room is scarce, a source whose whole life was shorter than this …
const SHORT_LIFE: Duration = Duration::from_secs(60);
/// … is forgotten after this long, so that a burst of forged addresses does not keep strangers out for a day.
const SHORT_PATIENCE: Duration = Duration::from_secs(600);

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
    /// Steady time before which it is too early to look again.
    sweep_pause_ms: u64,
    /// More than three quarters of the room were taken when it was last looked at.
    crowded: bool,
    /// There was no room for all who are remembered: it is taken to be scarce until it has been looked through at this
    /// steady time, or later. 0 if it is not.
    scarce_until_ms: u64,
    /// What counts the frames, if it is not [`Table::count`].
    tallies: Option<Box<dyn Tallies>>,
    /// Sources that are being forgotten: on the page until the last of their frames have been counted.
    leaving: Vec<(Mac, Handles)>,
    /// Frames counted elsewhere for which there was no room, when that was last looked at.
    crowded_out_frames: u64,
}

/// What a row is made for.
#[derive(Clone, Copy, Debug)]
enum Met {
    /// The source is remembered, and has not been heard since.
    Before(Remembered),
    /// A frame of it is here.
    Here(Wire),
    /// It has been counted there.
    Elsewhere { slot: Slot, reading: Reading, since_unix_ms: u64 },
}

impl Table {
    pub(super) fn new(
        sources: Arc<Sources>,
        ledger: Arc<Ledger>,
        tallies: Option<Box<dyn Tallies>>,
        now: Moment,
    ) -> Self {
        let remembered = sources.memory.recall(ledger.interface());
        let mut table = Self {
            rows: HashMap::default(),
            ordinary: 0,
            roster: sources.roster.generation(),
            sources,
            ledger,
            told_full: false,
            next_sweep_ms: 0,
            sweep_pause_ms: 0,
            crowded: false,
            scarce_until_ms: 0,
            tallies,
            leaving: Vec::new(),
            crowded_out_frames: 0,
        };
        table.reserve();
        table.restore(remembered, now);
        table
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
        if self.rows.is_empty() {
            self.next_sweep_ms = after(now, self.sources.limits().idle_timeout);
        }
        if !self.add(mac, place, standing.own, [now; 2], Met::Here(wire)) {
            self.sources.room.give_back(place, 1);
            return self.ledger.count_untracked(wire);
        }
        self.sources.memory.appeared();
    }

    /// Makes a row for a source that has its place already, first heard at the first of these times, the second being
    /// now, and counts what made it appear; false if the crate refuses.
    fn add(&mut self, mac: Mac, place: Place, own: bool, [heard, now]: [Moment; 2], met: Met) -> bool {
        let remembered = match met {
            Met::Before(source) => Some(source),
            _ => self.sources.memory.find(self.ledger.interface(), mac),
        };
        let first_seen = remembered.map_or(heard, |source| now.back_at(source.first_seen_unix_ms));
        let last_seen = match met {
            Met::Before(source) => now.back_at(source.last_seen_unix_ms),
            _ => now,
        };
        let seen = [first_seen, last_seen];
        let row = match Row::new(&self.sources, self.ledger.interface(), mac, seen) {
            Ok(row) => Arc::new(row),
            Err(error) => {
                tracing::error!(source_mac = %mac, %error, "no counter for a new source; counted as untracked");
                return false;
            }
        };
        row.doubt_clock(remembered, now);
        if own {
            row.set_own();
        }
        let mut handles = Handles::new(&row, place, last_seen);
        match met {
            Met::Before(_) => {}
            Met::Here(wire) => handles.count(wire, now),
            Met::Elsewhere { slot, reading, since_unix_ms } => {
                handles.slot = Some(slot);
                handles.catch_up(reading, now);
                row.set_counted_since(since_unix_ms);
            }
        }
        if place == Place::Ordinary {
            self.ordinary += 1;
        }
        self.sources.enter(&self.ledger, mac, row, !matches!(met, Met::Before(_)));
        self.rows.insert(mac, handles);
        true
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
        self.reserve();
        let macs: Vec<Mac> = self.rows.keys().copied().collect();
        macs.into_iter().for_each(|mac| self.seat(mac));
        // It may have been silent for long.
        self.next_sweep_ms = now.steady_ms;
        self.told_full = false;
    }

    /// Gives a row the place that it now deserves, if that can be had.
    fn seat(&mut self, mac: Mac) {
        let Self { rows, sources, tallies, ordinary, .. } = self;
        let Some(handles) = rows.get_mut(&mac) else { return };
        let standing = sources.roster.standing(mac);
        if standing.own {
            handles.row().set_own();
        }
        let mut shift = |to| match tallies {
            Some(tallies) if handles.slot.is_some() => tallies.shift(to),
            _ => true,
        };
        match (handles.place, standing.is_reserved()) {
            (Place::Ordinary, true) if sources.room.take(Place::Reserved) => {
                if shift(Place::Reserved) {
                    sources.room.give_back(Place::Ordinary, 1);
                    *ordinary -= 1;
                    handles.place = Place::Reserved;
                } else {
                    sources.room.give_back(Place::Reserved, 1);
                    sources.room.tell_no_reserved();
                }
            }
            (Place::Reserved, false) if shift(Place::Ordinary) => {
                sources.room.demote();
                *ordinary += 1;
                handles.place = Place::Ordinary;
            }
            _ => {}
        }
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
        self.adopt(now);
        if self.roster != self.sources.roster.generation() {
            self.settle(now);
        }
        if self.rows.is_empty() {
            return None;
        }
        let crowded = self.is_crowded();
        if crowded && !self.crowded {
            // Those that have been silent for ten minutes may go at once.
            self.next_sweep_ms = self.next_sweep_ms.min(self.sweep_pause_ms);
        }
        self.crowded = crowded;
        if now.steady_ms >= self.next_sweep_ms {
            self.sweep(now);
        }
        Some(Duration::from_millis(self.next_sweep_ms.saturating_sub(now.steady_ms)))
    }

    /// Whether room is scarce: this interface's, or that of all together. When other interfaces take that, it is
    /// noticed here when this table is next looked after: with the next frame, or the next new source where frames are
    /// counted elsewhere.
    fn is_crowded(&self) -> bool {
        let Limits { per_interface, idle_timeout, .. } = self.sources.limits();
        // Where all are forgotten sooner, it changes nothing.
        idle_timeout > SHORT_PATIENCE
            && (self.scarce_until_ms > 0
                || is_crowded(self.ordinary, per_interface)
                || self.sources.room.is_crowded())
    }

    /// Closes the books: the series are gone from the page and the vectors, the room is free. Once is enough.
    pub(super) fn close(&mut self, now: Moment) {
        self.close_tallies(now);
        self.sources.close(&self.ledger);
        let interface = self.ledger.interface();
        for handles in self.rows.values() {
            handles.row().forget(&self.sources, interface);
            self.sources.memory.keep(interface, handles.row().remembered(), now);
        }
        self.sources.room.give_back(Place::Ordinary, self.ordinary);
        self.sources.room.give_back(Place::Reserved, self.rows.len() - self.ordinary);
        self.ordinary = 0;
        self.rows.clear();
    }

    #[cold]
    fn sweep(&mut self, now: Moment) {
        self.catch_up(now);
        let Self { rows, sources, ledger, tallies, leaving, .. } = self;
        let idle_timeout = sources.limits().idle_timeout;
        let shortest = if self.crowded { idle_timeout.min(SHORT_PATIENCE) } else { idle_timeout };
        let mut next_sweep_ms = after(now, shortest);
        if now.steady_ms < self.scarce_until_ms {
            next_sweep_ms = next_sweep_ms.min(self.scarce_until_ms);
        } else {
            self.scarce_until_ms = 0;
        }
        let mut forgotten = 0;
        rows.retain(|mac, handles| {
            // Those with a place of their own are remembered for good.
            if handles.place == Place::Reserved {
                return true;
            }
            let seen = handles.last_seen_steady_ms();
            let row = handles.row();
            let is_short = seen.saturating_sub(row.first_seen_steady_ms()) < milliseconds(SHORT_LIFE);
            let patience = if is_short { shortest } else { idle_timeout };
            if now.since(seen) <= patience {
                next_sweep_ms = next_sweep_ms.min(after(Moment { steady_ms: seen, ..now }, patience));
                return true;
            }
            if let Some(tallies) = tallies {
                if handles.slot.is_some_and(|slot| !tallies.dismiss(*mac, slot)) {
                    return true;
                }
                leaving.push((*mac, handles.clone()));
            } else {
                forget(sources, ledger, row, now);
            }
            forgotten += 1;
            false
        });
        if tallies.is_none() {
            sources.room.give_back(Place::Ordinary, forgotten);
        }
        self.ordinary -= forgotten;
        if forgotten > 0 {
            self.told_full = false;
        }
        // A flood leaves room for many behind; give it back to the system.
        if rows.capacity() > 4 * rows.len().max(64) {
            rows.shrink_to_fit();
        }
        self.sweep_pause_ms = after(now, SWEEP_PAUSE);
        self.next_sweep_ms = next_sweep_ms.max(self.sweep_pause_ms);
    }
}

/// Moves a source from the live ones to the expired ones.
fn forget(sources: &Sources, ledger: &Ledger, row: &Row, now: Moment) {
    let mut entries = ledger.entries.lock();
    entries.live.remove(&row.mac());
    entries.expired_sources += 1;
    entries.expired_frames += row.frames();
    entries.expired_bytes += row.bytes();
    drop(entries);
    row.forget(sources, ledger.interface());
    sources.memory.keep(ledger.interface(), row.remembered(), now);
}

/// Steady time just after `pause` will have passed.
fn after(now: Moment, pause: Duration) -> u64 {
    now.steady_ms.saturating_add(milliseconds(pause)).saturating_add(1)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for Table {
    fn drop(&mut self) {
        self.close(Moment::now());
    }
}

#[cfg(test)]
mod tests;
