//! Interfaces that are renamed, deleted, made anew and many, while frames pour in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::common::frames::{Stop, frame, send, source, text};
use crate::common::inject::{Injector, random_source};
use crate::common::namespace::{silence, wait_carrier};
use crate::common::{Engine, Exporter, Namespace, root, veth, wait_until, wire};

/// What each interface had counted when its series left the page, in frames.
fn closed(exporter: &Exporter<'_>) -> Vec<f64> {
    let log = exporter.log();
    let frames = |line: &str| line.split(" frames=").nth(1)?.split(' ').next()?.parse().ok();
    log.lines().filter(|line| line.contains("books closed")).filter_map(frames).collect()
}

/// A name that is asked for stays with its counts when its interface takes another; the same sources talk on, and
/// what they say is the other's.
#[test]
fn what_is_said_after_a_rename_is_the_new_names() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0 -i x*");
    exporter.wait_up("mw0");
    let say = |frames| send(&theirs, "peer0", &vec![frame(source(1), 60); frames]);
    let mac = text(source(1));
    say(3);
    exporter.wait_frames("mw0", 3.0);
    for round in 1..=3 {
        ours.ip("link set mw0 name x0");
        exporter.wait_up("x0");
        exporter.wait_down("mw0");
        say(2);
        let page = exporter.wait_frames("x0", 2.0);
        assert_eq!(page.source("x0", &mac), (2.0, 120.0));
        assert_eq!(page.source("mw0", &mac).0, 3.0 + 4.0 * f64::from(round - 1));
        ours.ip("link set x0 name mw0");
        exporter.wait_gone("x0");
        exporter.wait_up("mw0");
        say(4);
        let page = exporter.wait_frames("mw0", 3.0 + 4.0 * f64::from(round));
        assert_eq!(page.sources("mw0"), [mac.as_str()]);
        page.assert_balanced();
    }
}

/// Two that are asked for by name change names.
#[test]
fn two_that_swap_names_are_told_apart() {
    let Some((ours, theirs)) = wire() else { return };
    veth(&ours, "mw1", &theirs, "peer1");
    let exporter = Exporter::start(&ours, "-i mw0 -i mw1");
    exporter.wait_up("mw0");
    exporter.wait_up("mw1");
    // One source on both, one on each.
    let say = |peer: &str, n: u32| send(&theirs, peer, &[source(0), source(n)].map(|mac| frame(mac, 60)));
    say("peer0", 1);
    say("peer1", 2);
    exporter.wait_frames("mw0", 2.0);
    exporter.wait_frames("mw1", 2.0);
    let mut behind = ["peer0", "peer1"];
    for round in 1..=4 {
        let rebinds = |name: &str| exporter.scrape().interface("rebinds_total", name);
        ours.ip_batch("link set mw0 name swap\nlink set mw1 name mw0\nlink set swap name mw1\n");
        behind.reverse();
        wait_until("both to be bound anew", || {
            ["mw0", "mw1"].iter().all(|name| rebinds(name) >= f64::from(round))
        });
        exporter.wait_up("mw0");
        exporter.wait_up("mw1");
        let numbers = if behind[0] == "peer0" { [1, 2] } else { [2, 1] };
        for (peer, n) in behind.iter().zip(numbers) {
            say(peer, n);
        }
        for name in ["mw0", "mw1"] {
            let page = exporter.wait_frames(name, f64::from(2 + 2 * round));
            page.assert_balanced();
            assert_eq!(page.source(name, &text(source(0))).0, f64::from(1 + round), "{name}");
        }
    }
}

#[test]
fn no_frame_is_lost_or_counted_twice_between_two_names() {
    if !root() {
        return;
    }
    const NAMES: usize = 8;
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    // With a memory: under a name that was there before, sources are restored while they talk.
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let options = format!("-i mw* --log.level debug --sources.max 4000 --state.file {}", state.display());
    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    let injector = Injector::open(&theirs, "peer0");
    let stop = AtomicBool::new(false);
    let name = |n: usize| format!("mw{}", n % 3);
    let last = name(NAMES);
    let sent = thread::scope(|scope| {
        let pouring = scope.spawn(|| {
            // Those who talk all the time, and now and then somebody new.
            let sources =
                (0..u32::MAX).map(|n| if n % 512 == 0 { random_source(n.into()) } else { source(n % 300) });
            let mut sent = 0;
            let mut sources = sources.into_iter();
            while !stop.load(Ordering::Relaxed) {
                sent += injector.pour(sources.by_ref().take(512));
            }
            sent
        });
        let _stop = Stop(&stop);
        for n in 0..NAMES {
            ours.ip(&format!("link set {} name {}", name(n), name(n + 1)));
            let name = name(n + 1);
            exporter.wait_up(&name);
            let page =
                exporter.wait_page("some frames", |page| page.interface("frames_total", &name) > 1000.0);
            page.assert_balanced();
        }
        stop.store(true, Ordering::Relaxed);
        pouring.join().unwrap()
    });
    let total = || {
        let page = exporter.scrape();
        page.assert_balanced();
        let before: f64 = closed(&exporter).iter().sum();
        (before + page.interface("frames_total", &last), page.interface("dropped_frames_total", &last))
    };
    if Engine::under_test() == Engine::Channel {
        // What found no room in the queue was told under the names of then.
        wait_until("frames to be counted", || total().0 > 0.0);
        assert!(total().0 <= sent as f64);
        return;
    }
    wait_until("all books but the last to be closed", || closed(&exporter).len() == NAMES);
    assert_eq!(total(), (sent as f64, 0.0), "{:?}", closed(&exporter));
}

