//! One interface's share of the engine: the face of the tables that the books see.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::maps::Quiet;
use super::tables::{Owner, key};
use super::{Engine, Maps};
use crate::mac::Mac;
use crate::tally::{Newcomer, Outside, Place, Reading, Slot, Tallies};

/// See the module's docs. Dropped, its number is another's; by then all its slots must have been freed.
#[derive(Debug)]
pub struct Share {
    engine: Arc<Engine>,
    /// The number of its books.
    pub(super) number: u32,
    /// The index of the interface.
    interface: Option<u32>,
    /// Arrivals that had been counted when the table was last looked through,
    arrivals: u64,
    /// how many newcomers found there have not been accepted,
    waiting: usize,
    /// and whether there may be more.
    look_again: bool,
    /// Slots that the hash would not let go of with the interface: they may be counted in for good.
    stuck: HashSet<Slot>,
    /// Frames of refused sources that have been looked after,
    refused: u64,
    /// those that the log has been told of,
    refused_told: u64,
    /// and after that.
    quiet: Quiet,
}

impl Engine {
    /// Tables for one more interface.
    ///
    /// # Errors
    ///
    /// There are as many already as there can be.
    pub fn share(self: &Arc<Self>) -> io::Result<Share> {
        let number = self.maps.lock().numbers.pop();
        let number = number.ok_or_else(|| {
            let most = self.tables.size().interfaces;
            io::Error::other(format!(
                "the kernel engine counts on {most} interfaces at the most; --interface.exclude leaves some out"
            ))
        })?;
        self.tables.clear_books(number);
        Ok(Share {
            engine: Arc::clone(self),
            number,
            interface: None,
            arrivals: 0,
            waiting: 0,
            look_again: false,
            stuck: HashSet::new(),
            refused: 0,
            refused_told: 0,
            quiet: Quiet::default(),
        })
    }
}

impl Engine {
    /// Gives an interface to whoever claimed it last, unless it is theirs: their sources go on with what they have.
    ///
    /// When two interfaces change names, and change back, each of their shares takes and leaves both, in any order. Whoever
    /// had an interface taken away and did not leave it gets it back.
    fn hand_over(&self, maps: &mut Maps, index: u32) {
        let Some(number) = maps.claimant(index) else { return };
        if maps.interfaces.get(&index, 0).is_ok_and(|now| now == number) {
            return;
        }
        for (slot, owner) in self.tables.owned(number) {
            let key = key(owner.mac, index);
            // Dismissed sources are nobody's to give back.
            if !self.tables.retarget(slot, index) {
                continue;
            }
            // What is there counts for books that have had the interface so far, and are about to learn.
            match maps.slots.get(&key, 0) {
                Ok(there) if there == slot => continue,
                Ok(other) => self.tables.park(other),
                Err(_) => {}
            }
            if let Err(error) = maps.slots.insert(key, slot, 0) {
                maps.refused(&error, "insert into");
            }
        }
        if let Err(error) = maps.interfaces.insert(index, number, 0) {
            maps.refused(&error, "insert into");
        }
    }
}

impl Share {
    /// Gives a source a free slot that is in the hash from now on.
    fn insert(&self, maps: &mut Maps, mac: Mac, place: Place) -> Option<Slot> {
        let interface = self.interface?;
        let slot = maps.pop(place)?;
        self.engine.tables.claim(slot, mac, self.number, interface);
        match maps.slots.insert(key(mac, interface), slot, BPF_NOEXIST) {
            Ok(()) => {
                let owner = Owner { mac, number: self.number, interface, place, is_accepted: true };
                self.engine.tables.set_owner(slot, owner);
                self.hold(place, 1);
                Some(slot)
            }
            // It has just taken one by itself, and will be found.
            Err(error) => {
                maps.is_expected(&error, "insert into", libc::EEXIST);
                self.engine.tables.clear(slot);
                maps.push(slot, place);
                None
            }
        }
    }

    /// Tells of sources that the program was refused to insert, and takes back the slots that it could not give back.
    fn look_after_refusals(&mut self) {
        let refused = self.engine.tables.refused(self.number);
        if std::mem::replace(&mut self.refused, refused) == refused {
            return;
        }
        let mut maps = self.engine.maps.lock();
        for (slot, place) in self.engine.tables.strays() {
            self.engine.tables.clear(slot);
            maps.push(slot, place);
        }
        drop(maps);
        if self.quiet.is_over() {
            let index = self.interface;
            let frames = refused - std::mem::replace(&mut self.refused_told, refused);
            tracing::warn!(
                index,
                frames,
                "the kernel engine's tables refused new sources for now; untracked"
            );
        }
    }

    /// Notes that the interface's sources hold so many more ordinary slots, or fewer.
    fn hold(&self, place: Place, change: i64) {
        if place == Place::Ordinary
            && let Some(held) = self.engine.tables.held(self.number)
        {
            held.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        }
    }
}

