//! The families that have a series for each source: nearly all of a long page.
//!
//! What is the same on every page is done once: the label text of an interface and of an address is made before the
//! first family, and what the inventory says of a source is looked up once for all families that tell of it.

use crate::address::AddressType;
use crate::exposition::{Family, Page, Series, Value, labels, write_label};
use crate::inventory::{Entry, Inventory};
use crate::known::is_known;
use crate::sources::{self, Snapshot, SourceSample};
use crate::vendor::Vendors;

use super::page::INTERFACE;

const FRAMES: Family = Family::counter(sources::FRAMES.0, sources::FRAMES.1);
const BYTES: Family = Family::counter(sources::BYTES.0, sources::BYTES.1);
const FIRST_SEEN: Family = Family::gauge(
    "macwatch_source_first_seen_timestamp_seconds",
    "Unix time of the first frame of this MAC address; without a state file, since it was last forgotten.",
);
const LAST_SEEN: Family = Family::gauge(
    "macwatch_source_last_seen_timestamp_seconds",
    "Unix time of the newest frame of this MAC address.",
);
const KNOWN: Family = Family::gauge(
    "macwatch_source_known",
    "Whether this MAC address is known: 1 if the inventory lists it or it is this host's own, else 0.",
);
const UNKNOWN_SOURCES: Family =
    Family::gauge("macwatch_interface_unknown_sources", "Sources tracked now that are not known.");
const INFO: Family = Family::info(
    "macwatch_source_info",
    "What this MAC address is called, whom its prefix belongs to, and what kind it is of. Always 1.",
);

/// An address and the quote after it.
const MAC: usize = 18;

/// The sources of all interfaces.
#[derive(Debug)]
pub struct Rows<'a> {
    tables: Vec<Table<'a>>,
    inventory: Option<&'a Inventory>,
}

/// Those of one.
#[derive(Debug)]
struct Table<'a> {
    books: &'a Snapshot,
    /// `interface="eth0",source_mac="`
    start: String,
    /// `02:42:ac:11:00:02"` for each, one after the other.
    macs: String,
    /// What the inventory says of each; empty without one.
    entries: Vec<Option<&'a Entry>>,
}

impl Table<'_> {
    /// The sources, each with the rest of its label text.
    fn rows(&self) -> impl Iterator<Item = (&SourceSample, &str)> {
        self.books.sources.iter().zip(0..).map(|(source, n)| {
            let mac = self.macs.get(n * MAC..(n + 1) * MAC).unwrap_or_default();
            (source, mac)
        })
    }

    fn entry(&self, n: usize) -> Option<&Entry> {
        self.entries.get(n).copied().flatten()
    }
}

