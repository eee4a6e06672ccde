//! The metrics page: every family, in the order in which it is read.

use std::sync::Arc;
use std::time::Instant;

use super::info;
use super::process::Process;
use super::reload::Reloader;
use super::remember::Diary;
use crate::build;
use crate::capture::{Board, Status};
use crate::exposition::{Family, Kind, Page, Value, labels};
use crate::known::{Known, is_known};
use crate::sources::{self, Snapshot, SourceSample, Sources};
use crate::vendor::Vendors;
use crate::web::{Marked, Traffic};

/// What all series of one interface are labelled with.
const INTERFACE: &str = "interface";

/// A row of the page without its label values and numbers, for sizing the buffer: bytes per source.
const BYTES_PER_SOURCE: usize = 640;

/// What the page is made of.
#[derive(Debug)]
pub struct Metrics {
    /// The sources.
    pub sources: Arc<Sources>,
    /// Who is known.
    pub known: Arc<Known>,
    /// How the inventory was read.
    pub reloader: Arc<Reloader>,
    /// Who has which prefix.
    pub vendors: Arc<Vendors>,
    /// What survives a restart; none if nothing does.
    pub diary: Option<Arc<Diary>>,
    /// The captures.
    pub board: Arc<Board>,
    /// The server's own counters.
    pub traffic: Arc<Traffic>,
    /// This process.
    pub process: Process,
}

impl Metrics {
    /// Makes the page from one snapshot. Its mark is the number of the newest source on it.
    ///
    /// Prometheus takes a series as it first sees it for its beginning: what is counted by then is missing from
    /// `increase()`. So a scraper that is known to have received the page marked `received` is shown the sources
    /// that came since at 0. The totals of the interfaces are true all the same.
    pub fn render(&self, received: Option<u64>) -> Marked {
        let begun = Instant::now();
        let (books, mark) = self.sources.numbered_snapshot();
        let captures = self.board.list();
        let rows: usize = books.iter().map(|books| books.sources.len()).sum();
        let mut page = Page::with_capacity(16_384 + rows * BYTES_PER_SOURCE);
        write_sources(&mut page, &books, received.unwrap_or(u64::MAX));
        self.write_known(&mut page, &books);
        let inventory = self.known.inventory();
        let entry = |mac| inventory.as_ref().and_then(|inventory| inventory.find(mac));
        info::write(&mut page, &books, &self.vendors, &|mac| entry(mac).map_or("", |entry| &*entry.name));
        write_captures(&mut page, &captures);
        write_books(&mut page, &books, self.sources.limits().most_per_interface());
        write_build(&mut page);
        if let Some(diary) = &self.diary {
            diary.write(&mut page);
        }
        self.write_server(&mut page);
        self.process.write(&mut page);
        page.family(SCRAPE_DURATION).add("", begun.elapsed().as_secs_f64());
        Marked { page: page.into_bytes(), mark }
    }

    /// Only with an inventory: without one nobody is known or unknown.
    fn write_known(&self, page: &mut Page, books: &[Snapshot]) {
        let (Some(inventory), Some(outcome)) = (self.known.inventory(), self.reloader.outcome()) else {
            return;
        };
        let mut series = page.family(gauge(
            "macwatch_source_known",
            "Whether this MAC address is known: 1 if the inventory lists it or it is this host's own, else 0.",
        ));
        let mut unknown = vec![0u64; books.len()];
        for (books, unknown) in books.iter().zip(&mut unknown) {
            for source in &books.sources {
                let known = is_known(&inventory, &source.row);
                *unknown += u64::from(!known);
                series.add(source.row.labels(), known);
            }
        }
        let mut series = page
            .family(gauge("macwatch_interface_unknown_sources", "Sources tracked now that are not known."));
        for (books, unknown) in books.iter().zip(unknown) {
            series.add(&labels(&[(INTERFACE, &books.interface)]), unknown);
        }
        page.family(gauge("macwatch_inventory_entries", "Entries of the inventory, prefixes included."))
            .add("", inventory.len());
        page.family(gauge(
            "macwatch_inventory_last_reload_successful",
            "Whether the inventory could be read when it was last tried; if not, the last good one is used.",
        ))
        .add("", outcome.successful());
        page.family(gauge(
            "macwatch_inventory_last_reload_success_timestamp_seconds",
            "Unix time when the inventory in use was read.",
        ))
        .add("", Value::Milliseconds(outcome.success_unix_ms()));
    }

    fn write_server(&self, page: &mut Page) {
        let mut series = page.family(counter(
            "macwatch_http_requests_total",
            "HTTP requests answered, by status code; what is not HTTP is not counted.",
        ));
        for (code, count) in self.traffic.responses() {
            series.add(&labels(&[("code", &code.to_string())]), count);
        }
        page.family(gauge(
            "macwatch_http_requests_in_flight",
            "HTTP requests being answered now, this one included.",
        ))
        .add("", self.traffic.in_flight());
    }
}

const SCRAPE_DURATION: Family = gauge(
    "macwatch_scrape_duration_seconds",
    "Time it took to read the counters and write this page up to this line.",
);

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: Kind::Counter }
}

pub(super) const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: Kind::Gauge }
}

