//! The seam between the books and tables that count by themselves.
//!
//! With the channel engine, [`crate::sources`] counts each frame. With the kernel engine the kernel does, and the
//! books are brought up to date from its tables when someone looks. This is all that each knows of the other.

use std::fmt;

use crate::mac::Mac;

/// Where a source has its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Room that strangers may fill.
    Ordinary,
    /// Room for those whom somebody vouches for.
    Reserved,
}

/// The number of a tally.
pub type Slot = u32;

/// A source that took a slot by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Its address.
    pub mac: Mac,
    /// Its slot.
    pub slot: Slot,
    /// The room that the slot is of.
    pub place: Place,
}

/// What has been counted in a slot since it was given away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Frames on the wire.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first came, in [`crate::clock::Moment`]'s steady milliseconds; 0 if none has.
    pub first_steady_ms: u64,
    /// When the newest came; 0 if none has.
    pub last_steady_ms: u64,
}

/// What has been counted on an interface, of no source that has a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Frames of sources that got no slot.
    pub untracked_frames: u64,
    /// Their bytes.
    pub untracked_bytes: u64,
    /// Of the untracked frames, those of sources for which there was room: the tables refused them all the same.
    pub refused_frames: u64,
    /// Frames shorter than an Ethernet header.
    pub runt_frames: u64,
}

impl Outside {
    /// Frames of sources for which there was no room.
    pub fn crowded_out_frames(&self) -> u64 {
        self.untracked_frames.saturating_sub(self.refused_frames)
    }
}

/// Tables that count the frames of one interface by themselves, also while nobody looks.
pub trait Tallies: fmt::Debug + Send {
    /// Counts what arrives on the interface of this index from now on. Sources that have slots keep them.
    fn target(&mut self, index: u32);

    /// Counts nothing from the next [`Self::grace`] on, until it has a target again: the interface is another's, or
    /// has gone. Sources that have slots keep them.
    fn release(&mut self);

    /// Counts no source that it does not know yet, from the next [`Self::grace`] on.
    fn close(&mut self);

    /// Sources that took slots and have not been accepted.
    fn newcomers(&mut self) -> Vec<Newcomer>;

    /// Notes that a newcomer is in the books.
    fn accept(&mut self, slot: Slot);

    /// What a slot has counted.
    fn read(&self, slot: Slot) -> Reading;

    /// What was counted beside the slots.
    fn outside(&self) -> Outside;

    /// Gives a source a slot before its first frame. None if there is no free one; then it is a newcomer when its
    /// first frame arrives.
    fn admit(&mut self, mac: Mac, place: Place) -> Option<Slot>;

    /// Lets a slot in use change into the room `to`, out of the other; false if there is none to change with.
    fn shift(&mut self, to: Place) -> bool;

    /// The next frame of this source is a newcomer's. Its slot may count frames that are under way until the next
    /// [`Self::grace`]. False if the tables refused, and nothing has changed.
    fn dismiss(&mut self, mac: Mac, slot: Slot) -> bool;

    /// Waits until frames that are being counted now have been.
    fn grace(&self);

    /// Takes back a slot that nothing counts in any more.
    fn free(&mut self, slot: Slot, place: Place);

    /// The addresses that have reserved room from now on: those of the roster's generation, which is asked for unless
    /// the tables have it.
    fn reserve(&mut self, generation: u64, macs: &dyn Fn() -> Vec<Mac>);
}
