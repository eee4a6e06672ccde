//! `macwatch learn`: from who talks to an inventory that the exporter takes.

mod files;
mod imports;

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::frames::{frame, send, source};
use crate::common::{Exporter, Namespace, Program, root, veth, wait_for};

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

    /// Sends a frame from each, and waits until they have arrived: another watcher has seen them too.
    #[track_caller]
    fn send(&self, sources: &[[u8; 6]]) {
        let line = format!("watch -i mw0 --capture.direction in -c {}", sources.len());
        let mut witness = Program::spawn(self.ours.command(BINARY).args(line.split_whitespace()));
        witness.wait_said("msg=capturing");
        self.send_unwatched(sources);
        assert!(witness.wait().success());
    }

    fn send_unwatched(&self, sources: &[[u8; 6]]) {
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
    assert_eq!((known("b8:27:eb:4f:10:07"), known(FORGED)), (1.0, 0.0));
    // One that is added is known from then on, without a restart.
    site.learn_from("-o inventory", &[[0x06, 0, 0, 0, 0xbe, 0xef]]);
    exporter.wait_value(&format!("macwatch_source_known{{interface=\"mw0\",source_mac=\"{FORGED}\"}}"), 1.0);
}

#[test]
fn without_a_file_the_inventory_alone_is_on_stdout() {
    if !root() {
        return;
    }
    let site = Site::new();
    let mut learn = wait_for("frames in time", || {
        let mut learn = site.learn("--for 2s");
        site.send_unwatched(&[
            [0x02, 0x42, 1, 1, 1, 1],
            [0x02, 0x42, 1, 1, 1, 2],
            [0x02, 0x42, 1, 1, 1, 3],
            PI,
        ]);
        // On a busy machine the time may be over before they are sent.
        learn.ended().is_none().then_some(learn)
    });
    assert!(learn.wait().success());
    let text = learn.stdout();
    assert_eq!(entries(&text).len(), 4, "{text}");
    assert_line(&text, &["\n# 02:42:* docker\n", "anyone who forges an address"]);
    let said = learn.stderr();
    assert_line(&said, &["listening on mw0 for 2s; Ctrl-C ends early", "4 addresses: 4 new", "next: "]);
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
fn a_terminal_that_goes_away_leaves_what_was_heard() {
    if !root() {
        return;
    }
    let site = Site::new();
    let mut learn = site.learn("--for 10m -o inventory");
    site.send(&[PI]);
    // By the shell, and by the kernel.
    learn.signal(Signal::HUP);
    learn.signal(Signal::HUP);
    assert!(learn.wait().success());
    assert_eq!(entries(&site.read("inventory")).len(), 1);

    // Unless it was told to go on.
    let mut command = site.ours.command("nohup");
    let mut learn = Program::spawn(command.args([BINARY, "learn", "-i", "mw0", "--for", "10m"]));
    learn.wait_said("listening on mw0");
    learn.signal(Signal::HUP);
    site.send(&[APPLE]);
    learn.signal(Signal::INT);
    assert!(learn.wait().success());
    assert_line(&learn.stdout(), &["3c:22:fb:9a:00:31"]);
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

#[test]
fn it_keeps_no_more_than_it_needs() {
    if !root() {
        return;
    }
    let site = Site::new();
    // CAP_NET_RAW is bit 13; CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH and FOWNER, for the file, are the lowest four.
    for (arguments, kept) in
        [("", "CapEff:\t0000000000002000"), ("-o inventory", "CapEff:\t000000000000200f")]
    {
        let learn = site.learn(arguments);
        for task in fs::read_dir(format!("/proc/{}/task", learn.pid())).unwrap() {
            // A thread that is no more keeps nothing.
            let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
            assert_line(&status, &[kept, "NoNewPrivs:\t1"]);
        }
    }
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