impl<'a> Rows<'a> {
    /// These sources, known by this inventory, if there is one.
    pub fn new(books: &'a [Snapshot], inventory: Option<&'a Inventory>) -> Self {
        let table = |books: &'a Snapshot| {
            let mut macs = String::with_capacity(books.sources.len() * MAC);
            for source in &books.sources {
                source.mac.push_to(&mut macs);
                macs.push('"');
            }
            let find =
                |inventory: &'a Inventory| books.sources.iter().map(|source| inventory.find(source.mac));
            let start = format!("{},{}=\"", labels(&[(INTERFACE, &books.interface)]), sources::LABELS[1]);
            let entries = inventory.into_iter().flat_map(find).collect();
            Table { books, start, macs, entries }
        };
        Self { tables: books.iter().map(table).collect(), inventory }
    }

    /// The counters. Sources above the number `zero_above` are shown at 0: no other family holds sums that a late
    /// beginning could spoil, and an alert must not wait.
    pub fn write_counters(&self, page: &mut Page<'_>, zero_above: u64) {
        let shown = |source: &SourceSample, count| if source.number > zero_above { 0 } else { count };
        self.counter(page.family(FRAMES), |source| shown(source, source.frames));
        self.counter(page.family(BYTES), |source| shown(source, source.bytes));
    }

    /// When they were seen.
    pub(super) fn write_times(&self, page: &mut Page<'_>) {
        self.gauge(page.family(FIRST_SEEN), |source| Value::Milliseconds(source.first_seen_unix_ms));
        self.gauge(page.family(LAST_SEEN), |source| Value::Milliseconds(source.last_seen_unix_ms));
    }

    #[inline]
    fn counter(&self, mut series: Series<'_, '_>, count: impl Fn(&SourceSample) -> u64) {
        for table in &self.tables {
            let mut series = series.alike(&table.start);
            for (source, mac) in table.rows() {
                series.add_since(&[mac], count(source).into(), source.counted_since_unix_ms);
            }
        }
    }

    #[inline]
    fn gauge(&self, mut series: Series<'_, '_>, value: impl Fn(&SourceSample) -> Value) {
        for table in &self.tables {
            let mut series = series.alike(&table.start);
            table.rows().for_each(|(source, mac)| series.add(&[mac], value(source)));
        }
    }

    /// Who is known. Nothing without an inventory: then nobody is known or unknown.
    pub(super) fn write_known(&self, page: &mut Page<'_>) {
        if self.inventory.is_none() {
            return;
        }
        let known = |table: &Table<'_>, n: usize, source: &SourceSample| is_known(table.entry(n), source.own);
        let mut series = page.family(KNOWN);
        for table in &self.tables {
            let mut series = series.alike(&table.start);
            for (n, (source, mac)) in table.rows().enumerate() {
                series.add(&[mac], known(table, n, source).into());
            }
        }
        let mut series = page.family(UNKNOWN_SOURCES);
        for table in &self.tables {
            let sources = table.books.sources.iter().enumerate();
            let unknown = sources.filter(|(n, source)| !known(table, *n, source)).count();
            series.add(&labels(&[(INTERFACE, &table.books.interface)]), unknown);
        }
    }

    /// What is told of a source beside its counts: who it is, as far as anybody can say. No source is left out,
    /// whatever it is. Its name is empty if the inventory does not list it.
    pub(super) fn write_info(&self, page: &mut Page<'_>, vendors: &Vendors) {
        let mut series = page.family(INFO);
        let mut text = String::new();
        let mut vendors = vendors.walk();
        for table in &self.tables {
            let mut series = series.alike(&table.start);
            for (n, (source, mac)) in table.rows().enumerate() {
                text.clear();
                for (label, value) in [
                    (",name", table.entry(n).map_or("", |entry| &*entry.name)),
                    (",vendor", vendors.find(source.mac).unwrap_or_default()),
                    (",address_type", AddressType::of(source.mac).as_str()),
                ] {
                    write_label(&mut text, label, value);
                }
                series.add(&[mac, &text], 1u64.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use prometheus::core::Collector;
    use prometheus::{Encoder as _, Registry, TextEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Moment;
    use crate::exposition::Format;
    use crate::frame::wire::Wire;
    use crate::mac::Mac;
    use crate::sources::{Limits, Nobody, Sources};

    const LIMITS: Limits = Limits { per_interface: 100, total: 100, idle_timeout: Duration::from_secs(60) };

    fn text(books: &[Snapshot], zero_above: u64) -> String {
        let mut text = Vec::new();
        let mut page = Page::new(Format::Text, &mut text);
        Rows::new(books, None).write_counters(&mut page, zero_above);
        page.finish().unwrap();
        String::from_utf8(text).unwrap()
    }

    /// What the crate makes of one of its vectors.
    fn gathered(vector: &(impl Collector + Clone + 'static)) -> String {
        let registry = Registry::new();
        registry.register(Box::new(vector.clone())).unwrap();
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    type Counts = BTreeMap<[u8; 6], (u64, u64)>;

    proptest! {
        /// The crate's vectors and its encoder are the oracle: whatever the interfaces are called, whoever talks.
        #[test]
        fn the_counters_are_what_the_crate_would_gather(
            interfaces in proptest::collection::btree_map(
                "[\"\\\\\n\\PC]{0,8}",
                proptest::collection::btree_map(any::<[u8; 6]>(), (0u64..1 << 52, 0u64..1 << 52), 0..8),
                1..5,
            ).prop_filter("a family without series is not gathered", |interfaces: &BTreeMap<String, Counts>| {
                interfaces.values().any(|counts| !counts.is_empty())
            }),
        ) {
            let sources = Sources::new(LIMITS, Arc::new(Nobody)).unwrap();
            let open = |(interface, counts): (&String, &Counts)| {
                let mut table = sources.open(interface);
                for (mac, (frames, bytes)) in counts {
                    let wire = Wire { frames: *frames, bytes: *bytes };
                    table.count(Some(Mac::new(*mac)), wire, Moment::now());
                }
                table
            };
            let tables: Vec<_> = interfaces.iter().map(open).collect();
            let (frames, bytes) = sources.vectors();
            prop_assert_eq!(text(&sources.snapshot(), u64::MAX), gathered(frames) + &gathered(bytes));
            // Held back, the same series are there.
            let zeros = text(&sources.snapshot(), 0);
            prop_assert!(zeros.lines().all(|line| line.starts_with('#') || line.ends_with(" 0")));
            drop(tables);
        }
    }
}
