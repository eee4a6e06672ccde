//! The whole chain as it is shipped: macwatch, Prometheus with the rules, Alertmanager with its configuration, and
//! a webhook where a person would be. From the first frame of a stranger to what the person reads.
//!
//! Only Prometheus's intervals are shorter than those shipped. What happens to one exporter with an inventory is one
//! test, so that its parts do not fight for the machine; `cargo test chain:: -- --nocapture` shows its log.

mod sites;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::alertmanager::{Alertmanager, Notified, Webhook};
use crate::common::exporter::BINARY;
use crate::common::frames::{Stop, frame, send, source, text};
use crate::common::namespace::wait_carrier;
use crate::common::{Exporter, Namespace, Program, Prometheus, wait_for, wait_until, wire};

const UNKNOWN: &str = "MacwatchUnknownSource";
const FLOOD: &str = "MacwatchSourceFlood";
/// Sources of a flood.
const CROWD: u32 = 50_000;
/// As long as Alertmanager waits before it notifies of a source, and a little more.
const GROUP_WAIT: u32 = 7;

/// Who sends a frame each, again and again after a pause.
struct Talkers {
    sources: Mutex<Vec<[u8; 6]>>,
    pause: Duration,
}

impl Talkers {
    fn set(&self, sources: &[[u8; 6]]) {
        *self.sources.lock().unwrap() = sources.to_vec();
    }

    fn talk(&self, namespace: &Namespace, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let sources = self.sources.lock().unwrap();
            if !sources.is_empty() {
                send(namespace, "peer0", &sources.iter().map(|mac| frame(*mac, 60)).collect::<Vec<_>>());
            }
            drop(sources);
            thread::park_timeout(self.pause);
        }
    }
}

/// What takes part.
struct Chain<'n> {
    ours: &'n Namespace,
    theirs: &'n Namespace,
    prometheus: Prometheus<'n>,
    webhook: Webhook<'n>,
    begun: Instant,
}

impl<'n> Chain<'n> {
    fn say(&self, at: Instant, what: &str) {
        println!("{:6.1} s  {what}", at.duration_since(self.begun).as_secs_f64());
    }

    fn now(&self, what: &str) {
        self.say(Instant::now(), what);
    }

    fn count(&self, name: &str) -> usize {
        self.webhook.received().iter().filter(|alert| alert.name() == name).count()
    }

    /// Waits for the notification that brings the n-th alert in all, from 0; it is the newest.
    #[track_caller]
    fn wait_notified(&self, n: usize) -> Notified {
        let alert = wait_for("a notification", || self.webhook.received().get(n).cloned());
        self.say(alert.at, &format!("notification: {} {:?}", alert.status, alert.labels));
        println!("          {}", alert.description);
        alert
    }

    /// Waits until Prometheus has evaluated all rules twice from now: once with all that is true now.
    #[track_caller]
    fn wait_evaluated(&self) {
        for _ in 0..2 {
            let before = self.evaluations();
            wait_until("an evaluation", || self.evaluations().iter().zip(&before).all(|(a, b)| a != b));
        }
    }

    fn evaluations(&self) -> Vec<Value> {
        let data = self.prometheus.api("rules", &[("type", "alert")]);
        let groups = data["groups"].as_array().unwrap().iter();
        groups.map(|group| group["lastEvaluation"].clone()).collect()
    }

