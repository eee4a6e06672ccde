//! The whole metrics page, against the one that is kept in `tests/golden`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::common::exporter::PORT;
use crate::common::frames::{frame, send};
use crate::common::http::{self, OPEN};
use crate::common::{Engine, Exporter, Namespace, root, text, veth};

/// Says that the page of today is the right one.
const BLESS: &str = "MACWATCH_BLESS";

/// Addresses of each kind; the page shows them all.
const SENDERS: [([u8; 6], usize); 6] = [
    ([0x00, 0x1b, 0x21, 0x3c, 0x4d, 0x5e], 60),
    ([0x02, 0x42, 0xac, 0x11, 0x00, 0x02], 1514),
    ([0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a], 64),
    ([0x01, 0x00, 0x5e, 0x00, 0x00, 0x01], 100),
    ([0xff; 6], 60),
    ([0x00; 6], 60),
];
/// Three frames of this sender come last, when there is no room for it.
const LATE: [u8; 6] = [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];

/// An exporter in a fixed state: three interfaces, one of them missing and one silent.
fn exporter<'n>(ours: &'n Namespace, theirs: &Namespace) -> Exporter<'n> {
    for n in 0..2 {
        veth(ours, &format!("mw{n}"), theirs, &format!("peer{n}"));
        ours.ip(&format!("link set mw{n} address 02:00:00:00:01:0{n}"));
    }
    let room = SENDERS.len();
    let exporter = Exporter::start(ours, &format!("-i mw0 -i mw1 -i absent0 --sources.max {room}"));
    exporter.wait_up("mw0");
    exporter.wait_up("mw1");
    let mut frames: Vec<Vec<u8>> = SENDERS.iter().map(|(source, bytes)| frame(*source, *bytes)).collect();
    frames.push(frame(SENDERS[1].0, 1514));
    frames.extend((0..3).map(|_| frame(LATE, 60)));
    send(theirs, "peer0", &frames);
    exporter.wait_value("macwatch_interface_frames_total{interface=\"mw0\"}", frames.len() as f64);
    exporter
}

fn page(exporter: &Exporter<'_>) -> String {
    exporter.get("/metrics").unwrap().text()
}

/// The same in OpenMetrics.
fn open_page(namespace: &Namespace) -> String {
    http::request(namespace, PORT, "GET", "/metrics", OPEN).unwrap().text()
}

/// Replaces what differs from run to run: times, this process, this build, how often a test looked.
fn masked(page: &str) -> String {
    let mut masked = String::new();
    for line in page.lines() {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let varies = name.ends_with("_timestamp_seconds")
            || name.ends_with("_duration_seconds")
            || name.starts_with("process_")
            || (name == "macwatch_http_requests_total" && (value != "0" || series.contains("503")));
        // Writing to a String cannot fail.
        let _ = if line.starts_with('#') {
            writeln!(masked, "{line}")
        } else if name == "macwatch_build_info" {
            let labels: Vec<&str> =
                series.split(['{', ',']).skip(1).map(|label| label.split('=').next().unwrap()).collect();
            writeln!(masked, "{name}{{{}}} {value}", labels.join("=\"<build>\",") + "=\"<build>\"")
        } else if name == "macwatch_interface_info" {
            writeln!(masked, "{}", line.replace(Engine::under_test().name(), "<engine>"))
        } else if varies {
            writeln!(masked, "{series} <varies>")
        } else {
            writeln!(masked, "{line}")
        };
    }
    masked
}

#[test]
fn the_page_is_the_golden_one() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = exporter(&ours, &theirs);
    assert_golden("metrics.txt", &page(&exporter));
    assert_golden("openmetrics.txt", &open_page(&ours));
}

#[track_caller]
fn assert_golden(file: &str, page: &str) {
    let found = masked(page);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        found == expected,
        "the page differs from {}:\n{}if it is right as it is now: {BLESS}=1 tests/run page::",
        golden.display(),
        diff(&expected, &found)
    );
}

/// The lines of either that are not in the other, in order.
fn diff(expected: &str, found: &str) -> String {
    let lines = |text: &str, other: &str, sign: char| {
        let other: HashSet<&str> = other.lines().collect();
        let only = text.lines().filter(|line| !other.contains(line));
        only.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    let diff = lines(expected, found, '-') + &lines(found, expected, '+');
    if diff.is_empty() { "the same lines in another order\n".to_owned() } else { diff }
}

#[test]
fn promtool_has_nothing_to_say() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let page = page(&exporter(&ours, &theirs));
    let mut promtool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), ""));
}

/// What `promtool check metrics` of Debian 12 does not look at.
#[test]
fn families_and_series_are_unique_and_keep_their_order() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = exporter(&ours, &theirs);
    let keys = |page: &str| -> Vec<String> {
        let key = |line: &str| match line.strip_prefix("# ") {
            Some(comment) => comment.to_owned(),
            None => line.rsplit_once(' ').unwrap().0.to_owned(),
        };
        page.lines().map(key).collect()
    };
    let first = keys(&page(&exporter));
    // More frames of those that are there change no key, nor the order.
    send(&theirs, "peer0", &[frame(SENDERS[5].0, 60), frame(SENDERS[0].0, 60)]);
    exporter.wait_value("macwatch_interface_frames_total{interface=\"mw0\"}", 12.0);
    assert_eq!(first, keys(&page(&exporter)));

    let mut unique = HashSet::new();
    let mut family = String::new();
    for key in &first {
        assert!(unique.insert(key), "twice: {key}");
        if let Some(comment) = key.strip_prefix("HELP ") {
            family = comment.split(' ').next().unwrap().to_owned();
            assert!(comment.len() > family.len() + 10 && comment.ends_with('.'), "no sentence: {comment}");
        } else if let Some(comment) = key.strip_prefix("TYPE ") {
            let kind = if family.ends_with("_total") { "counter" } else { "gauge" };
            assert_eq!(comment, format!("{family} {kind}"));
        } else {
            assert_eq!(key.split('{').next(), Some(&*family), "under the wrong family");
        }
    }
    let families: Vec<&String> = first.iter().filter(|key| key.starts_with("HELP ")).collect();
    assert!(families.len() > 20, "{families:?}");
}
