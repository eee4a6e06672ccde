//! `deploy/kubernetes`: kubectl builds it, what it says fits together, and the container that it describes works with
//! the rights that it gives ([`pod`]).

mod pod;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::browser::full;
use crate::common::exporter::{BINARY, PORT, copy_program};
use crate::common::frames::{source, text as mac};
use crate::common::{command, state, text};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes")
}

/// A YAML text as JSON, document by document.
#[track_caller]
fn yaml(text_of_it: &[u8]) -> Vec<Value> {
    let script = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin.buffer)), sys.stdout)";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text_of_it).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `kubectl apply -k` would send.
#[track_caller]
fn built(part: &str) -> Vec<u8> {
    kustomize(&folder().join(part))
}

#[track_caller]
fn kustomize(folder: &Path) -> Vec<u8> {
    let output = Command::new("kubectl").arg("kustomize").arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    output.stdout
}

/// The same with the lines that turn on TLS.
#[track_caller]
fn built_with_tls() -> Vec<Value> {
    let copy = tempfile::tempdir().unwrap();
    for file in
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    let file = copy.path().join("kustomization.yaml");
    let shipped = fs::read_to_string(&file).unwrap();
    let (off, mut on) = ("# patches:\n#   - path: tls.yaml\n", "patches:\n  - path: tls.yaml\n");
    assert!(shipped.ends_with(off), "{shipped}");
    let version = Command::new("kubectl").args(["version", "--client"]).output().unwrap();
    if text(&version).contains("v1.20.") {
        // Debian 12's has a kustomize of 2019, in which patches had another name.
        on = "patchesStrategicMerge:\n  - tls.yaml\n";
    }
    fs::write(&file, shipped.replace(off, on)).unwrap();
    yaml(&kustomize(copy.path()))
}

/// The only object of a kind.
#[track_caller]
fn only<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    let [one] = found[..] else { panic!("{} of kind {kind}", found.len()) };
    one
}

/// The strings of a list.
fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

/// The value of an option in a container's arguments.
#[track_caller]
fn option<'c>(container: &'c Value, name: &str) -> &'c str {
    let start = format!("--{name}=");
    strings(&container["args"]).into_iter().find_map(|argument| argument.strip_prefix(&start)).unwrap()
}

#[test]
fn what_is_built_fits_together() {
    let objects = yaml(&built("."));
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().copied().collect::<BTreeSet<_>>().len(), 4, "{kinds:?}");
    for object in &objects {
        let place = if object["kind"] == "Namespace" { "name" } else { "namespace" };
        assert_eq!(object["metadata"][place], "macwatch", "{object}");
    }
    let template = &only(&objects, "DaemonSet")["spec"]["template"];
    let pod = &template["spec"];
    let container = &pod["containers"][0];

    // Pod Security's level "baseline" refuses each of these, and there is one level above it.
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(
        container["securityContext"]["capabilities"],
        json!({"drop": ["ALL"], "add": ["NET_RAW", "BPF"]})
    );
    let labels = &only(&objects, "Namespace")["metadata"]["labels"];
    for mode in ["enforce", "warn", "audit"] {
        assert_eq!(labels[format!("pod-security.kubernetes.io/{mode}")], "privileged");
    }
    assert_runs_where_it_can(pod);
    for refused in ["privileged", "hostPID", "hostIPC"] {
        assert!(
            pod.get(refused).is_none() && container["securityContext"].get(refused).is_none(),
            "{refused}"
        );
    }

    assert_eq!(pod["serviceAccountName"], only(&objects, "ServiceAccount")["metadata"]["name"]);
    assert_eq!(
        only(&objects, "DaemonSet")["spec"]["selector"]["matchLabels"],
        template["metadata"]["labels"]
    );
    assert_eq!(container["image"], "registry.example.com/macwatch:0.1.0");
    // What the README has one push.
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&format!("docker push {}", container["image"].as_str().unwrap())));
    assert_eq!(container["ports"], json!([{"name": "metrics", "containerPort": PORT}]));
    assert!(option(container, "web.listen-address").ends_with(&format!(":{PORT}")));
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "metrics");
    }

    let volumes = pod["volumes"].as_array().unwrap();
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert_eq!((volumes.len(), mounts.len()), (2, 2));
    let at = |volume: &str| {
        let mount = mounts.iter().find(|mount| mount["name"] == volume);
        mount.unwrap_or_else(|| panic!("{volume} is mounted nowhere"))["mountPath"].as_str().unwrap()
    };
    let state = volumes.iter().find(|volume| volume.get("hostPath").is_some()).unwrap();
    let in_state = option(container, "state.file").strip_prefix(at(state["name"].as_str().unwrap()));
    assert_eq!(in_state, Some("/state"));
    // No subPath: with one, a change of the ConfigMap would never arrive.
    assert!(mounts.iter().all(|mount| mount.get("subPath").is_none()));
    let inventory = volumes.iter().find(|volume| volume.get("configMap").is_some()).unwrap();
    let map = only(&objects, "ConfigMap");
    assert_eq!(inventory["configMap"]["name"], map["metadata"]["name"]);
    let file = option(container, "inventory.file").strip_prefix(at(inventory["name"].as_str().unwrap()));
    let file = file.unwrap().trim_start_matches('/');
    assert!(map["data"][file].is_string(), "no {file} in {map}");
}

