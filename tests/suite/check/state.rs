//! State files, which an exporter may be writing while they are checked.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::SystemTime;

use super::{Folder, GOOD, run};
use crate::common::exporter::{BINARY, copy_binary};
use crate::common::frames::{frame, send, source, text};
use crate::common::state::{file, sealed};
use crate::common::{Exporter, root, wait_until, wire};

/// 2026-11-22T11:25:24Z.
const NOW: u64 = 1_795_346_724_337;
const HOUR: u64 = 3_600_000;
const REFUSED: &str = "macwatch: the state file has faults; the exporter would start without what it knew\n";

fn good() -> Vec<u8> {
    let eth1 = format!("{} {} {NOW} eth1\n", text(source(1)), NOW - 5 * HOUR);
    let eth0 = format!("{} {} {NOW} eth0\n", text(source(1)), NOW - 4 * HOUR);
    let two = format!("{} {} {} eth0\n", text(source(2)), NOW - HOUR, NOW - HOUR);
    sealed(&format!("macwatch-state 1\ncreated {}\n{eth1}{eth0}{two}", NOW - 9 * HOUR), 3)
}

fn names(folder: &Folder) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn what_a_good_one_holds_is_told() {
    let folder = Folder::new(&[
        ("state", &good()),
        ("empty", &sealed("macwatch-state 1\ncreated 0\n", 0)),
        ("ethers", GOOD),
    ]);
    let state = "state: version 1, created 2026-11-22T02:25:24+00:00: 3 sources on 2 interfaces, \
                 seen 2026-11-22T06:25:24+00:00 to 2026-11-22T11:25:24+00:00\n";
    let fine = |text: String| (0, text, String::new());
    assert_eq!(folder.check("--state.file state"), fine(state.to_owned()));
    assert_eq!(folder.check_with(&[("MACWATCH_STATE_FILE", "state")], ""), fine(state.to_owned()));
    assert_eq!(
        folder.check("--state.file state --inventory.file ethers"),
        fine(format!("ethers: 4 entries: 2 addresses, 2 prefixes\n{state}"))
    );
    assert_eq!(
        folder.check("--state.file empty"),
        fine("empty: version 1, created 1970-01-01T00:00:00+00:00: 0 sources on 0 interfaces\n".to_owned())
    );
    assert_eq!(folder.check_piped(&good(), "--state.file -"), fine(state.replace("state:", "-:")));
    assert_eq!(folder.check_piped(&good(), "--state.file - --inventory.file -").0, 2);
    assert_eq!(names(&folder), ["empty", "ethers", "state"]);
}

/// Where no inventory was given.
const UNTOLD: &str = "known: not to be told: no inventory was given; --inventory.file FILE names one\n";

#[test]
fn an_address_is_explained_with_when_it_was_seen() {
    let folder = Folder::new(&[("state", &good()), ("ethers", GOOD)]);
    let one = text(source(1));
    let seen = "seen: on eth0 since 2026-11-22T07:25:24+00:00, last 2026-11-22T11:25:24+00:00\n\
                seen: on eth1 since 2026-11-22T06:25:24+00:00, last 2026-11-22T11:25:24+00:00\n";
    let local = "address type: local\nvendor: none\n";
    for (arguments, expected) in [
        (format!("--explain {one}"), format!("address: {one}\n{UNTOLD}{local}{seen}")),
        (
            format!("--inventory.file ethers --explain {}", one.replace(':', "")),
            format!("address: {one}\nknown: no\nline: none\n{local}room: ordinary\n{seen}"),
        ),
        (
            "--explain 06000000beef".to_owned(),
            format!("address: 06:00:00:00:be:ef\n{UNTOLD}{local}seen: never\n"),
        ),
    ] {
        assert_eq!(folder.check(&format!("--state.file state {arguments}")), (0, expected, String::new()));
    }
}

