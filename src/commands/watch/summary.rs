//! The table at the end of `watch`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::Sighting;
use crate::commands::time::clock_time;
use crate::interface::shown;
use crate::mac::Mac;

/// Sources that are remembered. Strangers choose how many there are; the rest is counted together.
const MOST: usize = 65_536;

/// What was seen of each source.
#[derive(Debug)]
pub(super) struct Summary {
    zone: TimeZone,
    sources: BTreeMap<(Arc<str>, Mac), Row>,
    others: Row,
    runts: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    frames: u64,
    bytes: u64,
    first_ms: u64,
    last_ms: u64,
}

impl Row {
    fn add(&mut self, sighting: &Sighting) {
        if self.frames == 0 {
            self.first_ms = sighting.unix_ms;
        }
        self.frames += sighting.wire.frames;
        self.bytes += sighting.wire.bytes;
        self.last_ms = sighting.unix_ms;
    }
}

impl Summary {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone, sources: BTreeMap::new(), others: Row::default(), runts: 0 }
    }

    /// Adds a sighting, and says whether it is the first of its source.
    pub(super) fn add(&mut self, sighting: &Sighting) -> bool {
        let Some(mac) = sighting.source else {
            self.runts += sighting.wire.frames;
            return false;
        };
        let key = (Arc::clone(&sighting.interface), mac);
        if let Some(row) = self.sources.get_mut(&key) {
            row.add(sighting);
            return false;
        }
        if self.sources.len() == MOST {
            self.others.add(sighting);
            return false;
        }
        self.sources.entry(key).or_default().add(sighting);
        true
    }

    /// Writes the table, most frames first.
    pub(super) fn write(&self, out: &mut impl Write, dropped: u64) -> io::Result<()> {
        let mut rows: Vec<_> = self.sources.iter().collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.frames));
        let width = rows.iter().map(|((interface, _), _)| shown(interface).len()).max().unwrap_or(0).max(9);
        if !rows.is_empty() {
            writeln!(
                out,
                "{:width$}  {:17}  {:>10}  {:>13}  {:12}  LAST SEEN",
                "INTERFACE", "SOURCE MAC", "FRAMES", "BYTES", "FIRST SEEN"
            )?;
        }
        for ((interface, mac), row) in &rows {
            let interface = shown(interface);
            let (first, last) = (clock_time(row.first_ms, &self.zone), clock_time(row.last_ms, &self.zone));
            writeln!(
                out,
                "{interface:width$}  {mac}  {:>10}  {:>13}  {first}  {last}",
                row.frames, row.bytes
            )?;
        }
        let count = |number: u64, what| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        if self.others.frames > 0 {
            writeln!(out, "{} of sources beyond the first {MOST}", count(self.others.frames, "frame"))?;
        }
        if self.runts > 0 {
            writeln!(out, "{} shorter than an Ethernet header", count(self.runts, "frame"))?;
        }
        let frames: u64 = rows.iter().map(|(_, row)| row.frames).sum::<u64>() + self.others.frames;
        let (frames, sources) = (count(frames, "frame"), count(rows.len() as u64, "source"));
        writeln!(out, "{frames} from {sources}; {dropped} dropped by the kernel")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::wire::Wire;

    #[test]
    fn the_table_adds_up() {
        let mut summary = Summary::new(TimeZone::UTC);
        let mut see = |source: Option<u8>, unix_ms| {
            let source = source.map(|last| Mac::new([2, 0, 0, 0, 0, last]));
            summary.add(&Sighting {
                unix_ms,
                interface: "eth0".into(),
                source,
                wire: Wire { frames: 2, bytes: 120 },
            })
        };
        assert!(see(Some(1), 1000));
        assert!(see(Some(2), 2000));
        assert!(!see(Some(2), 3000));
        assert!(!see(None, 3000));
        let mut out = Vec::new();
        summary.write(&mut out, 3).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "INTERFACE  SOURCE MAC             FRAMES          BYTES  FIRST SEEN    LAST SEEN\n\
             eth0       02:00:00:00:00:02           4            240  00:00:02.000  00:00:03.000\n\
             eth0       02:00:00:00:00:01           2            120  00:00:01.000  00:00:01.000\n\
             2 frames shorter than an Ethernet header\n\
             6 frames from 2 sources; 3 dropped by the kernel\n"
        );
    }
}
