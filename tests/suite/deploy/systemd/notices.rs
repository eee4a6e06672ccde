//! What the service manager is told, word for word: the test is the manager.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use crate::common::exporter::BINARY;
use crate::common::{DEADLINE, Exporter, Namespace, REFUSE, root, wire};

/// Who listens, whatever else the test does: what finds no room in the socket, which takes ten, is not said again.
struct Manager(mpsc::Receiver<Vec<String>>);

impl Manager {
    /// Its thread ends with the test.
    fn new(socket: UnixDatagram) -> Self {
        let (heard, words) = mpsc::channel();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let length = match socket.recv(&mut bytes) {
                    Ok(length) => length,
                    // It was stopped for a while.
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => return,
                };
                let said = String::from_utf8_lossy(&bytes[..length]);
                if heard.send(said.lines().map(ToOwned::to_owned).collect()).is_err() {
                    return;
                }
            }
        });
        Self(words)
    }

    /// What is said of one thing, its lines split.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        self.0.recv_timeout(DEADLINE).unwrap()
    }
}

/// The next word that begins like this; others may come before.
#[track_caller]
fn until(manager: &Manager, start: &str) -> Vec<String> {
    let mut others = Vec::new();
    loop {
        assert!(others.len() < 500, "no {start}, but {others:?}");
        let words = manager.next();
        if words.iter().any(|word| word.starts_with(start)) {
            return words;
        }
        others.extend(words);
    }
}

#[test]
fn it_is_told_what_happens() {
    let Some((ours, _theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let abstracted = "macwatch-notices";
    // Abstract names belong to the network namespace.
    let by_name =
        ours.inside(|| UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(abstracted).unwrap()));
    for (socket, name) in [
        (UnixDatagram::bind(&path).unwrap(), path.display().to_string()),
        (by_name.unwrap(), format!("@{abstracted}")),
    ] {
        let manager = Manager::new(socket);
        let mut command = ours.command(BINARY);
        command.args(["-i", "mw0"]).env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "200000");
        let mut exporter = Exporter::spawn(&ours, command);

        // Nothing before it is ready, but that a busy machine takes its time; and when it is, it serves and captures.
        let mut first = manager.next();
        while first[0].starts_with("EXTEND_TIMEOUT_USEC=") {
            first = manager.next();
        }
        assert_eq!(first[0], "READY=1");
        assert!(first[1].starts_with("STATUS=Capturing on mw0 ("), "{first:?}");
        assert_eq!(exporter.get("/-/ready").unwrap().status, 200);
        assert_eq!(exporter.scrape().interface("capture_up", "mw0"), 1.0);
        assert_eq!(exporter.logged("msg=listening address=[::]:10148"), 1);
        (0..3).for_each(|_| drop(until(&manager, "WATCHDOG=1")));

        let before = clock_gettime(ClockId::Monotonic).tv_sec;
        exporter.signal(Signal::HUP);
        let words = until(&manager, "RELOADING=1");
        let at: i64 = words[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!((before..=clock_gettime(ClockId::Monotonic).tv_sec).contains(&(at / 1_000_000)), "{at}");
        until(&manager, "READY=1");
        assert_eq!(exporter.logged("cause=SIGHUP"), 1);

        ours.ip("link set mw0 down");
        until(&manager, "STATUS=Capturing on 0 of 1 interfaces: none; ");
        ours.ip("link set mw0 up");
        until(&manager, "STATUS=Capturing on mw0 (");

        exporter.signal(Signal::TERM);
        assert_eq!(until(&manager, "STOPPING=1")[0], "STOPPING=1");
        assert_eq!(exporter.wait().code(), Some(0));
    }
}

/// An interface is up, and nothing is captured on it: that is told, and the manager is asked to wait.
#[test]
fn it_is_not_ready_before_frames_are_captured() {
    let Some((ours, _theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = Manager::new(UnixDatagram::bind(&path).unwrap());
    let mut command = ours.command("python3");
    command.args([REFUSE, "packet-bind", "ENODEV", BINARY, "-i", "mw0"]).env("NOTIFY_SOCKET", &path);
    let exporter = Exporter::spawn(&ours, command);
    let first = manager.next();
    assert_eq!(first, ["EXTEND_TIMEOUT_USEC=60000000", "STATUS=Waiting for frames to be captured on mw0"]);
    assert_eq!(exporter.get("/-/ready").unwrap().status, 503);
    // What is down is not waited for.
    ours.ip("link set mw0 down");
    assert!(until(&manager, "READY=1")[1].starts_with("STATUS=Capturing on 0 of 1 interfaces: none; "));
    assert_eq!(exporter.get("/-/ready").unwrap().status, 200);
}

/// A manager that has gone, or one that nobody can reach, costs a line of the log.
#[test]
fn nobody_to_tell_is_no_failure() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    for name in ["/nowhere/notify", "vsock:2:1234"] {
        let mut command = namespace.command(BINARY);
        command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "200000");
        let exporter = Exporter::spawn(&namespace, command);
        exporter.wait_ready();
        crate::common::wait_until("a word of it", || exporter.logged("cannot tell the service manager") > 0);
        assert_eq!(exporter.logged("cannot tell the service manager"), 1);
    }
}
