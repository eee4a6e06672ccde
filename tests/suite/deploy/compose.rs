//! The demonstration of `deploy/compose`: what its file says, and all of it but Grafana at work, as its README says.
//!
//! Nothing starts containers: each program is Debian's, with the arguments, variables, capabilities and files that the
//! service has. Only Prometheus' intervals are shorter.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::container::all_but;
use crate::common::exporter::{BINARY, PORT};
use crate::common::frames::{frame, send, source, text};
use crate::common::{Namespace, Program, http, root, text as said, wait_until, wire};

/// The webhook's port.
const WEBHOOK: u16 = 5001;
const STRANGER: &str = "02:00:00:00:be:ef";
/// Whose the folder of the inventory is.
const OWNER: u32 = 12345;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file as Compose reads it.
fn compose() -> Value {
    let mut command = Command::new("docker-compose");
    let file = top().join("deploy/compose/compose.yaml");
    let output = command.arg("--file").arg(file).args(["--profile", "learn", "config"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let mut command = Command::new("python3");
    let mut python =
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap()
}

/// The texts of a list; none if there is none.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|list| list.iter().map(|text| text.as_str().unwrap()).collect()).unwrap_or_default()
}

/// Where a program lies; capsh does not look for one.
fn found(program: &str) -> String {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(|folder| Path::new(folder).join(program));
    folders.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no {program}")).display().to_string()
}

/// A service with its files, at the places that it sees them at, below a folder.
struct Service<'c> {
    said: &'c Value,
    folder: tempfile::TempDir,
}

impl<'c> Service<'c> {
    fn new(compose: &'c Value, name: &str) -> Self {
        let said = &compose["services"][name];
        let folder = tempfile::tempdir().unwrap();
        let service = Self { said, folder };
        for volume in texts(&said["volumes"]) {
            let mut parts = volume.split(':');
            let (from, to) = (Path::new(parts.next().unwrap()), service.path(parts.next().unwrap()));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            if from.is_absolute() {
                let copied = Command::new("cp").arg("-r").args([from, to.as_path()]).status().unwrap();
                assert!(copied.success(), "{volume}");
            } else {
                fs::create_dir(to).unwrap();
            }
        }
        service
    }

    /// Where a file of the service lies.
    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside.trim_start_matches('/'))
    }

    /// What the service says, with the paths that it has here.
    fn local(&self, word: &str) -> String {
        match word.split_once("=/") {
            Some((option, path)) => format!("{option}={}", self.path(path).display()),
            None if word.starts_with('/') => self.path(word).display().to_string(),
            None => word.to_owned(),
        }
    }

    /// Its command, as a program of this machine: with its variables, its arguments and its capabilities alone.
    fn command(&self, namespace: &Namespace, program: Option<&str>) -> Command {
        let mut command = namespace.command("env");
        if let Some(variables) = self.said["environment"].as_object() {
            let set = |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap());
            command.args(variables.iter().map(set).map(|variable| self.local(&variable)));
        }
        let without = all_but(&texts(&self.said["cap_add"]));
        command.args(["capsh", &format!("--drop={without}"), "--no-new-privs"]);
        let mut words = texts(&self.said["command"]).into_iter();
        // An image that brings no program is given one.
        let program = program.map_or_else(|| found(words.next().unwrap()), str::to_owned);
        command.args([&format!("--shell={program}"), "--"]);
        command.args(words.map(|word| self.local(word)));
        command
    }
}

#[test]
fn what_it_starts_is_pinned_and_open_to_this_machine_alone() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["alertmanager", "grafana", "learn", "macwatch", "notifications", "prometheus"]);
    for (name, service) in services {
        assert_eq!(service["network_mode"], "host", "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        let image = service["image"].as_str().unwrap();
        let ours = ["learn", "macwatch"].contains(&name.as_str());
        // By its full name: Podman looks nothing up in a registry that nobody named.
        let pinned = image.starts_with("docker.io/") && image.contains(':');
        assert!(if ours { image == "macwatch" } else { pinned }, "{image}");
        // On the host's network a port is what the program itself listens on.
        let variables = service["environment"].as_object().into_iter().flatten();
        let words: Vec<String> = variables.map(|(name, value)| format!("{name}={value}")).collect();
        let all = format!("{} {}", texts(&service["command"]).join(" "), words.join(" "));
        let listens = match name.as_str() {
            "learn" => continue,
            "macwatch" => "MACWATCH_WEB_LISTEN_ADDRESS=\"127.0.0.1:10148\"",
            "prometheus" => "--web.listen-address=127.0.0.1:9090",
            "alertmanager" => "--web.listen-address=127.0.0.1:9093 --cluster.listen-address= ",
            "grafana" => "GF_SERVER_HTTP_ADDR=\"127.0.0.1\"",
            _ => "/notifications.py",
        };
        assert!(all.contains(listens), "{name}: {all}");
        let files = texts(&service["volumes"]).into_iter().filter(|volume| volume.starts_with('/'));
        for volume in files {
            let from = Path::new(volume.split(':').next().unwrap());
            assert!(from.exists(), "{name}: {volume}");
        }
    }
    let macwatch = &compose["services"]["macwatch"];
    assert_eq!(texts(&macwatch["cap_add"]), ["NET_RAW", "BPF"]);
    assert_eq!(macwatch["read_only"], true);
    assert!(texts(&macwatch["volumes"]).contains(&"state:/var/lib/macwatch:rw"), "{macwatch}");
}

