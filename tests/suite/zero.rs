//! Zero first: a scraper that was here before sees a new source at 0 before it sees its count.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use crate::common::crowd::{CROWD, crowded};
use crate::common::exporter::{Metrics, PORT};
use crate::common::frames::{frame, send, source, text};
use crate::common::http::{Response, connect_from, inflated, read_one, wait_begun};
use crate::common::{Exporter, Namespace, root, veth, wait_until, wire};

/// A Prometheus, as far as the exporter can tell: it has an address, and says what it is.
struct Scraper<'n> {
    namespace: &'n Namespace,
    address: Ipv4Addr,
}

impl<'n> Scraper<'n> {
    /// Each has an address of its own.
    fn new(namespace: &'n Namespace, n: u8) -> Self {
        Self { namespace, address: Ipv4Addr::new(127, 0, 0, n) }
    }

    /// Asks for the page, and reads none of it yet.
    fn ask(&self, method: &str, coding: &str) -> TcpStream {
        let mut stream = connect_from(self.namespace, self.address, PORT).unwrap();
        let headers = format!("Accept-Encoding: {coding}\r\nX-Prometheus-Scrape-Timeout-Seconds: 10");
        write!(stream, "{method} /metrics HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n").unwrap();
        stream
    }

    #[track_caller]
    fn scrape(&self) -> Metrics {
        page(&read_one(&self.ask("GET", "identity"), "GET"))
    }
}

#[track_caller]
fn page(answer: &Response) -> Metrics {
    assert_eq!(answer.status, 200);
    Metrics::parse(&answer.text())
}

/// Frames of the n-th source, as a page has them.
fn frames(page: &Metrics, n: u32) -> Option<f64> {
    page.get(&format!("macwatch_source_frames_total{{{}}}", labels(n)))
}

fn labels(n: u32) -> String {
    format!("interface=\"mw0\",source_mac=\"{}\"", text(source(n)))
}

/// Frames of 100 bytes of the n-th source, and waits until they are counted.
#[track_caller]
fn talk(exporter: &Exporter<'_>, theirs: &Namespace, n: u32, count: usize) {
    let before = exporter.scrape().source("mw0", &text(source(n))).0;
    send(theirs, "peer0", &vec![frame(source(n), 100); count]);
    let series = format!("macwatch_source_frames_total{{{}}}", labels(n));
    exporter.wait_value(&series, before + count as f64);
}

#[test]
fn each_scraper_sees_a_new_source_at_zero_once() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    let [first, second, late] = [2, 3, 4].map(|n| Scraper::new(&ours, n));
    talk(&exporter, &theirs, 1, 3);
    for scraper in [&first, &second] {
        assert_eq!(frames(&scraper.scrape(), 1), Some(3.0), "its first page is true");
    }

    talk(&exporter, &theirs, 2, 5);
    for scraper in [&first, &second] {
        assert_eq!(frames(&exporter.scrape(), 2), Some(5.0), "a person sees the truth");
        let page = scraper.scrape();
        assert_eq!((frames(&page, 1), frames(&page, 2)), (Some(3.0), Some(0.0)));
        let page = scraper.scrape();
        assert_eq!((frames(&page, 1), frames(&page, 2)), (Some(3.0), Some(5.0)));
        page.assert_balanced();
    }
    // One that joins late knows neither: what was counted long ago must not look like traffic of now.
    let page = late.scrape();
    assert_eq!((frames(&page, 1), frames(&page, 2)), (Some(3.0), Some(5.0)));

    talk(&exporter, &theirs, 1, 1);
    talk(&exporter, &theirs, 3, 2);
    for scraper in [&first, &second, &late] {
        assert_eq!(frames(&scraper.scrape(), 3), Some(0.0));
    }
    for scraper in [&first, &second, &late] {
        let page = scraper.scrape();
        assert_eq!((frames(&page, 1), frames(&page, 3)), (Some(4.0), Some(2.0)));
    }
}

