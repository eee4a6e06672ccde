//! Every frame counts once, under the right source, on the right interface.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::frames::{Stop, frame, send, send_until, source, tagged, text};
use crate::common::namespace::wait_carrier;
use crate::common::{Exporter, Namespace, root, veth, wire};

#[test]
fn frames_and_bytes_of_each_source_are_exact() {
    let Some((ours, theirs)) = wire() else { return };
    veth(&ours, "mw1", &theirs, "peer1");
    let exporter = Exporter::start(&ours, "-i mw0 -i mw1");
    exporter.wait_up("mw0");
    exporter.wait_up("mw1");

    // Three senders on two interfaces; the second talks on both.
    let mix =
        |sizes: &[(u32, usize)]| sizes.iter().map(|(n, bytes)| frame(source(*n), *bytes)).collect::<Vec<_>>();
    send(&theirs, "peer0", &mix(&[(1, 60), (1, 1514), (2, 60), (1, 14)]));
    send(&theirs, "peer1", &mix(&[(2, 100), (3, 1000)]));

    exporter.wait_frames("mw0", 4.0);
    let page = exporter.wait_frames("mw1", 2.0);
    assert_eq!(page.source("mw0", &text(source(1))), (3.0, 1588.0));
    assert_eq!(page.source("mw0", &text(source(2))), (1.0, 60.0));
    assert_eq!(page.source("mw1", &text(source(2))), (1.0, 100.0));
    assert_eq!(page.source("mw1", &text(source(3))), (1.0, 1000.0));
    assert_eq!(page.interface("sources", "mw0"), 2.0);
    assert_eq!(page.interface("bytes_total", "mw0"), 1648.0);
    assert_eq!(page.interface("dropped_frames_total", "mw0"), 0.0);
    page.assert_balanced();
}

/// Six senders at the same time, two on each of three interfaces, every length that an Ethernet frame may
/// have; half of the sources talk on all three interfaces.
#[test]
fn many_senders_at_once_are_kept_apart() {
    if !root() {
        return;
    }
    const SENDERS: u32 = 6;
    const SOURCES: u32 = 4;
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    for n in 0..3 {
        veth(&ours, &format!("mw{n}"), &theirs, &format!("peer{n}"));
    }
    let exporter = Exporter::start(&ours, "-i mw*");
    (0..3).for_each(|n| exporter.wait_up(&format!("mw{n}")));

    // The source of a sender's frame of this length: one of its own, or one that all senders use.
    let who = |sender: u32, bytes: u32| {
        let n = bytes % SOURCES;
        source(if n < 2 { n } else { 100 * (sender + 1) + n })
    };
    let lengths = 14..=1514u32;
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (theirs, lengths) = (&theirs, lengths.clone());
            scope.spawn(move || {
                let frames: Vec<_> = lengths.map(|bytes| frame(who(sender, bytes), bytes as usize)).collect();
                send(theirs, &format!("peer{}", sender % 3), &frames);
            });
        }
    });

    let each = 2 * lengths.clone().count();
    for n in 0..3u32 {
        let interface = format!("mw{n}");
        let page = exporter.wait_frames(&interface, each as f64);
        page.assert_balanced();
        let mut expected = std::collections::BTreeMap::<[u8; 6], (f64, f64)>::new();
        for (sender, bytes) in [n, n + 3].into_iter().flat_map(|s| lengths.clone().map(move |b| (s, b))) {
            let counts = expected.entry(who(sender, bytes)).or_default();
            *counts = (counts.0 + 1.0, counts.1 + f64::from(bytes));
        }
        assert_eq!(page.sources(&interface).len(), expected.len());
        for (source, counts) in expected {
            assert_eq!(page.source(&interface, &text(source)), counts, "{} on {interface}", text(source));
        }
    }
}

#[test]
fn odd_sources_count_as_sent() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    let odd = [[0; 6], [0xff; 6], [0x01, 0x00, 0x5e, 0, 0, 0xfb], [0x33, 0x33, 0, 0, 0, 1]];
    let frames: Vec<_> = (1..).zip(odd).flat_map(|(n, source)| vec![frame(source, 64); n]).collect();
    send(&theirs, "peer0", &frames);
    let page = exporter.wait_frames("mw0", 10.0);
    for (n, source) in (1..).zip(odd) {
        assert_eq!(page.source("mw0", &text(source)), (f64::from(n), f64::from(n * 64)));
    }
    assert_eq!(page.interface("sources", "mw0"), 4.0);
}