#[test]
fn every_fault_has_its_place_and_nothing_is_touched() {
    let whole = good();
    let crc_at = whole.len() - 2;
    let mut flipped = whole.clone();
    flipped[crc_at] = if whole[crc_at] == b'0' { b'1' } else { b'0' };
    let newer = String::from_utf8(whole.clone()).unwrap().replace("state 1", "state 2");
    let lines = String::from_utf8(whole.clone()).unwrap().replace(&format!(" {NOW} eth0"), " 17 eth0");
    let folder = Folder::new(&[
        ("cut", &whole[..whole.len() - 70]),
        ("flipped", &flipped),
        ("newer", newer.as_bytes()),
        ("lines", lines.as_bytes()),
        ("nothing", b""),
        ("zeros", &[0; 5000]),
        ("ethers", GOOD),
        ("binary", b"\x7fELF\x1b[2J\n\xff\n\n"),
    ]);
    fs::create_dir(folder.path("folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path("fifo"), rustix::fs::Mode::RWXU).unwrap();
    fs::File::create(folder.path("large")).unwrap().set_len(1 << 30).unwrap();
    let before = names(&folder);
    for (file, faults) in [
        ("cut", &["cut:4: the file ends within this line"][..]),
        ("flipped", &["flipped:6: the checksum is "]),
        ("newer", &["newer:1: its version is 2, and this program reads up to 1"]),
        (
            "lines",
            &[
                "lines:4: it is not a source: it was first seen after it was last seen",
                "lines:6: the number of sources is 2, and it says 3",
                "lines:6: the checksum is ",
            ],
        ),
        ("nothing", &["nothing: it is empty"]),
        ("zeros", &["zeros: it is nothing but zero bytes, as a crash leaves them behind (5000)"]),
        ("binary", &["binary:1: it does not begin like a state file"]),
        ("ethers", &["ethers: it is an inventory, no state file; give it to --inventory.file"]),
        ("absent", &["absent: there is no such file"]),
        ("folder", &["folder: it is not a regular file but a folder"]),
        ("fifo", &["fifo: it is not a regular file but a FIFO"]),
        ("large", &["large: it is larger than 64 MiB"]),
    ] {
        let (code, stdout, stderr) = folder.check(&format!("--state.file {file} --explain 020000000001"));
        assert_eq!((code, &*stderr), (1, REFUSED), "{file}: {stdout}");
        assert_eq!(stdout.lines().count(), faults.len(), "{stdout}");
        for (line, start) in stdout.lines().zip(faults) {
            assert!(line.starts_with(start), "{line}\n{start}");
        }
    }
    assert_eq!(names(&folder), before);
    assert_eq!(fs::read(folder.path("flipped")).unwrap(), flipped);

    // Faults of both kinds are told at once.
    let (_, stdout, stderr) = folder.check("--inventory.file cut --state.file ethers");
    assert_eq!(
        stdout,
        "cut: it is a state file, no inventory; give it to --state.file\n\
         ethers: it is an inventory, no state file; give it to --inventory.file\n"
    );
    assert!(
        stderr.starts_with("macwatch: the inventory has faults") && stderr.ends_with(&REFUSED[10..]),
        "{stderr}"
    );
}

#[test]
fn who_may_not_read_it_is_told() {
    if !root() {
        return;
    }
    let folder = Folder::new(&[("state", &good())]);
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path("state"), fs::Permissions::from_mode(0o600)).unwrap();
    let program = folder.path("program");
    copy_binary(&program);
    let check = || {
        let mut command = folder.command("setpriv");
        command.env("PATH", "/usr/bin:/bin").args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        run(command.arg(&program).args(["check", "--state.file", "state"]))
    };
    let place = "state: it may not be read; check its owner and mode: it is user 0's, mode 0600, and this is user 65534\n";
    assert_eq!(check(), (1, place.to_owned(), REFUSED.to_owned()));

    // Who owns it needs no privileges; but an exporter may not be who owns it.
    chown(folder.path("state"), Some(65534), None).unwrap();
    let (code, stdout, _) = check();
    let warning =
        "state: warning: it is user 65534's, and its folder user 0's: an exporter that runs as that may";
    assert!(code == 0 && stdout.starts_with(warning), "{stdout}");

    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let output = folder.command(BINARY).args(["check", "--state.file", "state"]).output().unwrap();
    assert!(output.status.success(), "root may read all");
}

#[test]
fn a_time_that_has_not_come_is_a_warning() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() * 1000;
    let folder = Folder::new(&[
        ("state", &file(now, &[(1, now, now + 48 * HOUR)])),
        ("fine", &file(now, &[(1, now, now)])),
    ]);
    let (code, stdout, _) = folder.check("--state.file state");
    assert!(
        code == 0 && stdout.starts_with("state: warning: ") && stdout.contains(" has not come yet"),
        "{stdout}"
    );
    assert!(!folder.check("--state.file fine").1.contains("warning"));
}

#[test]
fn an_exporter_that_has_it_is_not_disturbed() {
    let Some((ours, theirs)) = wire() else { return };
    let folder = Folder::new(&[]);
    let exporter = Exporter::start(&ours, &format!("-i mw0 --state.file {}", folder.path("state").display()));
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 60)]);
    let address = text(source(1));
    wait_until("the source to be in the file", || {
        fs::read_to_string(folder.path("state")).is_ok_and(|text| text.contains(&address))
    });
    let (code, stdout, stderr) = folder.check(&format!("--state.file state --explain {address}"));
    assert_eq!((code, &*stderr), (0, ""), "{stdout}");
    assert!(stdout.contains("seen: on mw0 since 20"), "{stdout}");

    // Damaged by somebody else, it is left to the exporter to set it aside.
    fs::write(folder.path("state"), "macwatch-state 1\nrubbish\n").unwrap();
    assert_eq!(folder.check("--state.file state").0, 1);
    assert!(folder.path("state").exists());
    assert_eq!(exporter.scrape().value("macwatch_state_last_load_successful"), 1.0, "{}", exporter.log());
}
