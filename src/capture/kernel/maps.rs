//! What takes a system call to change, and may be refused.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aya::maps::{MapData, MapError, Queue};

use super::tables::address;
use super::{MOST_LISTED, Maps, refusal};
use crate::mac::Mac;
use crate::tally::{Place, Slot};

impl Maps {
    fn queue(&mut self, place: Place) -> &mut Queue<MapData, u32> {
        match place {
            Place::Ordinary => &mut self.ordinary,
            Place::Reserved => &mut self.reserved,
        }
    }

    /// A slot that nobody has, if there is one.
    pub(super) fn pop(&mut self, place: Place) -> Option<Slot> {
        match self.queue(place).pop(0) {
            Ok(slot) => Some(slot),
            Err(error) => {
                self.is_expected(&error, "take a slot from", libc::ENOENT);
                None
            }
        }
    }

    /// Makes a slot anybody's.
    pub(super) fn push(&mut self, slot: Slot, place: Place) {
        let place = if place == Place::Ordinary && self.owed > 0 {
            self.owed -= 1;
            Place::Reserved
        } else {
            place
        };
        // Each queue has room for all slots.
        if let Err(error) = self.queue(place).push(slot, 0) {
            self.refused(&error, "give a slot back to");
        }
    }

    /// Removes a source from the hash, unless it has another slot there: that of books which have taken the
    /// interface over. False if that was refused.
    pub(super) fn forget(&mut self, key: &[u32; 3], slot: Slot) -> bool {
        let removed = match self.slots.get(key, 0) {
            Ok(found) if found == slot => self.slots.remove(key),
            Ok(_) => return true,
            Err(error) => Err(error),
        };
        removed.map_or_else(|error| self.is_expected(&error, "remove from", libc::ENOENT), |()| true)
    }

    /// Who claimed an interface last.
    pub(super) fn claimant(&self, interface: u32) -> Option<u32> {
        self.claims.iter().rev().find(|(index, _)| *index == interface).map(|(_, number)| *number)
    }

    pub(super) fn disclaim(&mut self, number: u32) {
        self.claims.retain(|(_, claimant)| *claimant != number);
    }

    /// Counts no more newcomers of an interface, unless another's books have taken it over.
    pub(super) fn leave(&mut self, interface: u32, number: u32) {
        if self.interfaces.get(&interface, 0).is_ok_and(|now| now == number)
            && let Err(error) = self.interfaces.remove(&interface)
        {
            self.is_expected(&error, "remove from", libc::ENOENT);
        }
    }

    pub(super) fn reserve(&mut self, macs: &[Mac]) {
        let most = MOST_LISTED as usize;
        if macs.len() > most && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(most, "too many listed sources; further ones compete for ordinary room");
        }
        let wanted: HashSet<Mac> = macs.iter().take(most).copied().collect();
        let Self { listed, reserved_for, .. } = self;
        let mut refused = None;
        // Those whose change is refused stay as they are, to be tried again with the next change.
        reserved_for.retain(|mac| {
            wanted.contains(mac)
                || listed.remove(&address(*mac)).is_err_and(|error| {
                    let is_gone = code(&error) == Some(libc::ENOENT);
                    refused = refused.take().or((!is_gone).then_some(error));
                    !is_gone
                })
        });
        for mac in wanted {
            if !reserved_for.contains(&mac) {
                match listed.insert(address(mac), 1, 0) {
                    Ok(()) => drop(reserved_for.insert(mac)),
                    Err(error) => refused = Some(error),
                }
            }
        }
        if let Some(error) = refused {
            self.refused(&error, "list all addresses with reserved room in");
            self.reserved_at = None;
        }
    }

    /// Whether a change failed for a reason that was to be expected. Tells of any other, once a minute.
    pub(super) fn is_expected(&mut self, error: &MapError, what: &'static str, expected: i32) -> bool {
        let is_expected = code(error) == Some(expected);
        if !is_expected {
            self.refused(error, what);
        }
        is_expected
    }

    /// Tells of a refusal, once a minute: what fails for one source may fail for thousands.
    pub(super) fn refused(&mut self, error: &MapError, what: &'static str) {
        if self.quiet.is_over() {
            let code = code(error);
            tracing::error!(%error, code, "the kernel engine cannot {what} its tables");
        }
    }
}

/// When the next line of a kind is worth the log.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    until: Option<Instant>,
}

impl Quiet {
    /// Whether the log has not been told for a minute. It is about to be, then.
    pub(super) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let is_over = self.until.is_none_or(|until| until <= now);
        if is_over {
            self.until = Some(now + Duration::from_secs(60));
        }
        is_over
    }
}

/// The system's number of an error.
fn code(error: &MapError) -> Option<i32> {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => Some(libc::ENOENT),
        _ => refusal::code(error),
    }
}