    /// Since when the alert about a source is active, if it is.
    fn active_since(&self, name: &str) -> Option<Value> {
        let data = self.prometheus.api("alerts", &[]);
        let firing = data["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|alert| alert["state"] == "firing" && alert["labels"]["alertname"] == name)?;
        Some(firing["activeAt"].clone())
    }

    /// Waits until Prometheus has noticed that the exporter does not answer.
    #[track_caller]
    fn wait_up(&self, up: f64) {
        self.prometheus.wait_value("up{job=\"macwatch\",instance=\"localhost:10148\"}", up);
    }

    /// Ends the exporter by a signal and starts it anew once a scrape has failed.
    #[track_caller]
    fn restart(&self, mut exporter: Exporter<'n>, signal: Signal, options: &str) -> Exporter<'n> {
        exporter.signal(signal);
        exporter.wait();
        self.wait_up(0.0);
        let exporter = Exporter::start(self.ours, options);
        exporter.wait_up("mw0");
        self.wait_up(1.0);
        exporter
    }

    /// Waits until Prometheus has, of every exporter that knows this source, a frame of it that is newer than now, by
    /// the machine's clock.
    #[track_caller]
    fn wait_heard(&self, source: &str) {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let newest =
            format!("min(macwatch_source_last_seen_timestamp_seconds{{source_mac=\"{source}\"}}) > {now}");
        wait_until("a newer frame", || self.prometheus.query(&newest).is_some());
    }
}

/// What is shipped for Prometheus and Alertmanager.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

/// The shipped configuration, with shorter intervals and absolute paths.
fn configuration() -> String {
    let folder = shipped();
    let shipped = fs::read_to_string(folder.join("prometheus.yml")).unwrap();
    assert_eq!(shipped.matches("_interval: 15s").count(), 2);
    shipped
        .replace("_interval: 15s", "_interval: 1s")
        .replace("- rules/", &format!("- {}/rules/", folder.display()))
}

#[test]
fn a_stranger_is_one_notification_until_approved_and_a_flood_is_one() {
    let Some((ours, theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("inventory");
    let (known, stranger) = ([source(1), source(2)], [0xda, 0xa1, 0x19, 0x0c, 0x0f, 0xfe]);
    let listed = known.map(|mac| format!("{} a machine of ours\n", text(mac))).concat();
    fs::write(&inventory, &listed).unwrap();
    let options = format!("-i mw0 --inventory.file {}", inventory.display());

    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    let webhook = Webhook::start(&ours);
    let _alertmanager = Alertmanager::start(&ours, &shipped().join("alertmanager.yml"));
    let prometheus = Prometheus::start(&ours, &configuration());
    let chain = Chain { ours: &ours, theirs: &theirs, prometheus, webhook, begun: Instant::now() };
    let talkers = Talkers { sources: Mutex::default(), pause: Duration::from_millis(200) };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| talkers.talk(&theirs, &stop));
        known_sources_are_silent(&chain, &talkers, &known);
        let options = format!("{options} --state.file {}", folder.path().join("state").display());
        let exporter = stranger_is_one_notification(&chain, &talkers, exporter, &options, &known, stranger);
        fs::write(&inventory, format!("{listed}{} a guest\n", text(stranger))).unwrap();
        approval_resolves(&chain, stranger);
        flood_is_one_notification(&chain);
        drop(exporter);
    });
}

fn known_sources_are_silent(chain: &Chain<'_>, talkers: &Talkers, known: &[[u8; 6]]) {
    chain.now("two known sources talk");
    talkers.set(known);
    let old = "count(macwatch_source_last_seen_timestamp_seconds \
               - macwatch_source_first_seen_timestamp_seconds > 5)";
    chain.prometheus.wait_value(old, 2.0);
    chain.wait_evaluated();
    assert_eq!(chain.prometheus.query("count(ALERTS{alertstate=\"firing\"})"), None);
    assert_eq!(chain.webhook.received().len(), 0);
    chain.now("no alert, no notification");
}

/// One notification, through all that may happen to the exporter and the stranger.
fn stranger_is_one_notification<'n>(
    chain: &Chain<'n>,
    talkers: &Talkers,
    exporter: Exporter<'n>,
    options: &str,
    known: &[[u8; 6]],
    stranger: [u8; 6],
) -> Exporter<'n> {
    let mac = text(stranger);
    let everybody = [known, &[stranger]].concat();
    let first_frame = Instant::now();
    chain.now(&format!("first frame of {mac}, by the fire drill: macwatch send"));
    let mut drill = chain.theirs.command(BINARY);
    let mut drill = Program::spawn(drill.args(["send", "--interface", "peer0", "--source", &mac]));
    let alert = chain.wait_notified(0);
    println!("          {:.1} s after its first frame", (alert.at - first_frame).as_secs_f64());
    let labels: Vec<(&str, &str)> = alert.labels.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let expected =
        [("address_type", "local"), ("alertname", UNKNOWN), ("severity", "warning"), ("source_mac", &mac)];
    assert_eq!((alert.status.as_str(), &labels[..]), ("firing", &expected[..]));
    for part in [&*mac, "a randomised address", "on mw0 of localhost:10148"] {
        assert!(alert.description.contains(part), "{part} in {}", alert.description);
    }
    assert!(drill.wait().success());
    let since = chain.active_since(UNKNOWN);
    assert!(since.is_some());
    let agreed =
        format!("ALERTS{{alertname=\"{UNKNOWN}\"}} and on (source_mac, address_type) macwatch_source_info");
    // Else rule and exporter differ about its type.
    chain.prometheus.wait_value(&agreed, 1.0);

    talkers.set(&everybody);
    chain.wait_heard(&mac);
    // Without a state file, first_seen begins anew.
    let exporter = chain.restart(exporter, Signal::TERM, options);
    chain.wait_heard(&mac);
    chain.now("the exporter was restarted; it had forgotten first_seen");
    let exporter = chain.restart(exporter, Signal::KILL, options);
    chain.wait_heard(&mac);
    chain.now("it was killed and started again, with a state file");

    exporter.signal(Signal::STOP);
    chain.wait_up(0.0);
    exporter.signal(Signal::CONT);
    chain.wait_up(1.0);
    chain.now("a scrape failed");

    // Nobody sends into an interface that is down.
    talkers.set(&[]);
    chain.ours.ip("link set mw0 down");
    chain.prometheus.wait_value("macwatch_interface_capture_up", 0.0);
    chain.ours.ip("link set mw0 up");
    wait_carrier(chain.ours, "mw0");
    chain.prometheus.wait_value("macwatch_interface_capture_up", 1.0);
    chain.now("the interface went down and up");

    talkers.set(&everybody);
    chain.wait_heard(&mac);
    chain.now("after silence the stranger talks again");
    chain.wait_evaluated();
    assert_eq!(chain.active_since(UNKNOWN), since, "it was resolved in between");
    assert_eq!(chain.webhook.received().len(), 1, "{:?}", chain.webhook.received());
    exporter
}

