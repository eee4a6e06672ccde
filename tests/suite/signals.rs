//! How it ends: soon, with everybody served, and on the spot for whoever cannot wait.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::crowd::{CROWD, crowded, sources_on};
use crate::common::exporter::PORT;
use crate::common::http::{ask, connect, parse, read_one, read_rest, wait_begun};
use crate::common::{Exporter, Namespace, root, wait_until};

/// What Kubernetes and systemd grant is far more, and so is any limit on clients; on an idle machine it is three seconds at
/// the most.
const SOON: Duration = Duration::from_secs(9);

/// How long it waits for clients. A test that is slower than that itself shows nothing of it.
const GRACE: Duration = Duration::from_secs(3);

fn each_signal(test: impl Fn(Signal, &str)) {
    test(Signal::TERM, "SIGTERM");
    test(Signal::INT, "SIGINT");
}

#[test]
fn a_signal_ends_it_with_success() {
    if !root() {
        return;
    }
    each_signal(|signal, name| {
        let namespace = Namespace::new();
        let mut exporter = Exporter::start(&namespace, "");
        let begun = Instant::now();
        exporter.signal(signal);
        assert_eq!(exporter.wait().code(), Some(0));
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        assert_eq!(
            exporter.logged(&format!("msg=\"stopping; a second signal ends at once\" signal={name}")),
            1
        );
        let log = exporter.log();
        assert!(log.lines().last().unwrap().contains("msg=stopped frames=0 sources=0"), "{log}");
    });
}

#[test]
fn who_is_reading_a_page_gets_all_of_it() {
    if !root() {
        return;
    }
    each_signal(|signal, _| wait_until("an answer in time", || is_read_to_the_end(signal)));
}

/// False if this machine was too busy to tell.
#[track_caller]
fn is_read_to_the_end(signal: Signal) -> bool {
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let mut exporter = crowded(&ours, &theirs, "");
    let mut reading = connect(&ours, PORT).unwrap();
    ask(&reading, "GET", "/metrics");
    wait_begun(&reading);
    let mut half = connect(&ours, PORT).unwrap();
    half.write_all(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
    let idle = connect(&ours, PORT).unwrap();
    ask(&idle, "GET", "/-/healthy");
    read_one(&idle, "GET");

    let begun = Instant::now();
    exporter.signal(signal);
    wait_until("it to stop", || exporter.logged("msg=\"stopping") > 0);
    let answer = read_rest(&mut reading);
    if begun.elapsed() >= GRACE {
        return false;
    }
    let page = parse(&answer).unwrap();
    assert_eq!(page.status, 200);
    assert_eq!(sources_on(&page.text()), CROWD);
    assert!(page.text().contains("\nmacwatch_scrape_duration_seconds "), "to the end");
    assert_eq!(exporter.wait().code(), Some(0));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    true
}

/// One with a client that has asked for a large page and does not read it.
fn kept<'n>(ours: &'n Namespace, theirs: &Namespace) -> (Exporter<'n>, TcpStream) {
    let exporter = crowded(ours, theirs, "");
    let stuck = connect(ours, PORT).unwrap();
    ask(&stuck, "GET", "/metrics");
    wait_begun(&stuck);
    (exporter, stuck)
}

#[test]
fn who_does_not_read_does_not_keep_it() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let (mut exporter, _stuck) = kept(&ours, &theirs);
    let begun = Instant::now();
    exporter.signal(Signal::TERM);
    assert_eq!(exporter.wait().code(), Some(0));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(exporter.logged("msg=\"connections still open; closing them\" open=1"), 1);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    if !root() {
        return;
    }
    for (first, second, code) in [
        (Signal::TERM, Signal::TERM, 128 + 15),
        (Signal::TERM, Signal::INT, 128 + 2),
        (Signal::INT, Signal::INT, 130),
    ] {
        let in_time = || {
            let (ours, theirs) = (Namespace::new(), Namespace::new());
            let (mut exporter, _stuck) = kept(&ours, &theirs);
            let begun = Instant::now();
            exporter.signal(first);
            wait_until("it to stop", || exporter.logged("msg=\"stopping") > 0);
            // The same one at once, as timeout(1) sends it, is no second one yet.
            let ended = || {
                exporter.signal(second);
                exporter.logged("level=WARN msg=\"ended by a second signal\"") > 0
            };
            while !ended() {
                if begun.elapsed() >= GRACE {
                    return false;
                }
                std::thread::park_timeout(Duration::from_millis(10));
            }
            assert_eq!(exporter.wait().code(), Some(code), "not by itself, with 0, after the grace");
            assert_eq!(exporter.logged("level=WARN msg=\"ended by a second signal\""), 1);
            true
        };
        wait_until("two signals in time", in_time);
    }
}
