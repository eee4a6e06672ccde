//! Clients that are many, slow or silent cost each other nothing.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::crowd::{CROWD, crowd_of, crowded, sources_on};
use crate::common::exporter::{Metrics, PORT};
use crate::common::http::{ask, connect, connect_from, read_one, read_rest, wait_begun};
use crate::common::{Exporter, Namespace, root, veth, wait_until};

/// Far more than a page takes on a busy machine, less than any limit on clients.
const PROMPT: Duration = Duration::from_secs(8);

/// Sources that make the page 400 kB long: a hundred pages are fewer bytes than may wait for their readers.
const FEW: u32 = 1024;

/// Sources that make the page 6 MB long; the limit in all, unless said otherwise.
const MOST: u32 = 16_384;

/// A client that has asked for the page, and does not read on once the answer has begun: it does not fit into
/// the kernel's buffers.
#[track_caller]
fn slow_reader(namespace: &Namespace, n: u8) -> TcpStream {
    // Of several addresses: one may have a quarter of all connections.
    let stream = connect_from(namespace, Ipv4Addr::new(127, 0, 1, n % 4), PORT).unwrap();
    ask(&stream, "GET", "/metrics");
    // A signal may interrupt one look.
    wait_begun(&stream);
    stream
}

/// Scrapes: it must be prompt and complete.
#[track_caller]
fn assert_served(exporter: &Exporter<'_>) {
    let begun = Instant::now();
    let page = exporter.scrape();
    assert!(begun.elapsed() < PROMPT, "a scrape took {:?}", begun.elapsed());
    page.value("macwatch_scrape_duration_seconds");
}

#[test]
fn a_thousand_silent_clients_keep_nobody_out() {
    if !root() {
        return;
    }
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let namespace = Namespace::new();
    let exporter = Exporter::start(&namespace, "");
    let open = || std::fs::read_dir(format!("/proc/{}/fd", exporter.pid())).unwrap().count();
    let before = open();
    let mut silent: Vec<TcpStream> = Vec::new();
    for n in 0..1000 {
        // Of as many addresses as it takes: one may have a quarter of all.
        let address = Ipv4Addr::new(127, 0, 1, u8::try_from(n % 10).unwrap());
        silent.push(connect_from(&namespace, address, PORT).unwrap());
        if n % 100 == 0 {
            assert_served(&exporter);
        }
    }
    assert_served(&exporter);
    let more = open() - before;
    assert!((400..540).contains(&more), "the limit is 512 connections; {more} descriptors more are open");
    // The oldest had to go, the newest are there.
    assert_eq!(silent[0].read(&mut [0; 16]).unwrap(), 0, "closed");
    let newest = &silent[999];
    ask(newest, "GET", "/-/healthy");
    assert_eq!(read_one(newest, "GET").status, 200);
}

#[test]
fn a_hundred_slow_readers_delay_nobody() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    // Fewer places than readers: a place is held while a page is made, not while it is read.
    let exporter = crowd_of(FEW, &ours, &theirs, "--web.max-requests 3");
    let slow: Vec<TcpStream> = (0..100).map(|n| slow_reader(&ours, n)).collect();
    assert_served(&exporter);
    assert_served(&exporter);
    // Late, but whole.
    for stream in [&slow[0], &slow[99]] {
        let page = read_one(stream, "GET");
        assert_eq!(page.status, 200);
        assert_eq!(sources_on(&page.text()), FEW);
        assert!(page.text().contains("\nmacwatch_scrape_duration_seconds "), "to the end");
    }
}

/// Each keeps a page of its own, whose length is up to strangers on the wire.
#[test]
fn answers_that_nobody_reads_do_not_fill_the_memory() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = crowd_of(MOST, &ours, &theirs, "");
    let resident = || exporter.scrape().value("process_resident_memory_bytes");
    let (before, mut most) = (resident(), 0.0_f64);
    let mut slow: Vec<TcpStream> = Vec::new();
    for n in 1..=200 {
        slow.push(slow_reader(&ours, n));
        if n % 20 == 0 {
            assert_served(&exporter);
            most = most.max(resident());
        }
    }
    // 64 MiB of answers, and what making and freeing them takes; all of them would be 1.2 GB.
    let grown = most - before;
    assert!(grown < f64::from(160 << 20), "{grown} bytes more of memory");
    let warning = "level=WARN msg=\"clients do not read their answers";
    assert_eq!(exporter.logged(warning), 1, "{}", exporter.log());
    // The newest gets all of it, the oldest only what was under way.
    assert!(read_one(&slow[199], "GET").text().contains("macwatch_scrape_duration_seconds "));
    assert!(read_rest(&mut slow[0]).len() < 1 << 20);
}

