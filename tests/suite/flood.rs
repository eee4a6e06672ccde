//! A flood of forged sources at full speed beside those who are known: nobody known loses a frame, and the machine
//! notices nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::exporter::Metrics;
use crate::common::frames::{Stop, source, text};
use crate::common::inject::{Injector, pin, random_source};
use crate::common::{Engine, Exporter, Namespace, root, veth, wait_until, wire};

const KNOWN: u32 = 200;
const MOST: usize = 300;

fn list(folder: &Path, listed: impl Iterator<Item = u32>) -> PathBuf {
    let path = folder.join("ethers");
    let beside = folder.join("ethers.new");
    let lines: String = listed.map(|n| format!("{} host-{n}\n", text(source(n)))).collect();
    fs::write(&beside, lines).unwrap();
    fs::rename(beside, &path).unwrap();
    path
}

fn entries(page: &Metrics) -> f64 {
    page.value("macwatch_inventory_entries")
}

/// What is known of a page that took as long as it did.
fn timed(exporter: &Exporter<'_>) -> (Metrics, Duration) {
    let begun = Instant::now();
    let page = exporter.scrape();
    (page, begun.elapsed())
}

#[test]
fn known_sources_are_exact_whatever_is_forged() {
    if !root() {
        return;
    }
    let full = std::env::var_os("MACWATCH_FULL").is_some();
    let forged: u64 = match (Engine::under_test(), full) {
        (Engine::Kernel, true) => 1 << 24,
        (Engine::Kernel, false) => 400_000,
        // What it cannot read it drops, and tells.
        (Engine::Channel, _) => 60_000,
    };
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let own: String = ours.run("cat /sys/class/net/mw0/address").trim().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let inventory = list(folder.path(), 0..KNOWN);
    let options = format!("-i mw0 --sources.max {MOST} --inventory.file {}", inventory.display());
    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    let injector = Injector::open(&theirs, "peer0");
    let our_own = Injector::open(&ours, "mw0");
    let address: Vec<u8> = own.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    let address: [u8; 6] = address.try_into().unwrap();
    let (before, calm) = timed(&exporter);

    let poured = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let mut scrapes = Vec::new();
    let mut largest = 0.0_f64;
    let begun = Instant::now();
    let (own_sent, known_sent) = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            pin(0);
            for batch in 0..forged / 1000 {
                poured.fetch_add(
                    injector.pour((0..1000).map(|n| random_source(batch * 1000 + n))),
                    Ordering::Relaxed,
                );
            }
            done.store(true, Ordering::Relaxed);
        });
        let ours_too = scope.spawn(|| {
            pin(1);
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) && rounds < 2000 {
                our_own.pour([address]);
                injector.pour((0..KNOWN).map(source));
                rounds += 1;
            }
            rounds
        });
        let _stop = Stop(&done);
        while !flood.is_finished() {
            let (page, took) = timed(&exporter);
            page.assert_balanced();
            scrapes.push(took);
            largest = largest.max(page.value("process_resident_memory_bytes"));
            thread::park_timeout(Duration::from_millis(10));
        }
        let rounds = ours_too.join().unwrap();
        (rounds, rounds * u64::from(KNOWN))
    });
    let took = begun.elapsed();
    let sent = poured.load(Ordering::Relaxed) + known_sent + own_sent;
    let page = exporter.wait_page("all frames to be counted", |page| {
        page.interface("frames_total", "mw0") + page.interface("dropped_frames_total", "mw0") == sent as f64
    });
    page.assert_balanced();
    let dropped = page.interface("dropped_frames_total", "mw0");
    if Engine::under_test() == Engine::Kernel {
        assert_eq!(dropped, 0.0);
    }
    if dropped == 0.0 {
        for n in 0..KNOWN {
            assert_eq!(page.source("mw0", &text(source(n))).0, own_sent as f64, "known source {n}");
        }
        assert_eq!(page.source("mw0", &own).0, own_sent as f64);
        let tracked: f64 = page
            .sources("mw0")
            .iter()
            // An own address is random, and begins with these digits in one run of 64.
            .filter(|mac| mac.starts_with("06:") && **mac != own)
            .map(|mac| page.source("mw0", mac).0)
            .sum();
        assert_eq!(
            tracked + page.interface("untracked_frames_total", "mw0"),
            poured.load(Ordering::Relaxed) as f64
        );
    }
    assert_eq!(page.sources("mw0").len(), MOST + KNOWN as usize + 1);
    assert_eq!(exporter.logged("no room for more sources"), 1, "{}", exporter.log());
    let grown = largest - before.value("process_resident_memory_bytes");
    assert!(grown < f64::from(16 << 20), "{grown} bytes more of memory");
    // On a busy machine one of them may have to wait for what else there is to do.
    scrapes.sort_unstable();
    let (median, slowest) = (scrapes[scrapes.len() / 2], scrapes[scrapes.len() - 1]);
    assert!(median < Duration::from_secs(2), "most scrapes took {median:?}");
    println!(
        "{sent} frames in {took:?} ({:.0} a second), {dropped} dropped; {:.1} MiB more; scrapes {calm:?} before, {slowest:?} at the most",
        sent as f64 / took.as_secs_f64(),
        grown / f64::from(1 << 20),
    );
}

