//! What must hold of any bytes that come from outside: from the wire, or in files that others keep.
//!
//! Each module is one way in, with one function that panics if something does not hold. The fuzz targets call it
//! with what they make up, and the tests of the workspace above with every seed.

pub mod frame;
pub mod inventory;
pub mod mac;
pub mod state;
pub mod vendor;
pub mod webconfig;

use std::path::Path;

use macwatch::textfile::Fault;

/// The name that a text is given.
const FILE: &str = "file";

/// Bytes of a fault's text that nobody minds reading: it echoes some of a line, and a name or two.
const LONGEST_LINE: usize = 1024;

/// Faults must be there, be few, and each one line, about a line that is there.
fn told(faults: &[Fault], text: &[u8], most: usize) {
    assert!((1..=most + 1).contains(&faults.len()), "{} faults", faults.len());
    for fault in faults {
        assert_eq!(&*fault.place.file, Path::new(FILE));
        place(fault.place.line, text);
        readable(&fault.to_string());
    }
}

/// A line's number must be that of a line of the text; 0 is the text as a whole.
fn place(line: usize, text: &[u8]) {
    let lines = text.split(|byte| *byte == b'\n').count();
    assert!(line <= lines, "line {line} of {lines}");
}

/// A message must be a line that is not endless, and nothing that a terminal acts on.
fn readable(message: &str) {
    assert!(message.len() <= LONGEST_LINE, "{} bytes: {message}", message.len());
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

/// Addresses around this one, for a prefix of so many bits: its first, its last, and one just outside.
fn around(number: u64, bits: u8) -> [u64; 3] {
    let inner = (1u64 << (48 - bits)) - 1;
    [number & !inner, number | inner, number ^ 1 << (48 - bits)]
}
