//! What the process may do: CAP_NET_RAW, and no more than that.

use std::process::Command;

use crate::common::exporter::copy_binary;
use crate::common::frames::{frame, send, source};
use crate::common::{Engine, Exporter, Namespace, Program, root, veth, wire};

/// The 14th capability: the bit in /proc/PID/status.
const NET_RAW: &str = "0000000000002000";

/// And the 40th.
const NET_RAW_AND_BPF: &str = "0000008000002000";

/// A copy that anyone may run, wherever the one under test lies.
fn shared_binary() -> tempfile::TempPath {
    let copy = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    copy_binary(&copy);
    copy
}

/// A command that runs as nobody, with these capabilities (in setpriv's words) and no way to others.
fn as_nobody(namespace: &Namespace, capabilities: &str, binary: &std::path::Path) -> Command {
    let mut command = namespace.command("setpriv");
    command.args("--reuid 65534 --regid 65534 --clear-groups".split_whitespace());
    for set in ["inh-caps", "ambient-caps", "bounding-set"] {
        command.arg(format!("--{set}={capabilities}"));
    }
    command.arg("--").arg(binary);
    command
}

/// Panics unless every thread has this in its capability sets, and no way to more.
#[track_caller]
fn assert_threads(exporter: &Exporter<'_>, sets: [(&str, &str); 5]) {
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", exporter.pid())).unwrap() {
        // A thread that is no more can do nothing.
        let Ok(status) = std::fs::read_to_string(thread.unwrap().path().join("status")) else { continue };
        let value = |key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t")).unwrap_or_default()
        };
        for (key, expected) in sets {
            assert_eq!(value(key), expected, "{key} of thread {}:\n{status}", value("Name"));
        }
        assert_eq!(value("NoNewPrivs"), "1", "{status}");
        threads += 1;
    }
    // The main one, one for each interface, one that makes pages.
    assert!(threads >= 3, "{threads} threads");
}

const NONE: &str = "0000000000000000";

const ONLY_NET_RAW: [(&str, &str); 5] =
    [("CapInh", NONE), ("CapPrm", NET_RAW), ("CapEff", NET_RAW), ("CapBnd", NET_RAW), ("CapAmb", NONE)];

#[test]
fn root_keeps_one_capability() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "");
    exporter.wait_up("mw0");
    assert_threads(&exporter, ONLY_NET_RAW);
    veth(&ours, "mw1", &theirs, "peer1");
    exporter.wait_up("mw1");
    send(&theirs, "peer1", &[frame(source(1), 60)]);
    exporter.wait_frames("mw1", 1.0);
    assert_threads(&exporter, ONLY_NET_RAW);
}

#[test]
fn cap_net_raw_is_all_it_takes() {
    if !root() {
        return;
    }
    let binary = shared_binary();
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    // The kernel engine takes CAP_BPF at the start; by then nobody can tell the difference.
    let capabilities = match Engine::under_test() {
        Engine::Kernel => "-all,+net_raw,+bpf",
        Engine::Channel => "-all,+net_raw",
    };
    let mut command = as_nobody(&ours, capabilities, &binary);
    command.args(["-i", "mw*", "-i", "late0"]);
    let exporter = Exporter::spawn(&ours, command);
    exporter.wait_ready();
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &vec![frame(source(1), 60); 3]);
    let page = exporter.wait_frames("mw0", 3.0);
    let info =
        format!("macwatch_interface_info{{interface=\"mw0\",engine=\"{}\",", Engine::under_test().name());
    assert_eq!(page.matching(&info).count(), 1);

    // More of them than there are spare sockets from the start.
    for n in 1..=20 {
        veth(&ours, &format!("mw{n}"), &theirs, &format!("peer{n}"));
    }
    veth(&ours, "late0", &theirs, "late1");
    for (name, peer) in [("mw20", "peer20"), ("late0", "late1")] {
        exporter.wait_up(name);
        send(&theirs, peer, &vec![frame(source(1), 60); 2]);
        exporter.wait_frames(name, 2.0);
    }
    ours.ip("link del late0");
    exporter.wait_down("late0");
    veth(&ours, "late0", &theirs, "late1");
    exporter.wait_up("late0");
    send(&theirs, "late1", &[frame(source(1), 60)]);
    exporter.wait_frames("late0", 3.0);

    // Without CAP_SETPCAP the bounding set stays as it was.
    let bounding = if Engine::under_test() == Engine::Kernel { NET_RAW_AND_BPF } else { NET_RAW };
    assert_threads(
        &exporter,
        ONLY_NET_RAW.map(|(set, caps)| (set, if set == "CapBnd" { bounding } else { caps })),
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    if !root() {
        return;
    }
    let binary = shared_binary();
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    for job in [&[][..], &["watch"], &["send", "-i", "mw0", "--source", "02:00:00:00:be:ef"]] {
        let mut program = Program::spawn(as_nobody(&ours, "-all", &binary).args(job));
        assert_eq!(program.wait().code(), Some(1));
        let said = program.stderr();
        let told: Vec<_> = said.lines().filter(|line| !line.starts_with("time=")).collect();
        assert_eq!(told.len(), 1, "{said}");
        for part in [
            "CAP_NET_RAW",
            "sudo setcap cap_net_raw+ep",
            binary.to_str().unwrap(),
            "systemd: AmbientCapabilities=CAP_NET_RAW",
            "Docker: --cap-add NET_RAW",
            "Kubernetes: securityContext.capabilities.add: [NET_RAW]",
            "CAP_BPF",
        ] {
            assert!(told[0].contains(part), "no {part} in: {said}");
        }
        assert_eq!(program.stdout(), "");
    }
}
