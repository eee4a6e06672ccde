//! Which interfaces are watched, as they come, go and change: without restart.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::common::exporter::BINARY;
use crate::common::frames::{frame, send, source, text};
use crate::common::namespace::wait_carrier;
use crate::common::{Exporter, Namespace, Program, bridge, root, veth, wait_until, wire};

fn some(n: u32, frames: usize) -> Vec<Vec<u8>> {
    vec![frame(source(n), 60); frames]
}

#[test]
fn by_default_what_is_up_and_stands_for_itself() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "");
    exporter.wait_up("mw0");
    assert!(!exporter.scrape().mentions("lo"));

    // One that appears; not while it is down.
    ours.ip(&format!("link add mw1 type veth peer name peer1 netns {}", theirs.name()));
    bridge(&ours, "br9");
    exporter.wait_up("br9");
    assert!(!exporter.scrape().mentions("mw1"));
    ours.ip("link set mw1 up");
    theirs.ip("link set peer1 up");
    wait_carrier(&theirs, "peer1");
    exporter.wait_up("mw1");
    send(&theirs, "peer1", &some(1, 3));
    exporter.wait_frames("mw1", 3.0);

    // A port's frames are its bridge's.
    bridge(&ours, "br0");
    exporter.wait_up("br0");
    ours.ip("link set mw1 master br0");
    let page = exporter.wait_gone("mw1");
    let before = page.interface("frames_total", "br0");
    send(&theirs, "peer1", &some(1, 4));
    exporter.wait_frames("br0", before + 4.0);
    assert!(!exporter.scrape().mentions("mw1"));

    // No longer a port: it stands for itself again, with new books.
    ours.ip("link set mw1 nomaster");
    exporter.wait_up("mw1");
    send(&theirs, "peer1", &some(1, 5));
    let page = exporter.wait_frames("mw1", 5.0);
    assert_eq!(page.source("br0", &text(source(1))).0, before + 4.0);

    // One that was not asked for by name is gone without a trace; going down is not being gone.
    ours.ip("link set mw1 down");
    exporter.wait_down("mw1");
    ours.ip("link del mw1");
    exporter.wait_gone("mw1");
    assert_eq!(exporter.logged("interface=mw1 why=\"it is gone\""), 1);
    assert_eq!(exporter.scrape().interface("capture_up", "mw0"), 1.0);
}

#[test]
fn patterns_choose_and_exclude() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    for name in ["mw0", "mw1", "mw9", "eth7"] {
        veth(&ours, name, &theirs, &format!("p-{name}"));
    }
    let exporter = Exporter::start(&ours, "-i mw* --interface.exclude mw[89]");
    exporter.wait_up("mw0");
    exporter.wait_up("mw1");
    // Those that come later are judged alike.
    veth(&ours, "mw8", &theirs, "p-mw8");
    veth(&ours, "mw2", &theirs, "p-mw2");
    exporter.wait_up("mw2");
    send(&theirs, "p-mw8", &some(8, 1));
    send(&theirs, "p-mw2", &some(2, 1));
    let page = exporter.wait_frames("mw2", 1.0);
    let watched: Vec<_> = page.matching("macwatch_interface_capture_up{").map(|(name, _)| name).collect();
    let expected =
        ["mw0", "mw1", "mw2"].map(|n| format!("macwatch_interface_capture_up{{interface=\"{n}\"}}"));
    assert_eq!(watched, expected);
    assert_eq!(page.sources("mw2"), [text(source(2))]);
    ours.ip("link del mw1");
    exporter.wait_gone("mw1");
}

#[test]
fn a_new_name_is_followed() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &some(1, 5));
    exporter.wait_frames("mw0", 5.0);
    ours.ip("link set mw0 down");
    ours.ip("link set mw0 name lan0");
    ours.ip("link set lan0 up");
    wait_carrier(&theirs, "peer0");
    exporter.wait_up("lan0");
    send(&theirs, "peer0", &some(2, 4));
    let page = exporter.wait_page("the frames", |page| page.source("lan0", &text(source(2))).0 > 3.0);
    assert_eq!(page.source("lan0", &text(source(2))), (4.0, 240.0));
    assert!(!page.mentions("mw0"));
    assert_eq!(exporter.logged("was=mw0"), 1);
    page.assert_balanced();
}

/// A socket stays bound to an interface that is renamed: what arrives under the new name is not counted again
/// when the old name returns.
#[test]
fn a_name_that_is_waited_for_keeps_its_counts() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0 -i lan*");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &some(1, 5));
    exporter.wait_frames("mw0", 5.0);
    ours.ip_batch("link set mw0 down\nlink set mw0 name lan0\nlink set lan0 up\n");
    wait_carrier(&theirs, "peer0");
    exporter.wait_up("lan0");
    send(&theirs, "peer0", &some(2, 4));
    let page = exporter.wait_page("the frames", |page| page.source("lan0", &text(source(2))).0 > 3.0);
    assert_eq!(page.source("lan0", &text(source(2))).0, 4.0);
    assert_eq!(page.source("mw0", &text(source(1))).0, 5.0);
    assert_eq!(page.interface("capture_up", "mw0"), 0.0);

    // Back to the old name, whose counts go on.
    ours.ip_batch("link set lan0 down\nlink set lan0 name mw0\nlink set mw0 up\n");
    wait_carrier(&theirs, "peer0");
    exporter.wait_up("mw0");
    exporter.wait_gone("lan0");
    send(&theirs, "peer0", &some(1, 2));
    exporter.wait_frames("mw0", 7.0);
}

