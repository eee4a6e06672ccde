//! Other sites than the one with a single exporter and an inventory: several exporters on one segment, and an
//! exporter that has nothing but its memory.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use super::{Chain, FLOOD, Talkers, UNKNOWN, configuration, shipped};
use crate::common::alertmanager::{Alertmanager, Webhook};
use crate::common::exporter::PORT;
use crate::common::frames::{Stop, frame, send, source, text};
use crate::common::namespace::wait_carrier;
use crate::common::{Exporter, Namespace, Prometheus, bridge, root, state, veth, wait_until, wire};

const NEW: &str = "MacwatchNewSource";
const DAY: u64 = 86_400_000;

/// Prometheus, Alertmanager and the webhook in a namespace; the stranger's frames come from another.
fn chain<'n>(ours: &'n Namespace, theirs: &'n Namespace, configuration: &str) -> (Chain<'n>, Alertmanager) {
    let webhook = Webhook::start(ours);
    let alertmanager = Alertmanager::start(ours, &shipped().join("alertmanager.yml"));
    let prometheus = Prometheus::start(ours, configuration);
    (Chain { ours, theirs, prometheus, webhook, begun: Instant::now() }, alertmanager)
}

/// Sources that talk while something is done.
fn while_talking(theirs: &Namespace, job: impl FnOnce(&Talkers)) {
    let talkers = Talkers { sources: std::sync::Mutex::default(), pause: Duration::from_millis(200) };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| talkers.talk(theirs, &stop));
        job(&talkers);
    });
}

/// An inventory that lists these sources.
fn list(file: &Path, sources: &[[u8; 6]]) {
    let lines = sources.iter().map(|mac| format!("{} listed\n", text(*mac)));
    fs::write(file, lines.collect::<String>()).unwrap();
}

#[test]
fn a_stranger_whom_two_exporters_see_is_one_notification_until_both_list_it() {
    if !root() {
        return;
    }
    let (ours, second, theirs) = (Namespace::new(), Namespace::new(), Namespace::new());
    // The segment: a switch, with both exporters and the stranger on its ports.
    bridge(&theirs, "br0");
    for (namespace, name, port) in [(&ours, "mw0", "p1"), (&second, "mw0", "p2"), (&theirs, "peer0", "p3")] {
        veth(namespace, name, &theirs, port);
        theirs.ip(&format!("link set {port} master br0"));
    }
    wait_until("the ports to forward", || {
        theirs.run("bridge -o link show").matches("state forwarding").count() == 3
    });
    // The way to the second exporter is not watched.
    veth(&ours, "mg0", &second, "mg0");
    ours.ip("address add 192.0.2.1/30 dev mg0");
    second.ip("address add 192.0.2.2/30 dev mg0");

    let folder = tempfile::tempdir().unwrap();
    let inventories = ["a", "b"].map(|name| folder.path().join(name));
    let (known, stranger) = (source(1), [0x00, 0x1b, 0x21, 0x0c, 0x0f, 0xfe]);
    let (own, mac) = ([0x02, 0x5e, 0xff, 0, 0, 1], text(stranger));
    ours.ip(&format!("link set mw0 address {}", text(own)));
    let options = inventories.each_ref().map(|file| {
        list(file, &[known]);
        format!("-i mw0 --inventory.file {}", file.display())
    });
    let first = Exporter::start(&ours, &options[0]);
    let other = Exporter::start(&second, &options[1]);
    first.wait_up("mw0");
    other.wait_up("mw0");
    let target = format!("\"localhost:{PORT}\"");
    let shipped = configuration();
    assert_eq!(shipped.matches(&target).count(), 1);
    let (chain, alertmanager) =
        chain(&ours, &theirs, &shipped.replace(&target, &format!("{target}, \"192.0.2.2:{PORT}\"")));
    let both = |of: &str| format!("count(macwatch_source_known{{source_mac=\"{of}\"}} == 0)");

    while_talking(&theirs, |talkers| {
        talkers.set(&[known]);
        // The second one does not list the first one's interface, and need not.
        wait_until("an exporter's own address to be heard by the other", || {
            send(&ours, "mw0", &[frame(own, 60)]);
            chain.prometheus.query(&format!(
                "count(macwatch_source_last_seen_timestamp_seconds{{source_mac=\"{0}\"}} \
                 - macwatch_source_first_seen_timestamp_seconds{{source_mac=\"{0}\"}} > 5)",
                text(own)
            )) == Some(2.0)
        });
        chain.wait_evaluated();
        assert_eq!(chain.prometheus.query("count(ALERTS{alertstate=\"firing\"})"), None);

        chain.now(&format!("first frame of {mac}"));
        talkers.set(&[known, stranger]);
        let alert = chain.wait_notified(0);
        assert_eq!((alert.status.as_str(), alert.name()), ("firing", UNKNOWN));
        assert_eq!(alert.labels["source_mac"], mac);
        chain.prometheus.wait_value(&both(&mac), 2.0);
        let since = chain.active_since(UNKNOWN);

        let first = chain.restart(first, Signal::KILL, &options[0]);
        chain.wait_heard(&mac);
        chain.now("the first exporter was killed and started again");
        list(&inventories[0], &[known, stranger]);
        chain.prometheus.wait_value(&both(&mac), 1.0);
        chain.wait_evaluated();
        chain.now("the first exporter lists it, the second does not");
        alertmanager.wait_look(&ours);
        assert_eq!((chain.active_since(UNKNOWN), chain.webhook.received().len()), (since, 1));

        list(&inventories[1], &[known, stranger]);
        chain.now("both list it");
        let alert = chain.wait_notified(1);
        assert_eq!((alert.status.as_str(), &*alert.labels["source_mac"]), ("resolved", &*mac));
        assert_eq!(chain.webhook.received().len(), 2, "{:?}", chain.webhook.received());
        drop(first);
    });
}