/// Flags of bpf(2), `BPF_MAP_UPDATE_ELEM`: only if there is none yet.
const BPF_NOEXIST: u64 = 1;

impl Tallies for Share {
    fn target(&mut self, index: u32) {
        if self.interface != Some(index) {
            self.release();
            self.interface = Some(index);
        }
        let mut maps = self.engine.maps.lock();
        maps.disclaim(self.number);
        maps.claims.push((index, self.number));
        self.engine.hand_over(&mut maps, index);
    }

    fn release(&mut self) {
        if self.interface.is_none() {
            return;
        }
        self.close();
        self.interface = None;
        // Who is taking a slot right now has it after that, and is found below.
        self.engine.grace();
        let mut maps = self.engine.maps.lock();
        for (slot, owner) in self.engine.tables.owned(self.number) {
            if !maps.forget(&key(owner.mac, owner.interface), slot) {
                self.stuck.insert(slot);
            }
            self.engine.tables.park(slot);
        }
    }

    fn close(&mut self) {
        if let Some(interface) = self.interface {
            let mut maps = self.engine.maps.lock();
            maps.disclaim(self.number);
            maps.leave(interface, self.number);
            self.engine.hand_over(&mut maps, interface);
        }
    }

    fn newcomers(&mut self) -> Vec<Newcomer> {
        self.look_after_refusals();
        let (_, arrivals) = self.engine.tables.books(self.number);
        // What a CPU wrote first need not be seen first, so one more look follows each that found something to do.
        let is_same = arrivals == self.arrivals;
        if is_same && self.waiting == 0 && !self.look_again {
            return Vec::new();
        }
        self.look_again = !is_same;
        // Read before the tables are: who comes meanwhile is found now or next time.
        self.arrivals = arrivals;
        let mut found = self.engine.tables.newcomers(self.number);
        self.waiting = found.len();
        // Once released, nobody inserts any more, and nobody is in the hash. Nor is who was met just before another's
        // books took the interface over.
        if self.interface.is_some() {
            let maps = self.engine.maps.lock();
            found.retain(|(slot, owner)| {
                owner.is_parked()
                    || maps.slots.get(&key(owner.mac, owner.interface), 0).is_ok_and(|found| found == *slot)
            });
        }
        found.into_iter().map(|(slot, owner)| Newcomer { mac: owner.mac, slot, place: owner.place }).collect()
    }

    fn accept(&mut self, slot: Slot) {
        self.engine.tables.accept(slot);
        self.waiting = self.waiting.saturating_sub(1);
    }

    fn read(&self, slot: Slot) -> Reading {
        self.engine.tables.read(slot)
    }

    fn outside(&self) -> Outside {
        self.engine.tables.books(self.number).0
    }

    fn admit(&mut self, mac: Mac, place: Place) -> Option<Slot> {
        self.insert(&mut self.engine.maps.lock(), mac, place)
    }

    fn shift(&mut self, to: Place) -> bool {
        let mut maps = self.engine.maps.lock();
        match to {
            Place::Reserved => {
                let Some(slot) = maps.pop(Place::Reserved) else { return false };
                maps.push(slot, Place::Ordinary);
                self.hold(Place::Ordinary, -1);
            }
            Place::Ordinary => {
                match maps.pop(Place::Ordinary) {
                    Some(slot) => maps.push(slot, Place::Reserved),
                    None => maps.owed += 1,
                }
                self.hold(Place::Ordinary, 1);
            }
        }
        true
    }

    fn dismiss(&mut self, mac: Mac, slot: Slot) -> bool {
        // Both at once: whoever gives the interface back meanwhile must not take the source for one that stays.
        let mut maps = self.engine.maps.lock();
        let is_forgotten = !self.stuck.contains(&slot)
            && self.interface.is_none_or(|interface| maps.forget(&key(mac, interface), slot));
        if is_forgotten {
            self.engine.tables.leave(slot);
        }
        is_forgotten
    }

    fn grace(&self) {
        self.engine.grace();
    }

    fn free(&mut self, slot: Slot, place: Place) {
        self.engine.tables.clear(slot);
        self.hold(place, -1);
        self.engine.maps.lock().push(slot, place);
    }

    fn reserve(&mut self, generation: u64, macs: &dyn Fn() -> Vec<Mac>) {
        let mut maps = self.engine.maps.lock();
        if maps.reserved_at != Some(generation) {
            maps.reserved_at = Some(generation);
            maps.reserve(&macs());
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.close();
        // Whoever had the number next would take what has not been freed, having been refused, for a source of its own.
        if self.engine.tables.owned(self.number).next().is_none() {
            self.engine.maps.lock().numbers.push(self.number);
        }
    }
}
