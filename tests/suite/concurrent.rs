//! Sources that are met on several CPUs at once, fall silent, and come back: every frame counts, once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::frames::{Stop, source, text};
use crate::common::inject::{BYTES, Injector, pin, random_source};
use crate::common::{DEADLINE, Engine, Exporter, Namespace, root, veth};

/// Several senders, each on a CPU of its own, send all that `sources` yields for them at the same time; how many
/// frames that were.
fn at_once<I>(injectors: &[Injector], sources: impl Fn(usize) -> I + Sync) -> u64
where
    I: IntoIterator<Item = [u8; 6]>,
{
    let barrier = Barrier::new(injectors.len());
    thread::scope(|scope| {
        let senders: Vec<_> = injectors
            .iter()
            .enumerate()
            .map(|(n, injector)| {
                let (barrier, sources) = (&barrier, &sources);
                scope.spawn(move || {
                    pin(n);
                    barrier.wait();
                    injector.pour(sources(n))
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    })
}

/// Many rounds of new sources that two CPUs meet in the same order: of both, one may give each its slot.
#[test]
fn two_cpus_meet_the_same_new_sources() {
    if !root() {
        return;
    }
    const ROUNDS: u64 = 60;
    const NEW: u64 = 100;
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    // With room for one more: at the very limit, the frame with which the second CPU meets the last source may come
    // too early to find it, and be counted as untracked.
    let options = format!("-i mw0 --sources.max {}", ROUNDS * NEW + 1);
    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    let injectors = [0, 1].map(|_| Injector::open(&theirs, "peer0"));
    let mut sent = 0;
    for round in 0..ROUNDS {
        // Each twice in a row, so that the second of one meets the first of the other.
        sent += at_once(&injectors, |_| {
            (round * NEW..(round + 1) * NEW).flat_map(|n| [random_source(n), random_source(n)])
        });
    }
    let page = exporter.wait_frames("mw0", sent as f64);
    page.assert_balanced();
    assert_eq!(page.interface("dropped_frames_total", "mw0"), 0.0);
    assert_eq!(page.interface("untracked_frames_total", "mw0"), 0.0);
    assert_eq!(page.interface("new_sources_total", "mw0"), (ROUNDS * NEW) as f64);
    assert_eq!(page.sources("mw0").len() as u64, ROUNDS * NEW);
    for n in 0..ROUNDS * NEW {
        let expected = (4.0, 4.0 * BYTES as f64);
        assert_eq!(page.source("mw0", &text(random_source(n))), expected, "source {n}");
    }
}

/// At the very limit: two interfaces, two CPUs, more sources than room.
#[test]
fn the_limits_are_exact_however_many_come_at_once() {
    if !root() {
        return;
    }
    const MOST: usize = 100;
    const TOTAL: usize = 150;
    for round in 0..5 {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        veth(&ours, "mw0", &theirs, "peer0");
        veth(&ours, "mw1", &theirs, "peer1");
        let options = format!("-i mw0 -i mw1 --sources.max {MOST} --sources.max-total {TOTAL}");
        let exporter = Exporter::start(&ours, &options);
        exporter.wait_up("mw0");
        exporter.wait_up("mw1");
        let injectors = ["peer0", "peer1", "peer0", "peer1"].map(|peer| Injector::open(&theirs, peer));
        at_once(&injectors, |n| {
            (0..20_000).map(move |frame| random_source(frame % 400 + n as u64 / 2 * 200))
        });
        let page = exporter.wait_frames("mw0", 40_000.0);
        exporter.wait_frames("mw1", 40_000.0);
        page.assert_balanced();
        let page = exporter.scrape();
        page.assert_balanced();
        let tracked = ["mw0", "mw1"].map(|name| {
            assert_eq!(page.interface("sources", name), page.interface("new_sources_total", name));
            assert_eq!(page.sources(name).len() as f64, page.interface("sources", name));
            page.sources(name).len()
        });
        assert_eq!(tracked.iter().sum::<usize>(), TOTAL, "round {round}: {tracked:?}");
        assert!(tracked.iter().all(|tracked| *tracked <= MOST), "round {round}: {tracked:?}");
    }
}

/// Thousands come, fall silent, and come back, some of them just as they are being forgotten.
#[test]
fn who_is_forgotten_under_load_takes_no_frame_along() {
    if !root() {
        return;
    }
    /// Sources that take turns, of which a third talks at a time.
    const SOURCES: u128 = 3000;
    let full = std::env::var_os("MACWATCH_FULL").is_some();
    let deletions = if full { 60_000.0 } else { 4000.0 };
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let options = "-i mw0 --sources.idle-timeout 1s --sources.max 2500 --log.level warn";
    let exporter = Exporter::start(&ours, options);
    exporter.wait_up("mw0");
    let (stop, begun) = (AtomicBool::new(false), Instant::now());
    let sent: u64 = thread::scope(|scope| {
        let senders: Vec<_> = (0..2)
            .map(|cpu| {
                let (stop, theirs) = (&stop, &theirs);
                scope.spawn(move || {
                    pin(cpu);
                    let injector = Injector::open(theirs, "peer0");
                    let (mut sent, mut round) = (0, 0u128);
                    while !stop.load(Ordering::Relaxed) {
                        // Windows that wander: some are silent for a little more than the time-out.
                        let elapsed = begun.elapsed().as_millis();
                        let window = elapsed * SOURCES / 3300;
                        sent += injector.pour((0..512).map(|n| {
                            let near = (round * 512 + n) * 7919 % (SOURCES / 3);
                            source(u32::try_from((window + near) % SOURCES).unwrap())
                        }));
                        round += 1;
                        if Engine::under_test() == Engine::Channel {
                            // No more than can be read.
                            thread::park_timeout(Duration::from_millis(2));
                        }
                    }
                    sent
                })
            })
            .collect();
        let stopping = Stop(&stop);
        let mut before = 0.0;
        loop {
            let page = exporter.scrape();
            page.assert_balanced();
            let frames = page.interface("frames_total", "mw0");
            assert!(frames >= before, "{before} frames became {frames}");
            before = frames;
            if page.interface("expired_sources_total", "mw0") >= deletions {
                break;
            }
            assert!(begun.elapsed() < if full { 2 * DEADLINE } else { DEADLINE }, "too few deletions");
            thread::park_timeout(Duration::from_millis(20));
        }
        drop(stopping);
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    });
    let page = exporter.wait_page("all frames to be counted", |page| {
        page.assert_balanced();
        page.interface("frames_total", "mw0") + page.interface("dropped_frames_total", "mw0") >= sent as f64
    });
    // Only the channel engine may drop, when the machine is very busy.
    let dropped = page.interface("dropped_frames_total", "mw0");
    assert!(dropped == 0.0 || Engine::under_test() == Engine::Channel, "{dropped} dropped");
    let counted = sent as f64 - dropped;
    assert_eq!(page.interface("frames_total", "mw0"), counted);
    // At the end all are forgotten, and every frame is among the expired and untracked ones.
    let page = exporter.wait_page("all to be forgotten", |page| page.sources("mw0").is_empty());
    page.assert_balanced();
    let of = |family| page.interface(family, "mw0");
    assert_eq!(of("expired_frames_total") + of("untracked_frames_total"), counted);
    assert_eq!(of("new_sources_total"), of("expired_sources_total"));
    assert_eq!(of("bytes_total"), counted * BYTES as f64);
    println!("{sent} frames, {} deletions, {:?}", of("expired_sources_total"), begun.elapsed());

    // All room is there again.
    let injector = Injector::open(&theirs, "peer0");
    let mut sent = counted;
    exporter.wait_page("as many as may be", |page| {
        page.assert_balanced();
        let tracked = page.interface("sources", "mw0");
        assert!(tracked <= 2500.0, "{tracked}");
        // They are forgotten in a second, and on a busy machine a page may take as long.
        if page.interface("frames_total", "mw0") + page.interface("dropped_frames_total", "mw0")
            >= sent + dropped
        {
            sent += injector.pour((0..2600).map(|n| random_source(n + 1_000_000))) as f64;
        }
        tracked == 2500.0
    });
    assert_eq!(exporter.logged("level=ERROR"), 0, "{}", exporter.log());
}
