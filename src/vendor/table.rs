//! The table of prefixes, in the form in which it lies in the program and is searched: nothing is parsed or
//! allocated to use it.
//!
//! ```text
//! where it is from, a line of text
//! number of sections (1 byte); of each, longest prefixes first: bits (1 byte), entries (4)
//! the sections: entries in order of their prefix, each the bytes of the prefix and where its name is (3)
//! the names: each its length (1) and its text
//! ```
//! Numbers are big-endian. A name stands there once, however many prefixes it has.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

/// Bits of a whole address.
pub(super) const BITS: u8 = 48;

/// Longest name, in bytes: its length is one.
pub(super) const LONGEST_NAME: usize = 255;

/// Most bytes of names: where one is stands in three bytes.
const MOST_NAMES: usize = 1 << 24;

/// A table that can be searched.
#[derive(Clone, Default)]
pub(super) struct Table {
    bytes: Cow<'static, [u8]>,
    source: usize,
    sections: Vec<Section>,
    names: usize,
}

/// The prefixes of one length.
#[derive(Clone, Copy)]
struct Section {
    bits: u8,
    start: usize,
    entries: usize,
}

impl Section {
    /// Bytes of an entry: of the prefix, and of where its name is.
    fn stride(self) -> usize {
        usize::from(self.bits.div_ceil(8)) + 3
    }
}

impl Table {
    /// Takes a table as it lies in memory. None if it is not one.
    pub(super) fn new(bytes: Cow<'static, [u8]>) -> Option<Self> {
        let source = bytes.iter().position(|byte| *byte == b'\n')?;
        str::from_utf8(&bytes[..source]).ok()?;
        let (count, rest) = bytes[source + 1..].split_first()?;
        let mut start = source + 2 + usize::from(*count) * 5;
        let mut sections = Vec::with_capacity(usize::from(*count));
        for header in rest.as_chunks::<5>().0.iter().take(usize::from(*count)) {
            let [bits, entries @ ..] = *header;
            let entries = usize::try_from(u32::from_be_bytes(entries)).ok()?;
            let section = Section { bits, start, entries };
            if !(1..=BITS).contains(&bits) {
                return None;
            }
            start = start.checked_add(entries.checked_mul(section.stride())?)?;
            sections.push(section);
        }
        let whole = sections.len() == usize::from(*count) && start <= bytes.len();
        whole.then_some(Self { bytes, source, sections, names: start })
    }

    /// The name of the longest prefix that this address has.
    pub(super) fn find(&self, address: u64) -> Option<&str> {
        self.find_span(address).0
    }

    /// The same, and a span of addresses around this one that all have that name, or none.
    pub(super) fn find_span(&self, address: u64) -> (Option<&str>, RangeInclusive<u64>) {
        let (mut first, mut last) = (0, (1 << BITS) - 1);
        for section in &self.sections {
            let found = self.search(*section, address);
            first = first.max(*found.span.start());
            last = last.min(*found.span.end());
            if let Some(at) = found.name {
                return (self.name(at), first..=last);
            }
        }
        (None, first..=last)
    }

    fn name(&self, at: usize) -> Option<&str> {
        let (length, rest) = self.bytes.get(self.names + at..)?.split_first()?;
        str::from_utf8(rest.get(..usize::from(*length))?).ok()
    }

    /// What this section says of an address, and of which others it says the same.
    fn search(&self, section: Section, address: u64) -> Found {
        let bytes = &self.bytes[section.start..][..section.entries * section.stride()];
        // As the entry has it: whole bytes, those bits zero that do not count.
        let unused = BITS - section.bits.div_ceil(8) * 8;
        let prefix = mask(address, section.bits) >> unused;
        let span = 1u64 << (BITS - section.bits);
        let found = match section.stride() {
            4 => search::<4>(bytes, prefix),
            5 => search::<5>(bytes, prefix),
            6 => search::<6>(bytes, prefix),
            7 => search::<7>(bytes, prefix),
            8 => search::<8>(bytes, prefix),
            _ => search::<9>(bytes, prefix),
        };
        let own = |prefix: u64| prefix << unused..=(prefix << unused) + span - 1;
        match found {
            Ok(name) => Found { name: Some(name), span: own(prefix) },
            Err([before, behind]) => {
                let first = before.map_or(0, |prefix| own(prefix).end() + 1);
                let last = behind.map_or(1 << BITS, |prefix| *own(prefix).start()).saturating_sub(1);
                Found { name: None, span: first..=last }
            }
        }
    }

    /// How many prefixes there are.
    pub(super) fn len(&self) -> usize {
        self.sections.iter().map(|section| section.entries).sum()
    }