/// On every node that can run it: a node as the scheduler sees it is its labels and taints.
#[track_caller]
fn assert_runs_where_it_can(pod: &Value) {
    // Whatever the taints.
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    let required = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required["nodeSelectorTerms"].as_array().unwrap();
    let fits = |labels: Value| {
        let all = |term: &Value| {
            term["matchExpressions"].as_array().unwrap().iter().all(|one| {
                assert_eq!(one["operator"], "NotIn");
                labels
                    .get(one["key"].as_str().unwrap())
                    .is_none_or(|value| !one["values"].as_array().unwrap().contains(value))
            })
        };
        let wanted = pod["nodeSelector"].as_object().unwrap();
        wanted.iter().all(|(key, value)| labels.get(key) == Some(value)) && terms.iter().any(all)
    };
    let os = "kubernetes.io/os";
    assert!(fits(json!({os: "linux"})));
    assert!(fits(json!({os: "linux", "eks.amazonaws.com/compute-type": "ec2", "type": "gpu"})));
    assert!(!fits(json!({os: "windows"})));
    // What EKS labels Fargate's nodes with, and what a virtual kubelet (as of AKS) labels itself with.
    assert!(!fits(json!({os: "linux", "eks.amazonaws.com/compute-type": "fargate"})));
    assert!(!fits(json!({os: "linux", "type": "virtual-kubelet"})));
}

/// What stands in for kubectl has two pods, and each its state file.
const KUBECTL: &str = r#"#!/bin/sh
case "$*" in
    "-n macwatch get pods -o name") printf 'pod/one\npod/two\n' ;;
    "-n macwatch exec pod/"*" -- /macwatch learn --from-state /var/lib/macwatch/state")
        exec "$MACWATCH" learn --from-state "${4#pod/}" ;;
    *) exit 1 ;;
esac
"#;