/// While the room is full and the flood goes on, the inventory changes.
#[test]
fn who_is_listed_during_a_flood_has_room_at_once() {
    let Some((ours, theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let inventory = list(folder.path(), 0..KNOWN);
    let options = format!(
        "-i mw0 --sources.max {MOST} --sources.max-total {MOST} --sources.idle-timeout 2s --inventory.file {}",
        inventory.display()
    );
    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    let stop = AtomicBool::new(false);
    let next = AtomicU64::new(0);
    let ordinary = |page: &Metrics| page.sources("mw0").iter().filter(|mac| mac.starts_with("06:")).count();
    let listed = |page: &Metrics| page.sources("mw0").iter().filter(|mac| mac.starts_with("02:5e:")).count();
    thread::scope(|scope| {
        // A few hundred that stay, and ever more that find no room.
        scope.spawn(|| {
            let injector = Injector::open(&theirs, "peer0");
            while !stop.load(Ordering::Relaxed) {
                let first = next.fetch_add(100, Ordering::Relaxed);
                injector.pour((0..MOST as u64).chain(first + 1000..first + 1100).map(random_source));
                thread::park_timeout(Duration::from_millis(5));
            }
        });
        let _stop = Stop(&stop);
        let injector = Injector::open(&theirs, "peer0");
        exporter.wait_page("a full table", |page| ordinary(page) == MOST);
        injector.pour((0..KNOWN).map(source));
        exporter.wait_page("all who are known", |page| listed(page) == KNOWN as usize);

        // Somebody new: no room for it behind all the others, until it is listed.
        let newcomer = text(source(5000));
        injector.pour((0..MOST as u64).map(random_source).chain([source(5000); 3]));
        assert_eq!(exporter.scrape().source("mw0", &newcomer).0, 0.0);
        list(folder.path(), (0..KNOWN).chain([5000]));
        exporter.wait_page("the inventory", |page| entries(page) == f64::from(KNOWN + 1));
        // The capturing thread has been woken since by the flood, or is by this.
        wait_until("its room", || {
            injector.pour([source(5000)]);
            exporter.scrape().source("mw0", &newcomer).0 > 0.0
        });

        // All are struck off but ten: they have ordinary room beyond the limit, and owe it.
        list(folder.path(), 0..10);
        exporter.wait_page("the inventory", |page| entries(page) == 10.0);
        exporter.wait_page("those who are silent to be forgotten", |page| listed(page) == 10);
        let page = exporter.wait_page("no more than there may be", |page| ordinary(page) <= MOST);
        page.assert_balanced();
        // And listed again: the reserve is whole.
        list(folder.path(), 0..KNOWN);
        exporter.wait_page("the inventory", |page| entries(page) == f64::from(KNOWN));
        wait_until("all who are known", || {
            injector.pour((0..KNOWN).map(source));
            listed(&exporter.scrape()) == KNOWN as usize
        });
        for _ in 0..20 {
            let page = exporter.scrape();
            page.assert_balanced();
            assert!(ordinary(&page) <= MOST, "{} ordinary sources", ordinary(&page));
        }
    });
    assert_eq!(exporter.logged("level=ERROR"), 0, "{}", exporter.log());
}