#[test]
fn overlapping_scrapes_all_succeed() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = crowded(&ours, &theirs, "");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let stream = connect(&ours, PORT).unwrap();
                for _ in 0..10 {
                    ask(&stream, "GET", "/metrics");
                    let page = read_one(&stream, "GET");
                    assert_eq!(page.status, 200);
                    assert_eq!(sources_on(&page.text()), CROWD);
                }
            });
        }
    });
    assert_eq!(exporter.scrape().value("macwatch_http_requests_in_flight"), 1.0);
}

#[test]
fn beyond_the_limit_scrapes_are_refused_with_the_reason() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = crowded(&ours, &theirs, "--web.max-requests 1");
    // Making a page of this length takes a while: of several who ask at once, one is too many.
    wait_until("a refusal", || {
        let streams: Vec<TcpStream> = (0..8).map(|_| connect(&ours, PORT).unwrap()).collect();
        for stream in &streams {
            ask(stream, "GET", "/metrics");
        }
        let answers: Vec<_> = streams.iter().map(|stream| read_one(stream, "GET")).collect();
        assert!(answers.iter().any(|answer| answer.status == 200), "one is within the limit");
        let refused = answers.iter().find(|answer| answer.status == 503);
        refused.is_some_and(|answer| {
            assert_eq!(answer.text(), "Limit of concurrent requests reached (1), try again later.\n");
            true
        })
    });
    assert!(exporter.scrape().value("macwatch_http_requests_total{code=\"503\"}") >= 1.0);
}

/// Lets it open no descriptor of this number or above.
fn allow(exporter: &Exporter<'_>, most: usize) {
    let mut command = Command::new("prlimit");
    let command = command.args([format!("--pid={}", exporter.pid()), format!("--nofile={most}:")]);
    assert!(command.status().unwrap().success());
}

/// Nobody is told of an interface that is in no series.
#[test]
fn an_interface_that_cannot_be_captured_is_shown() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = Exporter::start(&ours, "");
    let kept = connect(&ours, PORT).unwrap();
    let page = || {
        ask(&kept, "GET", "/metrics");
        Metrics::parse(&read_one(&kept, "GET").text())
    };
    assert!(!page().mentions("mw0"));
    allow(&exporter, 3);
    veth(&ours, "mw0", &theirs, "peer0");
    let told = || exporter.logged("cannot start capturing; raise the limit on open files");
    wait_until("it to be told", || told() == 1);
    let shown = page();
    assert_eq!(shown.interface("capture_up", "mw0"), 0.0);
    let info = |page: &Metrics| page.matching("macwatch_interface_info{interface=\"mw0\",").count();
    assert_eq!(info(&shown), 1);
    assert_eq!(shown.interface("dropped_frames_total", "mw0"), 0.0);
    for (path, part) in [("/", "mw0"), ("/api/v1/interfaces", "\"capture_up\":false")] {
        ask(&kept, "GET", path);
        let text = read_one(&kept, "GET").text();
        assert!(text.contains(part), "{text}");
    }
    // Each notice has it tried again.
    ours.ip("link set mw0 mtu 1400");
    // What is gone need not be shown.
    ours.ip("link set mw0 name mw1");
    wait_until("the other name", || {
        let page = page();
        !page.mentions("mw0") && page.mentions("mw1")
    });
    allow(&exporter, 1000);
    ours.ip("link set mw1 mtu 1300");
    exporter.wait_up("mw1");
    assert_eq!(info(&exporter.scrape()), 0);
    assert_eq!(told(), 2, "once for each name, however often it is tried: {}", exporter.log());
    ours.ip("link del mw1");
    exporter.wait_gone("mw1");
}

#[test]
fn without_descriptors_it_waits_and_goes_on() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let exporter = Exporter::start(&namespace, "");
    // It keeps some in reserve; so they are taken away while it runs.
    let allow = |most| allow(&exporter, most);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", exporter.pid())).unwrap().count();
    let before = exporter.cpu_seconds();
    let alone = open();
    // Those who say nothing give way, as long as there are any.
    allow(open() + 10);
    let clients: Vec<TcpStream> = (0..100).map(|_| connect(&namespace, PORT).unwrap()).collect();
    wait_until("a warning", || exporter.logged("closing connections to accept others") > 0);
    assert_served(&exporter);
    assert_eq!(exporter.logged("closing connections to accept others"), 1, "one for all of them");
    drop(clients);
    let warnings = || exporter.logged("level=WARN msg=\"cannot accept connections\"");
    assert_eq!(warnings(), 0);
    wait_until("them to be gone", || open() <= alone);
    // The limit is one on numbers: now there is none to be had, and the one that was put by serves no more.
    allow(3);
    drop(connect(&namespace, PORT).unwrap());
    wait_until("a warning", || warnings() > 0);
    let begun = Instant::now();
    wait_until("a second of it", || begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(warnings(), 1, "one for all attempts");
    allow(1000);
    wait_until("it to serve again", || exporter.get("/-/healthy").is_ok_and(|answer| answer.status == 200));
    let spent = exporter.cpu_seconds() - before;
    assert!(spent < 0.5, "{spent} s of CPU");
    assert_served(&exporter);
}
