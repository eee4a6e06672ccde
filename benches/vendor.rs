//! What it costs to find the vendor of an address, and to read a vendor file.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]

use std::fmt::Write as _;

use divan::{AllocProfiler, Bencher, black_box};
use macwatch::mac::Mac;
use macwatch::vendor::Vendors;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Addresses below these prefixes: a manufacturer's block of each size, one that nobody has, a local one.
const PREFIXES: [(&str, [u8; 5], usize); 5] = [
    ("MA-L", [0x00, 0x1b, 0x21, 0, 0], 3),
    ("MA-M", [0x00, 0x55, 0xda, 0x00, 0], 4),
    ("MA-S", [0x70, 0xb3, 0xd5, 0x00, 0x10], 5),
    ("none", [0x00, 0x00, 0x00, 0x00, 0x00], 0),
    ("local", [0x02, 0x00, 0x00, 0x00, 0x00], 1),
];

/// Found, by the size of the block, and not found; the bytes that the prefix leaves are drawn anew each time.
#[divan::bench(sample_size = 1000, args = PREFIXES.map(|(name, ..)| name))]
fn find(bencher: Bencher<'_, '_>, name: &str) {
    let vendors = Vendors::embedded();
    let (_, start, fixed) = PREFIXES.into_iter().find(|(other, ..)| *other == name).unwrap();
    let mut random = 1u64;
    bencher.bench_local(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [a, b, c, d, e, f, ..] = random.to_be_bytes();
        let mut octets = [a & 0xfc, b, c, d, e, f];
        octets[..fixed].copy_from_slice(&start[..fixed]);
        black_box(vendors.find(Mac::new(octets)).is_some())
    });
}

/// What is done once at the start.
#[divan::bench]
fn embedded() -> Vendors {
    Vendors::embedded()
}

/// A `manuf` of 53,000 lines.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn load(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manuf");
    let mut text = String::new();
    for n in 0..53_000u32 {
        let [_, a, b, c] = (n * 61).to_be_bytes();
        writeln!(text, "{:02X}:{b:02X}:{c:02X}\tVendor{n}\tVendor number {}, Ltd.", a & 0xfc, n % 30_000)
            .unwrap();
    }
    std::fs::write(&file, text).unwrap();
    bencher.bench_local(|| Vendors::load(&file).unwrap());
}
