//! A table whose frames are counted elsewhere: sources come into the books when they have been met there, counters
//! follow what was counted there, and who is forgotten is told of there first.

use std::collections::HashSet;
use std::mem;

use super::{Met, Table, after, forget};
use crate::clock::Moment;
use crate::mac::Mac;
use crate::tally::{Newcomer, Place};

impl Table {
    /// Says which interface the frames arrive on, before the first does.
    pub fn target(&mut self, index: u32, now: Moment) {
        self.settle_down(now);
        let Some(tallies) = &mut self.tallies else { return };
        tallies.target(index);
        for (mac, handles) in self.rows.iter_mut().filter(|(_, handles)| handles.slot.is_none()) {
            handles.slot = tallies.admit(*mac, handles.place);
        }
    }

    /// Says that no more frames arrive until there is another target: their interface has gone, or is another
    /// table's from now on.
    pub fn release(&mut self, now: Moment) {
        let Some(tallies) = &mut self.tallies else { return };
        tallies.release();
        self.settle_down(now);
    }

    /// Forgets at once whoever waits for it.
    fn settle_down(&mut self, now: Moment) {
        if let Some(tallies) = self.tallies.as_ref().filter(|_| !self.leaving.is_empty()) {
            tallies.grace();
            self.finish(now);
        }
        self.adopt(now);
    }

    /// Brings the books up to date with what was counted elsewhere, and the tables with who has reserved room.
    pub fn catch_up(&mut self, now: Moment) {
        if self.tallies.is_some() && self.roster != self.sources.roster.generation() {
            self.settle(now);
        }
        self.adopt(now);
        self.read(now);
    }

    /// Whether sources wait to be forgotten: then [`Self::finish`] is due, once the frames that are being counted
    /// have been.
    pub fn is_waiting(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Forgets the sources that were waiting for it. All their frames are in the books.
    pub fn finish(&mut self, now: Moment) {
        self.read(now);
        for (_, handles) in mem::take(&mut self.leaving) {
            forget(&self.sources, &self.ledger, handles.row(), now);
            self.sources.room.give_back(handles.place, 1);
            if let (Some(tallies), Some(slot)) = (&mut self.tallies, handles.slot) {
                tallies.free(slot, handles.place);
            }
        }
        self.adopt(now);
    }

    /// Tells the tables who has reserved room.
    pub(super) fn reserve(&mut self) {
        if let Some(tallies) = &mut self.tallies {
            tallies.reserve(self.roster, &|| self.sources.roster.reserved());
        }
    }

    /// Takes those into the books whom the tables have met.
    pub(super) fn adopt(&mut self, now: Moment) {
        let Some(tallies) = &mut self.tallies else { return };
        let newcomers = tallies.newcomers();
        let outside = tallies.outside();
        let before = mem::replace(&mut self.crowded_out_frames, outside.crowded_out_frames());
        let turned_away = self.crowded_out_frames > before;
        self.ledger.catch_up(outside);
        // Who is back before having been forgotten waits for that.
        let leaving: HashSet<Mac> = match newcomers.len() {
            0 => HashSet::new(),
            _ => self.leaving.iter().map(|(mac, _)| *mac).collect(),
        };
        let mut appeared = false;
        for newcomer in newcomers.into_iter().filter(|newcomer| !leaving.contains(&newcomer.mac)) {
            let Newcomer { mac, slot, place } = newcomer;
            if let Some(handles) = self.rows.get_mut(&mac) {
                // Remembered, and no slot was free for it.
                handles.slot = Some(slot);
                self.move_to(mac, place);
            } else if !self.appear(newcomer, now) {
                continue;
            } else {
                appeared = true;
            }
            if let Some(tallies) = &mut self.tallies {
                tallies.accept(slot);
            }
            // The tables may have been told of another roster meanwhile, or have had no other room.
            self.seat(mac);
        }
        if appeared {
            self.sources.memory.appeared();
        }
        if turned_away {
            let is_full = self.ordinary >= self.sources.limits().per_interface;
            self.tell_full(if is_full { "--sources.max" } else { "--sources.max-total" });
        }
    }

    /// Notes where a row has its room.
    fn move_to(&mut self, mac: Mac, place: Place) {
        let Some(handles) = self.rows.get_mut(&mac) else { return };
        let before = mem::replace(&mut handles.place, place);
        self.sources.room.force(place);
        self.sources.room.give_back(before, 1);
        self.ordinary += usize::from(place == Place::Ordinary);
        self.ordinary -= usize::from(before == Place::Ordinary);
    }

    /// Makes the row of a newcomer; false if the crate refuses.
    fn appear(&mut self, Newcomer { mac, slot, place }: Newcomer, now: Moment) -> bool {
        let Some(tallies) = &self.tallies else { return false };
        if self.rows.is_empty() {
            self.next_sweep_ms = after(now, self.sources.limits().idle_timeout);
        }
        let reading = tallies.read(slot);
        let met = if reading.first_steady_ms > 0 { now.back_to(reading.first_steady_ms) } else { now };
        // The kernel's coarse clock is a few milliseconds late.
        let met = now.back_at(met.unix_ms.max(self.ledger.opened_unix_ms()));
        let own = self.sources.roster.standing(mac).own;
        // It has its room already: the slot.
        self.sources.room.force(place);
        let counted = Met::Elsewhere { slot, reading, since_unix_ms: met.unix_ms };
        let added = self.add(mac, place, own, [met, now], counted);
        if !added {
            self.sources.room.give_back(place, 1);
        }
        added
    }

    /// Brings the counters up to date.
    fn read(&mut self, now: Moment) {
        let Some(tallies) = &self.tallies else { return };
        let leaving = self.leaving.iter_mut().map(|(_, handles)| handles);
        for handles in self.rows.values_mut().chain(leaving) {
            if let Some(slot) = handles.slot {
                handles.catch_up(tallies.read(slot), now);
            }
        }
    }

    /// Has nothing counted any more, and the last of it in the books.
    pub(super) fn close_tallies(&mut self, now: Moment) {
        let Some(tallies) = &mut self.tallies else { return };
        tallies.close();
        tallies.grace();
        // Those who were met before that, and those who came back in the middle of being forgotten.
        self.finish(now);
        self.settle_down(now);
        let Some(mut tallies) = self.tallies.take() else { return };
        let mut slots = Vec::with_capacity(self.rows.len());
        for (mac, handles) in &self.rows {
            // Of what cannot be dismissed the slot is lost: it may be counted in.
            if let Some(slot) = handles.slot.filter(|slot| tallies.dismiss(*mac, *slot)) {
                slots.push((slot, handles.place));
            }
        }
        tallies.grace();
        for handles in self.rows.values_mut() {
            if let Some(slot) = handles.slot {
                handles.catch_up(tallies.read(slot), now);
            }
        }
        for (slot, place) in slots {
            tallies.free(slot, place);
        }
        let (interface, books) = (self.ledger.interface(), self.ledger.snapshot());
        tracing::debug!(
            interface = &**interface,
            frames = books.frames(),
            bytes = books.bytes(),
            "books closed"
        );
    }
}
