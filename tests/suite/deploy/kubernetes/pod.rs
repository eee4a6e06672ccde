//! The container of the DaemonSet, run from what kubectl builds: its arguments, environment, user, capabilities, seccomp
//! profile, read-only root and volumes, in the network namespace of a node. `pod.py` plays kubelet and runtime.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::{built, built_with_tls, folder, only, yaml};
use crate::common::exporter::{BINARY, Metrics, PORT};
use crate::common::frames::{frame, send, source, text as mac};
use crate::common::pki::Pki;
use crate::common::secure::TLS;
use crate::common::{Exporter, Namespace, bridge, root, text, veth, wait_for, wait_until};

/// Where the kubelet says that the node is.
const NODE_IP: &str = "192.0.2.10";
/// What Debian 12's podman runs with by default: without `bpf`, unless one may do anything.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// A volume of a ConfigMap, as the kubelet writes it: files are links into `..data`, which is a link that is replaced.
struct ConfigMap(tempfile::TempDir);

impl ConfigMap {
    fn new(files: &Value) -> Self {
        let map = Self(tempfile::tempdir().unwrap());
        map.replace(files);
        for name in files.as_object().unwrap().keys() {
            symlink(format!("..data/{name}"), map.0.path().join(name)).unwrap();
        }
        map
    }

    fn replace(&self, files: &Value) {
        let folder = self.0.path();
        let before = fs::read_link(folder.join("..data")).ok();
        let number = before.as_ref().map_or(0, |_| 1);
        let fresh = format!("..2026_11_22_12_00_0{number}.1");
        fs::create_dir(folder.join(&fresh)).unwrap();
        for (name, content) in files.as_object().unwrap() {
            fs::write(folder.join(&fresh).join(name), content.as_str().unwrap()).unwrap();
        }
        symlink(&fresh, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(folder.join(before)).unwrap();
        }
    }
}

/// A node with a card, and what network plugins add to it.
struct Node {
    ours: Namespace,
    theirs: Namespace,
}

impl Node {
    fn new() -> Self {
        let node = Self { ours: Namespace::new(), theirs: Namespace::new() };
        veth(&node.ours, "eth0", &node.theirs, "lan0");
        node.ours.ip(&format!("address add {NODE_IP}/24 dev eth0"));
        node
    }

    /// Asks as the kubelet and Prometheus do: at the node's address.
    fn get(&self, path: &str) -> Option<String> {
        let url = format!("http://{NODE_IP}:{PORT}{path}");
        let output = self.ours.command("curl").args(["-sf", "--max-time", "20", &url]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn page(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").unwrap())
    }
}

/// Starts the container of the DaemonSet on a node and waits until its probes succeed. What the volumes are is left to
/// the caller.
fn start<'n>(
    node: &'n Node,
    objects: &[Value],
    scratch: &Path,
    volumes: &Value,
    profile: &Value,
) -> Exporter<'n> {
    let mut exporter = spawn(node, objects, scratch, volumes, profile);
    let container = &only(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    for probe in ["readinessProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        wait_until(probe, || {
            assert!(exporter.ended().is_none(), "{}", exporter.log());
            node.get(path).is_some()
        });
    }
    exporter
}

fn spawn<'n>(
    node: &'n Node,
    objects: &[Value],
    scratch: &Path,
    volumes: &Value,
    profile: &Value,
) -> Exporter<'n> {
    let pod = &only(objects, "DaemonSet")["spec"]["template"]["spec"];
    let asked = json!({
        "pod": pod, "container": pod["containers"][0], "program": BINARY, "volumes": volumes,
        "fields": {"status.hostIP": NODE_IP}, "profile": profile, "root": scratch,
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), asked.to_string()).unwrap();
    let mut command = node.ours.command("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/deploy/kubernetes/pod.py"));
    command.stdin(File::open(file.path()).unwrap());
    Exporter::spawn(&node.ours, command)
}

/// A profile that refuses `bpf`.
fn strict_profile() -> Value {
    serde_json::from_slice(&fs::read(PROFILE).unwrap()).unwrap()
}

