//! The files that vendors are read from: Wireshark's `manuf`, and the CSV files of the IEEE.

use super::table::{BITS, Builder, mask};
use crate::mac::shortened;
use crate::textfile::Faults;

/// Who holds the blocks that are given in parts. For an address in a part that is not registered it says
/// nothing.
const REGISTRAR: &str = "IEEE Registration Authority";

/// What the first column of the IEEE's files has: its heading, then the registry.
const REGISTRIES: [&str; 6] = ["Registry", "MA-L", "MA-M", "MA-S", "IAB", "CID"];

/// Longest record of a CSV file: theirs have 400 bytes at most. A longer one lacks a quote, and took others with it.
const LONGEST_RECORD: usize = 4096;

/// Adds what a file holds, in either form.
pub(super) fn file(text: &[u8], table: &mut Builder, faults: &mut Faults) {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let first = text.split(|byte| *byte == b',').next().unwrap_or_default();
    if REGISTRIES.iter().any(|registry| registry.as_bytes() == first) {
        csv(text, table, faults);
    } else {
        manuf(text, table, faults);
    }
}

/// `Registry,Assignment,Organization Name,Organization Address`, quoted where need be. Several files in a row
/// are fine, each with its heading.
fn csv(text: &[u8], table: &mut Builder, faults: &mut Faults) {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return,
            // Reading from memory cannot fail, and a flexible reader takes any number of fields.
            Err(error) => return faults.add(0, error.to_string()),
        }
        let line = record.position().map_or(0, |position| usize::try_from(position.line()).unwrap_or(0));
        if let Err(what) = row(&record).and_then(|row| row.map_or(Ok(()), |row| add(table, row))) {
            faults.add(line, what);
        }
    }
}

/// What a row says: a prefix, how many of its bits count, a name. None for a heading.
fn row(record: &csv::ByteRecord) -> Result<Option<(u64, u8, &str)>, String> {
    if record.as_slice().len() > LONGEST_RECORD {
        return Err("a quoted field that begins here does not end".to_owned());
    }
    let field = |at: usize| str::from_utf8(record.get(at).unwrap_or_default()).map(str::trim);
    let (Ok(registry), Ok(prefix), Ok(name)) = (field(0), field(1), field(2)) else {
        return Err("this line is not UTF-8 text".to_owned());
    };
    if registry == REGISTRIES[0] {
        return Ok(None);
    }
    let bits = match (prefix.len(), prefix.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        (6, true) => 24,
        (7, true) => 28,
        (9, true) => 36,
        _ => return Err(format!("{} is not an assignment of 6, 7 or 9 digits", shortened(prefix))),
    };
    let number = u64::from_str_radix(prefix, 16).map_err(|error| error.to_string())?;
    Ok(Some((number << (BITS - bits), bits, name)))
}

/// Fields separated by tabs: prefix, short name, long name. Older files have `# LONG NAME` behind the short one.
fn manuf(text: &[u8], table: &mut Builder, faults: &mut Faults) {
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let added = str::from_utf8(line)
            .map_err(|_| "this line is not UTF-8 text".to_owned())
            .and_then(entry)
            .and_then(|entry| entry.map_or(Ok(()), |entry| add(table, entry)));
        if let Err(what) = added {
            faults.add(index + 1, what);
        }
    }
}

/// What a line says. None for one that says nothing.
fn entry(line: &str) -> Result<Option<(u64, u8, &str)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (address, names) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (prefix, bits) = prefix(address)?;
    let mut fields = names.split('\t').map(str::trim).filter(|field| !field.is_empty());
    let short = fields.next().unwrap_or_default();
    let (short, comment) = short.split_once('#').unwrap_or((short, ""));
    let long = fields.next().unwrap_or(comment).trim_start_matches('#').trim();
    Ok(Some((prefix, bits, if long.is_empty() { short } else { long })))
}

/// `00:00:0C`, `00:55:DA:00:00:00/28`, `00-00-0C-07-AC/40`.
fn prefix(text: &str) -> Result<(u64, u8), String> {
    let unfit =
        || format!("{} is not a prefix; write it like 00:00:0C or 00:55:DA:00:00:00/28", shortened(text));
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let (mut number, mut octets) = (0u64, 0u8);
    for octet in address.split([':', '-', '.']) {
        let fine = octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !fine || octets == 6 {
            return Err(unfit());
        }
        number = number << 8 | u64::from(u8::from_str_radix(octet, 16).map_err(|error| error.to_string())?);
        octets += 1;
    }
    number <<= BITS - octets * 8;
    let bits = match length.map(str::parse) {
        None => octets * 8,
        Some(Ok(bits @ 8..=BITS)) => bits,
        Some(_) => return Err(format!("{}: take a number of bits from 8 to {BITS}", shortened(text))),
    };
    if mask(number, bits) != number {
        return Err(format!("{text} has bits set behind the first {bits}"));
    }
    Ok((number, bits))
}

/// Adds an entry under a name that stands on one line.
fn add(table: &mut Builder, (prefix, bits, name): (u64, u8, &str)) -> Result<(), String> {
    let name = tidied(name);
    if name.is_empty() {
        return Err("there is no name in this line".to_owned());
    }
    // Nobody asks for the vendor of a group address.
    let group = prefix >> (BITS - 8) & 1 != 0;
    if group || name == REGISTRAR { Ok(()) } else { table.insert(prefix, bits, &name) }
}

/// Words with one space between them. The registry has all that can be pasted into a form: no-break and
/// ideographic spaces, marks without width.
fn tidied(name: &str) -> String {
    let visible: String = name
        .chars()
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}'))
        .collect();
    let words = visible.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
