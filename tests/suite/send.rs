//! `macwatch send`: the fire drill, beside tcpdump and an exporter.

use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::frames::{self, frame, source, text};
use crate::common::{Exporter, Namespace, Program, http, wait_until, wire};

/// Starts it on mw0.
fn send(namespace: &Namespace, arguments: &str) -> Program {
    let line = format!("send -i mw0 {arguments}");
    Program::spawn(namespace.command(BINARY).args(line.split_whitespace()))
}

/// The lines that tell of frames, as words.
fn told(program: &Program) -> Vec<Vec<String>> {
    let text = program.stdout();
    let words = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.filter(|words| words.last().is_some_and(|last| last == "bytes")).collect()
}

/// Listens for this many frames at an end of the wire.
#[track_caller]
fn tcpdump(namespace: &Namespace, interface: &str, frames: usize) -> Program {
    // -xx: in hex, the header too. -Q in: those that arrive.
    let line = format!("-e -n -tt -xx -l -Q in -i {interface} -c {frames}");
    let program = Program::spawn(namespace.command("tcpdump").args(line.split_whitespace()));
    program.wait_said(&format!("listening on {interface}"));
    program
}

/// The frames that it printed: time, summary, bytes.
fn captured(tcpdump: &Program) -> Vec<(f64, String, Vec<u8>)> {
    let mut frames: Vec<(f64, String, Vec<u8>)> = Vec::new();
    for line in tcpdump.stdout().lines() {
        if let Some((_, hex)) = line.split_once(":  ").filter(|_| line.starts_with('\t')) {
            let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
            let bytes = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            frames.last_mut().unwrap().2.extend(bytes.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        } else {
            let (time, summary) = line.split_once(' ').unwrap();
            frames.push((time.parse().unwrap(), summary.to_owned(), Vec::new()));
        }
    }
    frames
}

#[test]
fn three_frames_arrive_and_are_counted() {
    let Some((ours, theirs)) = wire() else { return };
    let mut tcpdump = tcpdump(&theirs, "peer0", 3);
    let exporter = Exporter::start(&theirs, "-i peer0");
    exporter.wait_up("peer0");
    let mut send = send(&ours, "--source 02-5E-00-00-BE-EF --interval 100ms");
    assert!(send.wait().success());
    assert!(tcpdump.wait().success());
    let frames = captured(&tcpdump);
    assert_eq!(frames.len(), 3);
    for (n, (_, summary, bytes)) in (1..).zip(&frames) {
        let mut expected = vec![0x03, 0x6d, 0x61, 0x63, 0x77, 0x61, 0x02, 0x5e, 0, 0, 0xbe, 0xef, 0x88, 0xb5];
        expected.extend(format!("macwatch test frame {n} of 3").into_bytes());
        expected.resize(60, 0);
        assert_eq!(*bytes, expected, "{summary}");
        for part in ["02:5e:00:00:be:ef > 03:6d:61:63:77:61", "(0x88b5)", "length 60:"] {
            assert!(summary.contains(part), "{summary}");
        }
    }
    for pair in frames.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 0.1, "{frames:?}");
    }
    let page = exporter.wait_frames("peer0", 3.0);
    assert_eq!(page.source("peer0", "02:5e:00:00:be:ef"), (3.0, 180.0));
    let lines = told(&send);
    assert_eq!(lines.len(), 3, "{}", send.stdout());
    for line in lines {
        assert_eq!(line[1..], ["mw0", "02:5e:00:00:be:ef", ">", "03:6d:61:63:77:61", "60", "bytes"]);
    }
    let said = send.stdout();
    let series = "macwatch_source_frames_total{interface=\"…\",source_mac=\"02:5e:00:00:be:ef\"}";
    for part in ["3 frames sent\n", "200ms apart", "stay silent", series, "--capture.direction in"] {
        assert!(said.contains(part), "no \"{part}\" in: {said}");
    }
    assert_eq!(send.stderr().lines().count(), 1);
    assert!(send.stderr().contains("port security"));
}

/// What is typed once by hand: the frames are evidence for the shipped rule.
#[test]
fn by_default_a_source_speaks_for_more_than_five_seconds() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&theirs, "-i peer0");
    exporter.wait_up("peer0");
    let mut send = send(&ours, &format!("--source {}", text(source(1))));
    assert!(send.wait().success());
    assert!(send.stdout().contains("6s apart: enough"), "{}", send.stdout());
    let page = exporter.wait_frames("peer0", 3.0);
    let seen = |which: &str| {
        let labels = format!("{{interface=\"peer0\",source_mac=\"{}\"}}", text(source(1)));
        page.value(&format!("macwatch_source_{which}_seen_timestamp_seconds{labels}"))
    };
    assert!(seen("last") - seen("first") > 5.0);
}

