//! `deploy/systemd` under a real systemd, and what macwatch does for one.
//!
//! The sandbox is the unit's own, with one thing more: a system call that it forbids ends the program, instead of an
//! error that somebody might overlook.

mod manager;
mod notices;
mod sockets;

use std::fs;
use std::process::Command;

use manager::{Systemd, UNITS, engine};

use crate::common::frames::{frame, send, source, text};
use crate::common::pki::Pki;
use crate::common::secure::TLS;
use crate::common::{Engine, Namespace, Program, root, veth, wait_until, wire};

#[test]
fn the_units_are_sound() {
    let unit = format!("{UNITS}/macwatch.service");
    let mut analyze = Command::new("systemd-analyze");
    // Ten times what it calls exposure: 2.0 at the most.
    let output = analyze.args(["security", "--offline=true", "--threshold=20", &unit]).output().unwrap();
    assert!(output.status.success(), "{}", crate::common::text(&output));
    if !root() {
        return;
    }
    // Where the program is in its place.
    let namespace = Namespace::new();
    let systemd = Systemd::start(&namespace, "", &[]);
    let folder = "/etc/systemd/system";
    let said =
        systemd.run(&format!("systemd-analyze verify {folder}/macwatch.service {folder}/macwatch.socket"));
    assert_eq!(said, "");
}

#[test]
fn all_that_it_does_it_does_in_its_sandbox() {
    if !root() {
        return;
    }
    let pki = Pki::new();
    let read = |name: &str| fs::read(pki.path(name)).unwrap();
    for engine_asked in [Engine::Kernel, Engine::Channel] {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        veth(&ours, "mw0", &theirs, "peer0");
        let variables = format!(
            "{}MACWATCH_INVENTORY_FILE=/run/config/ethers\nMACWATCH_OPTIONS=-i mw* --log.level debug\n",
            engine(engine_asked)
        );
        let (known, files) = (text(source(1)), [read("server.pem"), read("server.key")]);
        let systemd = Systemd::start(
            &ours,
            &variables,
            &[
                ("ethers", b"02:00:00:00:00:77 somebody\n"),
                ("server.pem", &files[0]),
                ("server.key", &files[1]),
                ("web.yml", TLS.as_bytes()),
            ],
        );
        // It is started when it says so, and then /-/ready is true.
        systemd.run("systemctl start macwatch");
        let ready = crate::common::http::request(&ours, 10148, "GET", "/-/ready", "").unwrap();
        assert_eq!(ready.status, 200);
        let name = engine_asked.name();
        assert_eq!(systemd.show("StatusText"), format!("Capturing on mw0 ({name} engine); 0 sources"));
        assert_confined(&systemd.main());

        send(&theirs, "peer0", &vec![frame(source(1), 60); 3]);
        let series =
            |family: &str| format!("macwatch_source_{family}{{interface=\"mw0\",source_mac=\"{known}\"}}");
        systemd.wait_value(&series("frames_total"), 3.0);
        systemd.wait_value(&series("known"), 0.0);
        veth(&ours, "mw1", &theirs, "peer1");
        systemd.wait_value("macwatch_interface_capture_up{interface=\"mw1\"}", 1.0);
        systemd.wait("StatusText", |line| {
            line.starts_with(&format!("Capturing on mw0, mw1 ({name} engine); 1 "))
        });

        // Files that change, and a reload.
        let inventory = systemd.path("/run/config/ethers");
        fs::write(&inventory, format!("{known} printer\n")).unwrap();
        systemd.wait_value(&series("known"), 1.0);
        fs::write(&inventory, "no inventory\n").unwrap();
        systemd.run("systemctl reload macwatch");
        systemd.wait("StatusText", |line| {
            line.ends_with("; the inventory is broken, the last good one is used")
        });
        fs::write(&inventory, format!("{known} printer\n")).unwrap();
        systemd.run("systemctl reload macwatch");
        systemd.wait("StatusText", |line| line.ends_with("; 1 source"));

        // What it remembers is in its own folder.
        systemd.run("systemctl stop macwatch");
        assert_eq!((systemd.show("Result"), systemd.show("ExecMainStatus")), ("success".into(), "0".into()));
        let state = fs::read_to_string(systemd.path("/var/lib/private/macwatch/state"));
        assert!(state.unwrap().contains(&known));
        let default = systemd.path("/etc/default/macwatch");
        fs::write(default, format!("{variables}MACWATCH_WEB_CONFIG_FILE=/run/config/web.yml\n")).unwrap();
        systemd.run("systemctl start macwatch");
        let mut curl = ours.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--cacert"])
            .arg(pki.path("ca.pem"));
        let output = curl.arg("https://localhost:10148/metrics").output().unwrap();
        let page = crate::common::text(&output);
        assert!(page.contains(&series("first_seen_timestamp_seconds")), "{page}\n{}", systemd.log());
        systemd.run("systemctl stop macwatch");
        assert_eq!((systemd.show("Result"), systemd.show("NRestarts")), ("success".into(), "0".into()));
        // Nothing was refused that it wanted: it complained of the broken inventory and of the open port.
        let log = systemd.log();
        let complaints =
            log.lines().filter(|line| line.contains("level=ERROR") || line.contains("level=WARN"));
        for complaint in complaints {
            let expected = ["inventory not reloaded", "whoever reaches this port", "small receive queues"];
            assert!(expected.iter().any(|part| complaint.contains(part)), "{complaint}");
        }
    }
}

