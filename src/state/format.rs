//! The state file's text: a line for each source, between a header and a checksum.
//!
//! ```text
//! macwatch-state 1
//! created 1795349524337
//! 3c:22:fb:9a:00:31 1795349524337 1795353124002 eth0
//! 52:54:00:12:34:56 1795349524340 1795353126518 eth0
//! end 2 0c1f92aa
//! ```
//!
//! Times are Unix time in milliseconds: first seen, last seen. The last line has the number of sources and the
//! CRC-32 of all that stands before it. What was cut off anywhere is damaged; what is whole is true.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use flate2::Crc;

use super::{Content, Entry, Seen};
use crate::mac::Mac;

/// The version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// The word that each file begins with.
pub const MAGIC: &str = "macwatch-state ";
/// Largest file that is read or written. One of 65,536 sources has some 4 MiB.
pub const MOST_BYTES: usize = 64 << 20;
/// Longest name of an interface. The kernel's have at most fifteen bytes.
const LONGEST_NAME: usize = 64;

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what was once written.
    Damaged(String),
    /// A later version of this program wrote it.
    Newer(u32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) => write!(f, "it is damaged: {why}"),
            Self::Newer(version) => {
                write!(f, "its version is {version}, and this program reads up to {VERSION}")
            }
        }
    }
}

fn damaged<T>(why: impl fmt::Display) -> Result<T, Fault> {
    Err(Fault::Damaged(why.to_string()))
}

/// Writes it down. Entries are written in the order in which they stand.
pub fn write(content: &Content) -> Vec<u8> {
    let mut text = String::with_capacity(64 + content.entries.len() * 72);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{MAGIC}{VERSION}\ncreated {}", content.created_unix_ms);
    for Entry { interface, mac, seen } in &content.entries {
        let _ = writeln!(text, "{mac} {} {} {interface}", seen.first_unix_ms, seen.last_unix_ms);
    }
    let sum = checksum(text.as_bytes());
    let _ = writeln!(text, "end {} {sum:08x}", content.entries.len());
    text.into_bytes()
}

/// Reads it back. Total: any bytes are either a content or a fault.
///
/// # Errors
///
/// See [`Fault`].
pub fn read(bytes: &[u8]) -> Result<Content, Fault> {
    let version = match version(bytes) {
        Some(version) => version,
        None => return damaged("it does not begin like a state file"),
    };
    // What a later version put behind its first line is not ours to judge.
    if version > VERSION {
        return Err(Fault::Newer(version));
    }
    let Some(rest) = bytes.strip_suffix(b"\n") else {
        return damaged("its end is missing");
    };
    let body = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (body, end) = bytes.split_at(body);
    let Some((count, sum)) = str::from_utf8(end).ok().and_then(read_end) else {
        return damaged("its end is missing");
    };
    if checksum(body) != sum {
        return damaged("its checksum does not match");
    }
    let Ok(body) = str::from_utf8(body) else {
        return damaged("it is not text");
    };
    let mut lines = body.split_terminator('\n').enumerate().skip(1);
    let Some(created_unix_ms) = lines.next().and_then(|(_, line)| read_created(line)) else {
        return damaged("line 2 does not say when it was created");
    };
    let mut names = HashSet::<Arc<str>>::new();
    let mut entries = Vec::new();
    for (number, line) in lines {
        match read_entry(line, &mut names) {
            Ok(entry) => entries.push(entry),
            Err(why) => return damaged(format_args!("line {} is not a source: {why}", number + 1)),
        }
    }
    if entries.len() != count {
        return damaged(format_args!("the number of its sources is {}, and it says {count}", entries.len()));
    }
    Ok(Content { created_unix_ms, entries })
}

/// The number on the first line.
pub(super) fn version(bytes: &[u8]) -> Option<u32> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes())?;
    let end = rest.iter().take(11).position(|byte| *byte == b'\n')?;
    let number = decimal(str::from_utf8(&rest[..end]).ok()?)?;
    u32::try_from(number).ok().filter(|version| *version > 0)
}

/// The second line.
pub(super) fn read_created(line: &str) -> Option<u64> {
    line.strip_prefix("created ").and_then(read_time)
}

/// The last line, with its line break.
pub(super) fn read_end(line: &str) -> Option<(usize, u32)> {
    let (count, sum) = line.strip_prefix("end ")?.strip_suffix('\n')?.split_once(' ')?;
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let sum = (sum.len() == 8 && sum.chars().all(hex)).then(|| u32::from_str_radix(sum, 16).ok())??;
    Some((usize::try_from(decimal(count)?).ok()?, sum))
}

