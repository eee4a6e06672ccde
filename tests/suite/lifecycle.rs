//! An interface that goes and comes back is captured again: no frame is lost, no CPU is burnt meanwhile.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::frames::{frame, send, send_until, source, text};
use crate::common::namespace::wait_carrier;
use crate::common::{Exporter, Namespace, root, veth, wait_until, wire};

const CYCLES: u32 = 50;

const REBINDS: &str = "macwatch_interface_rebinds_total{interface=\"mw0\"}";

/// What is sent in a cycle: three frames of two sources.
fn frames() -> [Vec<u8>; 3] {
    [frame(source(1), 60), frame(source(2), 100), frame(source(1), 1000)]
}

/// Waits until the log has said so often that the capture has begun.
#[track_caller]
fn wait_told(exporter: &Exporter<'_>, times: u32) {
    wait_until("the log to tell of capturing", || exporter.logged("msg=capturing") >= times as usize);
}

#[track_caller]
fn assert_counts(exporter: &Exporter<'_>, cycles: u32) {
    let cycles = f64::from(cycles);
    let page = exporter.wait_frames("mw0", 3.0 * cycles);
    assert_eq!(page.source("mw0", &text(source(1))), (2.0 * cycles, 1060.0 * cycles));
    assert_eq!(page.source("mw0", &text(source(2))), (cycles, 100.0 * cycles));
    assert_eq!(page.interface("dropped_frames_total", "mw0"), 0.0);
    page.assert_balanced();
}

/// CPU time so far, in seconds, and answers.
fn spent(exporter: &Exporter<'_>) -> (f64, f64) {
    let page = exporter.scrape();
    (page.value("process_cpu_seconds_total"), page.value("macwatch_http_requests_total{code=\"200\"}"))
}

/// What it has spent since then is little but for the pages: the slower the machine, the more of them are looked at, and
/// the more each takes.
#[track_caller]
fn assert_calm(exporter: &Exporter<'_>, before: (f64, f64)) {
    const LOOKS: u32 = 100;
    let after = spent(exporter);
    (0..LOOKS).for_each(|_| drop(exporter.scrape()));
    let a_page = (spent(exporter).0 - after.0) / f64::from(LOOKS + 1);
    let (cpu, pages) = (after.0 - before.0, after.1 - before.1);
    let rest = cpu - pages * a_page;
    println!("{rest:.3} s of CPU beside {pages} pages of {a_page:.6} s");
    assert!(rest < 1.0, "{cpu} s of CPU, {pages} pages of {a_page} s included");
}

#[test]
fn fifty_times_down_and_up() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    let before = spent(&exporter);
    for cycle in 1..=CYCLES {
        ours.ip("link set mw0 down");
        exporter.wait_down("mw0");
        ours.ip("link set mw0 up");
        exporter.wait_up("mw0");
        wait_carrier(&theirs, "peer0");
        send(&theirs, "peer0", &frames());
        exporter.wait_frames("mw0", f64::from(3 * cycle));
        wait_told(&exporter, 1 + cycle);
    }
    assert_counts(&exporter, CYCLES);
    // The kernel goes on by itself, so nothing was bound anew, and each return was told once.
    assert_eq!(exporter.scrape().value(REBINDS), 0.0);
    assert_eq!(exporter.logged("msg=capturing"), 1 + CYCLES as usize);
    assert_calm(&exporter, before);
}

#[test]
fn fifty_times_deleted_and_made_again() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    let before = spent(&exporter);
    for cycle in 1..=CYCLES {
        ours.ip("link del mw0");
        let page = exporter.wait_down("mw0");
        // What was counted stays.
        assert_eq!(page.interface("frames_total", "mw0"), f64::from(3 * (cycle - 1)));
        veth(&ours, "mw0", &theirs, "peer0");
        exporter.wait_up("mw0");
        send(&theirs, "peer0", &frames());
        exporter.wait_frames("mw0", f64::from(3 * cycle));
        wait_told(&exporter, 1 + cycle);
    }
    assert_counts(&exporter, CYCLES);
    assert_eq!(exporter.scrape().value(REBINDS), f64::from(CYCLES));
    assert_eq!(exporter.logged("msg=capturing"), 1 + CYCLES as usize);
    assert_calm(&exporter, before);
}

/// Deleted and made again under the same name and index, so quickly that a list of interfaces looks the same
/// before and after.
#[test]
fn a_changeling_is_noticed() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let make = format!("link add mw0 index 77 type veth peer name peer0 netns {}\n", theirs.name());
    ours.ip_batch(&format!("{make}link set mw0 up\n"));
    theirs.ip("link set peer0 up");
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    for cycle in 1..=10 {
        let before = exporter.scrape().value(REBINDS);
        ours.ip_batch(&format!("link del mw0\n{make}link set mw0 up\n"));
        theirs.ip("link set peer0 up");
        wait_carrier(&theirs, "peer0");
        exporter.wait_page("the capture to be bound again", |page| {
            page.value(REBINDS) > before && page.interface("capture_up", "mw0") == 1.0
        });
        send(&theirs, "peer0", &frames());
        exporter.wait_frames("mw0", f64::from(3 * cycle));
    }
    assert_counts(&exporter, 10);
}

