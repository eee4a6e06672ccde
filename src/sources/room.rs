//! Room for sources: ordinary room, which strangers may fill, and reserved room, which they may not.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::mac::Mac;
use crate::tally::Place;

/// Most sources with reserved room. An inventory may be larger: those beyond compete for ordinary room.
pub const MOST_RESERVED: usize = 4096;

/// Who has room of their own, whatever strangers do.
pub trait Roster: fmt::Debug + Send + Sync {
    /// What is known of an address.
    fn standing(&self, mac: Mac) -> Standing;

    /// A number that changes whenever a standing may have.
    fn generation(&self) -> u64;

    /// All who have reserved room, in no order.
    fn reserved(&self) -> Vec<Mac>;
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It is an interface's of this host.
    pub own: bool,
    /// Somebody vouches for this very address, not for a prefix: strangers choose those.
    pub listed: bool,
}

impl Standing {
    /// Whether it has reserved room.
    pub fn is_reserved(self) -> bool {
        self.own || self.listed
    }
}

/// Nobody is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Roster for Nobody {
    fn standing(&self, _: Mac) -> Standing {
        Standing::default()
    }

    fn generation(&self) -> u64 {
        0
    }

    fn reserved(&self) -> Vec<Mac> {
        Vec::new()
    }
}

/// Whether more than three quarters of some room are taken.
pub(super) fn is_crowded(held: usize, most: usize) -> bool {
    held > most / 4 * 3 + most % 4 * 3 / 4
}

/// The room that all interfaces share.
#[derive(Debug)]
pub(super) struct Room {
    total: usize,
    ordinary: AtomicUsize,
    reserved: AtomicUsize,
    told: AtomicBool,
}

impl Room {
    pub(super) fn new(total: usize) -> Self {
        Self {
            total,
            ordinary: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// Takes the place of one source; false if there is none left.
    pub(super) fn take(&self, place: Place) -> bool {
        let (held, most) = match place {
            Place::Ordinary => (&self.ordinary, self.total),
            Place::Reserved => (&self.reserved, MOST_RESERVED),
        };
        let taken = held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| (held < most).then_some(held + 1))
            .is_ok();
        if !taken && place == Place::Reserved {
            self.tell_no_reserved();
        }
        taken
    }

    /// Says once that there is no reserved room for all who would have it. The kernel engine's tables notice that by
    /// themselves: they give it away before the books hear of it.
    pub(super) fn tell_no_reserved(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let most = MOST_RESERVED;
            tracing::warn!(most, "no more reserved room: further listed sources compete for ordinary room");
        }
    }

    /// Whether it has been said.
    #[cfg(test)]
    pub(super) fn has_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// Whether more than three quarters of the ordinary room are taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded_with(0)
    }

    /// Whether they would be with so many more sources.
    pub(super) fn is_crowded_with(&self, more: usize) -> bool {
        is_crowded(self.ordinary.load(Ordering::Relaxed) + more, self.total)
    }

    /// Takes the place of one source that has it already, whether there is room or not.
    pub(super) fn force(&self, place: Place) {
        let held = match place {
            Place::Ordinary => &self.ordinary,
            Place::Reserved => &self.reserved,
        };
        held.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes an ordinary place for a source that has lost its reserved one, whether there is room or not.
    pub(super) fn demote(&self) {
        self.ordinary.fetch_add(1, Ordering::Relaxed);
        self.give_back(Place::Reserved, 1);
    }

    /// Gives the places of `count` sources back.
    pub(super) fn give_back(&self, place: Place, count: usize) {
        let held = match place {
            Place::Ordinary => &self.ordinary,
            Place::Reserved => &self.reserved,
        };
        held.fetch_sub(count, Ordering::Relaxed);
    }
}