#[test]
fn only_the_counters_are_held_back() {
    if !root() {
        return;
    }
    let inventory = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(inventory.path(), format!("{} printer\n", text(source(1)))).unwrap();
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let option = format!("--inventory.file {}", inventory.path().display());
    let exporter = Exporter::start(&ours, &format!("-i mw0 {option}"));
    exporter.wait_up("mw0");
    let scraper = Scraper::new(&ours, 2);
    scraper.scrape();
    talk(&exporter, &theirs, 1, 5);
    let (seen, held) = (exporter.scrape(), scraper.scrape());
    for family in ["frames", "bytes"] {
        let of_interface = format!("macwatch_interface_{family}_total{{interface=\"mw0\"}}");
        let of_source = format!("macwatch_source_{family}_total{{{}}}", labels(1));
        assert!(seen.value(&of_source) > 0.0);
        assert_eq!(held.value(&of_source), 0.0);
        assert_eq!(held.value(&of_interface), seen.value(&of_interface), "totals are true");
    }
    assert_eq!(held.interface("new_sources_total", "mw0"), 1.0);
    for family in ["first_seen_timestamp_seconds", "last_seen_timestamp_seconds", "known"] {
        let series = format!("macwatch_source_{family}{{{}}}", labels(1));
        assert!(held.value(&series) > 0.0);
        assert_eq!(held.value(&series), seen.value(&series));
    }
}

#[test]
fn what_was_not_received_is_shown_at_zero_again() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = crowded(&ours, &theirs, "--log.level debug");
    let scraper = Scraper::new(&ours, 2);
    scraper.scrape();
    let (new, newer) = (CROWD, CROWD + 1);
    talk(&exporter, &theirs, new, 7);

    // Asking for the head alone receives nothing.
    read_one(&scraper.ask("HEAD", "identity"), "HEAD");
    // Neither does breaking off in the middle.
    let mut broken = scraper.ask("GET", "identity");
    broken.read_exact(&mut vec![0; 100_000]).unwrap();
    drop(broken);
    wait_until("the exporter to notice", || exporter.logged("msg=\"connection ended\"") == 1);

    // One that is slow receives it in the end. Until then it does not count.
    let slow = scraper.ask("GET", "identity");
    wait_begun(&slow);
    let answer = read_one(&scraper.ask("GET", "gzip"), "GET");
    assert_eq!(frames(&Metrics::parse(&inflated(&answer)), new), Some(0.0));
    talk(&exporter, &theirs, newer, 4);
    let old_page = page(&read_one(&slow, "GET"));
    assert_eq!((frames(&old_page, new), frames(&old_page, newer)), (Some(0.0), None));
    let page = scraper.scrape();
    assert_eq!((frames(&page, new), frames(&page, newer)), (Some(7.0), Some(0.0)));
    assert_eq!(frames(&scraper.scrape(), newer), Some(4.0));
}

#[test]
fn a_source_that_comes_back_begins_at_zero() {
    let Some((ours, theirs)) = wire() else { return };
    // As long as three scrapes may take on a busy machine.
    let exporter = Exporter::start(&ours, "-i mw0 --sources.idle-timeout 5s");
    exporter.wait_up("mw0");
    let scraper = Scraper::new(&ours, 2);
    scraper.scrape();
    for count in [3, 5] {
        talk(&exporter, &theirs, 1, count);
        assert_eq!(frames(&scraper.scrape(), 1), Some(0.0));
        assert_eq!(frames(&scraper.scrape(), 1), Some(count as f64));
        wait_until("the source to leave", || frames(&scraper.scrape(), 1).is_none());
    }
}

#[test]
fn it_can_be_turned_off() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0 --web.no-zero-first");
    exporter.wait_up("mw0");
    let scraper = Scraper::new(&ours, 2);
    scraper.scrape();
    talk(&exporter, &theirs, 1, 3);
    assert_eq!(frames(&scraper.scrape(), 1), Some(3.0));
}