fn approval_resolves(chain: &Chain<'_>, stranger: [u8; 6]) {
    let approved = Instant::now();
    chain.now("the stranger is added to the inventory");
    wait_until("the alert to resolve", || chain.active_since(UNKNOWN).is_none());
    chain.now("Prometheus has resolved it");
    let alert = chain.wait_notified(1);
    println!("          {:.1} s after it was listed", (alert.at - approved).as_secs_f64());
    assert_eq!((alert.status.as_str(), &*alert.labels["source_mac"]), ("resolved", &*text(stranger)));
}

fn flood_is_one_notification(chain: &Chain<'_>) {
    let crowd: Vec<[u8; 6]> = (0..CROWD).map(|n| source(0x0100_0000 + n)).collect();
    let flood = Talkers { sources: Mutex::new(crowd), pause: Duration::from_secs(3) };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        let first_frame = Instant::now();
        chain.now(&format!("{CROWD} forged sources talk, again and again"));
        scope.spawn(|| flood.talk(chain.theirs, &stop));
        let alert = chain.wait_notified(2);
        println!("          {:.1} s after its first frame", (alert.at - first_frame).as_secs_f64());
        assert_eq!(
            (alert.status.as_str(), alert.name(), &*alert.labels["interface"]),
            ("firing", FLOOD, "mw0")
        );
        // They are alerts each, and Alertmanager would have told by now.
        let old = format!("count(time() - ALERTS_FOR_STATE{{alertname=\"{UNKNOWN}\"}} > {GROUP_WAIT}) > 900");
        let firing = wait_for("a thousand alerts", || chain.prometheus.query(&old));
        chain.now(&format!("Prometheus has had {firing} alerts {UNKNOWN} for {GROUP_WAIT} s"));
    });
    let durations = "prometheus_rule_group_last_duration_seconds{rule_group=\"";
    let metrics = chain.prometheus.curl("metrics", &[]).unwrap();
    for line in
        metrics.lines().filter(|line| line.starts_with(durations) && line.contains("macwatch-sources"))
    {
        println!("          evaluating these took {} s", line.rsplit(' ').next().unwrap());
    }
    assert_eq!((chain.count(FLOOD), chain.count(UNKNOWN)), (1, 2), "{:?}", chain.webhook.received());
    let notifications = chain.webhook.received().iter().map(|alert| alert.notification).max();
    chain.now(&format!("{} notifications in all", notifications.unwrap() + 1));
}
