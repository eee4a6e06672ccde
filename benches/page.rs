//! What a scrape costs with 16,384 sources on four interfaces.
//!
//! The page has five series per source. The crate's own way, `gather` and `TextEncoder`, is measured over its
//! two counter vectors alone, so it writes two fifths of what the page holds.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use flate2::Compression;
use flate2::write::GzEncoder;
use macwatch::capture::Board;
use macwatch::clock::Moment;
use macwatch::exporter::page::Metrics;
use macwatch::exporter::process::Process;
use macwatch::exporter::reload::Reloader;
use macwatch::frame::wire::Wire;
use macwatch::known::Known;
use macwatch::mac::Mac;
use macwatch::sources::{Limits, Sources, Table};
use macwatch::vendor::Vendors;
use macwatch::web::Traffic;
use prometheus::core::Collector as _;
use prometheus::{Encoder as _, TextEncoder};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const INTERFACES: [&str; 4] = ["eth0", "eth1", "eth2", "eth3"];
const SOURCES_PER_INTERFACE: u32 = 4096;

fn main() {
    divan::main();
}

/// The metrics page.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn render(bencher: Bencher<'_, '_>) {
    let (metrics, _tables) = metrics();
    bencher.counter(BytesCount::new(metrics.render(None).page.len())).bench_local(|| metrics.render(None));
}

/// What a scraper that asks for gzip waits for on top: the crate and level of the server.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn compress(bencher: Bencher<'_, '_>) {
    let (metrics, _tables) = metrics();
    let page = metrics.render(None).page;
    let gzip = || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 8), Compression::fast());
        encoder.write_all(&page).and_then(|()| encoder.finish()).unwrap()
    };
    bencher.counter(BytesCount::new(page.len())).bench_local(gzip);
}

/// For comparison: the crate's own encoder over the two vectors.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn gather_and_encode(bencher: Bencher<'_, '_>) {
    let (metrics, _tables) = metrics();
    let (frames, bytes) = metrics.sources.vectors();
    let encode = || {
        let mut families = frames.collect();
        families.extend(bytes.collect());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text).unwrap();
        text
    };
    bencher.counter(BytesCount::new(encode().len())).bench_local(encode);
}

/// What the exporter holds after traffic from all sources. The series live as long as the tables.
fn metrics() -> (Metrics, Vec<Table>) {
    let limits = Limits {
        per_interface: SOURCES_PER_INTERFACE as usize,
        total: INTERFACES.len() * SOURCES_PER_INTERFACE as usize,
        idle_timeout: Duration::from_secs(24 * 60 * 60),
    };
    let known = Arc::<Known>::default();
    let sources = Sources::new(limits, Arc::<Known>::clone(&known)).unwrap();
    let mut number = 0;
    let tables = INTERFACES.map(|interface| {
        let mut table = sources.open(interface);
        for _ in 0..SOURCES_PER_INTERFACE {
            number += 1;
            // Values and addresses as long as a busy day's.
            let [_, a, b, c] = (number * 997u32).to_be_bytes();
            let wire = Wire { frames: u64::from(number) * 1009, bytes: u64::from(number) * 1_000_003 };
            table.count(Some(Mac::new([0x02, 0x42, 0xac, a, b, c])), wire, Moment::now());
        }
        table
    });
    let metrics = Metrics {
        sources,
        reloader: Arc::new(Reloader::start(Vec::new(), Arc::clone(&known)).unwrap()),
        known,
        vendors: Arc::new(Vendors::embedded()),
        diary: None,
        board: Arc::<Board>::default(),
        traffic: Arc::<Traffic>::default(),
        process: Process::new(),
    };
    (metrics, tables.into())
}
