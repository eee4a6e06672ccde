//! `macwatch learn`: from who talks to an inventory that the exporter takes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, Program, root, veth, wait_until};

const PI: [u8; 6] = [0xb8, 0x27, 0xeb, 0x4f, 0x10, 0x07];
const APPLE: [u8; 6] = [0x3c, 0x22, 0xfb, 0x9a, 0x00, 0x31];
const PHONE: [u8; 6] = [0xda, 0xa1, 0x19, 0x00, 0xbe, 0xef];
const VRRP: [u8; 6] = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a];
const FORGED: &str = "06:00:00:00:be:ef";

/// A network, and a folder for files.
struct Site {
    ours: Namespace,
    theirs: Namespace,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        veth(&ours, "mw0", &theirs, "peer0");
        Self { ours, theirs, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs macwatch in the folder until it ends.
    fn run(&self, arguments: &str) -> Output {
        let mut command = self.ours.command(BINARY);
        command.args(arguments.split_whitespace()).current_dir(self.folder.path()).output().unwrap()
    }

    /// Starts learning, and waits until it listens.
    #[track_caller]
    fn learn(&self, arguments: &str) -> Program {
        let line = format!("learn -i mw0 {arguments}");
        let mut command = self.ours.command(BINARY);
        let program = Program::spawn(command.args(line.split_whitespace()).current_dir(self.folder.path()));
        program.wait_said("listening on mw0");
        program
    }

    fn send(&self, sources: &[[u8; 6]]) {
        let frames: Vec<_> = sources.iter().map(|source| frame(*source, 60)).collect();
        send(&self.theirs, "peer0", &frames);
    }

    /// Learns from these frames, until Ctrl-C.
    #[track_caller]
    fn learn_from(&self, arguments: &str, sources: &[[u8; 6]]) -> Program {
        let mut learn = self.learn(arguments);
        self.send(sources);
        learn.signal(Signal::INT);
        assert!(learn.wait().success());
        learn
    }
}

/// The lines that are no comments.
fn entries(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
}

#[track_caller]
fn assert_line(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn four_talkers_are_four_lines_and_a_forged_one_is_unknown() {
    if !root() {
        return;
    }
    let site = Site::new();
    let own = site.ours.run("cat /sys/class/net/mw0/address");
    let own_octets = macwatch::mac::parse(own.trim()).unwrap().octets();
    let zero = [0; 6];
    let group = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x01];
    let mut learn = site.learn("--for 10m -o inventory");
    site.send(&[PI, APPLE, PHONE, VRRP, PI, PI, zero, group]);
    send(&site.ours, "mw0", &[frame(own_octets, 60)]);
    // Ctrl-C ends early, and what is in the queue is counted.
    learn.signal(Signal::INT);
    assert!(learn.wait().success());
    assert_eq!(learn.stdout(), "");

    let text = site.read("inventory");
    let lines = entries(&text);
    assert_eq!(lines.len(), 4, "{text}");
    for (line, parts) in lines.iter().zip([
        ["00:00:5e:00:01:0a  virtual-router-00010a", "virtual_router", "first seen 20", "frames 1, on mw0"],
        ["3c:22:fb:9a:00:31  apple-9a0031", "# Apple, Inc., universal", "first seen 20", "frames 1, on mw0"],
        ["b8:27:eb:4f:10:07  raspberry-4f1007", "# Raspberry Pi", "universal", "frames 3, on mw0"],
        ["da:a1:19:00:be:ef  ", "local (may be random, and change)", "first seen 20", "frames 1, on mw0"],
    ]) {
        assert_line(line, &parts);
    }
    for part in [
        ": 4 addresses learnt by macwatch from ",
        "# left out, as no device may send from it: 00:00:00:00:00:00 (zero)",
        "# left out, as no device may send from it: 01:00:5e:00:00:01 (group)",
        &format!("# left out, as this machine's own are known anyway: {} of mw0", own.trim()),
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let said = learn.stderr();
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_line(
        &said,
        &["7 addresses: 4 new, 0 already listed, 1 of this machine left out, 2 left out that no device"],
    );
    assert_line(&said, &["next: edit inventory", "`macwatch check --inventory.file inventory`"]);

    assert_eq!(site.run("check --inventory.file inventory").status.code(), Some(0));
    let forged = site.run(&format!("check --inventory.file inventory --explain {FORGED}"));
    assert_line(stdout(&forged), &["known: no"]);
    let pi = site.run("check --inventory.file inventory --explain b8:27:eb:4f:10:07");
    assert_line(stdout(&pi), &["known: yes\nname: raspberry-4f1007\n"]);

    // And the exporter says the same.
    let exporter =
        Exporter::start(&site.ours, &format!("-i mw0 --inventory.file {}", site.path("inventory").display()));
    exporter.wait_up("mw0");
    site.send(&[PI, [0x06, 0, 0, 0, 0xbe, 0xef]]);
    let page = exporter.wait_frames("mw0", 2.0);
    let known =
        |mac: &str| page.value(&format!("macwatch_source_known{{interface=\"mw0\",source_mac=\"{mac}\"}}"));
    assert_eq!((known(&text_of(PI)), known(FORGED)), (1.0, 0.0));
}

fn text_of(mac: [u8; 6]) -> String {
    text(mac)
}

#[test]
fn what_a_person_wrote_stays_to_the_byte() {
    if !root() {
        return;
    }
    let site = Site::new();
    for (name, before) in [
        ("plain", "# ours\n\nb8-27-EB-4F-10-07\toctoprint   # on the shelf\n"),
        ("cut", "b827.eb4f.1007 octoprint"),
        ("crlf", "# ours\r\nb8:27:eb:* raspberry\r\n"),
        ("empty", ""),
    ] {
        fs::write(site.path(name), before).unwrap();
        site.learn_from(&format!("-o {name}"), &[PI, APPLE]);
        let after = site.read(name);
        assert!(after.starts_with(before), "{after:?}");
        let new = if before.is_empty() { 2 } else { 1 };
        assert_eq!(entries(&after[before.len()..]).len(), new, "{after:?}");
        assert_eq!(
            after.matches("\r\n").count(),
            if name == "crlf" { after.matches('\n').count() } else { 0 }
        );
        assert_eq!(site.run(&format!("check --inventory.file {name}")).status.code(), Some(0));

        // Again: nothing is new, and the file is not even replaced.
        let inode = fs::metadata(site.path(name)).unwrap().ino();
        let again = site.learn_from(&format!("-o {name}"), &[APPLE, PI]);
        assert_eq!(site.read(name), after);
        assert_eq!(fs::metadata(site.path(name)).unwrap().ino(), inode);
        assert_line(&again.stderr(), &["2 addresses: 0 new, 2 already listed", "there is nothing to add"]);
        let more = site.learn_from(&format!("-o {name}"), &[PHONE]);
        assert!(site.read(name).starts_with(&after), "{}", more.stderr());
    }
}

#[test]
fn a_link_a_mode_and_an_owner_stay() {
    if !root() {
        return;
    }
    let site = Site::new();
    // As with sudo: root may write into the folder of another, and what is there stays theirs.
    let home = site.path("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("ethers"), "# mine\n").unwrap();
    fs::set_permissions(home.join("ethers"), fs::Permissions::from_mode(0o640)).unwrap();
    for path in [&home, &home.join("ethers")] {
        std::os::unix::fs::chown(path, Some(65_534), Some(65_533)).unwrap();
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("home/ethers", site.path("link")).unwrap();
    site.learn_from("-o link", &[PI]);
    assert!(fs::symlink_metadata(site.path("link")).unwrap().is_symlink());
    let facts = fs::metadata(home.join("ethers")).unwrap();
    assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (65_534, 65_533, 0o640));
    assert_eq!(entries(&site.read("home/ethers")).len(), 1);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn without_a_file_the_inventory_alone_is_on_stdout() {
    if !root() {
        return;
    }
    let site = Site::new();
    let mut learn = site.learn("--for 1s");
    site.send(&[[0x02, 0x42, 1, 1, 1, 1], [0x02, 0x42, 1, 1, 1, 2], [0x02, 0x42, 1, 1, 1, 3], PI]);
    assert!(learn.wait().success());
    let text = learn.stdout();
    assert_eq!(entries(&text).len(), 4, "{text}");
    assert_line(&text, &["\n# 02:42:* docker\n", "anyone who forges an address"]);
    let said = learn.stderr();
    assert_line(&said, &["listening on mw0 for 1s; Ctrl-C ends early", "4 addresses: 4 new", "next: "]);
    assert_eq!(said.lines().count(), 3, "{said}");
    // All of it is an inventory, with the proposal or without.
    for text in [text.clone(), text.replace("# 02:42:* ", "02:42:* ")] {
        fs::write(site.path("inventory"), text).unwrap();
        assert_eq!(site.run("check --inventory.file inventory").status.code(), Some(0));
    }
    // Nobody speaks: that is said, and nothing is written.
    let silent = site.run("learn -i mw0 --for 1s -o new");
    assert_eq!((silent.status.code(), stdout(&silent)), (Some(0), ""));
    assert_line(stderr(&silent), &["0 addresses", "nobody spoke"]);
    assert!(!site.path("new").exists());
}

#[test]
fn more_than_there_is_room_for_is_told() {
    if !root() {
        return;
    }
    let site = Site::new();
    let many: Vec<_> = (0..20).map(source).collect();
    let learn = site.learn_from("--sources.max 5", &many);
    assert_eq!(entries(&learn.stdout()).len(), 5);
    assert_line(&learn.stdout(), &["# Warning: there was no room for all: 15 frames"]);
    assert_line(
        &learn.stderr(),
        &["macwatch: warning: there was no room for all: 15 frames", "--sources.max"],
    );
}

#[test]
fn an_interface_that_goes_leaves_what_was_heard_on_it() {
    if !root() {
        return;
    }
    let site = Site::new();
    veth(&site.ours, "mw1", &site.theirs, "peer1");
    let line = "learn -i mw* --for 10m";
    let mut learn = Program::spawn(site.ours.command(BINARY).args(line.split_whitespace()));
    learn.wait_said("listening on mw0, mw1");
    send(&site.theirs, "peer1", &[frame(PI, 60), frame(APPLE, 60)]);
    site.send(&[PI]);
    site.ours.ip("link del mw1");
    learn.signal(Signal::INT);
    assert!(learn.wait().success());
    let text = learn.stdout();
    assert_eq!(entries(&text).len(), 2, "{text}");
    assert_line(entries(&text)[0], &["3c:22:fb:9a:00:31", "frames 1, on mw1"]);
    assert_line(entries(&text)[1], &["b8:27:eb:4f:10:07", "frames 2, on mw0 and mw1"]);
}

#[test]
fn a_file_that_is_broken_is_refused_and_stays() {
    if !root() {
        return;
    }
    let site = Site::new();
    let broken = "02:00:00:00:00:01 a\n02:00:00:00:00 five\nnobody\n";
    fs::write(site.path("broken"), broken).unwrap();
    // At once, not after ten minutes.
    let refused = site.run("learn -i mw0 -o broken");
    assert_eq!((refused.status.code(), stdout(&refused)), (Some(1), ""));
    let said: Vec<_> = stderr(&refused).lines().collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_line(said[0], &["macwatch: cannot add to broken: it has faults, and stays as it is"]);
    assert_line(said[1], &["macwatch: broken:2: "]);
    assert_line(said[2], &["macwatch: broken:3: "]);
    assert_eq!(site.read("broken"), broken);
    for (file, part) in [("/dev/null", "not a regular file"), (".", "not a regular file")] {
        let refused = site.run(&format!("learn -i mw0 -o {file}"));
        assert_eq!(refused.status.code(), Some(1));
        assert_line(stderr(&refused), &["macwatch: cannot add to ", part]);
        assert_eq!(stderr(&refused).lines().count(), 1);
    }

    // It breaks while it listens: what was learnt is on stdout.
    fs::write(site.path("later"), "").unwrap();
    let mut learn = site.learn("-o later");
    site.send(&[PI]);
    fs::write(site.path("later"), broken).unwrap();
    learn.signal(Signal::INT);
    assert_eq!(learn.wait().code(), Some(1));
    assert_eq!(site.read("later"), broken);
    assert_eq!(entries(&learn.stdout()).len(), 1);
    assert_line(&learn.stderr(), &["cannot add to later", "what was learnt is on stdout instead"]);
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_learnt() {
    if !root() {
        return;
    }
    let site = Site::new();
    // A disk that is mounted read-only, in a mount namespace that ends with the program.
    let mut command = site.ours.command("sh");
    let script = "mount -t tmpfs -o ro none \"$2\" && exec \"$1\" learn -i mw0 -o \"$2/inventory\"";
    let output = command.args(["-c", script, "sh", BINARY]).arg(site.folder.path()).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert_line(stderr(&output), &["macwatch: cannot write ", "/inventory: ", "Read-only file system"]);
    assert_eq!(stderr(&output).lines().count(), 1, "before it listens: {}", stderr(&output));

    fs::create_dir(site.path("folder")).unwrap();
    let mut learn = site.learn("-o folder/inventory");
    site.send(&[PI]);
    fs::remove_dir(site.path("folder")).unwrap();
    learn.signal(Signal::TERM);
    assert_eq!(learn.wait().code(), Some(1));
    assert_eq!(entries(&learn.stdout()).len(), 1);
    assert_line(
        &learn.stderr(),
        &["cannot write folder/inventory: ", "what was learnt is on stdout instead"],
    );
}

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

#[test]
fn a_missing_capability_is_explained() {
    if !root() {
        return;
    }
    let site = Site::new();
    let mut command = site.ours.command("setpriv");
    let line = format!("--bounding-set -all --inh-caps -all {BINARY} learn -i mw0");
    let output = command.args(line.split_whitespace()).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert_line(stderr(&output), &["macwatch: cannot open a packet socket: CAP_NET_RAW is missing"]);
    assert_eq!(stderr(&output).lines().count(), 1);
}

/// A terminal of its own: what is written to it comes out, and Ctrl-C is typed.
const TERMINAL: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

#[test]
fn a_person_sees_a_line_that_is_drawn_anew() {
    if !root() {
        return;
    }
    let site = Site::new();
    let mut command = site.ours.command("python3");
    command.args(["-c", TERMINAL, BINARY, "learn", "-i", "mw0", "-o", "inventory"]);
    let mut learn = Program::spawn(command.current_dir(site.folder.path()));
    learn.wait_said("listening on mw0 for 10m; Ctrl-C ends early");
    learn.wait_said("\r\x1b[K0 sources; ");
    site.send(&[PI, APPLE]);
    learn.wait_said("\r\x1b[K2 sources; 9m ");
    assert_line(&learn.stdout(), &["s left; Ctrl-C ends early\r"]);
    learn.tell("\x03");
    assert!(learn.wait().success());
    let said = learn.stdout();
    assert_line(&said, &["\r\x1b[K2 addresses: 2 new"]);
    assert_eq!(entries(&site.read("inventory")).len(), 2);
}
