//! Every frame counts once, under the right source, on the right interface.

use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, root, veth};

#[test]
fn frames_and_bytes_of_each_source_are_exact() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    veth(&ours, "mw1", &theirs, "peer1");
    let exporter = Exporter::start(&ours, "-i mw0 -i mw1");
    exporter.wait_up("mw0");
    exporter.wait_up("mw1");

    // Three senders on two interfaces; the second talks on both.
    let mix =
        |sizes: &[(u32, usize)]| sizes.iter().map(|(n, bytes)| frame(source(*n), *bytes)).collect::<Vec<_>>();
    send(&theirs, "peer0", &mix(&[(1, 60), (1, 1514), (2, 60), (1, 14)]));
    send(&theirs, "peer1", &mix(&[(2, 100), (3, 1000)]));

    exporter.wait_value("macwatch_interface_frames_total{interface=\"mw0\"}", 4.0);
    let page = exporter.wait_value("macwatch_interface_frames_total{interface=\"mw1\"}", 2.0);
    assert_eq!(page.source("mw0", &text(source(1))), (3.0, 1588.0));
    assert_eq!(page.source("mw0", &text(source(2))), (1.0, 60.0));
    assert_eq!(page.source("mw1", &text(source(2))), (1.0, 100.0));
    assert_eq!(page.source("mw1", &text(source(3))), (1.0, 1000.0));
    assert_eq!(page.interface("sources", "mw0"), 2.0);
    assert_eq!(page.interface("bytes_total", "mw0"), 1648.0);
    assert_eq!(page.interface("dropped_frames_total", "mw0"), 0.0);
    page.assert_balanced();
}
