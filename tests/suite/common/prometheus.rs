//! A real Prometheus, running in a namespace.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{DEADLINE, Namespace, wait_until};

/// The port that it serves on.
const PORT: u16 = 9090;

/// A running Prometheus with data of its own; both are gone when it is dropped.
pub(crate) struct Prometheus<'n> {
    namespace: &'n Namespace,
    child: Child,
    folder: tempfile::TempDir,
}

impl<'n> Prometheus<'n> {
    /// Starts it with this configuration and waits until it is ready.
    pub(crate) fn start(namespace: &'n Namespace, configuration: &str) -> Self {
        Self::start_with(namespace, configuration, "127.0.0.1", &[])
    }

    /// The same on another address, which has to include the loopback's, and with options.
    pub(crate) fn start_with(
        namespace: &'n Namespace,
        configuration: &str,
        address: &str,
        options: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, configuration).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = namespace.command("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}:{PORT}")).args(options);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let prometheus = Self { namespace, child: command.spawn().unwrap(), folder };
        wait_until("Prometheus to be ready", || prometheus.curl("-/ready", &[]).is_some());
        prometheus
    }

    /// What it answers, if it does. Its HTTP API streams, which curl knows how to read.
    pub(crate) fn curl(&self, path: &str, parameters: &[(&str, &str)]) -> Option<String> {
        let mut command = self.namespace.command("curl");
        command.args(["--silent", "--fail", "--get", "--max-time"]).arg(DEADLINE.as_secs().to_string());
        for (name, value) in parameters {
            command.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let output = command.arg(format!("http://127.0.0.1:{PORT}/{path}")).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// The data of an answer of its API.
    #[track_caller]
    pub(crate) fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let answer = self.curl(&format!("api/v1/{path}"), parameters).unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()["data"].take()
    }

    /// The value of an expression that yields one series; none while it yields nothing.
    #[track_caller]
    pub(crate) fn query(&self, expression: &str) -> Option<f64> {
        self.query_with(&[("query", expression)])
    }

    /// The same at a time, in seconds.
    #[track_caller]
    pub(crate) fn query_at(&self, expression: &str, time: f64) -> Option<f64> {
        self.query_with(&[("query", expression), ("time", &format!("{time:.3}"))])
    }

    #[track_caller]
    fn query_with(&self, parameters: &[(&str, &str)]) -> Option<f64> {
        let data = self.api("query", parameters);
        let series = data["result"].as_array().unwrap();
        assert!(series.len() <= 1, "{parameters:?}: {series:?}");
        series.first().map(|one| one["value"][1].as_str().unwrap().parse().unwrap())
    }

    /// Waits until an expression that yields one series has this value.
    #[track_caller]
    pub(crate) fn wait_value(&self, expression: &str, value: f64) {
        wait_until(expression, || self.query(expression) == Some(value));
    }
}

impl Prometheus<'_> {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("log of Prometheus:\n{log}");
        }
    }
}
