//! The memory that the kernel's program counts in, as it lies there: the layouts of count.bpf.c.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::clock;
use crate::mac::Mac;
use crate::sys::mapped::Mapped;
use crate::tally::{Outside, Place, Reading, Slot};

/// `struct owner`: the address and the number of the books; the interface and the state.
const OWNER_WORDS: usize = 2;
/// `struct tally`: frames, bytes, first, last.
const TALLY_WORDS: usize = 4;
/// `struct books`: untracked frames and bytes, runts, arrivals.
const BOOKS_WORDS: usize = 4;
/// `struct holding`: ordinary slots, frames of refused sources.
const HOLDING_WORDS: usize = 2;

/// The low bits of an owner's first word: the address, as it stands in a frame.
const ADDRESS: u64 = (1 << 48) - 1;
const NUMBER_SHIFT: u32 = 48;
const STATE_SHIFT: u32 = 32;
const ORDINARY: u64 = 1;
const RESERVED: u64 = 2;
/// Ours: the source is in the books.
const ACCEPTED: u64 = 4 << STATE_SHIFT;
/// Nothing is to be counted there any more.
const LEAVING: u64 = 8 << STATE_SHIFT;
/// Shifted by so many more bits: nobody has the slot, and the program could not give it back.
const STRAY_SHIFT: u32 = STATE_SHIFT + 4;
/// The low bits of an owner's second word: the interface's index. No interface has index 0.
const INTERFACE: u64 = 0xffff_ffff;

/// Sizes of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Ordinary slots; the reserved ones follow.
    pub(super) ordinary: u32,
    pub(super) reserved: u32,
    /// Interfaces that can be counted on at a time.
    pub(super) interfaces: u32,
    /// Columns of each tally.
    pub(super) columns: u32,
}

impl Size {
    /// Whether the kernel's numbers can hold the sizes.
    pub(super) fn is_countable(self) -> bool {
        let slots = u64::from(self.ordinary) + u64::from(self.reserved);
        slots * u64::from(self.columns) <= u64::from(u32::MAX)
    }

    pub(super) fn slots(self) -> u32 {
        self.ordinary + self.reserved
    }

    pub(super) fn tallies(self) -> u32 {
        self.slots() * self.columns
    }

    pub(super) fn books(self) -> u32 {
        self.interfaces * self.columns
    }
}

/// The tables.
#[derive(Debug)]
pub(super) struct Tables {
    size: Size,
    owners: Mapped,
    tallies: Mapped,
    books: Mapped,
    held: Mapped,
    /// How far our clock is ahead of the one that the program reads.
    ahead_ns: i64,
}

/// The owner of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) mac: Mac,
    /// The number of its interface's books.
    pub(super) number: u32,
    /// The index of its interface.
    pub(super) interface: u32,
    pub(super) place: Place,
    pub(super) is_accepted: bool,
}

impl Owner {
    /// Whether another's books have taken over what it counted.
    pub(super) fn is_parked(&self) -> bool {
        self.interface == 0
    }
}