#[test]
fn an_exporter_on_this_machine_counts_them_unless_it_captures_what_arrives() {
    let Some((ours, theirs)) = wire() else { return };
    let both = Exporter::start(&ours, "-i mw0");
    both.wait_up("mw0");
    let deaf = "-i mw0 --capture.direction in --web.listen-address :10149";
    let mut command = ours.command(BINARY);
    command.args(deaf.split_whitespace());
    let deaf = Exporter::spawn(&ours, command);
    wait_until("the deaf one to capture", || deaf.logged("msg=capturing") > 0);
    let mut send = send(&ours, &format!("--source {} -c 1 --destination ff:ff:ff:ff:ff:ff", text(source(1))));
    assert!(send.wait().success());
    assert!(send.stdout().contains("> ff:ff:ff:ff:ff:ff  60 bytes"), "{}", send.stdout());
    let page = both.wait_frames("mw0", 1.0);
    assert_eq!(page.source("mw0", &text(source(1))), (1.0, 60.0));
    // What arrives after it is counted, it was not.
    frames::send(&theirs, "peer0", &[frame(source(2), 60)]);
    wait_until("what arrives", || {
        let page = http::request(&ours, 10149, "GET", "/metrics", "").unwrap().text();
        assert!(!page.contains(&text(source(1))), "{page}");
        page.contains(&text(source(2)))
    });
}

#[test]
fn ctrl_c_ends_it_at_once_and_nothing_was_made_promiscuous() {
    let Some((ours, _theirs)) = wire() else { return };
    let mut send = send(&ours, &format!("--source {} --interval 10h", text(source(1))));
    send.wait_said("60 bytes");
    assert!(ours.run("ip -d link show mw0").contains("promiscuity 0"));
    // Its socket has protocol 0, so it receives nothing.
    let sockets = ours.run("cat /proc/net/packet");
    let rows: Vec<Vec<&str>> = sockets.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 1, "{sockets}");
    assert_eq!(rows[0][3], "0000", "{sockets}");
    send.signal(Signal::INT);
    assert_eq!(send.wait().code(), Some(0));
    assert_eq!(told(&send).len(), 1);
    assert!(send.stdout().contains("stopped after 1 of 3 frames\n"), "{}", send.stdout());
}

/// The frames matter, whoever reads what is said of them.
#[test]
fn a_closed_pipe_does_not_stop_the_frames_and_an_unread_one_does_not_hold_up_the_end() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&theirs, "-i peer0");
    exporter.wait_up("peer0");
    let line = |arguments: &str| format!("send -i mw0 --source {} {arguments}", text(source(1)));
    let closed = line("--interval 10ms");
    let mut send = Program::piped(ours.command(BINARY).args(closed.split_whitespace()));
    drop(send.take_stdout());
    assert!(send.wait().success());
    exporter.wait_frames("peer0", 3.0);

    let unread = line("--interval 10ms --count 1000000");
    let mut command = ours.command("sh");
    // A pipe that is full from the start; the descriptor of its other end is never read.
    command.args(["-c", "head -c 1000000 /dev/zero 2>/dev/null >&1 & exec \"$@\"", "sh", BINARY]);
    let mut send = Program::piped(command.args(unread.split_whitespace()));
    exporter.wait_page("a frame or a warning", |page| {
        page.source("peer0", &text(source(1))).0 > 3.0 || send.stderr().contains("port security")
    });
    send.signal(Signal::INT);
    assert_eq!(send.wait().code(), Some(0));
}

#[test]
fn what_cannot_be_heard_is_not_sent() {
    let Some((ours, _theirs)) = wire() else { return };
    ours.ip("link property add dev mw0 altname mwother0");
    ours.ip("link add down0 type bridge");
    // Up, but its other end is not.
    ours.ip("link add alone0 type veth peer name alone1");
    ours.ip("link set alone0 up");
    let source = text(source(1));
    for (arguments, code, part) in [
        ("-i mw9", 1, "cannot send on mw9: no such interface; there are: "),
        ("-i lo", 1, "cannot send on lo: it is the loopback"),
        ("-i down0", 1, "cannot send on down0: it is down; `ip link set down0 up`"),
        ("-i alone0", 1, "cannot send on alone0: it has no carrier"),
        ("-i mwother0 -c 1", 0, "port security"),
    ] {
        let line = format!("send {arguments} --source {source}");
        let mut send = Program::spawn(ours.command(BINARY).args(line.split_whitespace()));
        assert_eq!(send.wait().code(), Some(code), "{arguments}");
        let said = send.stderr();
        assert!(said.contains(part) && said.lines().count() == 1, "{said}");
        assert_eq!(told(&send).len(), usize::from(code == 0));
    }
}

#[test]
fn an_interface_that_goes_down_meanwhile_is_told() {
    let Some((ours, _theirs)) = wire() else { return };
    let mut send = send(&ours, &format!("--source {} --interval 100ms -c 10000", text(source(1))));
    send.wait_said("60 bytes");
    ours.ip("link set mw0 down");
    assert_eq!(send.wait().code(), Some(1));
    let said = send.stderr();
    let next =
        format!("macwatch: cannot send frame {} of 10000 on mw0: Network is down", told(&send).len() + 1);
    assert!(said.contains(&next), "{said}");
}
