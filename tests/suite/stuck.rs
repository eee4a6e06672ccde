//! Files on a file system that does not answer, like NFS while its server is away, and a driver that does not: who waits
//! for them holds up nobody.
//!
//! strace keeps each system call that names one of them for longer than a test takes.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, Program, root, veth, wait_until, wire};

/// From now on whoever names one of these hangs, and is on its stderr.
#[track_caller]
fn hang(exporter: &Exporter<'_>, paths: &[PathBuf]) -> Program {
    let pid = exporter.pid().to_string();
    let mut strace = Command::new("strace");
    // An hour, in microseconds.
    strace.args(["-f", "-qq", "-p", &pid, "-e", "trace=%file", "-e", "inject=%file:delay_enter=3600000000"]);
    for path in paths {
        strace.arg("-P").arg(path);
    }
    let strace = Program::spawn(&mut strace);
    let is_traced = |task: &Path| {
        // A thread may end meanwhile.
        fs::read_to_string(task.join("status")).map_or(true, |status| !status.contains("TracerPid:\t0\n"))
    };
    wait_until("all threads to be traced", || {
        let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.all(|task| is_traced(&task.unwrap().path()))
    });
    strace
}

#[test]
fn files_that_hang_hold_up_no_page_and_no_end() {
    let Some((ours, theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let names = ["ethers", "web.yml", "state"];
    let [inventory, web, state] = names.map(|name| folder.path().join(name));
    fs::write(&inventory, "02:00:00:00:00:01 one\n").unwrap();
    fs::write(&web, "http_server_config: {headers: {X-Frame-Options: deny}}\n").unwrap();
    let mut command = ours.command(BINARY);
    command.args(["-i", "mw0", "--inventory.file"]).arg(&inventory).arg("--web.config.file").arg(&web);
    command.arg("--state.file").arg(&state);
    let mut exporter = Exporter::spawn(&ours, command);
    exporter.wait_ready();
    wait_until("the state to be there", || state.exists());

    let strace = hang(&exporter, &[folder.path().to_owned(), inventory.clone(), web.clone(), state.clone()]);
    let hung = |path: &Path| strace.stderr().matches(&format!("{}\"", path.display())).count();
    // Looked at, as both have changed; written, as somebody is new; and read, as that was asked for.
    fs::write(&inventory, "02:00:00:00:00:02 two\n").unwrap();
    fs::write(&web, "http_server_config: {headers: {X-Frame-Options: sameorigin}}\n").unwrap();
    send(&theirs, "peer0", &[frame(source(1), 60)]);
    wait_until("both files to be looked at", || hung(&inventory) > 0 && hung(&web) > 0);
    wait_until("the state to be looked at", || hung(&state) > 0);
    let before = hung(&inventory);
    exporter.signal(Signal::HUP);
    wait_until("the inventory to be read", || hung(&inventory) > before);

    let page = exporter.wait_frames("mw0", 1.0);
    assert_eq!(page.value("macwatch_inventory_entries"), 1.0);
    assert_eq!(exporter.get("/").unwrap().status, 200);
    // The last of what it knows cannot be written, and nobody has to wait for that.
    exporter.signal(Signal::TERM);
    wait_until("it to stop serving", || exporter.get("/-/healthy").is_err());
    // The same one at once is no second one yet.
    wait_until("it to end at once", || {
        exporter.signal(Signal::TERM);
        exporter.logged("ended by a second signal") == 1
    });
    // It does not let go of who ends while it is kept.
    drop(strace);
    assert_eq!(exporter.wait().code(), Some(128 + 15));
    assert_eq!(exporter.logged("msg=stopped"), 0);
}

/// It is asked to read its files anew while it reads them for the first time.
#[test]
fn a_reload_that_is_asked_for_early_comes_later() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("ethers");
    fs::write(&inventory, "02:00:00:00:00:01 one\n").unwrap();
    let mut command = namespace.command("strace");
    // Beside it, so that its number is that of the child; two seconds.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat", "-P"]).arg(&inventory);
    command
        .args(["-e", "inject=openat:delay_enter=2000000:when=1", BINARY, "--inventory.file"])
        .arg(&inventory);
    let exporter = Exporter::spawn(&namespace, command);
    wait_until("it to start", || exporter.logged("starting macwatch") > 0);
    exporter.signal(Signal::HUP);
    wait_until("the inventory to be read again", || exporter.logged("cause=SIGHUP") > 0);
    exporter.wait_ready();
}

/// From now on the thread that captures hangs as soon as it is to let go of its interface: a driver may keep it in the
/// kernel.
#[track_caller]
fn hang_capture(pid: u32) -> Program {
    let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let thread = tasks.find_map(|task| {
        // Another may end meanwhile.
        let task = task.ok()?;
        fs::read_to_string(task.path().join("comm"))
            .is_ok_and(|comm| comm == "capture\n")
            .then(|| task.file_name())
    });
    let mut strace = Command::new("strace");
    let inject = "inject=setsockopt:delay_enter=3600000000:when=1";
    strace.args(["-qq", "-e", "trace=setsockopt", "-e", inject, "-p"]).arg(thread.unwrap());
    let strace = Program::spawn(&mut strace);
    let status = format!("/proc/{pid}/task");
    wait_until("the thread to be traced", || {
        let mut tasks = fs::read_dir(&status).unwrap();
        tasks.any(|task| {
            let status = task.and_then(|task| fs::read_to_string(task.path().join("status")));
            status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
        })
    });
    strace
}

/// A driver that hangs keeps the thread of its interface just when that is to let go of it.
#[test]
fn a_capture_that_hangs_holds_up_no_other() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0 -i mw*");
    exporter.wait_up("mw0");
    let mut strace = hang_capture(exporter.pid());
    ours.ip("link set mw0 name mw1");
    wait_until("the thread to hang", || strace.stderr().contains("setsockopt("));
    // The other name has to wait for it, and nothing else has.
    wait_until("it to be told of", || exporter.logged("its capture thread is stuck") == 1);
    exporter.wait_down("mw0");
    veth(&ours, "mw2", &theirs, "peer2");
    exporter.wait_up("mw2");
    assert_eq!(exporter.scrape().interface("capture_up", "mw1"), 0.0);
    assert_eq!(exporter.logged("its capture thread is stuck"), 1);

    strace.signal(Signal::TERM);
    strace.wait();
    exporter.wait_up("mw1");
    send(&theirs, "peer0", &[frame(source(1), 60), frame(source(1), 60)]);
    let page = exporter.wait_frames("mw1", 2.0);
    assert_eq!((page.interface("frames_total", "mw0"), page.interface("frames_total", "mw1")), (0.0, 2.0));
}

