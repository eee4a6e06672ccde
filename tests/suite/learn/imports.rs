//! What is learnt from files: an exporter's state, and leases.

use std::fs;
use std::process::{Command, Output};

use super::{APPLE, PHONE, PI, Site, assert_line, entries, stderr, stdout};
use crate::common::exporter::BINARY;
use crate::common::frames::{frame, send};
use crate::common::{Exporter, root, veth, wait_until};

#[test]
fn a_state_file_is_read_beside_its_exporter_and_without_privileges() {
    if !root() {
        return;
    }
    let site = Site::new();
    veth(&site.ours, "mw1", &site.theirs, "peer1");
    let state = site.path("state");
    let exporter = Exporter::start(&site.ours, &format!("-i mw0 -i mw1 --state.file {}", state.display()));
    exporter.wait_up("mw0");
    exporter.wait_up("mw1");
    site.send(&[PI, APPLE]);
    send(&site.theirs, "peer1", &[frame(PI, 60), frame(PHONE, 60)]);
    wait_until("all sources to be in the file", || {
        let text = fs::read_to_string(&state).unwrap_or_default();
        text.lines().count() == 3 + 4
    });
    let before = fs::read(&state).unwrap();
    let mut command = site.ours.command("setpriv");
    let line = format!("--bounding-set -all --inh-caps -all {BINARY} learn --from-state state");
    let output = command.args(line.split_whitespace()).current_dir(site.folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = entries(stdout(&output));
    assert_eq!(lines.len(), 3, "{}", stdout(&output));
    assert_line(lines[0], &["3c:22:fb:9a:00:31", "first seen 20", "last seen 20", "on mw0"]);
    assert_line(lines[1], &["b8:27:eb:4f:10:07", "on mw0 and mw1"]);
    assert!(!stdout(&output).contains("frames"), "the state has none");
    let one = site.run("learn --from-state state -i mw1");
    assert_eq!(entries(stdout(&one)).len(), 2);
    // Nothing was made or changed.
    assert_eq!(fs::read(&state).unwrap(), before);
    assert_eq!(fs::read_dir(site.folder.path()).unwrap().count(), 2);

    fs::write(site.path("damaged"), &before[..before.len() - 3]).unwrap();
    for (file, part) in [("damaged", "it is damaged"), ("none", "no such file")] {
        let output = site.run(&format!("learn --from-state {file}"));
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
        assert_line(stderr(&output), &["macwatch: cannot learn from the state file ", part]);
        assert_eq!(stderr(&output).lines().count(), 1);
    }
}

/// Each format, with a name that would do harm.
const LEASES: [(&str, &str, &str); 4] = [
    (
        "dnsmasq.leases",
        "0 b8:27:eb:4f:10:07 192.168.1.20 octo#print *\n0 02:00:00:00:00:07 192.168.1.21 * *\n\
         duid 00:01\n0 123 fd00::1 six 00\n1000000000 02:00:00:00:00:08 192.168.1.22 old *\n",
        "dnsmasq lease of 192.168.1.20, named by it",
    ),
    (
        "dhcpd.leases",
        "lease 192.168.1.20 {\n  ends never;\n  binding state active;\n  hardware ethernet b8:27:eb:4f:10:07;\n  \
         client-hostname \"octo\\012#print\";\n}\nlease 192.168.1.21 { hardware ethernet 02:00:00:00:00:07; }\n\
         lease 192.168.1.22 { ends 1 2001/01/01 00:00:00; hardware ethernet 02:00:00:00:00:08; }\n",
        "ISC dhcpd lease of 192.168.1.20, named by it",
    ),
    (
        "kea-leases4.csv",
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n\
         192.168.1.20,b8:27:eb:4f:10:07,,4294967295,0,1,0,0,octo print,0,\n\
         192.168.1.21,02:00:00:00:00:07,,4294967295,0,1,0,0,,0,\n\
         192.168.1.22,02:00:00:00:00:08,,3600,1000000000,1,0,0,old,0,\n",
        "Kea lease of 192.168.1.20, named by it",
    ),
    (
        "arp.dat",
        "b8:27:eb:4f:10:7\t192.168.1.20\t1795349524\tocto print\teth0\n2:0:0:0:0:7\t192.168.1.21\t1\n",
        "arpwatch list of 192.168.1.20, named by it",
    ),
];

/// Runs it in a folder, without a namespace.
fn learn_in(folder: &tempfile::TempDir, arguments: &str) -> Output {
    let mut command = Command::new("timeout");
    command.args(["30", BINARY, "learn"]).args(arguments.split_whitespace()).env_clear();
    command.env("PATH", "/usr/bin:/bin").current_dir(folder.path()).output().unwrap()
}

#[test]
fn leases_give_addresses_and_names() {
    let folder = tempfile::tempdir().unwrap();
    for (file, content, about) in LEASES {
        fs::write(folder.path().join(file), content).unwrap();
        let output = learn_in(&folder, &format!("--import {file}"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let lines = entries(stdout(&output));
        assert_eq!(lines.len(), 2, "{}", stdout(&output));
        assert_line(lines[0], &["02:00:00:00:00:07  local-000007  # local (may be random, and change), "]);
        assert_line(lines[1], &["b8:27:eb:4f:10:07  octo-print", "# Raspberry Pi", about]);
        let over = if file == "arp.dat" { "0 already listed\n" } else { "1 left out whose lease is over" };
        assert_line(stderr(&output), &["2 addresses: 2 new", over]);
        // Into a file, and again.
        for _ in 0..2 {
            assert_eq!(learn_in(&folder, &format!("--import {file} -o inventory")).status.code(), Some(0));
        }
    }
    let text = fs::read_to_string(folder.path().join("inventory")).unwrap();
    assert_eq!(entries(&text).len(), 2, "{text}");
    // The first that has a name for an address gives it.
    let all = learn_in(&folder, "--import dhcpd.leases --import dnsmasq.leases");
    assert_line(
        stdout(&all),
        &["ISC dhcpd lease of 192.168.1.20", "from dhcpd.leases, from dnsmasq.leases."],
    );
    assert_eq!(entries(stdout(&all)).len(), 2);
}

#[test]
fn what_is_no_list_of_leases_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("ethers"), "02:00:00:00:00:01 printer\n").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("binary"), b"\xff\x00\x1b[2J".repeat(1000)).unwrap();
    fs::write(path("endless"), b"1".repeat(1 << 22)).unwrap();
    fs::write(path("cut"), "lease 192.168.1.20 {\n").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::RWXU).unwrap();
    fs::File::create(path("large")).unwrap().set_len(1 << 30).unwrap();
    for (file, part) in [
        ("ethers", "ethers: not recognised: \"02:00:00:00:00:01 printer\" begins neither"),
        ("empty", "empty: not recognised: it says nothing"),
        ("binary", "binary: not recognised: "),
        ("endless", "endless: not recognised: "),
        ("cut", "cut:1: the file ends within"),
        ("fifo", "fifo: it is not a regular file"),
        ("large", "large: it is larger than 64 MiB"),
        ("none", "none: there is no such file"),
    ] {
        let output = learn_in(&folder, &format!("--import {file}"));
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
        assert_line(stderr(&output), &["macwatch: cannot import ", part]);
        assert!(stderr(&output).lines().count() == 1 && stderr(&output).len() < 400, "{}", stderr(&output));
        assert!(!stderr(&output).contains('\x1b'));
    }
}

#[test]
fn leases_name_what_is_heard() {
    if !root() {
        return;
    }
    let site = Site::new();
    fs::write(site.path("leases"), "0 b8:27:eb:4f:10:07 192.168.1.20 octoprint *\n").unwrap();
    let learn = site.learn_from("--for 10m --import leases", &[PI, APPLE]);
    let text = learn.stdout();
    let lines = entries(&text);
    assert_eq!(lines.len(), 2, "{text}");
    assert_line(lines[0], &["3c:22:fb:9a:00:31  apple-9a0031"]);
    assert_line(
        lines[1],
        &["b8:27:eb:4f:10:07  octoprint", "frames 1, on mw0, dnsmasq lease of 192.168.1.20"],
    );
}
