//! What a scrape costs with 1,000, 16,384 and 65,536 sources on four interfaces.
//!
//! Half of the sources have an address of a manufacturer, and half a local one; an inventory lists every fourth. The
//! crate's own way, `gather` and `TextEncoder`, is measured over its two counter vectors: it has nothing else of the
//! page. So `counters` writes those alone too.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use flate2::Compression;
use flate2::write::GzEncoder;
use macwatch::capture::Board;
use macwatch::clock::Moment;
use macwatch::exporter::page::Metrics;
use macwatch::exporter::process::Process;
use macwatch::exporter::reload::Reloader;
use macwatch::exporter::rows::Rows;
use macwatch::exposition::{Format, Page};
use macwatch::frame::wire::Wire;
use macwatch::known::Known;
use macwatch::mac::Mac;
use macwatch::sources::{Limits, Sources, Table};
use macwatch::vendor::Vendors;
use macwatch::web::Traffic;
use prometheus::{Encoder as _, Registry, TextEncoder};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const INTERFACES: [&str; 4] = ["eth0", "eth1", "eth2", "eth3"];
const SOURCES: [u32; 3] = [1_000, 16_384, 65_536];

/// Prefixes that manufacturers have, of each length.
const MANUFACTURERS: [[u8; 4]; 8] = [
    [0x00, 0x1b, 0x21, 0x00],
    [0x3c, 0x22, 0xfb, 0x10],
    [0xb8, 0x27, 0xeb, 0x20],
    [0xdc, 0xa6, 0x32, 0x30],
    [0x00, 0x55, 0xda, 0x00],
    [0x70, 0xb3, 0xd5, 0x00],
    [0xf4, 0xf5, 0xe8, 0x40],
    [0x00, 0x0c, 0x29, 0x50],
];

fn main() {
    divan::main();
}

fn page(metrics: &Metrics) -> Vec<u8> {
    let mut page = Vec::new();
    metrics.render(Format::Text, None, &mut page).unwrap();
    page
}

/// The text of the two counter families.
fn counters_of(sources: &Sources) -> Vec<u8> {
    let (books, mut text) = (sources.snapshot(), Vec::new());
    let mut page = Page::new(Format::Text, &mut text);
    Rows::new(&books, None).write_counters(&mut page, u64::MAX);
    page.finish().unwrap();
    text
}

/// The metrics page, all of it, to nowhere.
#[divan::bench(sample_count = 30, sample_size = 1, args = SOURCES)]
fn render(bencher: Bencher<'_, '_>, sources: u32) {
    let crowd = Crowd::new(sources);
    let length = page(&crowd.metrics).len();
    let render = || crowd.metrics.render(Format::Text, None, &mut black_box(io::sink())).unwrap();
    bencher.counter(BytesCount::new(length)).bench_local(render);
}

/// The same in OpenMetrics, with the beginnings of all counters.
#[divan::bench(sample_count = 30, sample_size = 1, args = SOURCES)]
fn render_created(bencher: Bencher<'_, '_>, sources: u32) {
    let crowd = Crowd::new(sources);
    let format = Format::OpenMetrics { created: true };
    let mut page = Vec::new();
    crowd.metrics.render(format, None, &mut page).unwrap();
    let render = || crowd.metrics.render(format, None, &mut black_box(io::sink())).unwrap();
    bencher.counter(BytesCount::new(page.len())).bench_local(render);
}

/// The two counter families alone, which is what the crate has.
#[divan::bench(sample_count = 30, sample_size = 1, args = SOURCES)]
fn counters(bencher: Bencher<'_, '_>, sources: u32) {
    let crowd = Crowd::new(sources);
    let length = counters_of(&crowd.metrics.sources).len();
    bencher.counter(BytesCount::new(length)).bench_local(|| counters_of(&crowd.metrics.sources));
}

