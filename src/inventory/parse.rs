//! One line of an inventory.

use std::borrow::Cow;

use super::{BITS, mask};
use crate::mac::{self, Mac, shortened};

/// Longest name, in bytes: label values stand on every page.
const LONGEST_NAME: usize = 256;

/// What a line says: an address, how many of its bits count, a name. None for a line that says nothing.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub(super) fn line(line: &[u8]) -> Result<Option<(Mac, u8, Cow<'_, str>)>, String> {
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
    // A spreadsheet puts tabs between all columns.
    let name = if name.contains('\t') { Cow::Owned(name.replace('\t', " ")) } else { Cow::Borrowed(name) };
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

/// An address, or a prefix of one: `b8:27:eb:*`, `b8:27:eb:*:*:*`, `52:54:00/24`, `52:54:00:00:00:00/24` or
/// `52:54:00:00:00:00/ff:ff:ff:00:00:00`.
fn pattern(text: &str) -> Result<(Mac, u8), String> {
    if let Some((address, bits)) = text.split_once('/') {
        let bits = match bits.parse() {
            Ok(bits @ 1..=BITS) => bits,
            _ => masked_bits(bits).ok_or_else(|| {
                format!("{} ends in no number of bits from 1 to {BITS}, nor in a mask", shortened(text))
            })?,
        };
        // Bytes that do not matter may be left out.
        let mac = match mac::octets(address).ok().and_then(|octets| start(&octets)) {
            Some((mac, there)) if there >= bits => mac,
            _ => mac::parse(address)?,
        };
        let number = mask(mac.number(), bits);
        if number != mac.number() {
            return Err(format!(
                "{address}/{bits} has bits set behind the first {bits}; write {}/{bits}",
                Mac::from_number(number)
            ));
        }
        return Ok((mac, bits));
    }
    if text.ends_with('*') {
        let (mut known, mut stars) = (text, 0);
        while let Some(rest) = known.strip_suffix(":*").or_else(|| known.strip_suffix("-*")) {
            (known, stars) = (rest, stars + 1);
        }
        if stars == 0 {
            return Err(format!("{}: the star stands after whole bytes, like b8:27:eb:*", shortened(text)));
        }
        let octets = mac::octets(known)?;
        return match start(&octets) {
            Some(prefix) if stars == 1 || stars + octets.len() == 6 => Ok(prefix),
            _ => Err(format!("{}: one to five bytes stand before the star", shortened(text))),
        };
    }
    mac::parse(text).map(|mac| (mac, BITS)).map_err(|why| {
        // To take it for one would be a guess. Of fewer than three bytes it is no vendor's.
        match mac::octets(text).ok().and_then(|octets| start(&octets)) {
            Some((_, 24..)) => format!("{why}; if it is a prefix, write {text}:*"),
            _ => why,
        }
    })
}

/// What begins with these one to five bytes, and how many bits they are.
fn start(octets: &[u8]) -> Option<(Mac, u8)> {
    let mut whole = [0; 6];
    if octets.is_empty() || octets.len() >= whole.len() {
        return None;
    }
    whole[..octets.len()].copy_from_slice(octets);
    Some((Mac::new(whole), u8::try_from(octets.len() * 8).ok()?))
}

/// How many bits a mask like `ff:ff:ff:00:00:00` lets through, if it is one.
fn masked_bits(text: &str) -> Option<u8> {
    let number = mac::parse(text).ok()?.number();
    let bits = u8::try_from((number << (64 - u32::from(BITS))).leading_ones()).ok()?;
    (bits > 0 && mask(number, bits) == number).then_some(bits)
}
