//! All that is wrong with a state file, and where, for a person who wants to know what became of it.
//! [`format::read`] stops at the first fault, as nothing is taken from a file that has one.

use std::collections::HashSet;
use std::sync::Arc;

use super::Content;
use super::format::{self, Fault, MAGIC, VERSION};

/// Reads a file's bytes; tells what is wrong with each line (line 0 is the file as a whole). Something is told
/// whenever there is no content.
pub fn examine(bytes: &[u8], mut tell: impl FnMut(usize, String)) -> Option<Content> {
    match format::read(bytes) {
        Ok(content) => return Some(content),
        Err(fault @ Fault::Newer(_)) => tell(1, fault.to_string()),
        Err(Fault::Damaged(why)) => {
            let mut told = false;
            walk(bytes, &mut |line, what| {
                told = true;
                tell(line, what);
            });
            if !told {
                tell(0, why);
            }
        }
    }
    None
}

/// Whether these bytes look like a state file, a damaged one perhaps.
pub fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC.as_bytes())
        || bytes.split(|byte| *byte == b'\n').any(|line| source(line, &mut HashSet::new()).is_ok())
}

fn walk(bytes: &[u8], tell: &mut impl FnMut(usize, String)) {
    if bytes.is_empty() {
        return tell(0, "it is empty".to_owned());
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return tell(0, format!("it is nothing but {}", zeros(bytes)));
    }
    let mut wrong = format::version(bytes).is_none();
    if wrong {
        tell(1, format!("it does not begin like a state file, with \"{MAGIC}{VERSION}\""));
        // Of a file of another kind no line is worth a word.
        if !looks_like_one(bytes) {
            return;
        }
    }
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let end = lines.last().and_then(|last| str::from_utf8(last).ok()).and_then(format::read_end);
    let body = match end {
        Some(_) => bytes.len() - lines.pop().unwrap_or_default().len(),
        None => bytes.len(),
    };
    let mut sources = 0;
    let mut names = HashSet::new();
    for (number, line) in (1..).zip(&lines).skip(1) {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let what = match (number, str::from_utf8(line).ok().and_then(format::read_end)) {
            (_, Some(_)) => Err("the end stands here, but the file goes on".to_owned()),
            (2, None) => match str::from_utf8(text).ok().and_then(format::read_created) {
                Some(_) => Ok(()),
                None => Err("it does not say when the file was created".to_owned()),
            },
            (_, None) => source(text, &mut names).map(|()| sources += 1),
        };
        // The line within which it was cut off is told of below.
        if let (Err(what), true) = (what, line.ends_with(b"\n")) {
            wrong = true;
            tell(number, what);
        }
    }
    let last = lines.len();
    match end {
        None if lines.last().is_some_and(|line| !line.ends_with(b"\n")) => {
            tell(last, "the file ends within this line: it was cut off here".to_owned());
        }
        None => tell(last, "the file ends behind this line, without its end: it was cut off here".to_owned()),
        Some((count, sum)) => {
            let found = format::checksum(&bytes[..body]);
            if count != sources {
                tell(last + 1, format!("the number of sources is {sources}, and it says {count}"));
            }
            if sum != found {
                let why =
                    if wrong || count != sources { "" } else { ": something was changed within a line" };
                tell(last + 1, format!("the checksum is {found:08x}, and it says {sum:08x}{why}"));
            }
        }
    }
}

/// Whether a line is a source, or why not.
fn source(line: &[u8], names: &mut HashSet<Arc<str>>) -> Result<(), String> {
    let read = str::from_utf8(line).map_err(|_| "it is not text").map(|text| format::read_entry(text, names));
    match read {
        Ok(Ok(_)) => Ok(()),
        _ if line.contains(&0) => Err(format!("in it are {}", zeros(line))),
        Ok(Err(why)) => Err(format!("it is not a source: {why}")),
        Err(why) => Err(why.to_owned()),
    }
}

fn zeros(bytes: &[u8]) -> String {
    let count = bytes.iter().filter(|byte| **byte == 0).count();
    format!("zero bytes, as a crash leaves them behind ({count})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "macwatch-state 1\ncreated 5\n";
    const ONE: &str = "02:00:00:00:00:01 5 6 eth0\n";

    fn sealed(body: &str, count: usize) -> Vec<u8> {
        format!("{body}end {count} {:08x}\n", format::checksum(body.as_bytes())).into_bytes()
    }

    fn faults(bytes: &[u8]) -> Vec<String> {
        let mut faults = Vec::new();
        let content = examine(bytes, |line, what| faults.push(format!("{line}: {what}")));
        assert_eq!(content.is_none(), !faults.is_empty());
        assert_eq!(content, format::read(bytes).ok());
        faults
    }

    #[test]
    fn every_fault_has_its_line() {
        let whole = sealed(&format!("{HEAD}{ONE}{ONE}"), 2);
        assert!(faults(&whole).is_empty());
        let mut changed = whole.clone();
        changed[HEAD.len() + 16] = b'7';
        let crc = |bytes: &[u8]| format::checksum(&bytes[..bytes.len() - "end 2 00000000\n".len()]);
        let sums = format!("the checksum is {:08x}, and it says {:08x}", crc(&changed), crc(&whole));
        for (bytes, expected) in [
            (b"".to_vec(), &["0: it is empty"][..]),
            (
                b"\x7fELF\n\n\n".to_vec(),
                &["1: it does not begin like a state file, with \"macwatch-state 1\""],
            ),
            (
                b"macwatch-state 3\nwhatever".to_vec(),
                &["1: its version is 3, and this program reads up to 1"],
            ),
            (HEAD.into(), &["2: the file ends behind this line, without its end: it was cut off here"]),
            (whole[..60].to_vec(), &["4: the file ends within this line: it was cut off here"]),
            (changed, &[&format!("5: {sums}: something was changed within a line")]),
            (sealed(&format!("{HEAD}{ONE}"), 2), &["4: the number of sources is 1, and it says 2"]),
            (
                sealed(
                    "macwatch-state 1\ncreated x\n\n\0\0\0\n\u{1b}[2J 5 6 eth0\n02:00:00:00:00:01 6 5 eth0\n",
                    0,
                ),
                &[
                    "2: it does not say when the file was created",
                    "3: it is not a source: it does not begin with an address as macwatch writes it",
                    "4: in it are zero bytes, as a crash leaves them behind (3)",
                    "5: it is not a source: it does not begin with an address as macwatch writes it",
                    "6: it is not a source: it was first seen after it was last seen",
                ],
            ),
            (
                [&whole[..], b"02:00\xff\n"].concat(),
                &[
                    "5: the end stands here, but the file goes on",
                    "6: it is not text",
                    "6: the file ends behind this line, without its end: it was cut off here",
                ],
            ),
        ] {
            assert_eq!(faults(&bytes), expected);
        }
    }

    #[test]
    fn a_damaged_beginning_does_not_hide_the_rest() {
        let mut bytes = sealed(&format!("{HEAD}{ONE}x\n"), 1);
        bytes[0] = 0;
        let faults = faults(&bytes);
        assert!(faults[0].starts_with("1: it does not begin like"), "{faults:?}");
        assert!(faults[1].starts_with("4: it is not a source"), "{faults:?}");
        assert!(faults[2].starts_with("5: the checksum is"), "{faults:?}");
        assert!(!faults[2].contains("changed within"), "{faults:?}");
    }
}