    /// Where it is from.
    pub(super) fn source(&self) -> &str {
        self.bytes.get(..self.source).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// How many prefixes of each length, longest first.
    #[cfg(test)]
    pub(super) fn lengths(&self) -> Vec<(u8, usize)> {
        self.sections.iter().map(|section| (section.bits, section.entries)).collect()
    }

    /// All prefixes with their lengths.
    #[cfg(test)]
    pub(super) fn prefixes(&self) -> impl Iterator<Item = (u8, u64)> {
        self.sections.iter().flat_map(|section| {
            let entries = &self.bytes[section.start..][..section.entries * section.stride()];
            let width = section.stride() - 3;
            entries.chunks(section.stride()).map(move |entry| {
                let mut octets = [0; 8];
                octets[2..2 + width].copy_from_slice(&entry[..width]);
                (section.bits, u64::from_be_bytes(octets))
            })
        })
    }
}

/// What a section says of an address.
struct Found {
    /// Where the name of its prefix is, if the section has that.
    name: Option<usize>,
    /// The addresses of which it says the same.
    span: RangeInclusive<u64>,
}

/// Where the name of a prefix is; else the prefixes before and behind it. A length known to the compiler makes each
/// step a few instructions.
fn search<const STRIDE: usize>(entries: &[u8], prefix: u64) -> Result<usize, [Option<u64>; 2]> {
    let entries = entries.as_chunks::<STRIDE>().0;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let key = |entry: &[u8; STRIDE]| number(&entry[..STRIDE - 3]);
    match entries.binary_search_by_key(&prefix, key) {
        // It has three bytes.
        Ok(at) => Ok(usize::try_from(number(&entries[at][STRIDE - 3..])).unwrap_or(usize::MAX)),
        Err(at) => Err([at.checked_sub(1), Some(at)].map(|at| entries.get(at?).map(key))),
    }
}

/// The first bits of an address, the rest zero.
pub(super) fn mask(address: u64, bits: u8) -> u64 {
    address & (u64::MAX << (BITS - bits)) & ((1 << BITS) - 1)
}

/// Makes a table.
#[derive(Debug, Default)]
pub(super) struct Builder {
    sections: BTreeMap<Reverse<u8>, BTreeMap<u64, usize>>,
    places: HashMap<Box<str>, usize, ahash::RandomState>,
    names: Vec<u8>,
}

impl Builder {
    /// Adds a prefix. Of two with the same bits the first stays: the IEEE has given a few blocks twice.
    ///
    /// # Errors
    ///
    /// What the table cannot hold.
    pub(super) fn insert(&mut self, prefix: u64, bits: u8, name: &str) -> Result<(), String> {
        let length = u8::try_from(name.len())
            .map_err(|_| format!("the name has {} bytes; at most {LONGEST_NAME} are kept", name.len()))?;
        let at = match self.places.get(name) {
            Some(at) => *at,
            None if self.names.len() + name.len() >= MOST_NAMES => {
                return Err(format!("the names together have more than {} MiB", MOST_NAMES >> 20));
            }
            None => {
                let at = self.names.len();
                self.names.push(length);
                self.names.extend_from_slice(name.as_bytes());
                self.places.insert(name.into(), at);
                at
            }
        };
        self.sections.entry(Reverse(bits)).or_default().entry(mask(prefix, bits)).or_insert(at);
        Ok(())
    }

    /// The table, as it lies in memory.
    ///
    /// # Errors
    ///
    /// If it would be empty.
    pub(super) fn finish(self, source: &str) -> Result<Vec<u8>, String> {
        let none = || "there is no prefix in it; it takes Wireshark's manuf, or CSV of the IEEE".to_owned();
        let sections = u8::try_from(self.sections.len()).ok().filter(|n| *n > 0).ok_or_else(none)?;
        let mut bytes = source.replace('\n', " ").into_bytes();
        bytes.extend([b'\n', sections]);
        for (bits, entries) in &self.sections {
            let entries = u32::try_from(entries.len()).map_err(|error| error.to_string())?;
            bytes.push(bits.0);
            bytes.extend(entries.to_be_bytes());
        }
        for (bits, entries) in &self.sections {
            let width = usize::from(bits.0.div_ceil(8));
            for (prefix, at) in entries {
                bytes.extend(&prefix.to_be_bytes()[2..2 + width]);
                bytes.extend(&at.to_be_bytes()[size_of::<usize>() - 3..]);
            }
        }
        bytes.extend(self.names);
        Ok(bytes)
    }
}
