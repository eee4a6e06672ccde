//! What one frame costs between the read and its counters. The time column is nanoseconds per read; a line
//! about allocations appears under a benchmark that makes any.
//!
//! As in the capture, each read lies in the same buffer and its source is not foreseeable. The clock stands
//! still for 2,048 reads, a millisecond at 2 M frames/s, and then moves on: that is when a source's time is
//! written.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]

use std::time::Duration;

use divan::{AllocProfiler, Bencher, black_box};
use macwatch::clock::Moment;
use macwatch::frame::{self, wire};
use macwatch::mac::Mac;
use macwatch::sources::{Limits, Nobody, Sources, Table};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Reads before their order repeats: more than branch predictors learn.
const ORDER: usize = 1 << 16;
const READS_PER_MILLISECOND: usize = 2048;
/// Where the source stands in a read: after the offload header and the destination.
const SOURCE: usize = wire::OFFLOAD_BYTES + frame::SOURCE.start;

fn main() {
    divan::main();
}

/// Sources whose rows exist: the path of nearly every frame. Target: 15 ns, no allocation.
#[divan::bench(args = [1, 256, 1024, 4096, 16_384], sample_count = 50, sample_size = 262_144)]
fn known_source(bencher: Bencher<'_, '_>, sources: u32) {
    let (_owner, table) = table(sources as usize);
    count(bencher, table, Reads::new(sources, read(60)));
}

/// Super-frames of eleven TCP segments: one read each, however many frames they stand for.
#[divan::bench(args = [256], sample_count = 50, sample_size = 262_144)]
fn known_source_super_frame(bencher: Bencher<'_, '_>, sources: u32) {
    let (_owner, table) = table(sources as usize);
    count(bencher, table, Reads::new(sources, super_frame()));
}

/// A flood of sources that there is no room for.
#[divan::bench(args = [16_384], sample_count = 50, sample_size = 262_144)]
fn untracked_source(bencher: Bencher<'_, '_>, sources: u32) {
    let (_owner, mut table) = table(1024);
    // Fills the table with others.
    for number in 0..1024 {
        table.count(Some(mac(sources + number)), wire::Wire { frames: 1, bytes: 60 }, NOW);
    }
    count(bencher, table, Reads::new(sources, read(60)));
}

/// For comparison: the same vectors, each counter looked up by its labels for each frame.
#[divan::bench(args = [1, 256, 16_384], sample_count = 20, sample_size = 65_536)]
fn labels_looked_up(bencher: Bencher<'_, '_>, sources: u32) {
    let owner = owner(sources as usize);
    let (frames, bytes) = owner.vectors();
    let mut reads = Reads::new(sources, read(60));
    bencher.bench_local(|| {
        let (read, _) = reads.next();
        let (offload, frame) = wire::split(read).unwrap();
        let wire = offload.wire(frame);
        let source = frame::source(frame).unwrap().to_string();
        frames.with_label_values(&["eth0", source.as_str()]).inc_by(wire.frames);
        bytes.with_label_values(&["eth0", source.as_str()]).inc_by(wire.bytes);
    });
}

/// What the benchmark itself does to bring the next read about, for subtraction.
#[divan::bench(args = [1, 16_384], sample_count = 50, sample_size = 262_144)]
fn nothing(bencher: Bencher<'_, '_>, sources: u32) {
    let mut reads = Reads::new(sources, read(60));
    bencher.bench_local(|| {
        let (read, now) = reads.next();
        (read[SOURCE], now.steady_ms)
    });
}

/// What the capture does with each read.
fn count(bencher: Bencher<'_, '_>, mut table: Table, mut reads: Reads) {
    let mut one = || {
        let (read, now) = reads.next();
        if let Some((offload, frame)) = wire::split(read) {
            table.count(frame::source(frame), offload.wire(frame), now);
        }
    };
    // Every source is known before the first sample.
    for _ in 0..ORDER {
        one();
    }
    bencher.bench_local(one);
}

const NOW: Moment = Moment { unix_ms: 1_790_000_000_000, steady_ms: 1_000_000 };

/// An endless stream of reads.
struct Reads {
    buffer: Vec<u8>,
    order: Vec<[u8; 6]>,
    count: usize,
    now: Moment,
}

impl Reads {
    fn new(sources: u32, buffer: Vec<u8>) -> Self {
        let mut number = numbers();
        let mut order: Vec<_> = (0..sources).map(|n| mac(n).octets()).collect();
        // Each source once, so that all are known after one round; then at random.
        order
            .extend((sources..).map_while(|n| {
                (n < u32::try_from(ORDER).unwrap()).then(|| mac(number() % sources).octets())
            }));
        for last in (1..ORDER).rev() {
            order.swap(last, number() as usize % (last + 1));
        }
        Self { buffer, order, count: 0, now: NOW }
    }

    #[inline]
    fn next(&mut self) -> (&[u8], Moment) {
        let source = self.order[self.count % ORDER];
        self.buffer[SOURCE..SOURCE + 6].copy_from_slice(&source);
        if self.count.is_multiple_of(READS_PER_MILLISECOND) {
            self.now.unix_ms += 1;
            self.now.steady_ms += 1;
        }
        self.count += 1;
        // The kernel writes the buffer: nothing about it is known beforehand.
        (black_box(&self.buffer), self.now)
    }
}

/// Xorshift (Marsaglia 2003): the same numbers in each run.
fn numbers() -> impl FnMut() -> u32 {
    let mut state = 2_463_534_242u32;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}

fn mac(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac::new([0x02, 0x42, 0xac, a, b, c])
}

fn owner(room: usize) -> std::sync::Arc<Sources> {
    let idle_timeout = Duration::from_secs(24 * 60 * 60);
    let limits = Limits { per_interface: room, total: room, idle_timeout };
    Sources::new(limits, std::sync::Arc::new(Nobody)).unwrap()
}

fn table(room: usize) -> (std::sync::Arc<Sources>, Table) {
    let owner = owner(room);
    let table = owner.open("eth0");
    (owner, table)
}

/// A read of an ordinary frame: nothing to say in the offload header.
fn read(frame_bytes: usize) -> Vec<u8> {
    let mut read = vec![0; wire::OFFLOAD_BYTES + frame_bytes];
    read[SOURCE + 6..SOURCE + 8].copy_from_slice(&[0x08, 0x00]);
    read
}

/// A read of ten full TCP segments and one of 100 bytes, as a card that merges them (GRO) delivers it.
fn super_frame() -> Vec<u8> {
    const HEADERS: usize = 14 + 20 + 32;
    let mut read = read(HEADERS + 10 * 1448 + 100);
    read[0] = 1; // the checksum is asked for, so the transport header's place is known:
    read[6..8].copy_from_slice(&34u16.to_ne_bytes());
    read[1] = 1; // TCP on IPv4
    read[4..6].copy_from_slice(&1448u16.to_ne_bytes());
    read[wire::OFFLOAD_BYTES + 34 + 12] = 8 << 4; // TCP header: eight words
    read
}
