//! Who is behind an address: its vendor and its kind.

use std::path::Path;
use std::process::Command;

use crate::common::exporter::BINARY;
use crate::common::frames::{frame, send};
use crate::common::{Exporter, Namespace, root, veth};

/// An exporter that reads this vendor file and has seen a frame from each of these.
fn exporter<'n>(ours: &'n Namespace, theirs: &Namespace, file: &Path, senders: &[[u8; 6]]) -> Exporter<'n> {
    veth(ours, "mw0", theirs, "peer0");
    let mut command = ours.command(BINARY);
    command.args(["-i", "mw0"]).env("MACWATCH_VENDOR_FILE", file);
    let exporter = Exporter::spawn(ours, command);
    exporter.wait_ready();
    exporter.wait_up("mw0");
    send(theirs, "peer0", &senders.iter().map(|sender| frame(*sender, 60)).collect::<Vec<_>>());
    exporter.wait_frames("mw0", senders.len() as f64);
    exporter
}

#[test]
fn a_vendor_file_takes_the_place_of_the_registry() {
    if !root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let manuf = "00:00:5E\tIANA\t\"Internet\" \\ Bücher\n00:00:5E:00:01:00/40\tVRRP\n\
        00:1B:21:30:00:00/28\tLab\tOur laboratory\n01:00:5E\tMulticast\n";
    let csv = "Registry,Assignment,Organization Name,Organization Address\r\n\
        MA-L,00005E,\"\"\"Internet\"\" \\ Bücher\",nowhere\r\nMA-S,00005E000,\"VRRP\",\r\n\
        MA-M,001B213,Our laboratory,\"a\r\nb\"\r\n";
    let senders = [
        [0x00, 0x1b, 0x21, 0x3c, 0x4d, 0x5e],
        [0x00, 0x1b, 0x21, 0x4c, 0x4d, 0x5e],
        [0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a],
        [0x00, 0x00, 0x5e, 0x10, 0x01, 0x0a],
        [0x01, 0x00, 0x5e, 0x00, 0x00, 0x01],
        [0x00; 6],
    ];
    for text in [manuf, csv] {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        let file = folder.path().join("vendors");
        std::fs::write(&file, text).unwrap();
        let exporter = exporter(&ours, &theirs, &file, &senders);
        let page = exporter.get("/metrics").unwrap().text();
        for (mac, vendor, kind) in [
            ("00:1b:21:3c:4d:5e", "Our laboratory", "universal"),
            // Intel in the registry that is built in.
            ("00:1b:21:4c:4d:5e", "", "universal"),
            ("00:00:5e:00:01:0a", "VRRP", "virtual_router"),
            ("00:00:5e:10:01:0a", "\\\"Internet\\\" \\\\ Bücher", "universal"),
            ("01:00:5e:00:00:01", "", "group"),
            ("00:00:00:00:00:00", "", "zero"),
        ] {
            let series = format!(
                "macwatch_source_info{{interface=\"mw0\",source_mac=\"{mac}\",name=\"\",vendor=\"{vendor}\",\
                 address_type=\"{kind}\"}} 1\n"
            );
            assert!(page.contains(&series), "{series}{page}");
        }
        assert_eq!(exporter.logged("read the vendor file"), 1, "{}", exporter.log());
    }
}

#[test]
fn a_bad_vendor_file_is_told_line_by_line() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("manuf"), "00:00:0C\tCisco\n00:00\tx\n00:00:0D\n\u{1b}[2J\tx\n").unwrap();
    std::fs::write(path("csv"), "Registry,Assignment,Organization Name\nMA-L,00000,x\nMA-M,000001,\n")
        .unwrap();
    std::fs::write(path("binary"), [0xff, 0xfe, b'\n'].repeat(10_000)).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    std::fs::File::create(path("large")).unwrap().set_len(1 << 30).unwrap();
    assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    for (file, expected) in [
        ("manuf", &[":3: there is no name", ":4: \"\\u{1b}[2J\" is not a prefix"][..]),
        ("csv", &[":2: \"00000\" is not an assignment", ":3: there is no name"]),
        ("empty", &[": there is no prefix in it"]),
        ("large", &[": it is larger than 64 MiB"]),
        ("fifo", &[": it is not a regular file"]),
        ("", &[": it is not a regular file"]),
        ("absent", &[": there is no such file"]),
    ] {
        let file = path(file);
        let output = namespace
            .command(BINARY)
            .args(["--log.level", "error", "--vendor.file", &file])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{file}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.lines().count(), expected.len(), "{error}");
        for (line, part) in error.lines().zip(expected) {
            assert!(line.starts_with(&format!("macwatch: vendor file: {file}{part}")), "{part}\n{line}");
        }
    }
    let output = namespace
        .command(BINARY)
        .args(["--log.level", "error", "--vendor.file", &path("binary")])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.ends_with(": 9950 more faults like these\n") && error.lines().count() == 51, "{error}");
}
