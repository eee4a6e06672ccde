//! What is shipped for Prometheus and Alertmanager: their own tools find nothing wrong, and the rules speak of
//! what macwatch says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Exporter, Namespace, root, text, veth};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

/// The files of a folder in `deploy/prometheus`.
fn files(name: &str) -> Vec<PathBuf> {
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 2, "{files:?}");
    files
}

/// All text of the files of a folder.
fn read(name: &str) -> String {
    files(name).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

#[track_caller]
fn run(program: &str, arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new(program).args(arguments).args(files).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output));
}

#[test]
fn promtool_and_amtool_have_nothing_to_say() {
    run("promtool", &["check", "rules", "--lint=all", "--lint-fatal"], &files("rules"));
    run("promtool", &["check", "config"], &[folder().join("prometheus.yml")]);
    run("amtool", &["check-config"], &[folder().join("alertmanager.yml")]);
}

/// Randomised addresses may go elsewhere: the lines for that are in the example, as a comment.
#[test]
fn the_routes_send_each_alert_where_the_example_says() {
    let shipped = std::fs::read_to_string(folder().join("alertmanager.yml")).unwrap();
    let elsewhere = shipped
        .replace("      # routes:\n", "      routes:\n")
        .replace("      #   - matchers: [address_type", "        - matchers: [address_type")
        .replace("      #     receiver: quiet\n", "          receiver: quiet\n")
        + "  - name: quiet\n";
    assert_eq!(elsewhere.lines().zip(shipped.lines()).filter(|(a, b)| a != b).count(), 3);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), elsewhere).unwrap();
    let file = format!("--config.file={}", file.path().display());
    for (labels, receiver) in [
        (["alertname=MacwatchUnknownSource", "address_type=local"], "quiet"),
        (["alertname=MacwatchNewSource", "address_type=local"], "quiet"),
        (["alertname=MacwatchUnknownSource", "address_type=universal"], "network"),
        (["alertname=MacwatchNewSource", "address_type=virtual_router"], "network"),
        (["alertname=MacwatchInvalidSource", "severity=info"], "network"),
        (["alertname=MacwatchSourceFlood", "severity=critical"], "network"),
        (["alertname=MacwatchDown", "severity=critical"], "network"),
    ] {
        let verify = format!("--verify.receivers={receiver}");
        run("amtool", &["config", "routes", "test", &file, &verify, labels[0], labels[1]], &[]);
    }
}

#[test]
fn the_rules_do_what_their_tests_say() {
    run("promtool", &["test", "rules"], &files("tests"));
}

/// The alerts, each with the lines up to the next rule.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let parts = rules.split("\n      - ").filter_map(|rule| rule.strip_prefix("alert: "));
    parts.map(|rule| rule.split_once('\n').unwrap()).collect()
}

#[test]
fn each_alert_is_complete_has_a_runbook_and_is_tested() {
    let (rules, tests) = (read("rules"), read("tests"));
    let runbooks = std::fs::read_to_string(folder().join("runbooks.md")).unwrap();
    let alerts = alerts(&rules);
    assert!(alerts.len() >= 12, "{alerts:?}");
    for (name, rule) in &alerts {
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(rule.contains(&format!("\n          {part}")), "{name} has no {part}");
        }
        let link = format!("runbook_url: https://runbooks.example.com/macwatch#{}\n", name.to_lowercase());
        assert!(rule.contains(&link), "{name} has no {link}");
        assert!(
            tests.contains(&format!("\n        alertname: {name}\n        exp_alerts:\n")),
            "{name} untested"
        );
        assert!(tests.contains(&format!("#{}\n", name.to_lowercase())), "{name} never fires in a test");
        let section = runbooks.split_once(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("{name}")).1;
        let section = section.split("\n## ").next().unwrap();
        for part in ["**Means.**", "**Look at**", "**Silence it rightly.**"] {
            assert!(section.contains(part), "the runbook of {name} has no {part}");
        }
    }
    let names: BTreeSet<&str> = alerts.iter().map(|(name, _)| *name).collect();
    for section in runbooks.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap();
        assert!(names.contains(name), "{name} is no alert");
    }
}

/// Names of metrics in a text: words that begin like this, and that no colon makes a recorded series.
fn metrics<'t>(text: &'t str, start: &str) -> BTreeSet<&'t str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
    text.split(ends).filter(|word| word.starts_with(start) && !word.contains(':')).collect()
}

#[test]
fn the_rules_name_only_what_macwatch_says() {
    if !root() {
        return;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.txt");
    let golden = std::fs::read_to_string(golden).unwrap();
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    // The golden page is that of an exporter without any of these.
    let files = tempfile::tempdir().unwrap();
    let (inventory, state) = (files.path().join("inventory"), files.path().join("state"));
    let web = files.path().join("web.yml");
    for file in [&inventory, &web] {
        std::fs::write(file, "").unwrap();
    }
    let options = format!(
        "-i mw0 --inventory.file {} --state.file {} --web.config.file {}",
        inventory.display(),
        state.display(),
        web.display()
    );
    let page = Exporter::start(&ours, &options).get("/metrics").unwrap().text();

    let families = |page: &str| -> BTreeSet<String> {
        let lines = page.lines().filter_map(|line| line.strip_prefix("# HELP "));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let said: BTreeSet<String> = families(&golden).union(&families(&page)).cloned().collect();
    for place in ["rules", "tests"] {
        let text = read(place);
        for name in metrics(&text, "macwatch_").union(&metrics(&text, "process_")) {
            assert!(said.contains(*name), "{place} name {name}, which nobody says");
        }
    }
}
