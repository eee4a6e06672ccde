//! The real binary, running in a namespace.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

use super::{Namespace, http, wait_for, wait_until};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_macwatch");

/// Copies it to where anyone may run it.
#[track_caller]
pub(crate) fn copy_binary(to: &Path) {
    copy_program(BINARY.as_ref(), to);
}

/// Copies what is to be run. By another process: what other tests spawn meanwhile would hold a file that this one has open
/// for writing, and such a file cannot be run (ETXTBSY).
#[track_caller]
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("install").args(["-m", "755"]).args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// The port that it serves on, unless a test says otherwise. Each namespace has its own.
pub(crate) const PORT: u16 = 10148;

/// A running macwatch; killed when dropped.
#[derive(Debug)]
pub(crate) struct Exporter<'n> {
    namespace: &'n Namespace,
    child: Child,
    log: tempfile::NamedTempFile,
}

impl<'n> Exporter<'n> {
    /// Starts it in a namespace and waits until it is ready. Arguments are separated by spaces.
    #[track_caller]
    pub(crate) fn start(namespace: &'n Namespace, arguments: &str) -> Self {
        let mut command = namespace.command(BINARY);
        command.args(arguments.split_whitespace());
        let exporter = Self::spawn(namespace, command);
        exporter.wait_ready();
        exporter
    }

    /// Starts a command that becomes macwatch.
    pub(crate) fn spawn(namespace: &'n Namespace, mut command: Command) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = command.stderr(log.reopen().unwrap()).spawn().unwrap();
        Self { namespace, child, log }
    }

    /// Waits until `/-/ready` says so.
    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        wait_until("the exporter to be ready", || self.get("/-/ready").is_ok_and(|r| r.status == 200));
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        File::open(self.log.path()).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Lines of the log that contain this.
    pub(crate) fn logged(&self, part: &str) -> usize {
        self.log().lines().filter(|line| line.contains(part)).count()
    }

    /// Asks for a path.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<http::Response> {
        http::request(self.namespace, PORT, "GET", path, "")
    }

    /// Reads the metrics page.
    #[track_caller]
    pub(crate) fn scrape(&self) -> Metrics {
        let response = self.get("/metrics").unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        Metrics::parse(&response.text())
    }

    /// Waits until a series has a value.
    #[track_caller]
    pub(crate) fn wait_value(&self, series: &str, value: f64) -> Metrics {
        let mut seen = None;
        let begun = std::time::Instant::now();
        loop {
            let metrics = self.scrape();
            let now = metrics.get(series);
            if now == Some(value) {
                return metrics;
            }
            if begun.elapsed() >= super::DEADLINE {
                panic!("{series} is {now:?} (before: {seen:?}), not {value}; log:\n{}", self.log());
            }
            seen = now;
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
    }

    /// Waits until the page is as it should be.
    #[track_caller]
    pub(crate) fn wait_page(&self, what: &str, mut condition: impl FnMut(&Metrics) -> bool) -> Metrics {
        wait_for(what, || Some(self.scrape()).filter(|page| condition(page)))
    }

    /// Waits until this many frames of an interface are counted.
    #[track_caller]
    pub(crate) fn wait_frames(&self, interface: &str, frames: f64) -> Metrics {
        self.wait_value(&format!("macwatch_interface_frames_total{{interface=\"{interface}\"}}"), frames)
    }

    /// Waits until an interface has no series.
    #[track_caller]
    pub(crate) fn wait_gone(&self, interface: &str) -> Metrics {
        self.wait_page(&format!("{interface} to leave the page"), |page| !page.mentions(interface))
    }

    /// Waits until an interface is known not to be captured.
    #[track_caller]
    pub(crate) fn wait_down(&self, interface: &str) -> Metrics {
        self.wait_value(&format!("macwatch_interface_capture_up{{interface=\"{interface}\"}}"), 0.0)
    }

    /// Waits until frames of an interface are being captured.
    #[track_caller]
    pub(crate) fn wait_up(&self, interface: &str) {
        self.wait_value(&format!("macwatch_interface_capture_up{{interface=\"{interface}\"}}"), 1.0);
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.scrape().value("process_cpu_seconds_total")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether, and how, it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the exporter to end", || self.ended())
    }
}

impl Drop for Exporter<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("log of the exporter:\n{}", self.log());
        }
    }
}

/// A metrics page, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    series: BTreeMap<String, f64>,
}

impl Metrics {
    /// Takes a page in text format 0.0.4 apart. Each series stands once.
    #[track_caller]
    pub(crate) fn parse(page: &str) -> Self {
        let mut series = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let value = value.replace("+Inf", "inf").parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
        Self { series }
    }

    /// The value of a series, written as on the page.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    /// The value of a series that must be there.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.series.keys()))
    }

    /// The value of a per-interface family.
    #[track_caller]
    pub(crate) fn interface(&self, family: &str, interface: &str) -> f64 {
        self.value(&format!("macwatch_interface_{family}{{interface=\"{interface}\"}}"))
    }

    /// Frames and bytes of a source; zero if it is not on the page.
    pub(crate) fn source(&self, interface: &str, source: &str) -> (f64, f64) {
        let value = |what: &str| {
            let labels = format!("{{interface=\"{interface}\",source_mac=\"{source}\"}}");
            self.get(&format!("macwatch_source_{what}_total{labels}")).unwrap_or(0.0)
        };
        (value("frames"), value("bytes"))
    }

    /// Whether any series is about this interface.
    pub(crate) fn mentions(&self, interface: &str) -> bool {
        let label = format!("interface=\"{interface}\"");
        self.series.keys().any(|name| name.contains(&label))
    }

    /// The sources of an interface.
    pub(crate) fn sources(&self, interface: &str) -> Vec<&str> {
        let start = format!("macwatch_source_frames_total{{interface=\"{interface}\",source_mac=\"");
        self.series.keys().filter_map(|name| name.strip_prefix(&start)?.strip_suffix("\"}")).collect()
    }

    /// All series whose name begins like this.
    pub(crate) fn matching<'a>(&'a self, start: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.series.iter().filter(move |(name, _)| name.starts_with(start)).map(|(n, v)| (n.as_str(), *v))
    }

    /// Panics unless the books of every interface balance.
    #[track_caller]
    pub(crate) fn assert_balanced(&self) {
        let interfaces: Vec<String> = self
            .matching("macwatch_interface_frames_total{")
            .map(|(name, _)| name.split('"').nth(1).unwrap().to_owned())
            .collect();
        for interface in interfaces {
            for what in ["frames", "bytes"] {
                let start = format!("macwatch_source_{what}_total{{interface=\"{interface}\",");
                let live: f64 = self.matching(&start).map(|(_, value)| value).sum();
                let runts =
                    if what == "frames" { self.interface("runt_frames_total", &interface) } else { 0.0 };
                let parts = live
                    + runts
                    + self.interface(&format!("expired_{what}_total"), &interface)
                    + self.interface(&format!("untracked_{what}_total"), &interface);
                assert_eq!(
                    self.interface(&format!("{what}_total"), &interface),
                    parts,
                    "{what} on {interface}"
                );
            }
        }
    }
}
