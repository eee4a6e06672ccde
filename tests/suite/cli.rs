//! What is typed, and what is said to it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::{Exporter, Namespace, root, veth, wait_until, wire};

/// Options with a value, and one that their variable cannot have.
const SCALARS: [(&str, &str); 14] = [
    ("capture.engine", "steam"),
    ("capture.direction", "sideways"),
    ("no-promiscuous", "perhaps"),
    ("web.enable-lifecycle", "perhaps"),
    ("web.no-zero-first", "perhaps"),
    ("web.openmetrics-created", "perhaps"),
    ("web.systemd-socket", "perhaps"),
    ("sources.max", "many"),
    ("sources.max-total", "0"),
    ("sources.idle-timeout", "soon"),
    ("web.telemetry-path", "metrics"),
    ("web.max-requests", "1.5"),
    ("log.level", "loud"),
    ("log.format", "xml"),
];
/// Options that may be repeated, and a value that they cannot have.
const LISTS: [(&str, &str); 3] =
    [("interface", "eth["), ("interface.exclude", "a/b"), ("web.listen-address", "10148")];

/// Options that take files: whatever they are called, what is in them shows later.
const FILES: [&str; 4] = ["inventory.file", "vendor.file", "state.file", "web.config.file"];

fn options() -> impl Iterator<Item = &'static str> {
    SCALARS.iter().chain(&LISTS).map(|(option, _)| *option).chain(FILES)
}

fn run(arguments: &str) -> Output {
    run_with(&[], arguments)
}

fn run_with(variables: &[(&str, &str)], arguments: &str) -> Output {
    // It must end by itself; one that serves happily would not.
    let mut command = Command::new("timeout");
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(variables.iter().copied());
    command.args(["30", BINARY]).args(arguments.split_whitespace()).output().unwrap()
}

/// The variable of an option.
fn variable(option: &str) -> String {
    format!("MACWATCH_{}", option.to_uppercase().replace(['.', '-'], "_"))
}

/// It must have ended with this code and one line on stderr that has these parts.
#[track_caller]
fn assert_refused(output: &Output, code: i32, parts: &[&str]) {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "stdout is for output");
    assert!(
        error.starts_with("macwatch: ") && error.ends_with('\n') && error.lines().count() == 1,
        "{error}"
    );
    for part in parts {
        assert!(error.contains(part), "no \"{part}\" in: {error}");
    }
}

#[test]
fn the_version_is_in_the_form_of_the_official_exporters() {
    for option in ["--version", "-V"] {
        let output = run(option);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        let (first, rest) = text.split_once('\n').unwrap();
        let start = format!("macwatch, version {} (branch: ", env!("CARGO_PKG_VERSION"));
        let facts = first.strip_prefix(&start).and_then(|rest| rest.strip_suffix(')'));
        let (branch, revision) = facts.and_then(|facts| facts.split_once(", revision: ")).unwrap();
        for fact in [branch, revision] {
            assert!(!fact.is_empty() && !fact.contains(' '), "{first}");
        }
        assert!(rest.contains("  rust version:     1.") && rest.contains("  platform:         "), "{rest}");
    }
}

#[test]
fn help_names_exactly_the_options_that_work_and_their_variables() {
    for option in ["--help", "-h", "help"] {
        let output = run(option);
        assert!(output.status.success() && output.stderr.is_empty());
        let text = String::from_utf8(output.stdout).unwrap();
        // Long lines are broken where the terminal ends.
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut named: Vec<&str> = words
            .iter()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|word| word.trim_end_matches([',', '.']))
            .collect();
        named.sort_unstable();
        let mut expected: Vec<&str> = options().chain(["help", "version"]).collect();
        expected.sort_unstable();
        assert_eq!(named, expected, "{option}");
        for option in options() {
            let variable = format!("[env: {}=]", variable(option));
            assert!(words.join(" ").contains(&variable), "{variable}");
        }
        for command in
            ["watch", "interfaces", "send", "learn", "check", "healthcheck", "hash-password", "help"]
        {
            assert!(text.contains(&format!("  {command} ")), "{command}");
        }
    }
    for command in ["watch", "interfaces", "send", "learn", "check", "healthcheck", "hash-password"] {
        let output = run(&format!("{command} --help"));
        assert!(output.status.success() && output.stderr.is_empty());
        assert!(String::from_utf8(output.stdout).unwrap().contains(&format!("Usage: macwatch {command} ")));
    }
}

