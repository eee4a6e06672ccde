//! Addresses as people and programs write them.

use super::Mac;

/// Most characters of a wrong address that are repeated.
const LONGEST_ECHO: usize = 40;

/// An address in any usual notation: `02:42:ac:11:00:02`, `2:42:AC:11:0:2`, `02-42-ac-11-00-02`, `0242.ac11.0002`,
/// `0242-ac11-0002` (Huawei, H3C), `0242ac-110002` (HPE ProVision), `0242ac110002`.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Mac, String> {
    let octets = match grouped(text) {
        Some(digits) => number(&digits)?,
        None if text.contains('.') => {
            return Err(format!(
                "{} is not a MAC address; with dots it is like 0242.ac11.0002",
                shortened(text)
            ));
        }
        None => octets(text)?,
    };
    let count = octets.len();
    <[u8; 6]>::try_from(octets).map(Mac::new).map_err(|_| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{} has {count} byte{plural}; a MAC address has 6", shortened(text))
    })
}

/// Bytes separated by colons or dashes, one or two digits each: an address, or a part of one.
///
/// # Errors
///
/// What is wrong with them.
pub fn octets(text: &str) -> Result<Vec<u8>, String> {
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

/// The digits of twelve in a row, or in three groups of four or two of six with the same mark between.
fn grouped(text: &str) -> Option<String> {
    let mark = text.chars().find(|c| matches!(c, ':' | '-' | '.')).unwrap_or('-');
    // One more than fine, for what is endless is not.
    let groups: Vec<&str> = text.split(mark).take(4).collect();
    let width = match groups.len() {
        1 => 12,
        2 => 6,
        3 => 4,
        _ => return None,
    };
    let fine = |group: &&str| group.len() == width && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().all(fine).then(|| groups.concat())
}

/// Twelve digits.
fn number(digits: &str) -> Result<Vec<u8>, String> {
    let number = u64::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
    Ok(Mac::from_number(number).octets().to_vec())
}

/// Something that may be endless, or that a terminal could choke on: its beginning, with that made visible.
pub fn shortened(text: &str) -> String {
    let mut rest = text.escape_debug();
    let mut shown: String = rest.by_ref().take(LONGEST_ECHO).collect();
    if rest.next().is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_notation_is_the_same_address() {
        let expected = Mac::new([2, 0x42, 0xac, 0x11, 0, 2]);
        for text in [
            "02:42:ac:11:00:02",
            "2:42:AC:11:0:2",
            "02-42-ac-11-00-02",
            "0242.ac11.0002",
            "0242.AC11.0002",
            "0242-ac11-0002",
            "0242:ac11:0002",
            "0242ac-110002",
            "0242ac110002",
            "0242AC110002",
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (text, part) in [
            ("", "\"\" is not a MAC address"),
            ("printer", "\"printer\" is not a MAC address; write it like"),
            ("02:00:00:00:00", "\"02:00:00:00:00\" has 5 bytes; a MAC address has 6"),
            ("02", "\"02\" has 1 byte; a MAC address has 6"),
            ("02:00:00:00:00:01:02", "has 7 bytes"),
            ("02:00:00:00:00:1ff", "is not a MAC address"),
            ("02:00:00:00:00:+1", "is not a MAC address"),
            ("0242ac11000", "is not a MAC address"),
            ("0242ac1100022", "is not a MAC address"),
            ("+242ac110002", "is not a MAC address"),
            ("0242.ac11", "with dots it is like 0242.ac11.0002"),
            ("02.42.ac.11.00.02", "with dots it is like 0242.ac11.0002"),
            ("0242-ac11", "is not a MAC address"),
            ("0242-ac11-0002-0000", "is not a MAC address"),
            ("0242-ac11.0002", "is not a MAC address"),
            ("0242ac:11000", "is not a MAC address"),
            ("\x1b[2J", "\"\\u{1b}[2J\" is not"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_endless_address_is_not_repeated_in_full() {
        let bytes = format!("02{}", ":02".repeat(999_999));
        assert!(parse(&bytes).unwrap_err().contains(":02:0…\" has 1000000 bytes"));
        for (length, shown) in [(40, "xx\" is"), (41, "xx…\" is")] {
            let error = parse(&"x".repeat(length)).unwrap_err();
            assert!(error.contains(shown), "{error}");
        }
    }
}