/// Deleted and made again under load, a named interface goes on with its series.
#[test]
fn a_named_one_that_is_made_anew_under_load_goes_on() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = Exporter::start(&ours, "-i mw0 --sources.max 4000");
    let mac = text(source(1));
    let poured = AtomicU64::new(0);
    for round in 0..12u32 {
        veth(&ours, "mw0", &theirs, "peer0");
        exporter.wait_up("mw0");
        // Alone, a source is counted to the frame, before and after.
        let before = exporter.scrape();
        let injector = Injector::open(&theirs, "peer0");
        injector.pour(vec![source(1); 100]);
        let expected = before.interface("frames_total", "mw0") + 100.0;
        let page = exporter.wait_frames("mw0", expected);
        assert_eq!(page.source("mw0", &mac).0, f64::from(100 * (round + 1)));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut sources = (2..).map(|n| source(n % 700 + 2 + round));
                // Until the interface is no more.
                while let Ok(sent) = injector.try_pour(sources.by_ref().take(64)) {
                    poured.fetch_add(sent, Ordering::Relaxed);
                }
            });
            exporter.wait_page("the load", |page| page.interface("frames_total", "mw0") > expected + 500.0);
            ours.ip("link del mw0");
        });
        exporter.wait_down("mw0").assert_balanced();
    }
    let page = exporter.scrape();
    page.assert_balanced();
    assert_eq!(page.source("mw0", &mac).0, 1200.0);
    assert_eq!(page.interface("expired_sources_total", "mw0"), 0.0);
    // The last call of each round may have been cut short.
    let most = 1200 + poured.load(Ordering::Relaxed) + 12 * 64;
    assert!(page.interface("frames_total", "mw0") <= most as f64);
}

/// One that comes by pattern begins anew each time, whoever reads the page at the time.
#[test]
fn who_reads_the_page_keeps_no_books_open() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = Exporter::start(&ours, "-i mw*");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    exporter.scrape().assert_balanced();
                }
            });
        }
        let _stop = Stop(&stop);
        for _ in 0..25 {
            veth(&ours, "mw0", &theirs, "peer0");
            exporter.wait_up("mw0");
            send(&theirs, "peer0", &vec![frame(source(1), 60); 7]);
            let page = exporter.wait_frames("mw0", 7.0);
            assert_eq!(page.source("mw0", &text(source(1))), (7.0, 420.0));
            ours.ip("link del mw0");
            // Of its series those of the capture go first; the books follow as soon as they can be closed.
            exporter.wait_page("it to be missed", |page| {
                page.get("macwatch_interface_capture_up{interface=\"mw0\"}").is_none()
            });
        }
    });
}

#[test]
fn sixty_four_interfaces_at_once() {
    if !root() {
        return;
    }
    const INTERFACES: u32 = 64;
    const FRAMES: u64 = 2000;
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let mut here = String::new();
    for n in 0..INTERFACES {
        here += &format!("link add mw{n} up type veth peer name peer{n} netns {}\n", theirs.name());
    }
    ours.ip_batch(&here);
    let there: String = (0..INTERFACES).map(|n| format!("link set peer{n} up\n")).collect();
    theirs.ip_batch(&there);
    (0..INTERFACES).for_each(|n| silence(&theirs, &format!("peer{n}")));
    let exporter = Exporter::start(&ours, "-i mw*");
    (0..INTERFACES).for_each(|n| exporter.wait_up(&format!("mw{n}")));
    (0..INTERFACES).for_each(|n| wait_carrier(&theirs, &format!("peer{n}")));
    thread::scope(|scope| {
        for sender in 0..4 {
            let theirs = &theirs;
            scope.spawn(move || {
                for n in (sender..INTERFACES).step_by(4) {
                    let own = n + 1;
                    let injector = Injector::open(theirs, &format!("peer{n}"));
                    injector.pour((0..FRAMES).map(|frame| source(if frame % 2 == 0 { 0 } else { own })));
                }
            });
        }
    });
    for n in 0..INTERFACES {
        let name = format!("mw{n}");
        let page = exporter.wait_frames(&name, FRAMES as f64);
        assert_eq!(page.source(&name, &text(source(n + 1))).0, FRAMES as f64 / 2.0);
        assert_eq!(page.interface("sources", &name), 2.0);
    }
    exporter.scrape().assert_balanced();
}
