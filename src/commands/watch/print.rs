//! One line per read, or per new source.

use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, TryRecvError};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::Sighting;
use super::summary::Summary;
use crate::commands::time::{clock_time, timestamp};
use crate::config::Watch;
use crate::interface::shown;

/// Prints sightings.
#[derive(Debug)]
pub(super) struct Printer {
    new_only: bool,
    json: bool,
    left: Option<u64>,
    zone: TimeZone,
    summary: Summary,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    interface: &'a str,
    source_mac: Option<String>,
    frames: u64,
    bytes: u64,
}

impl Printer {
    pub(super) fn new(config: &Watch) -> Self {
        let zone = TimeZone::system();
        Self {
            new_only: config.new_only,
            json: config.json,
            left: config.count,
            summary: Summary::new(zone.clone()),
            zone,
        }
    }

    /// What was seen, when it is over.
    pub(super) fn into_summary(self) -> Summary {
        self.summary
    }

    /// Prints until there is nobody left to tell of frames, or as many lines as were asked for are out.
    pub(super) fn print_all(
        &mut self,
        sightings: &Receiver<Sighting>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        loop {
            let sighting = match sightings.try_recv() {
                Ok(sighting) => sighting,
                Err(TryRecvError::Disconnected) => return out.flush(),
                // As each arrives: nothing waits in the buffer while there is nothing to add.
                Err(TryRecvError::Empty) => {
                    out.flush()?;
                    match sightings.recv() {
                        Ok(sighting) => sighting,
                        Err(_) => return Ok(()),
                    }
                }
            };
            let new = self.summary.add(&sighting);
            if self.new_only && !new {
                continue;
            }
            self.print(&sighting, &mut out)?;
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    return out.flush();
                }
            }
        }
    }

    fn print(&self, sighting: &Sighting, out: &mut impl Write) -> io::Result<()> {
        let Sighting { unix_ms, interface, source, wire } = sighting;
        if self.json {
            let line = Line {
                time: format!("{:.3}", timestamp(*unix_ms)),
                interface,
                source_mac: source.map(|mac| mac.to_string()),
                frames: wire.frames,
                bytes: wire.bytes,
            };
            serde_json::to_writer(&mut *out, &line)?;
            return writeln!(out);
        }
        let (time, interface) = (clock_time(*unix_ms, &self.zone), shown(interface));
        match source {
            Some(mac) => write!(out, "{time}  {interface:<8}  {mac}  {}", wire.bytes)?,
            None => write!(out, "{time}  {interface:<8}  {:17}  {}", "runt", wire.bytes)?,
        }
        match wire.frames {
            1 => writeln!(out),
            frames => writeln!(out, "  ({frames} frames)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::capture::{Direction, Settings};
    use crate::frame::wire::Wire;
    use crate::interface::select::Selection;
    use crate::mac::Mac;

    fn printer(new_only: bool, count: Option<u64>, json: bool) -> Printer {
        let capture = Settings { selection: Selection::default(), promiscuous: true };
        let config = Watch { capture, direction: Direction::Both, new_only, count, json };
        let zone = TimeZone::UTC;
        Printer { zone: zone.clone(), summary: Summary::new(zone), ..Printer::new(&config) }
    }

    fn printed(mut printer: Printer, sources: &[u8]) -> String {
        let (send, receive) = sync_channel(16);
        for (n, source) in sources.iter().enumerate() {
            let sighting = Sighting {
                unix_ms: 1_790_000_000_123 + n as u64,
                interface: "eth0".into(),
                source: Some(Mac::new([2, 0, 0, 0, 0, *source])),
                wire: Wire { frames: 1 + n as u64, bytes: 60 },
            };
            send.send(sighting).unwrap();
        }
        drop(send);
        let mut out = Vec::new();
        printer.print_all(&receive, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_time_interface_source_and_length() {
        assert_eq!(
            printed(printer(false, None, false), &[1, 2]),
            "14:13:20.123  eth0      02:00:00:00:00:01  60\n\
             14:13:20.124  eth0      02:00:00:00:00:02  60  (2 frames)\n"
        );
    }

    #[test]
    fn new_prints_each_source_once() {
        assert_eq!(printed(printer(true, None, false), &[1, 1, 2, 1]).lines().count(), 2);
    }

    #[test]
    fn a_terminal_does_not_act_on_a_name() {
        let (name, escaped) = ("e\x1b[31mX", "e\\u{1b}[31mX");
        let (sender, receiver) = sync_channel(1);
        let wire = Wire { frames: 1, bytes: 60 };
        let source = Some(Mac::new([2, 0, 0, 0, 0, 1]));
        sender.send(Sighting { unix_ms: 0, interface: name.into(), source, wire }).unwrap();
        drop(sender);
        let mut printer = printer(false, None, false);
        let mut out = Vec::new();
        printer.print_all(&receiver, &mut out).unwrap();
        printer.into_summary().write(&mut out, 0).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!((text.matches(escaped).count(), text.contains('\x1b')), (2, false), "{text}");
    }

    #[test]
    fn count_counts_lines() {
        assert_eq!(printed(printer(false, Some(3), false), &[1; 5]).lines().count(), 3);
        assert_eq!(printed(printer(true, Some(2), false), &[1, 1, 2, 3]).lines().count(), 2);
    }

    #[test]
    fn json_is_json() {
        let text = printed(printer(false, None, true), &[7]);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["time"], "2026-09-21T14:13:20.123Z");
        assert_eq!(line["source_mac"], "02:00:00:00:00:07");
        assert_eq!((line["frames"].as_u64(), line["bytes"].as_u64()), (Some(1), Some(60)));
    }
}
