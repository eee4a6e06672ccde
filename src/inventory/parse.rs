//! One line of an inventory.

use super::{BITS, mask};
use crate::mac::{self, Mac, shortened};

/// Longest name, in bytes: label values stand on every page.
const LONGEST_NAME: usize = 256;

/// What a line says: an address, how many of its bits count, a name. None for a line that says nothing.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub(super) fn line(line: &[u8]) -> Result<Option<(Mac, u8, &str)>, String> {
    let text = str::from_utf8(line).map_err(|_| "this line is not UTF-8 text".to_owned())?;
    let text = content(text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Ok(None);
    }
    let (address, name) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (mac, bits) = pattern(address)?;
    let name = name.trim();
    if name.is_empty() {
        return Err(format!("{address} has no name; write: {address} NAME"));
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("the name has {} bytes; at most {LONGEST_NAME} are kept", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err("the name holds a control character; take it out".to_owned());
    }
    Ok(Some((mac, bits, name)))
}

/// The line without its comment: `#` at its beginning, or after white space.
fn content(text: &str) -> &str {
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        if character == '#' && before.is_whitespace() {
            return text[..at].trim();
        }
        before = character;
    }
    text.trim()
}

/// An address, or a prefix of one: `b8:27:eb:*` or `52:54:00:00:00:00/24`.
fn pattern(text: &str) -> Result<(Mac, u8), String> {
    if let Some((address, bits)) = text.split_once('/') {
        let mac = mac::parse(address)?;
        let bits: u8 = match bits.parse() {
            Ok(bits @ 1..=BITS) => bits,
            _ => return Err(format!("{} ends in no number of bits from 1 to {BITS}", shortened(text))),
        };
        let number = mask(mac.number(), bits);
        if number != mac.number() {
            return Err(format!(
                "{text} has bits set behind the first {bits}; write {}/{bits}",
                Mac::from_number(number)
            ));
        }
        return Ok((mac, bits));
    }
    if let Some(start) = text.strip_suffix('*') {
        let Some(start) = start.strip_suffix([':', '-']) else {
            return Err(format!("{}: the star stands after whole bytes, like b8:27:eb:*", shortened(text)));
        };
        let octets = mac::octets(start)?;
        if octets.is_empty() || octets.len() > 5 {
            return Err(format!("{}: one to five bytes stand before the star", shortened(text)));
        }
        let mut whole = [0; 6];
        whole[..octets.len()].copy_from_slice(&octets);
        let bits = u8::try_from(octets.len() * 8).unwrap_or(BITS);
        return Ok((Mac::new(whole), bits));
    }
    Ok((mac::parse(text)?, BITS))
}