#[test]
fn each_change_is_one_line_of_the_log() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    wait_told(&exporter, 1);
    let lines = || exporter.log().lines().filter(|line| line.contains("interface=mw0")).count();
    let down = || exporter.logged("interface is down");
    assert_eq!((lines(), exporter.logged("msg=capturing")), (1, 1));

    // Going down on the way out is no line of its own, nor is coming in before being up. What a busy machine takes longer
    // for than is waited for one is two things that happened.
    let mut slow = 0;
    let mut at_once = |namespace: &Namespace, lines: &str| {
        let begun = Instant::now();
        namespace.ip_batch(lines);
        slow += usize::from(begun.elapsed() >= Duration::from_millis(300));
    };
    at_once(&ours, "link set mw0 down\nlink del mw0\n");
    wait_until("a word of it", || exporter.logged("interface is gone; waiting for it") == 1);
    let add = format!("link add mw0 type veth peer name peer0 netns {}\n", theirs.name());
    at_once(&ours, &format!("{add}link set mw0 up\n"));
    exporter.wait_up("mw0");
    wait_told(&exporter, 2);
    assert!(down() <= slow, "{}", exporter.log());
    assert_eq!((lines() - down(), exporter.logged("msg=capturing")), (3, 2), "{}", exporter.log());

    let before = (lines(), down());
    ours.ip("link set mw0 down");
    wait_until("a word of it", || down() == before.1 + 1);
    ours.ip("link set mw0 up");
    wait_told(&exporter, 3);
    assert_eq!((lines(), exporter.logged("msg=capturing")), (before.0 + 2, 3), "{}", exporter.log());
}

/// What was to be told may have become of something else by the time that it is: what is there then is told.
#[test]
fn what_is_told_late_is_what_is_true_by_then() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    let add = format!("link add mw0 type veth peer name peer0 netns {}\nlink set mw0 up\n", theirs.name());
    for round in 1..=6 {
        exporter.wait_up("mw0");
        ours.ip("link set mw0 down");
        exporter.wait_down("mw0");
        exporter.signal(Signal::STOP);
        // On a busy machine it may have lasted long enough before that.
        let told = exporter.logged("interface is down");
        let begun = Instant::now();
        ours.ip("link del mw0");
        wait_until("it to be worth a line", || begun.elapsed() >= Duration::from_millis(400));
        exporter.signal(Signal::CONT);
        wait_until("a word of it", || exporter.logged("interface is gone") == round);
        assert_eq!(exporter.logged("interface is down"), told, "{}", exporter.log());
        // All of it at once.
        exporter.signal(Signal::STOP);
        ours.ip_batch(&add);
        exporter.signal(Signal::CONT);
    }
}

/// pnet reports the same error of a socket for ever, at millions a second, to whoever keeps asking.
#[test]
fn an_interface_that_is_away_costs_nothing() {
    let Some((ours, theirs)) = wire() else { return };
    veth(&theirs, "busy0", &theirs, "busy1");
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    let idle_while_others_work = |what: &str| {
        let before = exporter.cpu_seconds();
        let begun = Instant::now();
        let over = || begun.elapsed() >= Duration::from_millis(400);
        let work = send_until(&theirs, "busy0", &[frame(source(1), 60)], over);
        let used = exporter.cpu_seconds() - before;
        assert!(used < 0.05, "{used} s of CPU while {what} and {work} frames were sent elsewhere");
    };
    idle_while_others_work("it is up and silent");
    ours.ip("link set mw0 down");
    exporter.wait_down("mw0");
    idle_while_others_work("it is down");
    ours.ip("link del mw0");
    wait_until("a word of it", || exporter.logged("interface is gone") == 1);
    idle_while_others_work("it is gone");
    veth(&ours, "mw0", &theirs, "peer0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &frames());
    assert_counts(&exporter, 1);
}

/// What a container host does all day: each interface that comes finds a receive queue as large as the first.
#[test]
fn sockets_of_deleted_interfaces_serve_those_that_follow() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = Exporter::start(&ours, "-i mw*");
    for n in 1..=40 {
        veth(&ours, "mw0", &theirs, "peer0");
        exporter.wait_up("mw0");
        send(&theirs, "peer0", &frames());
        // Nothing of the interface before it is counted again.
        exporter.wait_frames("mw0", frames().len() as f64);
        wait_told(&exporter, n);
        ours.ip("link del mw0");
        exporter.wait_gone("mw0");
        assert_eq!(exporter.logged("msg=capturing"), n as usize);
    }
    let log = exporter.log();
    let queues: std::collections::BTreeSet<&str> =
        log.lines().filter_map(|line| line.split("queue_bytes=").nth(1)).collect();
    assert_eq!(queues.len(), 1, "all of one size: {queues:?}");
    assert_eq!(exporter.logged("small receive queues"), 0, "{log}");
}
