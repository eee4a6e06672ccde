//! Vendors: whom the IEEE gave the prefix of an address.
//!
//! It gives blocks of three sizes (MA-L of 24 bits, MA-M of 28, MA-S of 36), the smaller ones within blocks
//! that it keeps for itself: only the longest prefix tells. The registry is part of the program, in the form in
//! which it is searched; `src/vendor/refresh` makes it anew. A file may take its place.
//!
//! A vendor is a hint for a person, and nothing else is made of it: anyone may send under any prefix.

mod parse;
mod table;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::mac::Mac;
use crate::textfile::{self, Fault, Faults, MOST_FAULTS};
use table::{Builder, Table};

/// See `src/vendor/refresh` for where it comes from, [`table`] for its form.
static REGISTRY: &[u8] = include_bytes!("registry.bin");

/// Who has which prefix.
#[derive(Clone, Default)]
pub struct Vendors {
    table: Table,
}

impl Vendors {
    /// The registry that is part of the program. A test holds that it is whole.
    pub fn embedded() -> Self {
        Self { table: Table::new(REGISTRY.into()).unwrap_or_default() }
    }

    /// Reads a file: Wireshark's `manuf`, or CSV of the IEEE.
    ///
    /// # Errors
    ///
    /// All that is wrong, with file and line; the list is cut after some.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        Self::of(path, textfile::read(path))
    }

    /// The same of a text that has been read, or why it could not be.
    ///
    /// # Errors
    ///
    /// All that is wrong, with file and line; the list is cut after some.
    pub fn of<T: AsRef<[u8]>>(path: &Path, text: Result<T, String>) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::new(&path.into(), MOST_FAULTS);
        match text.and_then(|text| compile(text.as_ref(), &path.display().to_string(), &mut faults)) {
            // What is wrong in the lines explains why there may be none.
            Err(what) if faults.is_empty() => faults.add(0, what),
            Ok(table) if faults.is_empty() => {
                return Ok(Self { table: Table::new(table.into()).unwrap_or_default() });
            }
            _ => {}
        }
        Err(faults.into_list())
    }

    /// Whose prefix this address has; the longest one that is registered. None for group addresses and for all
    /// zeros, which are nobody's.
    ///
    /// Addresses with the local bit are looked up like others. 18 prefixes with it were given before it had that
    /// meaning (DECnet still sends under one of them), and a file may list more. A random address meets one of
    /// them once in 230,000 times.
    pub fn find(&self, mac: Mac) -> Option<&str> {
        if is_nobodys(mac) { None } else { self.table.find(mac.number()) }
    }

    /// To find many, one after the other.
    pub fn walk(&self) -> Walk<'_> {
        Walk { vendors: self, span: RangeInclusive::new(1, 0), vendor: None }
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where they are from: a line for a person.
    pub fn source(&self) -> &str {
        self.table.source()
    }
}

/// Group addresses and all zeros.
fn is_nobodys(mac: Mac) -> bool {
    let [first, ..] = mac.octets();
    first & 1 != 0 || mac.number() == 0
}

/// Finds the vendors of many addresses. In order of address it is faster: those next to each other mostly have the
/// same vendor, or none.
#[derive(Debug)]
pub struct Walk<'a> {
    vendors: &'a Vendors,
    /// The addresses that have the vendor found last.
    span: RangeInclusive<u64>,
    vendor: Option<&'a str>,
}

impl<'a> Walk<'a> {
    /// The same as [`Vendors::find`].
    pub fn find(&mut self, mac: Mac) -> Option<&'a str> {
        if is_nobodys(mac) {
            return None;
        }
        if !self.span.contains(&mac.number()) {
            (self.vendor, self.span) = self.vendors.table.find_span(mac.number());
        }
        self.vendor
    }
}

/// Makes the table of a file's text; says what is wrong in its lines.
///
/// # Errors
///
/// What is wrong with it as a whole.
fn compile(text: &[u8], source: &str, faults: &mut Faults) -> Result<Vec<u8>, String> {
    let mut builder = Builder::default();
    parse::file(text, &mut builder, faults);
    builder.finish(source)
}

impl fmt::Debug for Vendors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vendors({} prefixes from {})", self.len(), self.source())
    }
}

#[cfg(test)]
mod tests;
