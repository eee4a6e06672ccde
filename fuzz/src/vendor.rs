//! Vendor files. Of Wireshark's form each line read alone is the oracle for all of them together.

use std::path::Path;

use macwatch::mac::Mac;
use macwatch::vendor::Vendors;

/// Most faults that are told, as in the program.
const MOST: usize = macwatch::textfile::MOST_FAULTS;
/// Longest name that the table holds.
const LONGEST_NAME: usize = 255;
/// With more lines the slow way takes too long.
const MOST_LINES: usize = 64;

/// A line: whom an address of its prefix belongs to, and the prefix's length.
struct Line {
    vendors: Vendors,
    address: u64,
    bits: u8,
}

/// Faults have their lines; without any, the longest prefix is found, the first of those that are there twice.
pub fn holds(input: &[u8]) {
    let vendors = match Vendors::of(Path::new(super::FILE), Ok(input)) {
        Ok(vendors) => vendors,
        Err(faults) => return super::told(&faults, input, MOST),
    };
    assert!(!vendors.is_empty());
    let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    // A CSV file has commas, quotes and line breaks in its fields; its lines are none alone.
    let rows = ["Registry,", "MA-L,", "MA-M,", "MA-S,", "IAB,", "CID,"];
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    if lines.len() > MOST_LINES || rows.iter().any(|row| input.starts_with(row.as_bytes())) {
        for line in lines.iter().take(MOST_LINES) {
            let digits = line.split(|byte| *byte == b',').nth(1).unwrap_or_default();
            name(vendors.find(Mac::from_number(first_digits(digits))));
        }
        return;
    }
    let alone: Vec<Line> = lines.iter().filter_map(|line| Line::of(line)).collect();
    assert!(vendors.len() <= lines.len());
    for line in &alone {
        for number in super::around(line.address, line.bits) {
            let mac = Mac::from_number(number);
            // Of equals, the last one is found by max_by_key, so the other way round.
            let longest = alone
                .iter()
                .rev()
                .filter(|line| line.vendors.find(mac).is_some())
                .max_by_key(|line| line.bits);
            assert_eq!(vendors.find(mac), longest.and_then(|line| line.vendors.find(mac)), "{mac}");
            name(vendors.find(mac));
        }
    }
}

impl Line {
    /// None if it says nothing of any address that is looked up.
    fn of(line: &[u8]) -> Option<Self> {
        let vendors = Vendors::of(Path::new(super::FILE), Ok(line)).ok()?;
        let prefix = str::from_utf8(line).ok()?.split_whitespace().next()?;
        let find = |address| vendors.find(Mac::from_number(address)).is_some();
        let (address, bits) = match first_digits(prefix.as_bytes()) {
            // All zeros are nobody's, whatever a file says: not to be met when a bit is turned, look from another.
            0 if !find(3) => (1, find(1).then_some(47)?),
            0 => (3, bits(find, 3)),
            address => (address, find(address).then(|| bits(find, address))?),
        };
        Some(Self { vendors, address, bits })
    }
}

/// How many bits of this address count.
fn bits(find: impl Fn(u64) -> bool, address: u64) -> u8 {
    (0..48).rev().find(|bit| !find(address ^ 1 << (47 - bit))).map_or(0, |bit| bit + 1)
}

/// The hexadecimal digits before a slash, from the left.
fn first_digits(text: &[u8]) -> u64 {
    let digits = text.split(|byte| *byte == b'/').next().unwrap_or_default();
    let digits = digits.iter().filter_map(|byte| char::from(*byte).to_digit(16)).take(12);
    let (number, count) =
        digits.fold((0, 0), |(number, count), digit| (number << 4 | u64::from(digit), count + 1));
    number << (48 - count * 4)
}

fn name(name: Option<&str>) {
    if let Some(name) = name {
        assert!((1..=LONGEST_NAME).contains(&name.len()), "{} bytes", name.len());
        super::readable(name);
    }
}