/// Who is to end and does not is stuck as well, though nobody captures under its name meanwhile.
#[test]
fn a_capture_that_hangs_on_its_way_out_is_no_sign_of_life() {
    let Some((ours, _theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let _manager = UnixDatagram::bind(&path).unwrap();
    let mut command = ours.command(BINARY);
    // A quarter of it is longer than others wait for who hangs.
    command.args(["-i", "mw*"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "6000000");
    let exporter = Exporter::spawn(&ours, command);
    exporter.wait_ready();
    exporter.wait_up("mw0");
    let mut strace = hang_capture(exporter.pid());
    ours.ip("link del mw0");
    wait_until("it to be told of", || exporter.logged("its capture thread is stuck") == 1);
    wait_until("no sign of life", || exporter.logged("part=captures") > 0);
    assert_eq!(exporter.logged("no longer stuck"), 0, "{}", exporter.log());

    strace.signal(Signal::TERM);
    strace.wait();
    wait_until("a sign of life", || exporter.logged("no longer stuck") > 0);
}

/// What is said is not that the reader alone is to blame.
#[test]
fn watching_ends_without_a_capture_that_hangs() {
    let Some((ours, _theirs)) = wire() else { return };
    let mut watch = Program::spawn(ours.command(BINARY).args(["watch", "-i", "mw0"]));
    watch.wait_said("msg=capturing");
    let strace = hang_capture(watch.pid());
    watch.signal(Signal::INT);
    watch.wait_said("or a capture thread is stuck");
    // It does not let go of who ends while it is kept.
    drop(strace);
    assert_eq!(watch.wait().code(), Some(1));
}

/// What was learnt is not lost with it, nor does it keep whoever cannot wait.
#[test]
fn learning_ends_without_a_capture_that_hangs() {
    let Some((ours, theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("ethers");
    let watch = "watch -i mw0 --capture.direction in -c 1";
    for impatient in [true, false] {
        let mut command = ours.command(BINARY);
        let mut learn = Program::spawn(command.args(["learn", "-i", "mw0", "-o"]).arg(&inventory));
        learn.wait_said("listening on mw0");
        let mut witness = Program::spawn(ours.command(BINARY).args(watch.split_whitespace()));
        witness.wait_said("msg=capturing");
        send(&theirs, "peer0", &[frame(source(1), 60)]);
        assert!(witness.wait().success());
        // It has read what the other has seen: no socket has bytes waiting.
        wait_until("it to be counted", || {
            let sockets = ours.run("cat /proc/net/packet");
            sockets.lines().skip(1).all(|row| row.split_whitespace().nth(6) == Some("0"))
        });

        let strace = hang_capture(learn.pid());
        learn.signal(Signal::INT);
        if impatient {
            learn.signal(Signal::TERM);
            learn.wait_said("ended by a second signal");
        } else {
            learn.wait_said("next: ");
            assert!(fs::read_to_string(&inventory).unwrap().contains(&text(source(1))));
            assert!(learn.stderr().contains("warning: a capture thread is stuck"), "{}", learn.stderr());
        }
        // It does not let go of who ends while it is kept.
        drop(strace);
        let code = learn.wait().code().unwrap();
        // The one that the kernel delivers first is the first.
        assert!(if impatient { [130, 143].contains(&code) } else { code == 0 }, "{code}");
        assert_eq!(inventory.exists(), !impatient);
    }
}