/// What a scrape takes: the page, compressed while it is made.
#[divan::bench(sample_count = 30, sample_size = 1, args = SOURCES)]
fn serve(bencher: Bencher<'_, '_>, sources: u32) {
    let crowd = Crowd::new(sources);
    let serve = || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        crowd.metrics.render(Format::Text, None, &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    bencher.counter(BytesCount::new(serve().len())).bench_local(serve);
}

/// One consistent view of all sources.
#[divan::bench(sample_count = 30, sample_size = 1, args = SOURCES)]
fn snapshot(bencher: Bencher<'_, '_>, sources: u32) {
    let crowd = Crowd::new(sources);
    bencher.bench_local(|| crowd.metrics.sources.snapshot());
}

/// What compressing the page costs on top, by level; divided by what it makes, not by what it takes.
#[divan::bench(sample_count = 5, sample_size = 1, args = [1, 2, 3, 4, 5, 6], consts = [1_000, 16_384, 65_536])]
fn compress<const SOURCES: u32>(bencher: Bencher<'_, '_>, level: u32) {
    let page = page(&Crowd::new(SOURCES).metrics);
    let gzip = || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 8), Compression::new(level));
        encoder.write_all(&page).and_then(|()| encoder.finish()).unwrap()
    };
    bencher.counter(BytesCount::new(gzip().len())).bench_local(gzip);
}

/// For comparison: the crate's own encoder over the two vectors.
#[divan::bench(sample_count = 10, sample_size = 1, args = SOURCES)]
fn gather_and_encode(bencher: Bencher<'_, '_>, sources: u32) {
    let crowd = Crowd::new(sources);
    let registry = Registry::new();
    let (frames, bytes) = crowd.metrics.sources.vectors();
    registry.register(Box::new(frames.clone())).unwrap();
    registry.register(Box::new(bytes.clone())).unwrap();
    let encode = || {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        text
    };
    bencher.counter(BytesCount::new(encode().len())).bench_local(encode);
}

/// What the exporter holds after traffic from all sources. The series live as long as the tables.
struct Crowd {
    metrics: Metrics,
    _tables: Vec<Table>,
}

impl Crowd {
    fn new(count: u32) -> Self {
        let share = count / 4;
        let limits = Limits {
            per_interface: share as usize,
            total: count as usize,
            idle_timeout: Duration::from_secs(24 * 60 * 60),
        };
        let known = Arc::<Known>::default();
        let sources = Sources::new(limits, Arc::<Known>::clone(&known)).unwrap();
        let tables = INTERFACES.iter().zip(0..).map(|(interface, at)| {
            let mut table = sources.open(interface);
            for number in at * share..(at + 1) * share {
                // Values as long as a busy day's.
                let wire = Wire { frames: u64::from(number) * 1009, bytes: u64::from(number) * 1_000_003 };
                table.count(Some(address(number)), wire, Moment::now());
            }
            table
        });
        let tables = tables.collect();
        // After that, so that the listed ones need no room of their own.
        let inventory = tempfile::NamedTempFile::new().unwrap();
        let mut text = String::new();
        for number in (0..count).step_by(4) {
            writeln!(text, "{} device number {number}", address(number)).unwrap();
        }
        inventory.as_file().write_all(text.as_bytes()).unwrap();
        let files = vec![inventory.path().to_owned()];
        let metrics = Metrics {
            sources,
            reloader: Arc::new(Reloader::start(files, Arc::clone(&known)).unwrap()),
            web_config: None,
            known,
            vendors: Arc::new(Vendors::embedded()),
            diary: None,
            board: Arc::<Board>::default(),
            traffic: Arc::<Traffic>::default(),
            process: Process::new(),
        };
        Self { metrics, _tables: tables }
    }
}

/// The n-th source's.
fn address(number: u32) -> Mac {
    let [_, a, b, c] = (number.wrapping_mul(2_654_435_761) >> 8).to_be_bytes();
    let prefix = MANUFACTURERS[number as usize / 2 % MANUFACTURERS.len()];
    let [first, second, third, _] = if number.is_multiple_of(2) { prefix } else { [0x02, 0x42, 0xac, 0] };
    Mac::new([first, second, third, a, b, c])
}
