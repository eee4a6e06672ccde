//! A real Alertmanager, and a webhook that keeps what it is told.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;

use super::{Namespace, http, wait_until};

/// The ports that the shipped configuration names.
const PORT: u16 = 9093;
const WEBHOOK_PORT: u16 = 5001;

/// A running Alertmanager with data of its own; both are gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Alertmanager {
    child: Child,
    folder: tempfile::TempDir,
}

impl Alertmanager {
    /// Starts it with this configuration and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(namespace: &Namespace, configuration: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = namespace.command("prometheus-alertmanager");
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{PORT}"));
        // Alone.
        command.arg("--cluster.listen-address=");
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let alertmanager = Self { child: command.spawn().unwrap(), folder };
        wait_until("Alertmanager to be ready", || {
            http::request(namespace, PORT, "GET", "/-/ready", "").is_ok_and(|answer| answer.status == 200)
        });
        alertmanager
    }

    /// Waits until it has thought once more about all that it has: each time that it looks at a group of alerts, it
    /// asks its log of notifications whether there is one to be sent.
    #[track_caller]
    pub(crate) fn wait_look(&self, namespace: &Namespace) {
        let looks = || -> f64 {
            let page = http::request(namespace, PORT, "GET", "/metrics", "").unwrap().text();
            let line = page.lines().find_map(|line| line.strip_prefix("alertmanager_nflog_queries_total "));
            line.unwrap_or_else(|| panic!("{page}")).parse().unwrap()
        };
        let before = looks();
        wait_until("Alertmanager to look again", || looks() > before);
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("log of Alertmanager:\n{log}");
        }
    }
}

/// One alert of a notification.
#[derive(Clone, Debug)]
pub(crate) struct Notified {
    /// When it arrived.
    pub(crate) at: Instant,
    /// Which notification it was part of, from 0.
    pub(crate) notification: usize,
    /// `firing` or `resolved`.
    pub(crate) status: String,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// What is said to the person.
    pub(crate) description: String,
}

impl Notified {
    /// The name of the alert.
    pub(crate) fn name(&self) -> &str {
        &self.labels["alertname"]
    }
}

/// Receives notifications until it is dropped.
#[derive(Debug)]
pub(crate) struct Webhook<'n> {
    namespace: &'n Namespace,
    received: Arc<Mutex<Vec<Notified>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<'n> Webhook<'n> {
    /// Listens where the shipped configuration sends to.
    pub(crate) fn start(namespace: &'n Namespace) -> Self {
        let listener = namespace.inside(|| TcpListener::bind(("127.0.0.1", WEBHOOK_PORT))).unwrap();
        let received: Arc<Mutex<Vec<Notified>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (into, until) = (Arc::clone(&received), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                if until.load(Ordering::Relaxed) {
                    return;
                }
                let body = receive(&stream.unwrap());
                let mut received = into.lock().unwrap();
                for alert in body["alerts"].as_array().unwrap() {
                    received.push(notified(alert, count));
                }
            }
        });
        Self { namespace, received, stop, thread: Some(thread) }
    }

    /// What has arrived so far.
    pub(crate) fn received(&self) -> Vec<Notified> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes it up.
        drop(http::connect(self.namespace, WEBHOOK_PORT));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn notified(alert: &Value, notification: usize) -> Notified {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let labels = alert["labels"].as_object().unwrap();
    Notified {
        at: Instant::now(),
        notification,
        status: text(&alert["status"]),
        labels: labels.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        description: text(&alert["annotations"]["description"]),
    }
}

/// Reads one request and thanks for it.
fn receive(mut stream: &TcpStream) -> Value {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    serde_json::from_slice(&body).unwrap()
}
