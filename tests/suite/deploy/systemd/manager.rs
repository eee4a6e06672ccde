//! A systemd of the test's own; see `manager.sh`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::exporter::{Metrics, PORT, copy_binary};
use crate::common::{Engine, Namespace, http, text, wait_for};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/deploy/systemd/manager.sh");

/// Where what is under test lies.
pub(super) const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd");

/// Targets that units refer to; here nothing belongs to them.
const TARGETS: [&str; 7] = ["default", "sysinit", "basic", "sockets", "shutdown", "network", "multi-user"];

/// A running systemd, in a network namespace; gone when dropped.
#[derive(Debug)]
pub(super) struct Systemd<'n> {
    namespace: &'n Namespace,
    folder: TempDir,
    child: Child,
    pid: String,
}

impl<'n> Systemd<'n> {
    /// Starts one that has our units, this text in /etc/default/macwatch, and these files in /run/config.
    #[track_caller]
    pub(super) fn start(namespace: &'n Namespace, variables: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["units/macwatch.service.d", "default", "bin", "config", "out"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        fs::write(path("out/console"), "").unwrap();
        for unit in ["macwatch.service", "macwatch.socket"] {
            fs::copy(format!("{UNITS}/{unit}"), path("units").join(unit)).unwrap();
        }
        for target in TARGETS {
            let unit = "[Unit]\nDefaultDependencies=no\n";
            fs::write(path("units").join(format!("{target}.target")), unit).unwrap();
        }
        // There is no journal; and what the filter forbids is to be noticed, however it is taken.
        let told = "StandardOutput=append:/run/out/log\nStandardError=append:/run/out/log\n\
                    SystemCallErrorNumber=kill\n";
        fs::write(path("units/macwatch.service.d/test.conf"), format!("[Service]\n{told}")).unwrap();
        fs::write(path("default/macwatch"), variables).unwrap();
        copy_binary(&path("bin/macwatch"));
        for (name, bytes) in files {
            fs::write(path("config").join(name), bytes).unwrap();
        }
        let mut command = namespace.command("bash");
        command.arg(SCRIPT).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        let systemd = Self { namespace, pid: pid.trim().to_owned(), folder, child };
        assert!(!systemd.pid.is_empty(), "systemd did not start:\n{}", systemd.read("console"));
        systemd
    }

    /// A command where systemd is.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--mount", "--pid", "--net", "--cgroup"]);
        command.args(line.split_whitespace());
        command
    }

    /// Runs a command line where systemd is; it must succeed.
    #[track_caller]
    pub(super) fn run(&self, line: &str) -> String {
        let (succeeded, text) = self.try_run(line);
        assert!(succeeded, "{line}: {text}\n{}\n{}", self.read("console"), self.log());
        text
    }

    /// The same if it may fail.
    pub(super) fn try_run(&self, line: &str) -> (bool, String) {
        let output = self.command(line).output().unwrap();
        (output.status.success(), text(&output))
    }

    /// A property of the service.
    #[track_caller]
    pub(super) fn show(&self, property: &str) -> String {
        self.run(&format!("systemctl show --value -p {property} macwatch.service")).trim().to_owned()
    }

    /// Waits until a property of the service is as it should be.
    #[track_caller]
    pub(super) fn wait(&self, property: &str, mut condition: impl FnMut(&str) -> bool) -> String {
        let what = format!("{property}; it is {}", self.show(property));
        wait_for(&what, || Some(self.show(property)).filter(|value| condition(value)))
    }

    /// Writes a drop-in, which holds from the next start on.
    #[track_caller]
    pub(super) fn drop_in(&self, lines: &str) {
        let folder = format!("/proc/{}/root/etc/systemd/system/macwatch.service.d", self.pid);
        fs::write(format!("{folder}/more.conf"), format!("[Service]\n{lines}\n")).unwrap();
        self.run("systemctl daemon-reload");
    }

    /// A path as systemd sees it.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    /// The main process of the service, by the number that it has outside.
    #[track_caller]
    pub(super) fn main(&self) -> String {
        let line = format!("\t{}", self.show("MainPID"));
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let is_it = |pid: &String| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find(|line| line.starts_with("NSpid:"));
            numbers.is_some_and(|numbers| numbers.ends_with(&line)) && namespace(pid) == namespace(&self.pid)
        };
        let all = fs::read_dir("/proc").unwrap();
        all.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).find(is_it).unwrap()
    }

    /// What the service has logged.
    pub(super) fn log(&self) -> String {
        self.read("log")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join("out").join(name)).unwrap_or_default()
    }

    /// The metrics page.
    #[track_caller]
    pub(super) fn scrape(&self) -> Metrics {
        Metrics::parse(&http::request(self.namespace, PORT, "GET", "/metrics", "").unwrap().text())
    }

    /// Waits until this series has this value.
    #[track_caller]
    pub(super) fn wait_value(&self, series: &str, value: f64) {
        wait_for(&format!("{series} to be {value}"), || {
            (self.scrape().get(series) == Some(value)).then_some(())
        });
    }
}

impl Drop for Systemd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the service:\n{}\nsystemd:\n{}", self.log(), self.read("console"));
        }
        // That is what it waits for.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The line that chooses the engine.
pub(super) fn engine(engine: Engine) -> String {
    format!("MACWATCH_CAPTURE_ENGINE={}\n", engine.name())
}
