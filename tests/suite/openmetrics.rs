//! The page in OpenMetrics, read by a parser that is not ours: that of Python's `prometheus_client`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde::Deserialize;

use crate::common::exporter::{Metrics, PORT};
use crate::common::frames::{frame, send, source, text};
use crate::common::http::{self, OPEN, inflated};
use crate::common::{Exporter, Namespace, root, veth};

/// Names that a kernel takes, and that must be escaped.
const ODD: &str = "q\"\\mw0";

#[derive(Debug, Deserialize)]
struct Family {
    r#type: String,
    unit: Option<String>,
    samples: Vec<(String, BTreeMap<String, String>, String)>,
}

type Families = BTreeMap<String, Family>;

/// The value of the series of this name with these labels, and maybe more.
#[track_caller]
fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |found: &BTreeMap<String, String>| {
        labels.iter().all(|(name, value)| found.get(*name).is_some_and(|found| found == value))
    };
    let mut samples = families.values().flat_map(|family| &family.samples);
    let found = samples.find(|(found, labels, _)| found == name && fits(labels));
    found.unwrap_or_else(|| panic!("no {name} {labels:?}")).2.parse().unwrap()
}

/// A Python that has the library: the system's, where another stands before it.
fn python() -> &'static str {
    let has = |python: &&str| {
        let import =
            Command::new(python).args(["-c", "import prometheus_client"]).stderr(Stdio::null()).status();
        import.is_ok_and(|status| status.success())
    };
    let found = ["/usr/bin/python3", "python3"].into_iter().find(has);
    found.unwrap_or_else(|| {
        panic!("prometheus_client for Python is missing: as root, run tests/run --prepare")
    })
}

/// What the library makes of a page.
#[track_caller]
fn parse(page: &str) -> Families {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/openmetrics.py");
    let mut child = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let page = page.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(page.as_bytes()));
    let output = child.wait_with_output().unwrap();
    drop(writer.join().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An exporter that has seen three sources on an interface of an odd name, and an inventory that calls one oddly.
struct Setting<'n> {
    exporter: Exporter<'n>,
    ours: &'n Namespace,
    _inventory: tempfile::NamedTempFile,
}

impl<'n> Setting<'n> {
    fn new(ours: &'n Namespace, theirs: &Namespace, options: &str) -> Self {
        veth(ours, ODD, theirs, "peer0");
        let inventory = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(inventory.path(), format!("{} the \"odd\" one \\ n\n", text(source(1)))).unwrap();
        let file = inventory.path().display();
        let exporter = Exporter::start(ours, &format!("--inventory.file {file} {options}"));
        exporter.wait_value("macwatch_interface_capture_up{interface=\"q\\\"\\\\mw0\"}", 1.0);
        send(theirs, "peer0", &[1, 1, 2, 3].map(|n| frame(source(n), 100)));
        exporter.wait_value("macwatch_interface_frames_total{interface=\"q\\\"\\\\mw0\"}", 4.0);
        Self { exporter, ours, _inventory: inventory }
    }

    /// The page in OpenMetrics, taken plain and compressed.
    #[track_caller]
    fn pages(&self) -> [String; 2] {
        ["identity", "gzip"].map(|coding| {
            let headers = format!("{OPEN}Accept-Encoding: {coding}\r\n");
            let page = http::request(self.ours, PORT, "GET", "/metrics", &headers).unwrap();
            assert_eq!(page.header("content-encoding").is_some(), coding == "gzip");
            inflated(&page)
        })
    }
}

#[test]
fn an_independent_parser_reads_what_the_text_format_says() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let setting = Setting::new(&ours, &theirs, "");
    let text_page = setting.exporter.scrape();
    for page in setting.pages() {
        let families = parse(&page);
        for n in [1, 2, 3] {
            let mac = text(source(n));
            let labels = [("interface", ODD), ("source_mac", &*mac)];
            let count = if n == 1 { 2.0 } else { 1.0 };
            assert_eq!(value(&families, "macwatch_source_frames_total", &labels), count);
            assert_eq!(value(&families, "macwatch_source_bytes_total", &labels), count * 100.0);
            let named = [("source_mac", &*mac), ("name", "the \"odd\" one \\ n")];
            assert_eq!(value(&families, "macwatch_source_known", &labels), f64::from(n == 1));
            let info = if n == 1 { &named } else { &labels };
            assert_eq!(value(&families, "macwatch_source_info", info), 1.0);
        }
        let kind =
            |name: &str| (families[name].r#type.as_str(), families[name].unit.as_deref().unwrap_or_default());
        assert_eq!(kind("macwatch_source_frames"), ("counter", ""));
        assert_eq!(kind("macwatch_source_bytes"), ("counter", "bytes"));
        assert_eq!(kind("macwatch_source_last_seen_timestamp_seconds"), ("gauge", "seconds"));
        assert_eq!(kind("macwatch_source"), ("info", ""));
        assert_eq!(kind("macwatch_build"), ("info", ""));
        assert_eq!(kind("process_cpu_seconds"), ("counter", "seconds"));
        // The same series as in the text format, each once, and no others.
        let series: usize = families.values().map(|family| family.samples.len()).sum();
        assert_eq!(series, text_page.matching("").count());
        assert!(!page.contains("_created{"), "only when asked for");
    }
}

#[test]
fn counters_tell_since_when_they_count_if_asked_to() {
    if !root() {
        return;
    }
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let begun = now() - 0.001;
    let setting = Setting::new(&ours, &theirs, "--web.openmetrics-created");
    for page in setting.pages() {
        let families = parse(&page);
        let created = |family: &str, labels: &[(&str, &str)]| {
            let created = value(&families, &format!("{family}_created"), labels);
            // The start of a process is known to a hundredth of a second.
            assert!((begun - 0.02..=now()).contains(&created), "{family}: {created}");
            created
        };
        let process = created("process_cpu_seconds", &[]);
        assert!((process - value(&families, "process_start_time_seconds", &[])).abs() < 0.01);
        assert_eq!(created("macwatch_http_requests", &[("code", "200")]), process);
        let interface = created("macwatch_interface_frames", &[("interface", ODD)]);
        assert!(interface >= process - 0.01);
        for n in [1, 2, 3] {
            let mac = text(source(n));
            let labels = [("interface", ODD), ("source_mac", &*mac)];
            let source = created("macwatch_source_frames", &labels);
            assert_eq!(source, created("macwatch_source_bytes", &labels));
            assert_eq!(source, value(&families, "macwatch_source_first_seen_timestamp_seconds", &labels));
            assert!(source >= interface);
        }
        for (name, family) in families.iter().filter(|(_, family)| family.r#type == "counter") {
            let (created, counts): (Vec<_>, Vec<_>) =
                family.samples.iter().partition(|(sample, ..)| sample.ends_with("_created"));
            assert_eq!(created.len(), counts.len(), "{name}");
        }
    }
    // The text format has no place for it.
    let page = setting.exporter.get("/metrics").unwrap().text();
    assert!(
        !page.contains("_created{") && Metrics::parse(&page).get("process_cpu_seconds_created").is_none()
    );
}