/// The same with what containerd and Docker have in theirs since 2022: `bpf` for those who have the capability.
fn profile() -> Value {
    let mut profile = strict_profile();
    let rules = profile["syscalls"].as_array_mut().unwrap();
    for rule in rules.iter_mut() {
        rule["names"].as_array_mut().unwrap().retain(|name| name != "bpf");
    }
    rules.push(json!({"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}));
    profile
}

#[test]
fn the_container_works_with_the_rights_that_it_gets_and_follows_the_inventory() {
    if !root() {
        return;
    }
    let objects = yaml(&built("."));
    let node = Node::new();
    // A pod's interface of each plugin, the bridges and the tunnels: all of them are there, up, and full of frames.
    let names = [
        "veth1a2b3c4d",
        "cali0a1b2c3d4e5",
        "lxc0123456789",
        "azv1234",
        "eni0a1b2c3d4e5",
        "gke0123456789",
        "flannel.1",
        "cilium_host",
        "cilium_vxlan",
        "vxlan.calico",
        "genev_sys_6081",
        "antrea-gw0",
        "ovn-k8s-mp0",
    ];
    for (n, name) in names.iter().enumerate() {
        veth(&node.ours, name, &node.theirs, &format!("pod{n}"));
    }
    for name in ["cni0", "cbr0", "docker0", "kube-bridge", "weave", "virbr0"] {
        bridge(&node.ours, name);
    }
    let frames = [1, 2].map(|n| frame(source(n), 60));
    let (scratch, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shipped = &only(&objects, "ConfigMap")["data"];
    let inventory = ConfigMap::new(shipped);
    let volumes = json!({"inventory": inventory.0.path(), "state": state.path()});
    let mut exporter = start(&node, &objects, scratch.path(), &volumes, &profile());
    send(&node.theirs, "lan0", &frames);
    send(&node.theirs, "pod1", &frames);

    // Nothing but the card, counted by the kernel engine.
    wait_until("two frames", || node.page().interface("frames_total", "eth0") >= 2.0);
    let page = node.page();
    let heard: Vec<_> = page.matching("macwatch_interface_info").collect();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].0.contains("{interface=\"eth0\",engine=\"kernel\","), "{heard:?}");
    let known = |n| format!("macwatch_source_known{{interface=\"eth0\",source_mac=\"{}\"}}", mac(source(n)));
    assert_eq!((page.value(&known(1)), page.value(&known(2))), (0.0, 0.0));
    // Not on other addresses of the node.
    assert!(exporter.get("/-/healthy").is_err());

    let status = fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
    for line in [
        "Uid:\t0\t0\t0\t0",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000002000",
        "CapEff:\t0000000000002000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "no {line} in {status}");
    }
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", exporter.pid())).unwrap();
    assert!(mounts.contains("image / tmpfs ro,"), "{mounts}");

    // Approved in the ConfigMap: known without a restart.
    let mut approved = shipped.clone();
    let listed = format!("{}{} printer\n", shipped["ethers"].as_str().unwrap(), mac(source(1)));
    approved["ethers"] = json!(listed);
    inventory.replace(&approved);
    wait_until("the new inventory", || node.page().value(&known(1)) == 1.0);
    assert_eq!(node.page().value(&known(2)), 0.0);
    assert_eq!(node.page().value("macwatch_inventory_last_reload_successful"), 1.0);

    // A new pod knows what the old one did. `kubectl exec` learns from it meanwhile.
    wait_for("the state", || {
        let text = fs::read_to_string(state.path().join("state")).ok()?;
        text.contains(&mac(source(2))).then_some(())
    });
    let learnt = learn(&node, &state.path().join("state"));
    assert!(learnt.contains(&mac(source(2))), "{learnt}");
    exporter.signal(rustix::process::Signal::TERM);
    assert!(exporter.wait().success(), "{}", exporter.log());
    let scratch = tempfile::tempdir().unwrap();
    drop(start(&node, &objects, scratch.path(), &volumes, &profile()));
}

/// What the README has an exporter say to fill the first inventory.
fn learn(node: &Node, state: &Path) -> String {
    let output = node.ours.command(BINARY).args(["learn", "--from-state"]).arg(state).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn where_the_runtime_refuses_bpf_the_channel_engine_counts() {
    if !root() {
        return;
    }
    let objects = yaml(&built("."));
    let node = Node::new();
    let (scratch, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let inventory = ConfigMap::new(&only(&objects, "ConfigMap")["data"]);
    let volumes = json!({"inventory": inventory.0.path(), "state": state.path()});
    let exporter = start(&node, &objects, scratch.path(), &volumes, &strict_profile());
    send(&node.theirs, "lan0", &[frame(source(1), 60)]);
    wait_until("a frame", || node.page().source("eth0", &mac(source(1))).0 == 1.0);
    assert_eq!(
        node.page().matching("macwatch_interface_info{interface=\"eth0\",engine=\"channel\"").count(),
        1
    );
    assert_eq!(exporter.logged("a seccomp filter"), 1, "{}", exporter.log());
}

#[test]
fn with_tls_it_wants_the_password_and_the_kubelet_needs_none() {
    if !root() {
        return;
    }
    let objects = built_with_tls();
    let pod = &only(&objects, "DaemonSet")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(
            (&container[probe]["tcpSocket"]["port"], container[probe].get("httpGet")),
            (&json!("metrics"), None)
        );
    }
    // The Secret has the names that the file's first lines have kubectl make it of.
    let secret = pod["volumes"].as_array().unwrap().iter().find_map(|volume| volume.get("secret")).unwrap();
    let said = fs::read_to_string(folder().join("tls.yaml")).unwrap();
    assert!(said.contains(&format!("create secret generic {} ", secret["secretName"].as_str().unwrap())));
    assert!(said.contains("--from-file=web.yml --from-file=server.pem --from-file=server.key"));

    let node = Node::new();
    let pki = Pki::new();
    pki.issue("server", "DNS:macwatch.example");
    let mut hash = node.ours.command("sh");
    let hash = hash
        .args(["-c", "echo secret | exec $0 hash-password --cost 4 prometheus", BINARY])
        .output()
        .unwrap();
    assert!(hash.status.success(), "{}", text(&hash));
    let web = format!("{TLS}basic_auth_users:\n  {}", String::from_utf8(hash.stdout).unwrap());
    let read = |name: &str| fs::read_to_string(pki.path(name)).unwrap();
    let web = json!({"web.yml": web, "server.pem": read("server.pem"), "server.key": read("server.key")});
    let (scratch, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (web, inventory) = (ConfigMap::new(&web), ConfigMap::new(&only(&objects, "ConfigMap")["data"]));
    let volumes = json!({"inventory": inventory.0.path(), "state": state.path(), "web": web.0.path()});
    let exporter = spawn(&node, &objects, scratch.path(), &volumes, &profile());
    let status = |user: &str| {
        let mut curl = node.ours.command("curl");
        let host = format!("macwatch.example:{PORT}:{NODE_IP}");
        curl.args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--resolve",
            &host,
            "-u",
            user,
            "--cacert",
        ]);
        let output =
            curl.arg(pki.path("ca.pem")).arg(format!("https://macwatch.example:{PORT}/metrics")).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    wait_until("an answer", || status("prometheus:secret") == "200");
    assert_eq!(status("prometheus:wrong"), "401");
    drop(exporter);
}