/// Sources above the number `zero_above` are shown at 0. Only the counters: the other families hold no sums that a
/// late beginning could spoil, and an alert must not wait.
fn write_sources(page: &mut Page, books: &[Snapshot], zero_above: u64) {
    type Column = (Family, fn(&SourceSample) -> Value);
    let columns: [Column; 4] = [
        (counter(sources::FRAMES.0, sources::FRAMES.1), |source| source.frames.into()),
        (counter(sources::BYTES.0, sources::BYTES.1), |source| source.bytes.into()),
        (
            gauge(
                "macwatch_source_first_seen_timestamp_seconds",
                "Unix time of the first frame of this MAC address; without a state file, since it was last forgotten.",
            ),
            |source| Value::Milliseconds(source.row.first_seen_unix_ms()),
        ),
        (
            gauge(
                "macwatch_source_last_seen_timestamp_seconds",
                "Unix time of the newest frame of this MAC address.",
            ),
            |source| Value::Milliseconds(source.last_seen_unix_ms),
        ),
    ];
    for (family, value) in columns {
        let mut series = page.family(family);
        for source in books.iter().flat_map(|books| &books.sources) {
            let held_back = family.kind == Kind::Counter && source.row.number() > zero_above;
            let value = if held_back { 0u64.into() } else { value(source) };
            series.add(source.row.labels(), value);
        }
    }
}

fn write_captures(page: &mut Page, captures: &[Arc<Status>]) {
    let mut series = page.family(gauge(
        "macwatch_interface_capture_up",
        "Whether frames are being captured on this interface: 1 while they are, else 0.",
    ));
    for capture in captures {
        series.add(&labels(&[(INTERFACE, capture.interface())]), capture.capture_up());
    }
    let mut series = page.family(gauge(
        "macwatch_interface_info",
        "How this interface is captured, and its own MAC address. Always 1.",
    ));
    for capture in captures {
        let mac = capture.mac().map(|mac| mac.to_string()).unwrap_or_default();
        let engine = capture.engine();
        series.add(&labels(&[(INTERFACE, capture.interface()), ("engine", engine), ("mac", &mac)]), 1u64);
    }
    let mut series = page.family(counter(
        "macwatch_interface_dropped_frames_total",
        "Frames that the kernel saw for this capture and could not hand over; a super-frame counts once.",
    ));
    for capture in captures {
        series.add(&labels(&[(INTERFACE, capture.interface())]), capture.dropped_frames());
    }
    let mut series = page.family(counter(
        "macwatch_interface_missed_notices_total",
        "Notices of new sources that the kernel engine lost on the way. No frame is lost with them.",
    ));
    for capture in captures {
        series.add(&labels(&[(INTERFACE, capture.interface())]), capture.missed_notices());
    }
    let mut series = page.family(counter(
        "macwatch_interface_rebinds_total",
        "Times that the capture had to be bound to this interface again.",
    ));
    for capture in captures {
        series.add(&labels(&[(INTERFACE, capture.interface())]), capture.rebinds());
    }
}

fn write_books(page: &mut Page, books: &[Snapshot], limit: usize) {
    let mut column = |family, value: &dyn Fn(&Snapshot) -> u64| {
        let mut series = page.family(family);
        for books in books {
            series.add(&labels(&[(INTERFACE, &books.interface)]), value(books));
        }
    };
    column(
        counter(
            "macwatch_interface_frames_total",
            "All frames captured: those of live sources, expired ones and untracked ones, and runts.",
        ),
        &Snapshot::frames,
    );
    column(
        counter(
            "macwatch_interface_bytes_total",
            "All bytes captured: those of live sources, expired ones and untracked ones. Runts add none.",
        ),
        &Snapshot::bytes,
    );
    column(
        counter(
            "macwatch_interface_runt_frames_total",
            "Frames shorter than an Ethernet header; they have no source.",
        ),
        &|books| books.runt_frames,
    );
    column(
        counter("macwatch_interface_untracked_frames_total", "Frames of sources beyond the limit."),
        &|books| books.untracked_frames,
    );
    column(
        counter("macwatch_interface_untracked_bytes_total", "Bytes of sources beyond the limit."),
        &|books| books.untracked_bytes,
    );
    column(
        counter(
            "macwatch_interface_expired_frames_total",
            "Frames of sources that have since been forgotten.",
        ),
        &|books| books.expired_frames,
    );
    column(
        counter("macwatch_interface_expired_bytes_total", "Bytes of sources that have since been forgotten."),
        &|books| books.expired_bytes,
    );
    column(gauge("macwatch_interface_sources", "Sources tracked now."), &|books| books.sources.len() as u64);
    column(
        gauge("macwatch_interface_sources_limit", "Most sources that may be tracked on this interface."),
        &|_| limit as u64,
    );
    column(
        counter(
            "macwatch_interface_new_sources_total",
            "Sources that appeared, those that came back after being forgotten included, those restored not.",
        ),
        &|books| books.new_sources,
    );
    column(
        counter("macwatch_interface_expired_sources_total", "Sources that fell idle and were forgotten."),
        &|books| books.expired_sources,
    );
}

fn write_build(page: &mut Page) {
    let facts = labels(&[
        ("version", build::VERSION),
        ("revision", build::REVISION),
        ("rustversion", build::RUST),
        ("target", build::TARGET),
    ]);
    page.family(gauge("macwatch_build_info", "What this program was built from. Always 1."))
        .add(&facts, 1u64);
}
