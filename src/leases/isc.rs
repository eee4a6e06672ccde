//! ISC's `dhcpd.leases`: statements in blocks, the last block of an IP address telling (dhcpd.leases(5)).
//!
//! ```text
//! lease 192.168.1.20 {
//!   ends 0 2026/11/22 18:00:00;
//!   binding state active;
//!   hardware ethernet b8:27:eb:4f:10:07;
//!   client-hostname "octoprint";
//! }
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Lease, Record, decimal, hostname};
use crate::mac::{self, Mac};
use crate::textfile::Faults;

/// What a statement at the top of the file may begin with.
const STATEMENTS: [&str; 12] = [
    "lease",
    "host",
    "group",
    "subgroup",
    "class",
    "subclass",
    "failover",
    "server-duid",
    "authoring-byte-order",
    "ia-na",
    "ia-ta",
    "ia-pd",
];

/// Words of a statement that are kept: those that are looked at have fewer.
const MOST_WORDS: usize = 8;

/// Whether a line begins such a file.
pub(super) fn is_statement(line: &str) -> bool {
    let word = line.split(|c: char| c.is_whitespace() || c == '{').next().unwrap_or_default();
    // Without an address it is a client's own list, dhclient.leases.
    let rest = line[word.len()..].trim_start();
    STATEMENTS.contains(&word) && !rest.is_empty() && !rest.starts_with('{')
}

pub(super) fn records(text: &str, now: u64, faults: &mut Faults) -> Vec<Record> {
    let mut reader = Reader { now, records: BTreeMap::new(), block: None };
    let mut words: Vec<String> = Vec::new();
    let (mut depth, mut opened) = (0_usize, 0);
    let mut tokens = Tokens { rest: text, line: 1 };
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) if words.len() < MOST_WORDS => words.push(word),
            Token::Word(_) => {}
            Token::End => {
                if depth == 1 {
                    reader.statement(&words);
                }
                words.clear();
            }
            Token::Open => {
                if depth == 0 {
                    opened = tokens.line;
                    reader.open(&words);
                }
                depth += 1;
                words.clear();
            }
            Token::Close if depth == 0 => {
                faults.add(tokens.line, "a block ends that has not begun".to_owned());
                return Vec::new();
            }
            Token::Close => {
                depth -= 1;
                words.clear();
                if depth == 0
                    && let Err(what) = reader.close()
                {
                    faults.add(opened, what);
                }
            }
        }
    }
    if depth > 0 || !words.is_empty() {
        let what = "the file ends within what begins here; if it is being written, try again".to_owned();
        faults.add(if depth > 0 { opened } else { tokens.line }, what);
    }
    reader.records.into_values().collect()
}

/// What tells one block from another: the last one tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Lease(String),
    Host(String),
}

/// A block in the making.
#[derive(Debug)]
struct Block {
    key: Key,
    hardware: Option<String>,
    name: Option<String>,
    over: bool,
}

struct Reader {
    now: u64,
    records: BTreeMap<Key, Record>,
    block: Option<Block>,
}

impl Reader {
    fn open(&mut self, words: &[String]) {
        let key = match words {
            [kind, ip] if kind == "lease" => Key::Lease(ip.clone()),
            [kind, name] if kind == "host" => Key::Host(name.clone()),
            _ => return,
        };
        let name = if let Key::Host(name) = &key { Some(name.clone()) } else { None };
        self.block = Some(Block { key, hardware: None, name, over: false });
    }

    fn statement(&mut self, words: &[String]) {
        let Some(block) = &mut self.block else { return };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["hardware", "ethernet", address] => block.hardware = Some(address.to_owned()),
            ["client-hostname", name] => block.name = Some(name.to_owned()),
            ["binding", "state", state] => block.over |= state != "active",
            ["abandoned" | "deleted"] => block.over = true,
            ["ends", ref when @ ..] => block.over |= end(when).is_some_and(|end| end < self.now),
            _ => {}
        }
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(Block { key, hardware, name, over }) = self.block.take() else { return Ok(()) };
        let ip: Option<IpAddr> = match &key {
            Key::Lease(text) => {
                Some(text.parse().map_err(|_| format!("{} is no IP address", mac::shortened(text)))?)
            }
            Key::Host(_) => None,
        };
        let mac: Option<Mac> = hardware.as_deref().map(mac::parse).transpose()?;
        let record = match mac {
            _ if over => Record::Expired,
            None => Record::WithoutMac,
            Some(mac) => Record::Current(Lease { mac, ip, hostname: name.as_deref().and_then(hostname) }),
        };
        self.records.insert(key, record);
        Ok(())
    }
}

/// When a lease ends, in Unix time: `0 2026/11/22 18:00:00` (UTC, the day of the week in front) or `epoch 1795370400`.
/// None for never, and for what is not understood.
fn end(words: &[&str]) -> Option<u64> {
    match words {
        ["epoch", seconds] => decimal(seconds),
        [_, date, time] => {
            let when: DateTime = format!("{}T{time}", date.replace('/', "-")).parse().ok()?;
            u64::try_from(when.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second()).ok()
        }
        _ => None,
    }
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

/// The text, taken apart.
struct Tokens<'t> {
    rest: &'t str,
    line: usize,
}

impl Tokens<'_> {
    fn next(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.chars().next()?;
            match first {
                '#' => self.skip(self.rest.find('\n').unwrap_or(self.rest.len())),
                c if c.is_whitespace() => self.skip(c.len_utf8()),
                ';' | '{' | '}' => {
                    self.skip(1);
                    return Some(match first {
                        ';' => Token::End,
                        '{' => Token::Open,
                        _ => Token::Close,
                    });
                }
                '"' => return Some(Token::Word(self.quoted())),
                _ => {
                    let ends = |c: char| c.is_whitespace() || matches!(c, ';' | '{' | '}' | '"');
                    let length = self.rest.find(ends).unwrap_or(self.rest.len());
                    let word = self.rest[..length].to_owned();
                    self.skip(length);
                    return Some(Token::Word(word));
                }
            }
        }
    }

    /// What stands between quotes. A byte that is none to print is three octal digits behind a backslash.
    fn quoted(&mut self) -> String {
        let mut bytes = Vec::new();
        let text = self.rest.as_bytes();
        let mut at = 1;
        while let Some(byte) = text.get(at).copied().filter(|byte| *byte != b'"') {
            at += 1;
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            let octal = text.get(at..at + 3).and_then(|digits| str::from_utf8(digits).ok());
            if let Some(value) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
                bytes.push(value);
                at += 3;
            } else if let Some(escaped) = text.get(at) {
                bytes.push(*escaped);
                at += 1;
            }
        }
        // Both ends are quotes, or the end of the text: no character is cut.
        self.skip((at + 1).min(text.len()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
    }
}