/// The README's lines, where two nodes hear the same device: that has one line, and a name is given once.
#[test]
fn the_lines_of_the_readme_make_one_inventory_of_what_all_nodes_heard() {
    let readme = fs::read_to_string(folder().join("../../README.md")).unwrap();
    let section = readme.split("\n### Kubernetes\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let loop_at = section.find("for pod in ").unwrap();
    let lines = section[loop_at..].split("\n\"").next().unwrap();

    let here = tempfile::tempdir().unwrap();
    let path = |name: &str| here.path().join(name);
    fs::create_dir_all(path("deploy/kubernetes")).unwrap();
    let inventory = path("deploy/kubernetes/ethers");
    fs::copy(folder().join("ethers"), &inventory).unwrap();
    for (name, sources) in [("one", [1, 2]), ("two", [2, 3])] {
        let heard = sources.map(|n| (n, 1_700_000_000_000, 1_790_000_100_000));
        fs::write(path(name), state::file(1_700_000_000_000, &heard)).unwrap();
    }
    fs::write(path("kubectl.text"), KUBECTL).unwrap();
    copy_program(&path("kubectl.text"), &path("kubectl"));
    let mut follow = command("sh");
    follow.args(["-ec", lines]).current_dir(&here).env("MACWATCH", BINARY);
    follow.env("PATH", format!("{}:/usr/bin:/bin", here.path().display()));
    let output = follow.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));

    let learnt = fs::read_to_string(&inventory).unwrap();
    for n in 1..=3 {
        assert_eq!(learnt.matches(&mac(source(n))).count(), 1, "{learnt}");
    }
    assert!(learnt.starts_with(&fs::read_to_string(folder().join("ethers")).unwrap()), "{learnt}");
    let mut check = command(BINARY);
    let output = check.args(["check", "--inventory.file"]).arg(&inventory).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_operator_gets_the_same_rules_and_finds_the_same_pods() {
    let objects = yaml(&built("prometheus-operator"));
    let monitor = only(&objects, "PodMonitor");
    let template = only(&yaml(&built(".")), "DaemonSet")["spec"]["template"].clone();
    assert_eq!(monitor["metadata"]["namespace"], "macwatch");
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]);
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["port"], template["spec"]["containers"][0]["ports"][0]["name"]);

    let rules: Vec<_> = objects.iter().filter(|object| object["kind"] == "PrometheusRule").collect();
    assert_eq!(rules.len(), 2);
    for rule in rules {
        let name = rule["metadata"]["name"].as_str().unwrap();
        let file = folder().join(format!("../prometheus/rules/{name}.yml"));
        assert_eq!(
            rule["spec"],
            yaml(&fs::read(file).unwrap())[0],
            "{name}: run prometheus-operator/refresh"
        );
    }
    // Comments too.
    let made = tempfile::tempdir().unwrap();
    let output =
        Command::new(folder().join("prometheus-operator/refresh")).arg(made.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let name = "prometheusrule.yaml";
    let shipped = fs::read_to_string(folder().join("prometheus-operator").join(name)).unwrap();
    assert!(
        shipped == fs::read_to_string(made.path().join(name)).unwrap(),
        "run prometheus-operator/refresh"
    );
}

/// As its side-car wants them: each in a ConfigMap, with a label.
#[test]
fn each_dashboard_is_there_for_grafana() {
    let grafana = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana");
    let maps = yaml(&kustomize(&grafana));
    let mut found = BTreeSet::new();
    for map in &maps {
        assert_eq!(
            (&map["kind"], &map["metadata"]["labels"]),
            (&json!("ConfigMap"), &json!({"grafana_dashboard": "1"}))
        );
        let data = map["data"].as_object().unwrap();
        assert_eq!(data.len(), 1);
        let (name, text) = data.iter().next().unwrap();
        assert_eq!(text, &fs::read_to_string(grafana.join("dashboards").join(name)).unwrap());
        // What kubectl keeps of it in an annotation, quoted once more.
        assert!(map.to_string().escape_default().count() < 256 * 1024, "{name}");
        found.insert(name.clone());
    }
    let files = fs::read_dir(grafana.join("dashboards")).unwrap();
    assert_eq!(found, files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect());
}

/// Kubernetes' own schemas, of the oldest and the newest version that the package has, from the Python registry.
#[test]
fn kubernetes_schemas_have_nothing_to_say() {
    if !full() {
        return;
    }
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubernetes-tools");
    let pip = tools.join("bin/pip");
    for command in [
        Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&tools),
        Command::new(&pip).args(["install", "--quiet", "kubernetes-validate==1.37.0"]),
    ] {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
    let manifests = String::from_utf8(built(".")).unwrap();
    let misspelt = manifests.replace("enableServiceLinks", "enableServiceLink");
    assert_ne!(manifests, misspelt);
    let file = tempfile::NamedTempFile::new().unwrap();
    for version in ["1.25", "1.37"] {
        for (what, valid) in [(&manifests, true), (&misspelt, false)] {
            fs::write(file.path(), what).unwrap();
            let mut validate = Command::new(tools.join("bin/kubernetes-validate"));
            let output = validate.args(["--strict", "-k", version]).arg(file.path()).output().unwrap();
            assert_eq!(output.status.success(), valid, "{version}: {}", text(&output));
        }
    }
}