#[test]
fn without_an_inventory_who_is_new_is_one_notification_and_who_comes_back_is_none() {
    let Some((ours, theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let now = u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    // It has been learning for nine days. One source is there all the time, the other was away for three days.
    let created = now - 9 * DAY;
    let entries = [(1, created + 1000, now - 1000), (2, created + 1000, now - 3 * DAY)];
    fs::write(&file, state::file(created, &entries)).unwrap();
    let old = [source(1), source(2)];
    let stranger = [0xda, 0xa1, 0x19, 0x0c, 0x0f, 0xfe];
    let (mac, everybody) = (text(stranger), [old[0], old[1], stranger]);
    let options = format!("-i mw0 --state.file {}", file.display());
    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    let (chain, alertmanager) = chain(&ours, &theirs, &configuration());

    while_talking(&theirs, |talkers| {
        chain.now("who was here before talks");
        talkers.set(&old);
        let heard = "count(macwatch_source_frames_total > 20)";
        chain.prometheus.wait_value(heard, 2.0);
        chain.wait_evaluated();
        assert_eq!(chain.prometheus.query("count(ALERTS{alertstate=\"firing\"})"), None);

        chain.now(&format!("first frame of {mac}"));
        talkers.set(&everybody);
        let alert = chain.wait_notified(0);
        let labels: Vec<(&str, &str)> = alert.labels.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let expected =
            [("address_type", "local"), ("alertname", NEW), ("severity", "warning"), ("source_mac", &mac)];
        assert_eq!((alert.status.as_str(), &labels[..]), ("firing", &expected[..]));
        let place = "on mw0 of localhost:10148 and nowhere before";
        assert!(alert.description.contains(place), "{}", alert.description);
        let since = chain.active_since(NEW);

        wait_until("the stranger to be remembered", || fs::read_to_string(&file).unwrap().contains(&mac));
        let exporter = chain.restart(exporter, Signal::KILL, &options);
        chain.wait_heard(&mac);
        chain.now("the exporter was killed and started again");
        talkers.set(&[]);
        ours.ip("link set mw0 down");
        chain.prometheus.wait_value("macwatch_interface_capture_up", 0.0);
        ours.ip("link set mw0 up");
        wait_carrier(&ours, "mw0");
        chain.prometheus.wait_value("macwatch_interface_capture_up", 1.0);
        talkers.set(&everybody);
        chain.wait_heard(&mac);
        chain.now("the interface went down and up");
        chain.wait_evaluated();
        alertmanager.wait_look(&ours);
        assert_eq!((chain.active_since(NEW), chain.webhook.received().len()), (since, 1));
        drop(exporter);
    });
}

/// An alert is a state, not an event: the shipped route tells of it again after its interval, here a shorter one.
#[test]
fn a_stranger_who_stays_is_told_of_again() {
    if !root() {
        return;
    }
    let ours = Namespace::new();
    let route = fs::read_to_string(shipped().join("alertmanager.yml")).unwrap();
    let hurried = route
        .replace("      repeat_interval: 24h\n", "      repeat_interval: 2s\n")
        .replace("      group_interval: 15s\n", "      group_interval: 1s\n");
    assert_eq!(hurried.lines().zip(route.lines()).filter(|(a, b)| a != b).count(), 2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alertmanager.yml");
    fs::write(&file, hurried).unwrap();
    let webhook = Webhook::start(&ours);
    let _alertmanager = Alertmanager::start(&ours, &file);
    raise(&ours, UNKNOWN, &["severity=warning", "address_type=universal", "source_mac=00:1b:21:0c:0f:fe"]);
    wait_until("three notifications", || webhook.received().len() >= 3);
    let received = webhook.received();
    assert!(received.iter().all(|alert| alert.status == "firing" && alert.name() == UNKNOWN), "{received:?}");
    assert!(received.iter().enumerate().all(|(n, alert)| alert.notification == n), "{received:?}");
}

/// Where the targets of a fleet have the label `site`, a flood at one leaves the others their alerts.
#[test]
fn a_flood_hushes_its_own_site() {
    if !root() {
        return;
    }
    let ours = Namespace::new();
    let webhook = Webhook::start(&ours);
    let _alertmanager = Alertmanager::start(&ours, &shipped().join("alertmanager.yml"));
    raise(&ours, FLOOD, &["site=berlin", "instance=gw:10148", "interface=eth0"]);
    wait_until("the flood to be told", || webhook.received().len() == 1);
    raise(&ours, UNKNOWN, &["site=berlin", "source_mac=00:1b:21:00:00:01"]);
    raise(&ours, UNKNOWN, &["site=oslo", "source_mac=00:1b:21:00:00:02"]);
    // Berlin's came first, and its turn is over when Oslo's has been told.
    wait_until("the other site's stranger to be told", || webhook.received().len() == 2);
    let told = webhook.received();
    assert_eq!((told[1].name(), &*told[1].labels["site"]), (UNKNOWN, "oslo"));
}

/// Has Alertmanager believe in an alert.
#[track_caller]
fn raise(namespace: &Namespace, name: &str, labels: &[&str]) {
    let mut add = namespace.command("amtool");
    add.args(["alert", "add", "--alertmanager.url=http://127.0.0.1:9093", "--annotation=description=x"]);
    let added = add.arg(format!("alertname={name}")).args(labels).output().unwrap();
    assert!(added.status.success(), "{added:?}");
}
