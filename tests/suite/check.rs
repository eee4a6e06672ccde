//! `macwatch check`: inventories, before an exporter has to take them; state files in a module of their own.

mod state;

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::common::exporter::BINARY;

/// A folder with inventories.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    /// Runs `check` in it: exit code, stdout, stderr.
    fn check(&self, arguments: &str) -> (i32, String, String) {
        self.check_with(&[], arguments)
    }

    fn check_with(&self, variables: &[(&str, &str)], arguments: &str) -> (i32, String, String) {
        let mut command = self.command(BINARY);
        run(command.arg("check").args(arguments.split_whitespace()).envs(variables.iter().copied()))
    }

    /// The same with this on stdin, from a pipe.
    fn check_piped(&self, input: &[u8], arguments: &str) -> (i32, String, String) {
        let mut command = self.command(BINARY);
        command.arg("check").args(arguments.split_whitespace());
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        match child.stdin.take().unwrap().write_all(input) {
            // It had no use for it, and ended.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.unwrap(),
        }
        told(child.wait_with_output().unwrap())
    }

    /// A program in the folder, in UTC.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env_clear().env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

fn run(command: &mut Command) -> (i32, String, String) {
    told(command.output().unwrap())
}

fn told(output: std::process::Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const GOOD: &[u8] =
    "# ours\n02:42:ac:11:00:02 Küche, 2. Stock # old\n0242.ac11.0003 switch\n02:42:* container\n\
    52:54:00:00:00:00/24 guest\n"
        .as_bytes();

/// It must have said why in one line on stderr, and nothing else there.
#[track_caller]
fn assert_faults(output: &(i32, String, String), faults: &[&str]) {
    let (code, stdout, stderr) = output;
    assert_eq!(*code, 1, "{stdout}{stderr}");
    assert_eq!(stderr, "macwatch: the inventory has faults; the exporter would not start with it\n");
    for (line, part) in stdout.lines().zip(faults) {
        assert!(line.starts_with(part), "{line}\n{part}");
    }
    assert_eq!(stdout.lines().count(), faults.len(), "{stdout}");
}

#[test]
fn what_is_fine_is_counted() {
    let folder = Folder::new(&[
        ("ethers", GOOD),
        ("more", b"02:00:00:00:00:01 a\n02:42:* container\n"),
        ("empty", b"# nothing yet\n"),
    ]);
    let ethers = "ethers: 4 entries: 2 addresses, 2 prefixes\n";
    let more = "more: 2 entries: 1 address, 1 prefix\n";
    let empty = "empty: 0 entries: 0 addresses, 0 prefixes\n";
    let together = "together: 5 entries: 3 addresses, 2 prefixes\n";
    let fine = |text: String| (0, text, String::new());
    assert_eq!(folder.check("--inventory.file ethers"), fine(ethers.to_owned()));
    assert_eq!(
        folder.check("--inventory.file ethers --inventory.file more,empty"),
        fine(format!("{ethers}{more}{empty}{together}"))
    );
    assert_eq!(
        folder.check_with(&[("MACWATCH_INVENTORY_FILE", "more,ethers")], ""),
        fine(format!("{more}{ethers}{together}"))
    );
    // The command line wins.
    assert_eq!(
        folder.check_with(&[("MACWATCH_INVENTORY_FILE", "absent")], "--inventory.file ethers"),
        fine(ethers.to_owned())
    );
    assert_eq!(folder.check_with(&[("MACWATCH_INVENTORY_FILE", "")], "").0, 2);
}

#[test]
fn every_fault_is_a_line_on_stdout() {
    let bad = b"02:00:00:00:00 five\n\n02:00:00:00:00:01\nprinter 02:00:00:00:00:03\n02:4* x\n\
        52:54:00:00:00:01/24 x\n52:54:00:00:00:00/49 x\n02:00:00:00:00:05 a\x1b[2Jb\n\x1b[2J* x\n\xff\n\
        02:00:00:00:00:07 one\n02-00-00-00-00-07 two\n";
    let folder = Folder::new(&[("bad", bad), ("ethers", GOOD), ("other", b"02:42:ac:11:00:02 web\n")]);
    let faults = folder.check("--inventory.file bad");
    assert_faults(
        &faults,
        &[
            "bad:1: \"02:00:00:00:00\" has 5 bytes",
            "bad:3: 02:00:00:00:00:01 has no name; write: 02:00:00:00:00:01 NAME",
            "bad:4: \"printer\" is not a MAC address",
            "bad:5: \"02:4*\": the star",
            "bad:6: 52:54:00:00:00:01/24 has bits set behind the first 24",
            "bad:7: \"52:54:00:00:00:00/49\" ends in no number of bits",
            "bad:8: the name holds a control character",
            "bad:9: \"\\u{1b}[2J*\": the star",
            "bad:10: this line is not UTF-8 text",
            "bad:12: 02:00:00:00:00:07 is called \"two\" here and \"one\" at bad:11",
        ],
    );
    assert!(!faults.1.contains('\x1b'), "what a terminal acts on");
    // Only together are these two wrong.
    assert_eq!(folder.check("--inventory.file other").0, 0);
    assert_faults(
        &folder.check("--inventory.file ethers --inventory.file other"),
        &["other:1: 02:42:ac:11:00:02 is called \"web\" here and \"Küche, 2. Stock\" at ethers:2"],
    );
    // Nothing is explained by an inventory that no exporter would take.
    assert_faults(&folder.check("--inventory.file ethers,other --explain 02:42:ac:11:00:02"), &["other:1: "]);
}

#[test]
fn what_cannot_be_read_is_told_and_hangs_nothing() {
    let folder = Folder::new(&[("ethers", GOOD)]);
    std::fs::create_dir(folder.path("folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path("fifo"), rustix::fs::Mode::RWXU).unwrap();
    std::fs::File::create(folder.path("large")).unwrap().set_len(1 << 30).unwrap();
    std::fs::write(folder.path("binary"), b"\xff\n".repeat(9_000)).unwrap();
    std::fs::write(folder.path("endless"), b"02:".repeat(1 << 20)).unwrap();
    for (file, fault) in [
        ("absent", "absent: there is no such file"),
        ("folder", "folder: it is not a regular file but a folder"),
        ("fifo", "fifo: it is not a regular file but a FIFO"),
        ("/dev/zero", "/dev/zero: it is not a regular file but a device"),
        ("large", "large: it is larger than 64 MiB"),
        ("endless", "endless:1: \"02:02:"),
    ] {
        let output = folder.check(&format!("--inventory.file ethers --inventory.file {file}"));
        assert_faults(&output, &[fault]);
        assert!(output.1.len() < 300, "{}", output.1);
    }
    // A person has asked for all of them.
    assert_eq!(folder.check("--inventory.file binary").1.lines().count(), 9_000);
}

#[test]
fn one_address_is_explained() {
    let folder = Folder::new(&[("ethers", GOOD), ("more", b"02:42:ac:00:00:00/24 bridge\n")]);
    for (address, expected) in [
        (
            "02-42-AC-11-00-02",
            "address: 02:42:ac:11:00:02\nknown: yes\nname: Küche, 2. Stock\npattern: 02:42:ac:11:00:02\n\
             line: ethers:2\naddress type: local\nvendor: none\nroom: reserved\n",
        ),
        (
            "02:42:00:00:00:01",
            "address: 02:42:00:00:00:01\nknown: yes\nname: container\npattern: 02:42:00:00:00:00/16\n\
             line: ethers:4\naddress type: local\nvendor: none\nroom: ordinary\n",
        ),
        (
            "02:42:ac:00:00:01",
            "address: 02:42:ac:00:00:01\nknown: yes\nname: bridge\npattern: 02:42:ac:00:00:00/24\nline: more:1\n\
             address type: local\nvendor: none\nroom: ordinary\n",
        ),
        (
            "06:00:00:00:be:ef",
            "address: 06:00:00:00:be:ef\nknown: no\nline: none\naddress type: local\nvendor: none\nroom: ordinary\n",
        ),
    ] {
        let (code, stdout, stderr) =
            folder.check(&format!("--inventory.file ethers,more --explain {address}"));
        assert_eq!((code, &*stdout, &*stderr), (0, expected, ""));
    }
    // Without any file there is less to tell.
    let (code, stdout, stderr) = folder.check("--explain b8:27:eb:00:00:01");
    let expected = "address: b8:27:eb:00:00:01\nknown: not to be told: no inventory was given; --inventory.file FILE \
                    names one\naddress type: universal\nvendor: Raspberry Pi Foundation\n";
    assert_eq!((code, &*stdout, &*stderr), (0, expected, ""));
    let (code, _, stderr) = folder.check("");
    assert!(
        code == 2 && stderr.contains("--state.file or --web.config.file; or an address to --explain"),
        "{stderr}"
    );
}

#[test]
fn an_inventory_may_come_through_a_pipe() {
    let folder = Folder::new(&[("ethers", GOOD)]);
    let fine = |text: &str| (0, text.to_owned(), String::new());
    let piped = b"0242ac110002 web\n";
    for file in ["-", "/dev/stdin", "/dev/fd/0"] {
        let output = folder.check_piped(piped, &format!("--inventory.file {file}"));
        assert_eq!(output, fine(&format!("{file}: 1 entry: 1 address, 0 prefixes\n")));
    }
    let output = folder.check_piped(piped, "--inventory.file ethers,-");
    assert_faults(&output, &["-:1: 02:42:ac:11:00:02 is called \"web\" here and \"K"]);
    assert_eq!(folder.check_piped(piped, "--inventory.file -,-").0, 2);
    let large = vec![b'#'; (64 << 20) + 1];
    assert_faults(&folder.check_piped(&large, "--inventory.file -"), &["-: it is larger than 64 MiB"]);
}

#[test]
fn what_is_never_a_device_is_a_warning() {
    let folder = Folder::new(&[("ethers", b"01:00:5e:* igmp\nffffffffffff all\n02:00:00:00:00:01 a\n")]);
    let warning = "never a device's; listed, it raises no alert as invalid\n";
    assert_eq!(
        folder.check("--inventory.file ethers"),
        (
            0,
            format!(
                "ethers:1: warning: 01:00:5e:00:00:00/24 is a group address, {warning}\
                 ethers:2: warning: ff:ff:ff:ff:ff:ff is the broadcast address, {warning}\
                 ethers: 3 entries: 2 addresses, 1 prefix\n"
            ),
            String::new()
        )
    );
    std::fs::write(folder.path("nobody"), "# not yet\n").unwrap();
    let (code, stdout, _) = folder.check("--inventory.file nobody");
    assert_eq!(code, 0);
    assert!(stdout.starts_with("nobody: warning: nobody is listed: every source but"), "{stdout}");
    // Beside faults too, and of all files that are checked.
    std::fs::write(folder.path("bad"), "02:00:00:00:00\n000000000000 none\n").unwrap();
    std::fs::write(folder.path("cut"), "macwatch-state 1\n").unwrap();
    let (_, stdout, stderr) = folder.check("--inventory.file ethers,bad --state.file cut");
    let starts = [
        "bad:1: \"02:00:00:00:00\" has 5 bytes",
        "cut:1: ",
        "ethers:1: warning: 01:00:5e:00:00:00/24 is",
        "ethers:2: warning: ff:ff:ff:ff:ff:ff is",
        "bad:2: warning: 00:00:00:00:00:00 is",
    ];
    for (line, start) in stdout.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
    assert_eq!(stdout.lines().count(), starts.len(), "{stdout}");
    assert!(stderr.starts_with("macwatch: the inventory has faults"), "{stderr}");
}
