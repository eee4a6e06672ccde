//! Lines of an inventory, written so that they are read back as they were meant.
//!
//! Names come from strangers too: a DHCP client says what it is called. What is written here holds no line break,
//! no mark of a comment and nothing that a terminal acts on, whatever came in.

use super::parse::line;
use crate::mac::Mac;

/// Most characters of a name: four bytes each are as many as an inventory takes.
const LONGEST_NAME: usize = 64;
/// Most characters of a comment.
const LONGEST_COMMENT: usize = 400;

/// A name as an inventory can hold it: letters and digits of any script, `-`, `_`, `.`; what else there is becomes a
/// dash. None if nothing is left.
pub fn name(text: &str) -> Option<String> {
    let mut name = String::new();
    for character in text.chars().take(4 * LONGEST_NAME) {
        if character.is_alphanumeric() || matches!(character, '_' | '.') {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name: String = name.chars().take(LONGEST_NAME).collect();
    let name = name.trim_matches(['-', '.']);
    name.chars().any(char::is_alphanumeric).then(|| name.to_owned())
}

/// A comment as an inventory can hold it: one line, nothing in it that a terminal acts on.
pub fn comment(text: &str) -> String {
    let plain = |c: char| if c.is_control() || is_invisible(c) { '?' } else { c };
    text.chars().take(LONGEST_COMMENT).map(plain).collect()
}

/// Characters that change the order in which a line is shown, or break it without being controls.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// One entry, its name padded to `width`, without an end of line. The name is one that [`name`] gave.
pub fn entry(mac: Mac, name: &str, width: usize, about: &str) -> String {
    format!("{mac}  {name:<width$}  # {}", comment(about))
}

/// Whether a line says this and no more. What is to be written is checked before it is.
pub fn says(text: &str, mac: Mac, name: &str) -> bool {
    line(text.as_bytes()) == Ok(Some((mac, super::BITS, name.into())))
}

/// What `existing` becomes with these lines behind it: not a byte of it changes. A missing last end of line is added,
/// and the ends of the new lines are as those of the old ones.
pub fn append(existing: &[u8], lines: &[String]) -> Vec<u8> {
    let first = existing.iter().position(|byte| *byte == b'\n');
    let crlf = first.is_some_and(|at| at > 0 && existing[at - 1] == b'\r');
    let end: &[u8] = if crlf { b"\r\n" } else { b"\n" };
    let mut bytes = existing.to_vec();
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        bytes.extend_from_slice(end);
    }
    // An empty line sets it off.
    if !bytes.is_empty() {
        bytes.extend_from_slice(end);
    }
    for line in lines {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(end);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_strangers_become_harmless() {
        for (text, expected) in [
            ("octoprint", Some("octoprint")),
            ("Küche 2.lan.", Some("Küche-2.lan")),
            ("a\n02:00:00:00:00:01 trusted", Some("a-02-00-00-00-00-01-trusted")),
            ("x # y", Some("x-y")),
            ("\x1b[2J\u{202e}evil", Some("2J-evil")),
            ("a  --  b", Some("a-b")),
            ("...", None),
            ("_", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(name(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(name(&"ü".repeat(1000)).unwrap().chars().count(), LONGEST_NAME);
    }

    #[test]
    fn what_is_there_stays_to_the_byte() {
        let lines = ["# new".to_owned(), "02:00:00:00:00:02 b".to_owned()];
        for (existing, expected) in [
            ("", "# new\n02:00:00:00:00:02 b\n"),
            ("02:00:00:00:00:01 a", "02:00:00:00:00:01 a\n\n# new\n02:00:00:00:00:02 b\n"),
            (
                "# x\r\n02:00:00:00:00:01 a",
                "# x\r\n02:00:00:00:00:01 a\r\n\r\n# new\r\n02:00:00:00:00:02 b\r\n",
            ),
            ("\n", "\n\n# new\n02:00:00:00:00:02 b\n"),
        ] {
            assert_eq!(String::from_utf8(append(existing.as_bytes(), &lines)).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_as_it_was_meant(
            octets: [u8; 6],
            told in "\\PC*|[a-z#\\s\\x00-\\x1f]{0,80}|(?s).{0,100}",
            about in "(?s).{0,100}",
            width in 0usize..40,
        ) {
            let mac = Mac::new(octets);
            if let Some(name) = name(&told) {
                let text = entry(mac, &name, width, &about);
                prop_assert!(!text.contains(['\n', '\r']));
                prop_assert!(says(&text, mac, &name), "{text:?}");
                prop_assert_eq!(super::name(&name), Some(name.clone()), "cleaning again changes nothing");
            }
        }

        #[test]
        fn what_existed_is_a_prefix_of_what_is_written(existing: Vec<u8>, more in "[ -~]{0,20}") {
            let whole = append(&existing, &[more]);
            prop_assert!(whole.starts_with(&existing));
        }
    }
}