/// As the first process of its container, to which a signal that it does not handle does nothing.
#[test]
fn the_webhook_ends_when_it_is_told_to() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let mut command = namespace.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "python3"]);
    let mut webhook = Program::spawn(command.arg(top().join("deploy/compose/notifications.py")));
    wait_until("the webhook", || http::request(&namespace, WEBHOOK, "POST", "/", "").is_ok());
    let children = format!("/proc/{0}/task/{0}/children", webhook.pid());
    let first = fs::read_to_string(children).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(first).unwrap(), Signal::TERM).unwrap();
    assert!(webhook.wait().success());
}

#[test]
fn a_stranger_is_printed_by_the_webhook() {
    let Some((ours, theirs)) = wire() else { return };
    let compose = compose();
    let [macwatch, learn, prometheus, alertmanager, notifications] =
        ["macwatch", "learn", "prometheus", "alertmanager", "notifications"]
            .map(|name| Service::new(&compose, name));

    // The folder is the user's, whoever that is; what learn writes is what the exporter reads.
    let inventory = learn.path("/etc/macwatch/ethers");
    for path in [inventory.parent().unwrap(), &inventory] {
        chown(path, Some(OWNER), Some(OWNER)).unwrap();
    }
    let mut learning = Program::spawn(&mut learn.command(&ours, Some(BINARY)));
    learning.wait_said("listening on mw0");
    let mut witness = ours.command(BINARY);
    let mut witness = Program::spawn(witness.args(["watch", "-i", "mw0", "-c", "1"]));
    witness.wait_said("msg=capturing");
    let known = text(source(1));
    send(&theirs, "peer0", &[frame(source(1), 60)]);
    witness.wait();
    // Ctrl-C: what was learnt by then is written.
    learning.signal(Signal::INT);
    assert!(learning.wait().success());
    assert!(fs::read_to_string(&inventory).unwrap().contains(&format!("\n{known} ")));
    assert_eq!(inventory.metadata().unwrap().uid(), OWNER);
    fs::copy(&inventory, macwatch.path("/etc/macwatch/ethers")).unwrap();

    let rules = prometheus.path("/etc/prometheus/prometheus.yml");
    for (program, arguments, file) in [
        ("promtool", &["check", "config"][..], &rules),
        ("amtool", &["check-config"], &alertmanager.path("/etc/alertmanager/alertmanager.yml")),
    ] {
        let output = Command::new(program).args(arguments).arg(file).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let shipped = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, shipped.replace("_interval: 15s", "_interval: 1s")).unwrap();

    let _macwatch = Program::spawn(&mut macwatch.command(&ours, Some(BINARY)));
    let mut notifications = Program::spawn(&mut notifications.command(&ours, None));
    let _alertmanager =
        Program::spawn(&mut alertmanager.command(&ours, Some(&found("prometheus-alertmanager"))));
    let _prometheus = Program::spawn(&mut prometheus.command(&ours, Some(&found("prometheus"))));
    let says = |port: u16, path: &str, part: &str| {
        let answer = http::request(&ours, port, "GET", path, "");
        answer.is_ok_and(|answer| answer.status == 200 && answer.text().contains(part))
    };
    wait_until("the exporter to be ready", || says(PORT, "/-/ready", ""));
    wait_until("Alertmanager to be ready", || says(9093, "/-/ready", ""));
    wait_until("Prometheus to have a page", || {
        says(9090, "/api/v1/query?query=macwatch_interface_capture_up", "\"1\"")
    });

    // README's fire drill, and the one that is known.
    let drill = format!("{BINARY} send -i peer0 --yes --source");
    theirs.run(&format!("{drill} {known}"));
    theirs.run(&format!("{drill} {STRANGER}"));
    let line = format!("FIRING MacwatchUnknownSource: {STRANGER} ");
    notifications.wait_said(&line);
    let printed = notifications.stdout();
    assert!(printed.starts_with(&line) && printed.lines().count() == 1, "{printed}");
    assert!(printed.contains("on mw0 of localhost:10148"), "{printed}");

    // Approved, as README says.
    let list = macwatch.path("/etc/macwatch/ethers");
    let before = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{before}{STRANGER} a drill\n")).unwrap();
    let line = format!("RESOLVED MacwatchUnknownSource: no longer so for {STRANGER}: A source MAC address ");
    notifications.wait_said(&line);

    // Whoever else speaks to it can neither end it nor write on a terminal.
    let post = |body: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        http::parse(&http::exchange(&ours, WEBHOOK, format!("{head}{body}").as_bytes())).unwrap().status
    };
    for body in ["", "{", "[]", "{\"alerts\": [7]}", "{\"alerts\": [{}]}"] {
        assert_eq!(post(body), 400, "{body}");
    }
    let forged = r#"{"alerts": [{"status": "firing", "labels": {"alertname": "y"},
        "annotations": {"description": "a\u001b[2J\nb"}}]}"#;
    assert_eq!(post(forged), 200);
    notifications.wait_said("FIRING y: a?[2J?b\n");
    assert!(notifications.ended().is_none());
}
