//! Socket activation: by systemd, by its tool for one, and by what gets it wrong.

use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::manager::{Systemd, engine};
use crate::common::exporter::BINARY;
use crate::common::{Engine, Namespace, Program, root, wait_until, wire};

/// What curl gets; it waits for an answer.
fn curl(namespace: &Namespace, path: &str) -> String {
    let mut curl = namespace.command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--write-out", "%{http_code}", "--output"]);
    let output = curl.args(["/dev/null", &format!("http://127.0.0.1:10148{path}")]).output().unwrap();
    crate::common::text(&output)
}

#[test]
fn the_port_is_systemd_s_and_nobody_is_refused() {
    let Some((ours, _theirs)) = wire() else { return };
    let variables = format!("{}MACWATCH_WEB_SYSTEMD_SOCKET=true\n", engine(Engine::under_test()));
    let systemd = Systemd::start(&ours, &variables, &[]);
    systemd.run("systemctl start macwatch.socket");
    assert_eq!(systemd.show("ActiveState"), "inactive");
    // The first request starts it, and waits for the answer.
    assert_eq!(curl(&ours, "/-/healthy"), "200");
    systemd.wait("ActiveState", |state| state == "active");
    assert_eq!(curl(&ours, "/-/ready"), "200");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while asked < 10 || !over.load(Ordering::Relaxed) {
                assert_eq!(curl(&ours, "/metrics"), "200");
                asked += 1;
            }
        });
        systemd.run("systemctl restart macwatch");
        over.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
    assert_eq!(curl(&ours, "/metrics"), "200");
    assert_eq!(systemd.log().matches("msg=\"serving on sockets that systemd passed\" sockets=1").count(), 2);
}

/// A command that systemd's tool starts with a socket once somebody comes.
fn activated(namespace: &Namespace, options: &str, macwatch: &str) -> Program {
    let mut command = namespace.command("systemd-socket-activate");
    command.args(options.split_whitespace()).arg(BINARY).args(macwatch.split_whitespace());
    let program = Program::spawn(&mut command);
    program.wait_said("Listening on");
    program
}

const TAKE: &str = "--web.systemd-socket --capture.engine channel";

#[test]
fn several_sockets_are_served_and_no_address_of_its_own() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let program = activated(&namespace, "-l 127.0.0.1:10148 -l [::1]:7", TAKE);
    assert_eq!(curl(&namespace, "/metrics"), "200");
    let listening = |address: &str| program.stderr().contains(&format!("msg=listening address={address}"));
    assert!(listening("127.0.0.1:10148") && listening("[::1]:7"), "{}", program.stderr());
    assert_eq!(program.stderr().matches("msg=listening").count(), 2);
    // They are not on all addresses.
    assert!(!program.stderr().contains("whoever reaches this port"), "{}", program.stderr());
}

#[test]
fn what_cannot_be_served_on_is_named() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let refused = |mut program: Program, part: &str| {
        wait_until(part, || program.ended().is_some());
        let said = program.stderr();
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("macwatch: cannot serve on systemd's sockets (--web.systemd-socket): "),
            "{said}"
        );
        assert!(last.contains(part), "no \"{part}\" in: {said}");
    };
    let unix = activated(&namespace, &format!("-l {}", path.display()), TAKE);
    let _client = UnixStream::connect(&path).unwrap();
    refused(unix, "socket 1 of 1: it is a Unix socket");

    let datagrams = activated(&namespace, "-d -l 127.0.0.1:10148", TAKE);
    namespace.inside(|| UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:10148").unwrap());
    refused(datagrams, "socket 1 of 1: fd 3 is not a valid tcp socket; write ListenStream=");

    // With a connection each, as inetd did it; the tool itself goes on.
    let connections = activated(&namespace, "-a -l 127.0.0.1:10148", TAKE);
    curl(&namespace, "/");
    connections.wait_said("socket 1 of 1: it is a connection; the socket unit may not say Accept=yes");

    let with = |variables: &[(&str, &str)]| {
        let mut command = namespace.command(BINARY);
        Program::spawn(command.args(TAKE.split(' ')).envs(variables.iter().copied()))
    };
    refused(with(&[]), "it passed none; start macwatch.socket first");
    refused(with(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]), "they are for process 1 (LISTEN_PID)");
}

/// Who forgets the option is told of it, and why the port is taken.
#[test]
fn sockets_that_nobody_takes_are_told_of() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let mut program = activated(
        &namespace,
        "-l 127.0.0.1:10148",
        "--capture.engine channel --web.listen-address 127.0.0.1:10148",
    );
    namespace.inside(|| std::net::TcpStream::connect("127.0.0.1:10148")).unwrap();
    wait_until("its end", || program.ended().is_some());
    let said = program.stderr();
    assert!(
        said.contains("systemd passed sockets that are not used; --web.systemd-socket takes them"),
        "{said}"
    );
    assert!(said.contains("cannot listen on 127.0.0.1:10148: Address already in use"), "{said}");
}
