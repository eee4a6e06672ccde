//! The inventory: the addresses that somebody vouches for, and what they call them.
//!
//! A text file that a person keeps in git, in the syntax of ethers(5) with a little more:
//!
//! ```text
//! 02:42:ac:11:00:02   printer on the second floor   # bought 2024
//! 0242.ac11.0003      switch                        # Cisco's dots, dashes, bare digits and either case are fine
//! b8:27:eb:*          raspberry                     # a prefix by whole bytes
//! 52:54:00:00:00:00/24 guest                        # a prefix by bits
//! ```
//! The longest match names a source. Several files merge.

pub mod follow;
mod parse;
pub mod write;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mac::Mac;
use crate::textfile::{self, Faults, MOST_FAULTS};

pub use crate::textfile::{Fault, Place};

/// Bits of a whole address.
const BITS: u8 = 48;

/// What the inventory says of one address or prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The address; with a prefix, its first bits, the rest zero.
    pub mac: Mac,
    /// How many bits must agree: 48 for one address.
    pub bits: u8,
    /// What it is called.
    pub name: Arc<str>,
    /// Where it stands.
    pub place: Place,
}

/// All entries of all files.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// By length, longest first; each by the bits that must agree.
    tables: Vec<(u8, HashMap<u64, Entry, ahash::RandomState>)>,
}

impl Inventory {
    /// Reads files that merge into one inventory.
    ///
    /// # Errors
    ///
    /// All that is wrong, with file and line; the list is cut after some.
    pub fn load(files: &[PathBuf]) -> Result<Self, Vec<Fault>> {
        Self::of(files.iter().map(|path| (path.as_path().into(), textfile::read(path))), MOST_FAULTS)
    }

    /// The same of texts that have been read, or why they could not be, with a list that is cut after this many
    /// lines of each.
    ///
    /// # Errors
    ///
    /// All that is wrong, with file and line.
    pub fn of<T: AsRef<[u8]>>(
        texts: impl IntoIterator<Item = (Arc<Path>, Result<T, String>)>,
        most: usize,
    ) -> Result<Self, Vec<Fault>> {
        let (inventory, faults) = Self::of_what_is_right(texts, most);
        if faults.is_empty() { Ok(inventory) } else { Err(faults) }
    }

    /// The same with whatever makes sense of them, and all that is wrong: for who tells of it. Nobody is known by half
    /// a list.
    pub fn of_what_is_right<T: AsRef<[u8]>>(
        texts: impl IntoIterator<Item = (Arc<Path>, Result<T, String>)>,
        most: usize,
    ) -> (Self, Vec<Fault>) {
        let mut inventory = Self::default();
        let mut faults = Vec::new();
        for (file, text) in texts {
            match text {
                Ok(text) => faults.extend(inventory.add(&file, text.as_ref(), most)),
                Err(what) => faults.push(Fault { place: Place { file, line: 0 }, what }),
            }
        }
        (inventory, faults)
    }

    /// Reads the text of a file of this name.
    ///
    /// # Errors
    ///
    /// All that is wrong, with file and line; the list is cut after some.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Vec<Fault>> {
        let mut inventory = Self::default();
        let faults = inventory.add(&path.into(), text, MOST_FAULTS);
        if faults.is_empty() { Ok(inventory) } else { Err(faults) }
    }

    /// Adds the entries of one file's text; says what is wrong with it, in so many lines at the most.
    fn add(&mut self, file: &Arc<Path>, text: &[u8], most: usize) -> Vec<Fault> {
        let mut faults = Faults::new(file, most);
        // Windows' editors mark what they write: UTF-8 like this, and what is no UTF-8 like that.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
            faults.add(0, "it is UTF-16 text; save it as UTF-8".to_owned());
            return faults.into_list();
        }
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let place = Place { file: Arc::clone(file), line: index + 1 };
            let added = match parse::line(line) {
                Ok(None) => Ok(()),
                Ok(Some((mac, bits, name))) => self.insert(Entry { mac, bits, name: (&*name).into(), place }),
                Err(what) => Err(what),
            };
            if let Err(what) = added {
                faults.add(index + 1, what);
            }
        }
        faults.into_list()
    }

    /// Adds an entry; the same one twice is fine, also in two files.
    fn insert(&mut self, entry: Entry) -> Result<(), String> {
        let at = match self.tables.binary_search_by(|(bits, _)| entry.bits.cmp(bits)) {
            Ok(at) => at,
            Err(at) => {
                self.tables.insert(at, (entry.bits, HashMap::default()));
                at
            }
        };
        let table = &mut self.tables[at].1;
        match table.get(&entry.mac.number()) {
            Some(other) if other.name != entry.name => Err(format!(
                "{} is called \"{}\" here and \"{}\" at {}; keep one of the two",
                written(entry.mac, entry.bits),
                entry.name,
                other.name,
                other.place
            )),
            Some(_) => Ok(()),
            None => {
                table.insert(entry.mac.number(), entry);
                Ok(())
            }
        }
    }

    /// What the inventory says of an address: the longest entry that fits.
    pub fn find(&self, mac: Mac) -> Option<&Entry> {
        self.tables.iter().find_map(|(bits, table)| table.get(&mask(mac.number(), *bits)))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.tables.iter().map(|(_, table)| table.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// All of them, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.tables.iter().flat_map(|(_, table)| table.values())
    }

    /// A file that lists nobody any more, though not all whom it listed before stand elsewhere, and how many it listed.
    pub fn emptied_since<'b>(&self, before: &'b Self) -> Option<(&'b Arc<Path>, usize)> {
        let files: HashSet<&Path> = self.entries().map(|entry| &*entry.place.file).collect();
        let lost =
            before.entries().find(|entry| !files.contains(&*entry.place.file) && !self.covers(entry))?;
        let file = &lost.place.file;
        Some((file, before.entries().filter(|entry| entry.place.file == *file).count()))
    }

    /// Whether all addresses that an entry fits are listed.
    fn covers(&self, entry: &Entry) -> bool {
        let number = entry.mac.number();
        self.tables
            .iter()
            .any(|(bits, table)| *bits <= entry.bits && table.contains_key(&mask(number, *bits)))
    }

    /// The whole addresses, in no order.
    pub fn exact(&self) -> impl Iterator<Item = Mac> {
        let exact = self.tables.first().filter(|(bits, _)| *bits == BITS);
        exact.into_iter().flat_map(|(_, table)| table.values().map(|entry| entry.mac))
    }
}

impl Entry {
    /// Whether it is one address, not a prefix.
    pub fn is_exact(&self) -> bool {
        self.bits == BITS
    }

    /// What it fits, as a person would write it.
    pub fn pattern(&self) -> String {
        written(self.mac, self.bits)
    }
}

/// The first bits of an address, the rest zero.
fn mask(number: u64, bits: u8) -> u64 {
    number & (u64::MAX << (BITS - bits)) & ((1 << BITS) - 1)
}

/// An address or prefix as a person would write it.
fn written(mac: Mac, bits: u8) -> String {
    if bits == BITS { mac.to_string() } else { format!("{mac}/{bits}") }
}

#[cfg(test)]
mod tests;