#[test]
fn what_cannot_be_used_is_named_with_a_remedy() {
    let remedy = "; see --help\n";
    for (option, value) in SCALARS.iter().chain(&LISTS).filter(|(_, value)| *value != "perhaps") {
        let refused = run(&format!("--{option} {value}"));
        assert_refused(&refused, 2, &[&format!("'{value}'"), &format!("--{option}"), remedy]);
    }
    for (arguments, parts) in [
        ("-i eth[", &["'eth['", "--interface <GLOB>", "[a-z]"][..]),
        ("-i eth0 --interface.exclude eth*", &["'eth0'", "drop one"]),
        ("-i an-interface-name", &["'an-interface-name'", "15 bytes"]),
        ("--sources.max x1", &["'x1'", "whole number"]),
        ("--sources.max 99999999999", &["'99999999999'", "4294967295"]),
        ("--sources.max 0", &["'0'", "at least 1"]),
        ("--sources.max -5", &["'-5'", "--sources.max", "whole number"]),
        ("--sources.max 1 --sources.max 2", &["--sources.max", "multiple times"]),
        ("--sources.max", &["--sources.max", "value is required"]),
        ("--sources.idle-timeout 3", &["'3'", "24h"]),
        ("--sources.idle-timeout 1ms", &["'1ms'", "at least 1s"]),
        ("--web.listen-address nowhere", &["'nowhere'", "nowhere:10148"]),
        ("--web.listen-address ::1:80", &["'::1:80'", "[::1]:80"]),
        ("--web.listen-address :99999", &["':99999'", "65535"]),
        ("--web.telemetry-path metrics", &["'metrics'", "slash"]),
        ("--web.telemetry-path /", &["'/'", "another"]),
        ("--web.telemetry-path /-/healthy", &["'/-/healthy'", "another"]),
        ("--web.telemetry-path /a?b", &["'/a?b'", "leave out"]),
        ("--log.level loud", &["'loud'", "debug, info, warn, error"]),
        ("--log.format xml", &["'xml'", "logfmt, json"]),
        ("--capture.direction up", &["'up'", "both, in, out"]),
        ("--interfaces eth0", &["'--interfaces'", "'--interface'"]),
        ("--nonsense", &["'--nonsense'"]),
        ("wacth", &["'wacth'", "'watch'"]),
        ("eth0", &["'eth0'", "named with -i"]),
        ("interfaces extra", &["'extra'"]),
        ("--log.level warn watch", &["'watch'", "--log.level"]),
        ("--inventory.file=", &["''", "--inventory.file", "names nothing"]),
        ("check --inventory.file=", &["''", "--inventory.file", "names nothing"]),
        ("watch -i ,", &["','", "--interface", "names nothing"]),
        ("watch -c 0", &["'0'", "--count"]),
        ("watch -c -1", &["'-1'", "--count"]),
        ("watch -i eth[", &["'eth['"]),
        ("interfaces -i eth[", &["'eth['"]),
        ("send --source 02:00:00:00:be:ef", &["not provided: --interface <NAME>"]),
        ("send -i eth0", &["not provided: --source <MAC>"]),
        ("send -i eth* --source 02:00:00:00:be:ef", &["'eth*'", "one interface"]),
        ("send -i an-interface-name --source 02:00:00:00:be:ef", &["'an-interface-name'", "15 bytes"]),
        ("send -i eth0 --source 02:00:00:00:be", &["'02:00:00:00:be'", "--source", "5 bytes"]),
        ("send -i eth0 --source 2:: --destination x", &["'2::'", "like 02:42:ac:11:00:02"]),
        ("send -i eth0 --source 02:00:00:00:be:ef --destination x", &["'x'", "--destination"]),
        ("send -i eth0 --source 02:00:00:00:be:ef --count 0", &["'0'", "--count"]),
        ("send -i eth0 --source 02:00:00:00:be:ef --interval 3", &["'3'", "500ms"]),
        ("send -i eth0 --source 02:00:00:00:be:ef --interval 1ms", &["'1ms'", "at least 10ms"]),
        ("learn -i eth[", &["'eth['"]),
        ("learn --for soon", &["'soon'", "--for <DURATION>", "10m"]),
        ("learn --for 0s", &["'0s'", "from 1s to 31d"]),
        ("learn --for 99999999999999999y", &["--for <DURATION>"]),
        ("learn --for 300y", &["'300y'", "from 1s to 31d"]),
        ("learn --sources.max 0", &["'0'", "--sources.max"]),
        ("learn --sources.max -1", &["'-1'", "--sources.max"]),
        ("learn --sources.max-total 65537", &["'65537'", "65536"]),
        ("learn -o", &["--output <FILE>", "value is required"]),
        ("check", &["'--inventory.file <FILE>' is missing", "inventories"]),
        ("healthcheck --web.listen-address 10148", &["'10148'", ":10148"]),
        ("hash-password --cost 3", &["'3'", "--cost"]),
        ("check --inventory.file x --explain y", &["'y'", "--explain"]),
    ] {
        assert_refused(&run(arguments), 2, parts);
        assert_refused(&run(arguments), 2, &[remedy]);
    }
}

