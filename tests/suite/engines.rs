//! Which engine counts, why not the other, and who says so.

use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, Program, REFUSE, root, veth, wait_until, wire};

/// A line of a log that tells of a fall back.
const FALLEN: &str = "no kernel engine; every frame goes through the channel engine";

/// A command that becomes macwatch, in the ways in which bpf(2) is not to be had.
type Wrap = fn(&Namespace) -> Command;

fn without_capability(namespace: &Namespace) -> Command {
    let mut command = namespace.command("setpriv");
    command.args([
        "--inh-caps=-all,+net_raw",
        "--ambient-caps=-all,+net_raw",
        "--bounding-set=-all,+net_raw",
    ]);
    command.args(["--", BINARY]);
    command
}

fn refused(namespace: &Namespace, error: &str) -> Command {
    let mut command = namespace.command("python3");
    command.args([REFUSE, "bpf", error, BINARY]);
    command
}

fn forbidden(namespace: &Namespace) -> Command {
    refused(namespace, "EPERM")
}

fn unknown(namespace: &Namespace) -> Command {
    refused(namespace, "ENOSYS")
}

fn without_memory(namespace: &Namespace) -> Command {
    refused(namespace, "ENOMEM")
}

/// Room for what it takes to serve, and not for a dozen tables too.
fn without_descriptors(namespace: &Namespace) -> Command {
    namespace.with_descriptors(26)
}

/// Who is refused, and what is said: the cause, and the remedy.
const REFUSALS: [(Wrap, &[&str]); 5] = [
    (
        without_capability,
        &["CAP_BPF is missing; give it", "setcap cap_net_raw,cap_bpf+ep", "Docker: --cap-add BPF"],
    ),
    (forbidden, &["bpf(2) is refused although CAP_BPF is there; a seccomp filter", "SystemCallFilter=bpf"]),
    (unknown, &["this kernel or a sandbox has no bpf(2)", "a seccomp filter that lets bpf through"]),
    (without_memory, &["there is no memory for its tables", "MemoryMax"]),
    (
        without_descriptors,
        &["too few descriptors are left for its tables", "raise the limit on open files (ulimit -n)"],
    ),
];

#[test]
fn auto_takes_the_kernel_and_says_so() {
    let Some((ours, _theirs)) = wire() else { return };
    for (options, engine) in [
        ("--capture.engine auto", "kernel"),
        ("--capture.engine kernel", "kernel"),
        ("--capture.engine channel", "channel"),
    ] {
        let exporter = Exporter::start(&ours, &format!("-i mw0 {options}"));
        exporter.wait_up("mw0");
        let info = format!("macwatch_interface_info{{interface=\"mw0\",engine=\"{engine}\",");
        assert_eq!(exporter.scrape().matching(&info).count(), 1, "{options}");
        wait_until("the log to tell", || exporter.logged(&format!("engine={engine} ")) == 1);
        assert_eq!(exporter.logged("no kernel engine"), 0);
    }
}

/// The kernel breaks off checking the program when a signal comes.
#[test]
fn signals_at_the_start_do_not_cost_the_engine() {
    let Some((ours, _theirs)) = wire() else { return };
    let mut command = ours.command(BINARY);
    command.args(["-i", "mw0", "--capture.engine", "kernel"]);
    let exporter = Exporter::spawn(&ours, command);
    wait_until("it to start", || exporter.logged("starting macwatch") > 0);
    // For longer than checking takes.
    for _ in 0..300 {
        exporter.signal(Signal::HUP);
        thread::park_timeout(Duration::from_millis(1));
    }
    exporter.wait_ready();
    exporter.wait_up("mw0");
}

/// The program reads the machine's clock, and macwatch that of its time namespace.
#[test]
fn times_are_right_in_a_time_namespace() {
    let Some((ours, theirs)) = wire() else { return };
    let mut command = ours.command("unshare");
    command.args(["--time", "--monotonic", "200000", "--", BINARY]);
    command.args("-i mw0 --capture.engine kernel --sources.idle-timeout 1h".split_whitespace());
    let exporter = Exporter::spawn(&ours, command);
    exporter.wait_ready();
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 60)]);
    let series = |seen| {
        format!(
            "macwatch_source_{seen}_seen_timestamp_seconds{{interface=\"mw0\",source_mac=\"{}\"}}",
            text(source(1))
        )
    };
    exporter.wait_page("its first frame", |page| page.get(&series("first")).is_some());
    exporter.wait_page("a newer one", |page| {
        send(&theirs, "peer0", &[frame(source(1), 60)]);
        page.value(&series("last")) > page.value(&series("first"))
    });
}