/// The wish that an interface be promiscuous goes with the capture, though the socket stays.
#[test]
fn an_interface_that_is_no_longer_watched_is_left_as_it_was() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    assert!(ours.run("ip -d link show mw0").contains("promiscuity 1"));
    ours.ip_batch("link set mw0 down\nlink set mw0 name guest0\nlink set guest0 up\n");
    wait_until("it to be let go", || ours.run("ip -d link show guest0").contains("promiscuity 0"));
    send(&theirs, "peer0", &some(1, 5));
    ours.ip_batch("link set guest0 down\nlink set guest0 name mw0\nlink set mw0 up\n");
    wait_carrier(&theirs, "peer0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &some(2, 3));
    let page = exporter.wait_frames("mw0", 3.0);
    assert_eq!(page.source("mw0", &text(source(1))).0, 0.0, "what was sent under another name");
}

#[test]
fn a_name_that_does_not_exist_yet_is_waited_for() {
    let Some((ours, theirs)) = wire() else { return };
    // Ready all the same: what is missing may stay so.
    let exporter = Exporter::start(&ours, "-i mw0 -i mw7 -i nothing*");
    exporter.wait_up("mw0");
    let page = exporter.wait_down("mw7");
    assert_eq!(page.interface("frames_total", "mw7"), 0.0);
    assert!(!page.mentions("nothing*"));
    let warning =
        exporter.log().lines().find(|line| line.contains("waiting for it")).unwrap_or_default().to_owned();
    for part in ["level=WARN", "no such interface yet", "interface=mw7", "exist=mw0"] {
        assert!(warning.contains(part), "no {part} in: {warning}");
    }
    veth(&ours, "mw7", &theirs, "peer7");
    exporter.wait_up("mw7");
    send(&theirs, "peer7", &some(1, 3));
    exporter.wait_frames("mw7", 3.0);
    // Gone, it stays on the page with what was counted: it was asked for by name.
    ours.ip("link del mw7");
    let page = exporter.wait_down("mw7");
    assert_eq!(page.source("mw7", &text(source(1))), (3.0, 180.0));
}

#[test]
fn what_has_no_senders_is_refused() {
    if !root() {
        return;
    }
    let ours = Namespace::new();
    ours.ip("tuntap add dev tun7 mode tun");
    for (name, kind) in [("lo", "the loopback"), ("tun7", "no Ethernet header")] {
        for job in ["", "watch "] {
            let line = format!("{job}-i {name}");
            let mut program = Program::spawn(ours.command(BINARY).args(line.split_whitespace()));
            assert_eq!(program.wait().code(), Some(1), "{line}");
            let said = program.stderr();
            let told: Vec<_> = said.lines().filter(|line| !line.starts_with("time=")).collect();
            assert_eq!(told.len(), 1, "{said}");
            for part in [name, kind, "macwatch interfaces"] {
                assert!(told[0].contains(part), "no {part} in: {said}");
            }
            assert_eq!(program.stdout(), "");
        }
    }
}

#[test]
fn one_that_moves_to_another_namespace_and_back_is_captured_again() {
    if !root() {
        return;
    }
    let (ours, theirs, elsewhere) = (Namespace::new(), Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &some(1, 2));
    exporter.wait_frames("mw0", 2.0);

    ours.ip(&format!("link set mw0 netns {}", elsewhere.name()));
    exporter.wait_down("mw0");
    elsewhere.ip("link set mw0 up");
    wait_carrier(&theirs, "peer0");
    // Frames over there are not ours to count.
    send(&theirs, "peer0", &some(66, 10));

    elsewhere.ip(&format!("link set mw0 netns {}", ours.name()));
    ours.ip("link set mw0 up");
    wait_carrier(&theirs, "peer0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &some(1, 3));
    let page = exporter.wait_frames("mw0", 5.0);
    assert_eq!(page.sources("mw0"), [text(source(1))]);
}

/// Leaving a bridge is "deleted" too in netlink's words, in those of the bridge's family.
#[test]
fn a_port_that_is_named_counts_in_a_bridge_and_out_of_it() {
    let Some((ours, theirs)) = wire() else { return };
    bridge(&ours, "br0");
    ours.ip("link set mw0 master br0");
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &some(1, 2));
    exporter.wait_frames("mw0", 2.0);
    for round in 1..=5u32 {
        for (change, frames) in [("nomaster", 1), ("master br0", 3)] {
            ours.ip(&format!("link set mw0 {change}"));
            send(&theirs, "peer0", &some(round + 1, frames));
        }
        let page = exporter.wait_frames("mw0", f64::from(2 + 4 * round));
        assert_eq!(page.source("mw0", &text(source(round + 1))).0, 4.0);
    }
    // A later notice has been dealt with, so the earlier ones have: none was taken for a deletion.
    ours.ip("link set mw0 down");
    let page = exporter.wait_down("mw0");
    assert_eq!(page.interface("rebinds_total", "mw0"), 0.0);
    wait_until("a word of it", || exporter.logged("interface is down") == 1);
    assert_eq!(exporter.logged("gone"), 0);
}

#[test]
fn another_name_of_an_interface_is_told() {
    let Some((ours, _theirs)) = wire() else { return };
    ours.ip("link property add dev mw0 altname uplink");
    let output = ours.command(BINARY).args(["-i", "uplink"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.lines().last().unwrap().contains("another name of mw0; say --interface mw0"), "{said}");
}

/// The kernel takes nearly any bytes for a name.
#[test]
fn a_name_that_is_no_text_is_told() {
    let Some((ours, _theirs)) = wire() else { return };
    ours.ip("link set mw0 down");
    let rename =
        ours.command("ip").args(["link", "set", "mw0", "name"]).arg(OsStr::from_bytes(b"mw\xff")).status();
    assert!(rename.unwrap().success());
    let output = ours.command(BINARY).arg("interfaces").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("mw\u{fffd} ")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(" no ") && line.contains("its name is not UTF-8 text"), "{line}");
}
