//! Who is in the books from the start: the sources that would be had there been no restart.

use std::cmp::Reverse;

use super::{Met, SHORT_LIFE, SHORT_PATIENCE, Table, after, milliseconds};
use crate::clock::Moment;
use crate::sources::Remembered;
use crate::sources::room::is_crowded;
use crate::tally::Place;

impl Table {
    /// Gives rows to the sources that are remembered. Those that have been around for longest come first, and a quarter
    /// of the room is left for those to come.
    ///
    /// Where that is too little for all, room was scarce before the restart, and sources of a short life were on their
    /// way out. So they are now, or whoever forged them would have what is left to the others for a day.
    pub(super) fn restore(&mut self, mut remembered: Vec<Remembered>, now: Moment) {
        let limits = self.sources.limits();
        remembered.sort_by_key(|source| (Reverse(source.life_ms()), source.mac));
        let silent = |source: &Remembered| now.since(now.back_at(source.last_seen_unix_ms).steady_ms);
        let mut strangers = Vec::new();
        for source in remembered {
            let is_reserved = self.sources.roster.standing(source.mac).is_reserved();
            if is_reserved && self.sources.room.take(Place::Reserved) {
                self.bring_back(source, Place::Reserved, now);
            } else if silent(&source) <= limits.idle_timeout {
                strangers.push(source);
            }
        }
        if limits.idle_timeout > SHORT_PATIENCE
            && (is_crowded(strangers.len(), limits.per_interface)
                || self.sources.room.is_crowded_with(strangers.len()))
        {
            let is_short = |source: &Remembered| source.life_ms() < milliseconds(SHORT_LIFE);
            strangers.retain(|source| !is_short(source) || silent(source) <= SHORT_PATIENCE);
            self.scarce_until_ms = after(now, SHORT_PATIENCE);
        }
        for source in strangers {
            if is_crowded(self.ordinary + 1, limits.per_interface) || !self.sources.room.take(Place::Ordinary)
            {
                break;
            }
            if self.sources.room.is_crowded() {
                self.sources.room.give_back(Place::Ordinary, 1);
                break;
            }
            self.bring_back(source, Place::Ordinary, now);
        }
        // One of them may be due at any time.
        self.next_sweep_ms = now.steady_ms;
    }

    /// Makes the row of a source that has its place already.
    fn bring_back(&mut self, source: Remembered, place: Place, now: Moment) {
        let own = self.sources.roster.standing(source.mac).own;
        if !self.add(source.mac, place, own, [now; 2], Met::Before(source)) {
            self.sources.room.give_back(place, 1);
        }
    }
}