impl Tables {
    /// Maps the arrays.
    ///
    /// # Errors
    ///
    /// That of mmap(2).
    pub(super) fn map(size: Size, [owners, tallies, books, held]: [impl AsFd; 4]) -> io::Result<Self> {
        Ok(Self {
            size,
            owners: Mapped::new(owners, size.slots() as usize * OWNER_WORDS)?,
            tallies: Mapped::new(tallies, size.tallies() as usize * TALLY_WORDS)?,
            books: Mapped::new(books, size.books() as usize * BOOKS_WORDS)?,
            held: Mapped::new(held, size.interfaces as usize * HOLDING_WORDS)?,
            ahead_ns: clock::namespace_ns(),
        })
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Whose a slot is; none while it is nobody's, or its source has not been inserted yet.
    pub(super) fn owner(&self, slot: Slot) -> Option<Owner> {
        let [first, second] = self.owner_words(slot)?;
        // The state is written last.
        let second = second.load(Ordering::Acquire);
        let first = first.load(Ordering::Relaxed);
        let place = place(second >> STATE_SHIFT)?;
        Some(Owner {
            mac: mac(first & ADDRESS),
            number: u32::from(upper_half_word(first)),
            interface: low_half(second),
            place,
            is_accepted: second & ACCEPTED != 0,
        })
    }

    /// Slots of these books' sources.
    pub(super) fn owned(&self, number: u32) -> impl Iterator<Item = (Slot, Owner)> {
        (0..self.size.slots())
            .filter_map(|slot| Some((slot, self.owner(slot)?)))
            .filter(move |(_, owner)| owner.number == number)
    }

    /// Slots of sources that are not in these books yet.
    pub(super) fn newcomers(&self, number: u32) -> Vec<(Slot, Owner)> {
        self.owned(number).filter(|(_, owner)| !owner.is_accepted).collect()
    }

    /// Slots that nobody has and that are in no queue, and where they are to go: the program was refused that.
    pub(super) fn strays(&self) -> Vec<(Slot, Place)> {
        let is_stray =
            |slot| Some((slot, place(self.owner_words(slot)?[1].load(Ordering::Acquire) >> STRAY_SHIFT)?));
        (0..self.size.slots()).filter_map(is_stray).collect()
    }

    pub(super) fn accept(&self, slot: Slot) {
        if let Some([_, second]) = self.owner_words(slot) {
            second.fetch_or(ACCEPTED, Ordering::Relaxed);
        }
    }

    /// Says whose a slot is about to be: it can be found by the hash, and is not to be believed otherwise.
    pub(super) fn claim(&self, slot: Slot, mac: Mac, number: u32, interface: u32) {
        let Some([first, second]) = self.owner_words(slot) else { return };
        first.store(address(mac) | u64::from(number) << NUMBER_SHIFT, Ordering::Relaxed);
        second.store(u64::from(interface), Ordering::Release);
    }

    /// Has nothing counted in a slot any more, whoever finds it, from the next grace period on.
    pub(super) fn leave(&self, slot: Slot) {
        if let Some([_, second]) = self.owner_words(slot) {
            second.fetch_or(LEAVING, Ordering::Relaxed);
        }
    }

    /// The same until its owner is set again.
    pub(super) fn park(&self, slot: Slot) {
        if let Some([_, second]) = self.owner_words(slot) {
            second.fetch_and(!INTERFACE, Ordering::Relaxed);
        }
    }

    /// Moves a slot to another interface, or back from having been parked. False if it is leaving.
    pub(super) fn retarget(&self, slot: Slot, interface: u32) -> bool {
        let Some([_, second]) = self.owner_words(slot) else { return false };
        let moved = |word: u64| (word & LEAVING == 0).then_some(word & !INTERFACE | u64::from(interface));
        second.fetch_update(Ordering::Release, Ordering::Relaxed, moved).is_ok()
    }

    /// Says whose a slot is.
    pub(super) fn set_owner(&self, slot: Slot, owner: Owner) {
        let Some([first, second]) = self.owner_words(slot) else { return };
        let state = match owner.place {
            Place::Ordinary => ORDINARY,
            Place::Reserved => RESERVED,
        };
        let accepted = if owner.is_accepted { ACCEPTED } else { 0 };
        first.store(address(owner.mac) | u64::from(owner.number) << NUMBER_SHIFT, Ordering::Relaxed);
        second.store(u64::from(owner.interface) | state << STATE_SHIFT | accepted, Ordering::Release);
    }

    /// Makes a slot nobody's, with nothing counted in it. Nothing may be counting there.
    pub(super) fn clear(&self, slot: Slot) {
        for word in self.owner_words(slot).into_iter().flatten() {
            word.store(0, Ordering::Relaxed);
        }
        for word in self.columns(slot).flatten() {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// The sum of a slot's columns.
    pub(super) fn read(&self, slot: Slot) -> Reading {
        let (mut reading, mut first_ns, mut last_ns) = (Reading::default(), u64::MAX, 0);
        for column in self.columns(slot) {
            let [frames, bytes, first, last] = load(column);
            if frames > 0 {
                reading.frames += frames;
                reading.bytes += bytes;
                last_ns = last_ns.max(last);
                // 0 if that has not been seen yet: a CPU's stores may be seen in another order.
                if first > 0 {
                    first_ns = first_ns.min(first);
                }
            }
        }
        if last_ns > 0 {
            let ours = |ns: u64| clock::steady_ms(ns.saturating_add_signed(self.ahead_ns));
            reading.first_steady_ms = ours(first_ns.min(last_ns));
            reading.last_steady_ms = ours(last_ns);
        }
        reading
    }

    /// What was counted on an interface beside the slots, and how many sources took one.
    pub(super) fn books(&self, number: u32) -> (Outside, u64) {
        let (mut outside, mut arrivals) = (Outside::default(), 0);
        for column in self.row(&self.books, number, BOOKS_WORDS).chunks_exact(BOOKS_WORDS) {
            let [untracked_frames, untracked_bytes, runt_frames, arrived] = load(column);
            outside.untracked_frames += untracked_frames;
            outside.untracked_bytes += untracked_bytes;
            outside.runt_frames += runt_frames;
            arrivals += arrived;
        }
        // Counted before they are untracked, and so read after these.
        fence(Ordering::Acquire);
        outside.refused_frames = self.refused(number);
        (outside, arrivals)
    }

    /// Ordinary slots that the sources of an interface hold.
    pub(super) fn held(&self, number: u32) -> Option<&AtomicU64> {
        self.holding(number)?.first()
    }

    /// Frames on an interface of sources that were refused although there was room.
    pub(super) fn refused(&self, number: u32) -> u64 {
        self.holding(number).map_or(0, |[_, refused]| refused.load(Ordering::Acquire))
    }

    fn holding(&self, number: u32) -> Option<&[AtomicU64; HOLDING_WORDS]> {
        self.held.words().get(number as usize * HOLDING_WORDS..)?.first_chunk()
    }

    /// Begins an interface's books anew. Nothing may be counting there.
    pub(super) fn clear_books(&self, number: u32) {
        let holding = self.holding(number).into_iter().flatten();
        for word in self.row(&self.books, number, BOOKS_WORDS).iter().chain(holding) {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn owner_words(&self, slot: Slot) -> Option<&[AtomicU64; OWNER_WORDS]> {
        let at = slot as usize * OWNER_WORDS;
        self.owners.words().get(at..)?.first_chunk()
    }

    /// What each CPU has counted in a slot. A CPU's tallies lie side by side, so that no two CPUs write to one cache
    /// line.
    fn columns(&self, slot: Slot) -> impl Iterator<Item = &[AtomicU64]> {
        let rows = self.size.slots() as usize;
        (0..self.size.columns as usize).filter_map(move |column| {
            let at = (column * rows + slot as usize) * TALLY_WORDS;
            self.tallies.words().get(at..at + TALLY_WORDS)
        })
    }

    /// The columns of one row.
    fn row<'a>(&self, table: &'a Mapped, row: u32, words: usize) -> &'a [AtomicU64] {
        let words = self.size.columns as usize * words;
        let at = row as usize * words;
        table.words().get(at..at + words).unwrap_or_default()
    }
}

/// The room that a state says.
fn place(state: u64) -> Option<Place> {
    match state & (ORDINARY | RESERVED) {
        ORDINARY => Some(Place::Ordinary),
        RESERVED => Some(Place::Reserved),
        _ => None,
    }
}

/// An address as the program has it: its bytes in wire order, read as a number of a little-endian machine.
pub(super) fn address(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

fn mac(address: u64) -> Mac {
    let [a, b, c, d, e, f, _, _] = address.to_le_bytes();
    Mac::new([a, b, c, d, e, f])
}

/// The key of a source on an interface: `struct source`.
pub(super) fn key(mac: Mac, interface: u32) -> [u32; 3] {
    let address = address(mac);
    [low_half(address), low_half(address >> 32), interface]
}

fn load(column: &[AtomicU64]) -> [u64; 4] {
    let word = |at: usize| column.get(at).map_or(0, |word| word.load(Ordering::Relaxed));
    [word(0), word(1), word(2), word(3)]
}

#[expect(clippy::cast_possible_truncation, reason = "the other half is not wanted")]
fn low_half(word: u64) -> u32 {
    word as u32
}

fn upper_half_word(word: u64) -> u16 {
    (word >> NUMBER_SHIFT) as u16
}

#[cfg(test)]
mod tests {
    use rustix::fd::OwnedFd;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    fn tables() -> Tables {
        let memory = || -> OwnedFd {
            let file = memfd_create("tables", MemfdFlags::CLOEXEC).unwrap();
            ftruncate(&file, 1 << 16).unwrap();
            file
        };
        let size = Size { ordinary: 4, reserved: 2, interfaces: 3, columns: 3 };
        Tables::map(size, [memory(), memory(), memory(), memory()]).unwrap()
    }

    #[test]
    fn owners_are_found_again() {
        let tables = tables();
        assert_eq!(tables.owner(5), None);
        assert_eq!(tables.owner(6000), None, "there is no such slot");
        let mac = Mac::new([0xff, 0xfe, 3, 4, 5, 0xfd]);
        let owner = Owner { mac, number: 2, interface: u32::MAX, place: Place::Reserved, is_accepted: false };
        tables.set_owner(5, owner);
        assert_eq!(tables.newcomers(1), []);
        assert_eq!(tables.newcomers(2), [(5, owner)]);
        tables.accept(5);
        assert_eq!(tables.newcomers(2), []);
        assert_eq!(tables.owner(5), Some(Owner { is_accepted: true, ..owner }));
        tables.clear(5);
        assert_eq!(tables.owner(5), None);
    }

    #[test]
    fn columns_are_added_up() {
        let tables = tables();
        assert_eq!(tables.read(1), Reading::default());
        let words = tables.tallies.words();
        // Later than any time namespace puts the clock back by.
        let since = |ns: u64| (1 << 60) + ns;
        // Of six slots the second, in the first column and in the third.
        for (at, value) in [(4, 5), (5, 300), (6, since(2_000_000)), (7, since(9_000_000))] {
            words[at].store(value, Ordering::Relaxed);
        }
        for (at, value) in [(52, 1), (53, 60), (54, since(1_000_000)), (55, since(8_000_000))] {
            words[at].store(value, Ordering::Relaxed);
        }
        let reading = tables.read(1);
        assert_eq!((reading.frames, reading.bytes), (6, 360));
        assert_eq!(reading.last_steady_ms - reading.first_steady_ms, 8);
        assert_eq!(tables.read(0), Reading::default());
        tables.clear(1);
        assert_eq!(tables.read(1), Reading::default());
    }

    #[test]
    fn the_key_is_the_frames_bytes() {
        let [low, high, interface] = key(Mac::new([1, 2, 3, 4, 5, 6]), 7);
        assert_eq!([low.to_le_bytes(), high.to_le_bytes()].concat(), [1, 2, 3, 4, 5, 6, 0, 0]);
        assert_eq!(interface, 7);
    }
}
