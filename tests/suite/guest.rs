//! A guest can make frames that no packet socket can describe. They must cost no more than themselves.

use crate::common::{Engine, Exporter, Namespace, Program, root, wait_until};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/guest.py");

const PLAIN: &str = "02:00:00:00:00:01";
const UFO: &str = "02:00:00:00:00:02";

#[test]
fn what_cannot_be_described_is_dropped_and_no_more() {
    if !root() {
        return;
    }
    let ours = Namespace::new();
    let mut guest = Program::spawn(ours.command("python3").arg(SCRIPT));
    guest.wait_said("ready");
    ours.ip("link set tap0 up");
    let exporter = Exporter::start(&ours, "-i tap0");
    exporter.wait_up("tap0");
    guest.tell("plain 2");
    exporter.wait_frames("tap0", 2.0);

    if Engine::under_test() == Engine::Kernel {
        // Counted before anything has to be described: five fragments each.
        guest.tell("ufo 50");
        guest.tell("plain 3");
        let page = exporter.wait_frames("tap0", 255.0);
        assert_eq!(page.source("tap0", PLAIN), (5.0, 500.0));
        assert_eq!(page.source("tap0", UFO).0, 250.0);
        assert_eq!(page.interface("dropped_frames_total", "tap0"), 0.0);
        // Only the notice of the first could not be read, which shows when it has been tried.
        exporter.wait_value("macwatch_interface_missed_notices_total{interface=\"tap0\"}", 1.0);
        return;
    }

    // UFO is a kind that PACKET_VNET_HDR has no name for: recvmsg fails with EINVAL, and the frame is lost
    // (virtio_net_hdr_from_skb, packet_rcv_vnet).
    wait_until("the log to be complete", || exporter.logged("msg=capturing") == 1);
    let lines = exporter.log().lines().count();
    let cpu = exporter.cpu_seconds();
    guest.tell("ufo 50");
    let dropped = "macwatch_interface_dropped_frames_total{interface=\"tap0\"}";
    exporter.wait_value(dropped, 50.0);
    guest.tell("plain 3");
    let page = exporter.wait_frames("tap0", 5.0);
    assert_eq!(page.source("tap0", PLAIN), (5.0, 500.0));
    assert_eq!(page.source("tap0", UFO), (0.0, 0.0));
    assert_eq!(page.value(dropped), 50.0);
    assert_eq!(page.interface("capture_up", "tap0"), 1.0);
    assert_eq!(page.interface("rebinds_total", "tap0"), 0.0);

    // Mixed, neither disturbs the other; nor does the processor run hot, or the log fill up.
    for _ in 0..10 {
        guest.tell("ufo 5");
        guest.tell("plain 5");
    }
    exporter.wait_value(dropped, 100.0);
    let page = exporter.wait_frames("tap0", 55.0);
    assert_eq!(page.source("tap0", PLAIN), (55.0, 5500.0));
    assert_eq!(exporter.log().lines().count(), lines, "{}", exporter.log());
    let cpu = exporter.cpu_seconds() - cpu;
    assert!(cpu < 0.5, "{cpu} s of CPU, pages included");
}
