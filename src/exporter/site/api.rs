//! The JSON that programs read. Its description is `assets/openapi.json`, which a test holds it to.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::look::{Interface, Look};
use super::query::{Query, Wrong};
use super::select::{Row, Selection};

/// Times have one form: RFC 3339 in UTC, to the millisecond. All are of the same length, and sort as text.
pub(super) fn rfc3339(unix_ms: u64) -> String {
    timestamp(unix_ms).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A clock beyond the year 9999 shows its end.
pub(super) fn timestamp(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

#[derive(Serialize)]
struct Sources<'a> {
    time: String,
    /// Of all that the filters let through.
    total: usize,
    limit: usize,
    offset: usize,
    #[serde(serialize_with = "rows")]
    sources: &'a [Row<'a>],
}

/// One after the other: the text of all of them is never there at once.
fn rows<S: Serializer>(rows: &[Row<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rows.iter().map(Source::new))
}

#[derive(Serialize)]
struct Source<'a> {
    interface: &'a str,
    source_mac: String,
    name: Option<&'a str>,
    vendor: Option<&'a str>,
    address_type: &'static str,
    known: Option<bool>,
    own: bool,
    frames: u64,
    bytes: u64,
    first_seen: String,
    last_seen: String,
}

impl<'a> Source<'a> {
    fn new(row: &Row<'a>) -> Self {
        let sample = row.sample;
        Self {
            interface: row.interface,
            source_mac: sample.mac.to_string(),
            name: row.name,
            vendor: row.vendor,
            address_type: row.address_type().as_str(),
            known: row.known,
            own: sample.own,
            frames: sample.frames,
            bytes: sample.bytes,
            first_seen: rfc3339(sample.first_seen_unix_ms),
            last_seen: rfc3339(sample.last_seen_unix_ms),
        }
    }
}

/// Writes the sources that were found.
pub(super) fn write_sources(
    look: &Look,
    query: &Query,
    limit: usize,
    found: &Selection<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Selection { total, rows } = found;
    let time = rfc3339(look.unix_ms);
    write(&Sources { time, total: *total, limit, offset: query.offset, sources: rows }, out)
}

#[derive(Serialize)]
struct Interfaces<'a> {
    time: String,
    interfaces: Vec<Facts<'a>>,
}

/// Named as the metrics are, without their units' ends. What has not been counted is null: it would be none otherwise.
#[derive(Serialize)]
struct Facts<'a> {
    interface: &'a str,
    engine: Option<&'static str>,
    mac: Option<String>,
    capture_up: bool,
    link: &'static str,
    rebinds: Option<u64>,
    dropped_frames: Option<u64>,
    missed_notices: Option<u64>,
    frames: Option<u64>,
    bytes: Option<u64>,
    runt_frames: Option<u64>,
    untracked_frames: Option<u64>,
    untracked_bytes: Option<u64>,
    expired_frames: Option<u64>,
    expired_bytes: Option<u64>,
    sources: Option<usize>,
    sources_limit: usize,
    unknown_sources: Option<usize>,
    new_sources: Option<u64>,
    expired_sources: Option<u64>,
}

impl<'a> Facts<'a> {
    fn new(interface: &Interface<'a>) -> Self {
        let Interface { capture, books, .. } = interface;
        Self {
            interface: interface.name,
            engine: capture.map(|capture| capture.engine()),
            mac: capture.and_then(|capture| capture.mac()).map(|mac| mac.to_string()),
            capture_up: interface.capture_up(),
            link: interface.link(),
            rebinds: capture.map(|capture| capture.rebinds()),
            dropped_frames: capture.map(|capture| capture.dropped_frames()),
            missed_notices: capture.map(|capture| capture.missed_notices()),
            frames: books.map(|books| books.frames()),
            bytes: books.map(|books| books.bytes()),
            runt_frames: books.map(|books| books.runt_frames),
            untracked_frames: books.map(|books| books.untracked_frames),
            untracked_bytes: books.map(|books| books.untracked_bytes),
            expired_frames: books.map(|books| books.expired_frames),
            expired_bytes: books.map(|books| books.expired_bytes),
            sources: books.map(|books| books.sources.len()),
            sources_limit: interface.limit,
            unknown_sources: interface.unknown,
            new_sources: books.map(|books| books.new_sources),
            expired_sources: books.map(|books| books.expired_sources),
        }
    }
}

/// Writes the interfaces.
pub(super) fn write_interfaces(look: &Look, out: &mut dyn Write) -> io::Result<()> {
    let interfaces = look.interfaces().iter().map(Facts::new).collect();
    write(&Interfaces { time: rfc3339(look.unix_ms), interfaces }, out)
}

#[derive(Serialize)]
struct Error<'a> {
    error: String,
    parameter: &'a str,
    value: &'a str,
    allowed: &'a str,
}

/// Writes what is wrong with a query.
pub(super) fn write_wrong(wrong: &Wrong, out: &mut dyn Write) -> io::Result<()> {
    let Wrong { parameter, value, allowed } = wrong;
    let error = format!("{parameter}={value} makes no sense here; allowed: {allowed}");
    write(&Error { error, parameter, value, allowed }, out)
}

/// For a person with curl, there is an end of line.
fn write(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, document)?;
    out.write_all(b"\n")
}
