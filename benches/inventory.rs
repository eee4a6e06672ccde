//! What an inventory costs: reading it, and asking it about a new source.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot be set up has nothing to report"
)]

use std::fmt::Write as _;
use std::path::PathBuf;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use macwatch::inventory::Inventory;
use macwatch::mac::Mac;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const ENTRIES: u32 = 100_000;

fn main() {
    divan::main();
}

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.wrapping_mul(2_654_435_761).to_be_bytes();
    Mac::new([0x02, 0x42, a, b, c, d])
}

/// A file with as many entries, and prefixes of four lengths.
fn file(entries: u32) -> (tempfile::TempDir, PathBuf) {
    let mut text = String::from("06:* a\n0a:00:* b\n0e:00:00:* c\n12:00:00:00:00:00/28 d\n");
    for n in 0..entries {
        writeln!(text, "{} host {n} on floor {}", mac(n), n % 9).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ethers");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// Allocations tell what an entry takes in memory: divide by the number of entries.
#[divan::bench(args = [1_000, ENTRIES])]
fn load(bencher: Bencher<'_, '_>, entries: u32) {
    let (_folder, path) = file(entries);
    let files = [path];
    bencher
        .counter(ItemsCount::new(entries))
        .bench_local(|| Inventory::load(&files).unwrap_or_else(|faults| panic!("{faults:?}")));
}

#[divan::bench(args = [true, false])]
fn find(bencher: Bencher<'_, '_>, listed: bool) {
    let (_folder, path) = file(ENTRIES);
    let inventory = Inventory::load(&[path]).unwrap_or_else(|faults| panic!("{faults:?}"));
    let mut n = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        n = (n + 1) % ENTRIES;
        inventory.find(mac(if listed { n } else { n + ENTRIES })).map(|entry| black_box(entry.bits))
    });
}
