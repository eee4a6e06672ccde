//! State files, as macwatch writes them.

use super::frames::{source, text};

/// A state file with these sources of `mw0`: number, first and last seen.
pub(crate) fn file(created: u64, entries: &[(u32, u64, u64)]) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut body = format!("macwatch-state 1\ncreated {created}\n");
    for (n, first, last) in entries {
        let _ = writeln!(body, "{} {first} {last} mw0", text(source(*n)));
    }
    sealed(&body, entries.len())
}

/// A body with the line that ends it.
pub(crate) fn sealed(body: &str, count: usize) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(body.as_bytes());
    format!("{body}end {count} {:08x}\n", crc.sum()).into_bytes()
}
