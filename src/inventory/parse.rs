//! One line of an inventory.

use super::{BITS, mask};
use crate::mac::Mac;

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
        let mac = parse_mac(address)?;
        let bits: u8 = match bits.parse() {
            Ok(bits @ 1..=BITS) => bits,
            _ => return Err(format!("/{bits} is not a number of bits from 1 to {BITS}")),
        };
        let number = mask(mac.number(), bits);
        if number != mac.number() {
            return Err(format!(
                "{text} has bits set behind the first {bits}; write {}/{bits}",
                from_number(number)
            ));
        }
        return Ok((mac, bits));
    }
    if let Some(start) = text.strip_suffix('*') {
        let Some(start) = start.strip_suffix([':', '-']) else {
            return Err(format!("{text}: the star stands after whole bytes, like b8:27:eb:*"));
        };
        let octets = octets(start)?;
        if octets.is_empty() || octets.len() > 5 {
            return Err(format!("{text}: one to five bytes stand before the star"));
        }
        let mut whole = [0; 6];
        whole[..octets.len()].copy_from_slice(&octets);
        let bits = u8::try_from(octets.len() * 8).unwrap_or(BITS);
        return Ok((Mac::new(whole), bits));
    }
    Ok((parse_mac(text)?, BITS))
}

/// An address in any usual notation: `02:42:ac:11:00:02`, `2:42:AC:11:0:2`, `02-42-ac-11-00-02`,
/// `0242.ac11.0002`.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_mac(text: &str) -> Result<Mac, String> {
    let octets = if text.contains('.') { dotted(text)? } else { octets(text)? };
    let count = octets.len();
    <[u8; 6]>::try_from(octets).map(Mac::new).map_err(|_| {
        format!("{text} has {count} byte{}; a MAC address has 6", if count == 1 { "" } else { "s" })
    })
}

/// Bytes separated by colons or dashes, one or two digits each.
fn octets(text: &str) -> Result<Vec<u8>, String> {
    let separator = if text.contains('-') { '-' } else { ':' };
    text.split(separator)
        .map(|part| match part.len() {
            1 | 2 if part.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u8::from_str_radix(part, 16).map_err(|error| error.to_string())
            }
            _ => Err(format!("{} is not a MAC address; write it like 02:42:ac:11:00:02", shortened(text))),
        })
        .collect()
}

/// Three groups of four digits.
fn dotted(text: &str) -> Result<Vec<u8>, String> {
    let groups: Vec<&str> = text.split('.').collect();
    let fine = groups.len() == 3
        && groups.iter().all(|group| group.len() == 4 && group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !fine {
        return Err(format!("{} is not a MAC address; with dots it is like 0242.ac11.0002", shortened(text)));
    }
    let number = u64::from_str_radix(&groups.concat(), 16).map_err(|error| error.to_string())?;
    Ok(from_number(number).octets().to_vec())
}

fn from_number(number: u64) -> Mac {
    let [_, _, octets @ ..] = number.to_be_bytes();
    Mac::new(octets)
}

/// The beginning of something that may be endless, with what a terminal could choke on made visible.
fn shortened(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(40).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}