/// A source, or why the line is none.
pub(super) fn read_entry(line: &str, names: &mut HashSet<Arc<str>>) -> Result<Entry, &'static str> {
    let mut parts = line.splitn(4, ' ');
    let mac =
        parts.next().and_then(read_mac).ok_or("it does not begin with an address as macwatch writes it")?;
    let mut time = || parts.next().and_then(read_time);
    let first_unix_ms = time().ok_or("when it was first seen is no time")?;
    let last_unix_ms = time().ok_or("when it was last seen is no time")?;
    let fits = |name: &&str| !name.is_empty() && name.len() <= LONGEST_NAME;
    let name = parts.next().filter(fits).ok_or("it does not end in the name of an interface")?;
    if first_unix_ms > last_unix_ms {
        return Err("it was first seen after it was last seen");
    }
    // One copy of each name, however many sources are on that interface.
    let interface = names.get(name).cloned().unwrap_or_else(|| {
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        name
    });
    Ok(Entry { interface, mac, seen: Seen { first_unix_ms, last_unix_ms } })
}

/// Exactly as it is written: lower case, with colons.
fn read_mac(text: &str) -> Option<Mac> {
    let mut octets = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut octets {
        *octet =
            parts.next().filter(|part| part.len() == 2).and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    let mac = Mac::new(octets);
    (parts.next().is_none() && mac.to_string() == text).then_some(mac)
}

/// Fourteen digits: up to the year 5138, so that no sum of two overflows.
fn read_time(text: &str) -> Option<u64> {
    (text.len() <= 14).then(|| decimal(text))?
}

/// Digits only: `parse` alone takes a sign too.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "macwatch-state 1\ncreated 1795349524337\n\
        3c:22:fb:9a:00:31 1795349524337 1795353124002 eth0\n\
        52:54:00:12:34:56 1795349524340 1795353126518 br-lan.7\n";

    fn sealed(body: &str, count: usize) -> Vec<u8> {
        format!("{body}end {count} {:08x}\n", checksum(body.as_bytes())).into_bytes()
    }

    #[test]
    fn is_read_as_it_was_written() {
        let bytes = sealed(EXAMPLE, 2);
        let content = read(&bytes).unwrap();
        assert_eq!(content.created_unix_ms, 1_795_349_524_337);
        assert_eq!(content.entries[1].mac, Mac::new([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(&*content.entries[1].interface, "br-lan.7");
        assert_eq!(content.entries[0].seen.life_ms(), 3_599_665);
        assert_eq!(write(&content), bytes);
    }

    #[test]
    fn cut_off_anywhere_it_is_damaged() {
        let bytes = sealed(EXAMPLE, 2);
        for length in 0..bytes.len() {
            assert!(matches!(read(&bytes[..length]), Err(Fault::Damaged(_))), "{length}");
        }
    }

    #[test]
    fn any_changed_bit_is_noticed() {
        let bytes = sealed(EXAMPLE, 2);
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(read(&changed).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_later_version_is_told_apart() {
        assert_eq!(read(b"macwatch-state 2\n\x00\xff anything"), Err(Fault::Newer(2)));
        for other in ["macwatch-state 0\n", "macwatch-state +1\n", "macwatch-state 99999999999\n", "\n", "x"]
        {
            assert!(matches!(read(other.as_bytes()), Err(Fault::Damaged(_))), "{other}");
        }
    }

    #[test]
    fn what_is_sealed_and_yet_wrong_is_refused() {
        let head = "macwatch-state 1\ncreated 5\n";
        for (line, count) in [
            ("", 1),
            ("02:00:00:00:00:01 5 4 eth0\n", 1),
            ("02:00:00:00:00:01 5 6 \n", 1),
            ("02:00:00:00:00:01 5 6\n", 1),
            ("02:00:00:00:00 5 6 eth0\n", 1),
            ("02:00:00:00:00:0A 5 6 eth0\n", 1),
            ("02:00:00:00:00:01:07 5 6 eth0\n", 1),
            ("02:00:00:00:00:01 5 123456789012345 eth0\n", 1),
            ("02:00:00:00:00:01 5 +6 eth0\n", 1),
            ("\n", 1),
        ] {
            assert!(read(&sealed(&format!("{head}{line}"), count)).is_err(), "{line}");
        }
        assert!(read(&sealed(head, 0)).is_ok());
        assert!(read(&sealed("macwatch-state 1\n", 0)).is_err());
    }

    fn entry() -> impl Strategy<Value = Entry> {
        ("[^\n]{1,15}", any::<[u8; 6]>(), 0u64..1 << 46, 0u64..1 << 40).prop_map(
            |(name, mac, first, life)| {
                let seen = Seen { first_unix_ms: first, last_unix_ms: first + life };
                Entry { interface: name.into(), mac: Mac::new(mac), seen }
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(
            created_unix_ms in 0u64..1 << 46,
            entries in proptest::collection::vec(entry(), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let content = Content { created_unix_ms, entries };
            let bytes = write(&content);
            prop_assert_eq!(read(&bytes), Ok(content));
            prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>, body in "(macwatch-state 1\n)?(created [0-9]{1,15}\n)?[ -~\n]{0,80}") {
            drop(read(&bytes));
            drop(read(&sealed(&body, 1)));
        }
    }
}