#[test]
fn what_cannot_be_done_here_is_named_with_a_remedy() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let taken = namespace.inside(|| TcpListener::bind("127.0.0.1:10148").unwrap());
    let refused = |arguments: &str, parts: &[&str]| {
        // It must end by itself; one that serves happily would not.
        let mut command = namespace.command("timeout");
        let output = command.args(["30", BINARY]).args(arguments.split_whitespace()).output().unwrap();
        assert_refused(&output, 1, parts);
    };
    let quiet = "--log.level error";
    refused(
        &format!("{quiet} --web.listen-address 127.0.0.1:10148"),
        &["127.0.0.1:10148", "already in use", "another port"],
    );
    refused(quiet, &[":10148", "already in use"]);
    refused(
        &format!("{quiet} --web.listen-address 192.0.2.77:80"),
        &["192.0.2.77:80", "no interface has this address"],
    );
    refused(&format!("{quiet} -i lo"), &["lo", "loopback", "macwatch interfaces"]);
    refused(&format!("watch {quiet} -i lo"), &["lo", "loopback"]);
    drop(taken);
}

#[test]
fn variables_are_options() {
    for (option, value) in SCALARS.iter().chain(&LISTS) {
        let refused = run_with(&[(&variable(option), value)], "");
        assert_refused(&refused, 2, &[&format!("'{value}'"), &format!("--{option}")]);
    }
}

#[test]
fn variables_take_effect_and_options_win() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    for n in 0..3 {
        veth(&ours, &format!("mw{n}"), &theirs, &format!("peer{n}"));
    }
    let mut command = ours.command(BINARY);
    command.envs([
        ("MACWATCH_INTERFACE", "mw*, absent0"),
        ("MACWATCH_INTERFACE_EXCLUDE", "mw2,other*"),
        ("MACWATCH_NO_PROMISCUOUS", "yes"),
        ("MACWATCH_SOURCES_MAX", "nonsense"),
        ("MACWATCH_WEB_LISTEN_ADDRESS", "127.0.0.1:10148,127.0.0.1:10149"),
        ("MACWATCH_WEB_TELEMETRY_PATH", "/else/where"),
        ("MACWATCH_LOG_FORMAT", "json"),
        // Set, but empty: as if not set.
        ("MACWATCH_LOG_LEVEL", ""),
        ("MACWATCH_SOURCES_IDLE_TIMEOUT", ""),
        ("MACWATCH_CAPTURE_DIRECTION", ""),
        // What Kubernetes sets for a service of this name.
        ("MACWATCH_PORT", "tcp://192.0.2.1:10148"),
        ("MACWATCH_SERVICE_HOST", "192.0.2.1"),
    ]);
    command.args(["--sources.max", "7", "--web.telemetry-path", "/metrics"]);
    let exporter = Exporter::spawn(&ours, command);
    exporter.wait_ready();
    exporter.wait_up("mw0");
    exporter.wait_up("mw1");
    let page = exporter.wait_value("macwatch_interface_capture_up{interface=\"absent0\"}", 0.0);
    assert_eq!(page.matching("macwatch_interface_capture_up").count(), 3, "mw2 is excluded");
    assert_eq!(page.interface("sources_limit", "mw0"), 7.0);
    assert!(ours.run("ip -d link show mw0").contains("promiscuity 0"));
    assert_eq!(exporter.get("/else/where").unwrap().status, 404);
    for line in exporter.log().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    let second = crate::common::http::request(&ours, 10149, "GET", "/metrics", "").unwrap();
    assert_eq!(second.status, 200);
}