/// On the way in the kernel takes the tag out of the frame before any tap of user space sees it
/// (skb_vlan_untag in __netif_receive_skb_core); on the way out it is still there.
#[test]
fn a_tag_counts_where_it_can_be_seen() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[tagged(source(1), 7, 104), frame(source(2), 104)]);
    send(&ours, "mw0", &[tagged(source(3), 7, 104)]);
    let page = exporter.wait_frames("mw0", 3.0);
    assert_eq!(page.source("mw0", &text(source(1))), (1.0, 100.0));
    assert_eq!(page.source("mw0", &text(source(2))), (1.0, 104.0));
    assert_eq!(page.source("mw0", &text(source(3))), (1.0, 104.0));
}

#[test]
fn the_longest_frame_is_counted_whole() {
    let Some((ours, theirs)) = wire() else { return };
    ours.ip("link set mw0 mtu 65535");
    theirs.ip("link set peer0 mtu 65535");
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 65_535 + 14), frame(source(1), 60)]);
    let page = exporter.wait_frames("mw0", 2.0);
    assert_eq!(page.source("mw0", &text(source(1))), (2.0, 65_609.0));
}

#[test]
fn the_direction_is_that_which_was_asked_for() {
    if !root() {
        return;
    }
    for (direction, arrived, sent) in [("both", 3.0, 5.0), ("in", 3.0, 0.0), ("out", 0.0, 5.0)] {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        veth(&ours, "mw0", &theirs, "peer0");
        let exporter = Exporter::start(&ours, &format!("-i mw0 --capture.direction {direction}"));
        exporter.wait_up("mw0");
        // Frames are read in order: when the last one that counts is there, so is any before it that ought not
        // to count.
        send(&theirs, "peer0", &vec![frame(source(1), 60); 2]);
        send(&ours, "mw0", &vec![frame(source(2), 100); 4]);
        send(&theirs, "peer0", &[frame(source(1), 60)]);
        send(&ours, "mw0", &[frame(source(2), 100)]);
        let page = exporter.wait_frames("mw0", arrived + sent);
        assert_eq!(page.source("mw0", &text(source(1))), (arrived, arrived * 60.0), "{direction}");
        assert_eq!(page.source("mw0", &text(source(2))), (sent, sent * 100.0), "{direction}");
        assert_eq!(page.sources("mw0").len(), if direction == "both" { 2 } else { 1 }, "{direction}");
    }
}

/// It listens, and asks nobody: what the machine sends is what others on it send.
#[test]
fn it_puts_nothing_on_the_wire() {
    let Some((ours, theirs)) = wire() else { return };
    let sent = |namespace: &Namespace, interface: &str| {
        let told = namespace.run(&format!("ip -json -statistics link show {interface}"));
        serde_json::from_str::<serde_json::Value>(&told).unwrap()[0]["stats64"]["tx"]["packets"]
            .as_u64()
            .unwrap()
    };
    let before = (sent(&ours, "mw0"), sent(&theirs, "peer0"));
    for direction in ["both", "in"] {
        let exporter = Exporter::start(&ours, &format!("-i mw0 --capture.direction {direction}"));
        exporter.wait_up("mw0");
        send(&theirs, "peer0", &[frame(source(1), 60), frame(source(2), 60)]);
        exporter.wait_frames("mw0", 2.0);
        ours.ip("link set mw0 down");
        exporter.wait_down("mw0");
        ours.ip("link set mw0 up");
        wait_carrier(&ours, "mw0");
        wait_carrier(&theirs, "peer0");
        exporter.wait_up("mw0");
        send(&theirs, "peer0", &[frame(source(3), 60)]);
        exporter.wait_frames("mw0", 3.0);
    }
    let after = (sent(&ours, "mw0"), sent(&theirs, "peer0"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (0, 6));
}

/// A packet socket that is not bound yet hears every interface: the time between making and binding one is
/// what a flood elsewhere would show in.
#[test]
fn a_busy_neighbour_is_never_counted() {
    let Some((ours, theirs)) = wire() else { return };
    veth(&ours, "mw1", &theirs, "peer1");
    let stop = AtomicBool::new(false);
    let stopped = || stop.load(Ordering::Relaxed);
    let flooded = thread::scope(|scope| {
        let flood = scope.spawn(|| send_until(&theirs, "peer1", &[frame(source(66), 60)], stopped));
        let end = Stop(&stop);
        for _ in 0..5 {
            let exporter = Exporter::start(&ours, "-i mw0");
            exporter.wait_up("mw0");
            send(&theirs, "peer0", &[frame(source(1), 60)]);
            let page = exporter.wait_page("the frame", |page| page.source("mw0", &text(source(1))).0 > 0.0);
            assert_eq!(page.sources("mw0"), [text(source(1))]);
            assert_eq!(page.interface("frames_total", "mw0"), 1.0);
            assert!(!page.mentions("mw1"));
        }
        drop(end);
        flood.join().unwrap()
    });
    assert!(flooded > 1000, "only {flooded} frames to be confused by");
}