#[test]
fn auto_falls_back_with_one_line_that_says_why() {
    if !root() {
        return;
    }
    for (wrap, parts) in REFUSALS {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        veth(&ours, "mw0", &theirs, "peer0");
        let mut command = wrap(&ours);
        let exporter = Exporter::spawn(&ours, {
            command.args(["--capture.engine", "auto", "-i", "mw0"]);
            command
        });
        exporter.wait_ready();
        exporter.wait_up("mw0");
        let log = exporter.log();
        // Of the engine: of other things there may be other warnings.
        let warnings: Vec<&str> =
            log.lines().filter(|line| line.contains("level=WARN") && line.contains("engine")).collect();
        assert_eq!(warnings.len(), 1, "{log}");
        assert!(warnings[0].contains(FALLEN), "{log}");
        for part in parts {
            assert!(warnings[0].contains(part), "no {part} in: {log}");
        }
        assert_eq!(log.matches("level=ERROR").count(), 0, "{log}");
        let info = "macwatch_interface_info{interface=\"mw0\",engine=\"channel\",";
        assert_eq!(exporter.scrape().matching(info).count(), 1);
        send(&theirs, "peer0", &vec![frame(source(1), 60); 3]);
        exporter.wait_frames("mw0", 3.0);
    }
}

#[test]
fn who_insists_is_told_the_same_and_nothing_is_served() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    for (wrap, parts) in REFUSALS {
        let mut program = Program::spawn(wrap(&namespace).args(["--capture.engine", "kernel"]));
        assert_eq!(program.wait().code(), Some(1), "{}", program.stderr());
        let said = program.stderr();
        let told: Vec<_> = said.lines().filter(|line| !line.starts_with("time=")).collect();
        assert_eq!(told.len(), 1, "{said}");
        assert!(told[0].starts_with("macwatch: cannot use the kernel engine: "), "{said}");
        assert!(told[0].contains("--capture.engine auto falls back"), "{said}");
        for part in parts {
            assert!(told[0].contains(part), "no {part} in: {said}");
        }
        assert!(!said.contains(FALLEN), "{said}");
        assert_eq!(program.stdout(), "");
    }
}

/// However few there are: it serves, or says why it cannot.
#[test]
fn nobody_keeps_the_last_descriptor_from_a_scraper() {
    let Some((ours, _theirs)) = wire() else { return };
    let (mut served, mut refused) = (0, 0);
    for most in (8..=24).chain([32, 36, 37, 38, 39, 48]) {
        let mut command = ours.with_descriptors(most);
        command.args("--capture.engine auto -i mw0 --web.listen-address 127.0.0.1:10148".split(" "));
        let mut program = Program::spawn(&mut command);
        wait_until("it to serve or to end", || {
            program.ended().is_some() || program.stderr().contains("msg=listening")
        });
        let Some(status) = program.ended() else {
            // It is captured, or shown not to be.
            wait_until("its interface", || {
                ours.run("curl -sS -f -m 20 http://127.0.0.1:10148/metrics")
                    .contains("macwatch_interface_capture_up{interface=\"mw0\"}")
            });
            served += 1;
            continue;
        };
        let said = program.stderr();
        assert_eq!(status.code(), Some(1), "{most}: {said}");
        let told: Vec<_> = said.lines().filter(|line| !line.starts_with("time=")).collect();
        assert!(
            told.len() == 1 && told[0].starts_with("macwatch: cannot ") && told[0].contains("open files"),
            "{most}: {said}"
        );
        refused += 1;
    }
    assert!(served > 10 && refused > 2, "{served} served, {refused} refused");
}

/// Tables for more sources than can be numbered are refused before the kernel is asked.
#[test]
fn limits_beyond_what_can_be_are_told() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    for most in ["4294967295", "1500000000"] {
        let mut command = namespace.command(BINARY);
        let mut program =
            Program::spawn(command.args(["--capture.engine", "kernel", "--sources.max-total", most]));
        assert_eq!(program.wait().code(), Some(1), "{}", program.stderr());
        let said = program.stderr();
        assert!(
            said.contains("its tables would be too large") && said.contains("lower --sources.max-total"),
            "{said}"
        );
    }
}

/// Where bpf(2) ends a process, whoever does not need it goes on: the channel engine and the jobs that print.
#[test]
fn only_the_kernel_engine_calls_bpf() {
    let Some((ours, theirs)) = wire() else { return };
    let mut command = refused(&ours, "KILL");
    command.args(["--capture.engine", "channel", "-i", "mw0"]);
    let exporter = Exporter::spawn(&ours, command);
    exporter.wait_ready();
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 60)]);
    exporter.wait_frames("mw0", 1.0);
    drop(exporter);

    let watch = Program::spawn(refused(&ours, "KILL").args(["watch", "-i", "mw0"]));
    wait_until("a frame to be printed", || {
        send(&theirs, "peer0", &[frame(source(2), 60)]);
        watch.stdout().contains("02:5e:00:00:00:02")
    });
    let mut learn = Program::spawn(refused(&ours, "KILL").args(["learn", "-i", "mw0", "--for", "1s"]));
    let status = learn.wait();
    assert!(status.success(), "{status}: {}", learn.stderr());
    let mut insists = Program::spawn(refused(&ours, "KILL").args(["--capture.engine", "kernel"]));
    assert!(insists.wait().code().is_none(), "the filter kills whoever calls bpf(2)");
}