/// The README's lines, as they are, in a checkout where it has been built.
#[test]
fn the_lines_of_the_readme_install_it() {
    if !root() {
        return;
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let readme = fs::read_to_string(format!("{root}/README.md")).unwrap();
    let section = readme.split("### systemd\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let blocks: Vec<String> = section
        .split("```")
        .filter_map(|block| block.strip_prefix("sh\n"))
        .map(|block| block.lines().map(|line| format!("{}\n", line.trim_start())).collect())
        .collect();
    assert_eq!(blocks.len(), 3, "{section}");

    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let systemd = Systemd::start(&ours, "", &[]);
    let folder = systemd.path("/run/config");
    fs::create_dir_all(folder.join("target/release")).unwrap();
    fs::create_dir_all(folder.join("deploy/systemd")).unwrap();
    fs::copy(crate::common::exporter::BINARY, folder.join("target/release/macwatch")).unwrap();
    for file in ["macwatch.service", "macwatch.socket", "macwatch.default"] {
        fs::copy(format!("{UNITS}/{file}"), folder.join("deploy/systemd").join(file)).unwrap();
    }
    systemd.run("rm /usr/local/bin/macwatch /etc/default/macwatch /etc/systemd/system/macwatch.service");
    systemd.run("rm /etc/systemd/system/macwatch.socket");
    let follow = |name: &str, block: &str| {
        fs::write(folder.join(name), format!("set -e\ncd /run/config\n{block}")).unwrap();
        systemd.run(&format!("sh /run/config/{name}"))
    };
    let said = follow("install", &blocks[0]);
    assert!(said.contains("Status: \"Capturing on mw0 (kernel engine); "), "{said}");
    follow("activate", &blocks[1]);
    assert_eq!(systemd.show("ActiveState"), "active");
    assert!(systemd.log().contains("msg=\"serving on sockets that systemd passed\" sockets=1"));
    systemd.scrape();

    send(&theirs, "peer0", &[frame(source(1), 60)]);
    wait_until("the state", || systemd.path("/var/lib/private/macwatch/state").exists());
    follow("remove", &blocks[2]);
    let here = systemd.run("find /etc/systemd/system /etc/default /usr/local/bin /var/lib -name macwatch*");
    assert_eq!(here, "");
    let (there, said) = systemd.try_run("systemctl status macwatch");
    assert!(!there && said.contains("could not be found"), "{said}");
}

/// Panics unless every restriction that can be seen from outside holds.
#[track_caller]
fn assert_confined(pid: &str) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |key: &str| {
        status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t")).unwrap_or_default()
    };
    assert_eq!((value("NoNewPrivs"), value("Seccomp")), ("1", "2"), "{status}");
    // CAP_NET_RAW; CAP_BPF has been given up.
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(value(set), "0000000000002000", "{status}");
    }
    assert!(!value("Uid").starts_with("0\t"), "{status}");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    // A folder that can be written outside of the sandbox, unlike most here.
    let folder = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/etc/default")).unwrap();
    assert!(folder.split(' ').nth(5).unwrap().starts_with("ro"), "{folder}");
}

/// A thread that captures, or the reactor, is held in the kernel for good. systemd hears nothing more, and starts the
/// service anew.
#[test]
fn who_is_stuck_is_started_anew() {
    let Some((ours, _theirs)) = wire() else { return };
    let systemd = Systemd::start(&ours, &engine(Engine::under_test()), &[]);
    // It says so twice as often, which a busy machine may delay for a while.
    systemd.drop_in("WatchdogSec=4s\nRestartSec=100ms\nTimeoutAbortSec=1s");
    systemd.run("systemctl start macwatch");
    for (restarts, held) in ["capture", "macwatch"].into_iter().enumerate() {
        // It lives by saying so.
        let first = systemd.show("WatchdogTimestampMonotonic");
        systemd.wait("WatchdogTimestampMonotonic", |now| now != first);
        assert_eq!(systemd.show("NRestarts"), restarts.to_string(), "{}", systemd.log());
        let stuck = || systemd.log().lines().filter(|line| line.contains("part=captures")).count();
        let before = stuck();

        let main = systemd.main();
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-p", &thread(&main, held), "-e"]);
        // A minute, in microseconds.
        strace.arg("inject=poll,ppoll,epoll_wait,epoll_pwait,epoll_pwait2:delay_exit=60000000");
        let strace = Program::spawn(&mut strace);
        systemd.wait("Result", |result| result == "watchdog");
        // A thread that is traced stays until its tracer has seen its end.
        drop(strace);
        let after = (restarts + 1).to_string();
        wait_until("systemd to start it anew", || systemd.show("NRestarts") == after);
        systemd.wait("ActiveState", |state| state == "active");
        // Who can still say what is the matter does.
        assert!(held != "capture" || stuck() > before, "{}", systemd.log());
    }
}

/// The number of a thread with this name.
#[track_caller]
fn thread(pid: &str, name: &str) -> String {
    let mut threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &std::path::PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    threads.find(is_it).unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}