/// Takes a line of logfmt apart.
#[track_caller]
fn logfmt(line: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').unwrap_or_else(|| panic!("no key: {line}"));
        assert!(!key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        let (value, after) = if after.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = stream.next().unwrap().unwrap();
            (value, &after[stream.byte_offset()..])
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        assert!(fields.insert(key.to_owned(), value).is_none(), "twice {key}: {line}");
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    fields
}

fn json(line: &str) -> BTreeMap<String, String> {
    let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    object
        .into_iter()
        .map(|(key, value)| (key, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}

#[test]
fn the_log_goes_to_stderr_line_by_line() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    type Parse = fn(&str) -> BTreeMap<String, String>;
    for (format, parse) in [("logfmt", logfmt as Parse), ("json", json)] {
        for (level, levels) in
            [("debug", &["INFO", "WARN"][..]), ("info", &["INFO", "WARN"]), ("warn", &["WARN"])]
        {
            let stdout = tempfile::NamedTempFile::new().unwrap();
            let mut command = namespace.command(BINARY);
            command.stdout(stdout.reopen().unwrap());
            command.args(["-i", "absent0", "--log.format", format, "--log.level", level]);
            let mut exporter = Exporter::spawn(&namespace, command);
            exporter.wait_ready();
            wait_until("a warning", || exporter.logged("waiting for it") > 0);
            exporter.signal(Signal::TERM);
            assert_eq!(exporter.wait().code(), Some(0));
            let log = exporter.log();
            let lines: Vec<_> = log.lines().map(parse).collect();
            for line in &lines {
                assert!(line["time"].starts_with("20") && line["time"].ends_with('Z'), "{line:?}");
                assert!(!line["msg"].is_empty(), "{line:?}");
                assert!(levels.contains(&&*line["level"]) || level == "debug", "{level}: {line:?}");
            }
            for expected in levels {
                assert!(
                    lines.iter().any(|line| line["level"] == *expected),
                    "{level}: no {expected}:\n{log}"
                );
            }
            let missing = lines.iter().find(|line| line["msg"].contains("waiting")).unwrap();
            assert_eq!(missing["interface"], "absent0");
            assert_eq!(std::fs::read_to_string(stdout.path()).unwrap(), "", "nothing on stdout");
        }
    }
}

#[test]
fn interfaces_says_of_each_whether_it_is_watched() {
    let Some((ours, theirs)) = wire() else { return };
    veth(&ours, "port0", &theirs, "peer1");
    ours.ip("link add bridge0 type bridge");
    ours.ip("link set port0 master bridge0");
    let row = |arguments: &str, name: &str| {
        let table = ours.run(&format!("{BINARY} interfaces {arguments}"));
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        row.unwrap_or_else(|| panic!("{table}")).to_owned()
    };
    for (arguments, name, parts) in [
        ("", "lo", ["up", "no", "loopback"]),
        ("", "mw0", ["up", "yes", "Ethernet"]),
        ("", "port0", ["up", "no", "bridge0"]),
        ("", "bridge0", ["down", "no", "as soon as it is up"]),
        ("-i port0", "port0", ["up", "yes", "named"]),
        ("-i port0", "mw0", ["up", "no", "--interface"]),
        ("--interface.exclude mw*", "mw0", ["up", "no", "exclude"]),
        ("-i absent0", "absent0", ["absent", "no", "waited for"]),
    ] {
        let row = row(arguments, name);
        let words: Vec<&str> = row.split_whitespace().collect();
        assert!(words.contains(&parts[0]) && words.contains(&parts[1]) && row.contains(parts[2]), "{row}");
    }
    // What the exporter would refuse is refused, after the table.
    for (arguments, code, said) in [
        ("-i mw0 -i absent0 -i nothing*", 0, ""),
        ("-i lo", 1, "macwatch: cannot watch interface lo: it is the loopback"),
        ("-i l*", 0, ""),
    ] {
        let output = ours.command(BINARY).arg("interfaces").args(arguments.split(' ')).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.starts_with(said) && stderr.lines().count() == usize::from(code == 1), "{stderr}");
        assert!(output.stdout.starts_with(b"NAME "));
    }
}

/// A full disk under the log, or a reader that has gone, must not end the capture.
#[test]
fn a_log_that_cannot_be_written_is_no_reason_to_end() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let mut command = namespace.command("sh");
    command.args(["-c", "exec \"$0\" 2>/dev/full", BINARY]);
    let mut exporter = Exporter::spawn(&namespace, command);
    exporter.wait_ready();
    exporter.signal(Signal::TERM);
    assert_eq!(exporter.wait().code(), Some(0));
}
