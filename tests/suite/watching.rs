//! `macwatch watch`: the tutorial's program, beside tcpdump and curl.

use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, Program, root, veth, wait_for, wait_until, wire};

/// Starts it, and waits until it captures.
#[track_caller]
fn watch(namespace: &Namespace, arguments: &str) -> Program {
    let line = format!("watch -i mw0 {arguments}");
    let program = Program::spawn(namespace.command(BINARY).args(line.split_whitespace()));
    program.wait_said("msg=capturing");
    program
}

/// The n-th word of each line.
fn column(text: &str, n: usize) -> Vec<&str> {
    text.lines().map(|line| line.split_whitespace().nth(n).unwrap_or_default()).collect()
}

#[test]
fn tcpdump_says_the_same() {
    let Some((ours, theirs)) = wire() else { return };
    let line = "-e -n -l -i mw0 -c 5";
    let mut tcpdump = Program::spawn(ours.command("tcpdump").args(line.split_whitespace()));
    tcpdump.wait_said("listening on mw0");
    let mut watch = watch(&ours, "--count 5");
    let sources = [7, 1, 7, 3, 300];
    let frames: Vec<_> = sources.iter().map(|n| frame(source(*n), 60 + *n as usize)).collect();
    send(&theirs, "peer0", &frames);
    assert!(watch.wait().success());
    assert!(tcpdump.wait().success());
    let told = watch.stdout();
    // Indented lines are what is in a frame.
    let confirmed: Vec<_> =
        tcpdump.stdout().lines().filter(|l| !l.starts_with('\t')).map(str::to_owned).collect();
    let confirmed = confirmed.join("\n");
    assert_eq!(column(&told, 2), sources.map(|n| text(source(n))));
    assert_eq!(column(&told, 2), column(&confirmed, 1), "{told}{confirmed}");
    assert_eq!(column(&told, 1), ["mw0"; 5]);
    assert_eq!(column(&told, 3), sources.map(|n| (60 + n).to_string()));
}

/// The tutorial's experiment: a request that goes out through an interface shows that interface's own MAC.
#[test]
fn curl_shows_our_own_address() {
    let Some((ours, _theirs)) = wire() else { return };
    ours.ip("addr add 10.7.1.1/24 dev mw0");
    let own = ours.run("cat /sys/class/net/mw0/address");
    let mut watch = watch(&ours, "--count 1");
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    // Nobody answers, so it fails; what it sent is what counts.
    drop(
        ours.command("curl").args("-s -m 10 --interface mw0 127.0.0.1".split_whitespace()).output().unwrap(),
    );
    assert!(watch.wait().success());
    assert_eq!(column(&watch.stdout(), 2), [own.trim()]);
    let page = exporter.wait_page("our own address", |page| page.source("mw0", own.trim()).0 > 0.0);
    assert_eq!(page.sources("mw0"), [own.trim()]);
}

#[test]
fn new_tells_of_each_source_once_and_the_summary_of_all() {
    let Some((ours, theirs)) = wire() else { return };
    let mut watch = watch(&ours, "--new");
    let frames: Vec<_> = [1, 2, 1, 1, 3].iter().map(|n| frame(source(*n), 100)).collect();
    send(&theirs, "peer0", &frames);
    wait_until("the last source", || watch.stdout().contains(&text(source(3))));
    watch.signal(Signal::INT);
    assert!(watch.wait().success());
    assert_eq!(column(&watch.stdout(), 2), [1, 2, 3].map(|n| text(source(n))));
    let said = watch.stderr();
    let summary: Vec<_> = said.lines().filter(|line| !line.starts_with("time=")).collect();
    assert_eq!(summary.len(), 5, "{said}");
    assert!(summary[0].starts_with("INTERFACE"), "{said}");
    let row: Vec<_> = summary[1].split_whitespace().take(4).collect();
    assert_eq!(row, ["mw0", &text(source(1)), "3", "300"], "{said}");
    assert_eq!(summary[4], "5 frames from 3 sources; 0 dropped by the kernel");
}

#[test]
fn json_is_one_object_a_line() {
    let Some((ours, theirs)) = wire() else { return };
    let mut watch = watch(&ours, "--json -c 2");
    send(&theirs, "peer0", &[frame(source(1), 60), frame(source(2), 1514)]);
    assert!(watch.wait().success());
    let said = watch.stdout();
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, (n, bytes)) in lines.iter().zip([(1, 60), (2, 1514)]) {
        assert_eq!(line["interface"], "mw0");
        assert_eq!(line["source_mac"], text(source(n)));
        assert_eq!((line["frames"].as_u64(), line["bytes"].as_u64()), (Some(1), Some(bytes)));
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
    assert_eq!(lines.len(), 2);
}

/// Starts it with a pipe for stdout that nobody reads yet, and waits until it captures.
#[track_caller]
fn watch_unread(namespace: &Namespace, arguments: &str) -> Program {
    let line = format!("watch -i mw0 {arguments}");
    let program = Program::piped(namespace.command(BINARY).args(line.split_whitespace()));
    program.wait_said("msg=capturing");
    program
}

#[test]
fn whoever_closes_the_pipe_has_had_enough() {
    let Some((ours, theirs)) = wire() else { return };
    let mut watch = watch_unread(&ours, "");
    drop(watch.take_stdout());
    let ended = wait_for("it to end", || {
        send(&theirs, "peer0", &[frame(source(1), 60)]);
        watch.ended()
    });
    assert_eq!(ended.code(), Some(0));
    let said = watch.stderr();
    assert!(said.lines().all(|line| line.starts_with("time=") && line.contains("level=INFO")), "{said}");
}

/// Ctrl-C ends it even when whoever reads its lines has stopped reading, such as a pager.
#[test]
fn a_reader_who_stopped_does_not_hold_it_up() {
    let Some((ours, theirs)) = wire() else { return };
    let mut watch = watch_unread(&ours, "");
    // Far more than a pipe and the program hold: its threads wait for the reader by now, or soon will.
    send(&theirs, "peer0", &vec![frame(source(1), 60); 20_000]);
    watch.signal(Signal::INT);
    assert_eq!(watch.wait().code(), Some(1), "lines were lost");
    let said = watch.stderr();
    let told: Vec<_> = said.lines().filter(|line| !line.starts_with("time=")).collect();
    assert_eq!(told.len(), 1, "{said}");
    assert!(told[0].contains("stdout"), "{said}");
}

/// A slow reader gets every line, in order: what waits, waits in the queue.
#[test]
fn a_slow_reader_gets_every_line() {
    if !root() {
        return;
    }
    const FRAMES: u32 = 20_000;
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let mut watch = watch_unread(&ours, &format!("-c {FRAMES}"));
    send(&theirs, "peer0", &(0..FRAMES).map(|n| frame(source(n), 60)).collect::<Vec<_>>());
    let lines = std::io::read_to_string(watch.take_stdout()).unwrap();
    assert!(watch.wait().success());
    assert!(column(&lines, 2).into_iter().eq((0..FRAMES).map(|n| text(source(n)))));
}
