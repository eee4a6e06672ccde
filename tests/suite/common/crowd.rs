//! An exporter whose page is long: longer than the kernel's buffers between it and a client.

use super::frames::{frame, send, source};
use super::{Exporter, Namespace, veth, wait_until};

/// Sources that make the page a megabyte long.
pub(crate) const CROWD: u32 = 2000;

/// There is room for a few more.
const SPARE: u32 = 10;

/// Starts one on `mw0` with that many sources. A client that asks and does not read keeps it busy.
#[track_caller]
pub(crate) fn crowded<'n>(ours: &'n Namespace, theirs: &Namespace, options: &str) -> Exporter<'n> {
    crowd_of(CROWD, ours, theirs, options)
}

/// The same with this many sources.
#[track_caller]
pub(crate) fn crowd_of<'n>(
    count: u32,
    ours: &'n Namespace,
    theirs: &Namespace,
    options: &str,
) -> Exporter<'n> {
    veth(ours, "mw0", theirs, "peer0");
    ours.inside(|| {
        for buffer in ["tcp_wmem", "tcp_rmem"] {
            std::fs::write(format!("/proc/sys/net/ipv4/{buffer}"), "4096 16384 65536").unwrap();
        }
    });
    let room = count + SPARE;
    let exporter = Exporter::start(ours, &format!("-i mw0 --sources.max {room} {options}"));
    exporter.wait_up("mw0");
    let frames: Vec<Vec<u8>> = (0..count).map(|n| frame(source(n), 60)).collect();
    wait_until("all sources", || {
        // Again, if need be: a burst may be too much for the queues of a busy machine.
        send(theirs, "peer0", &frames);
        exporter.scrape().interface("sources", "mw0") == f64::from(count)
    });
    exporter
}

/// How many sources a page tells of.
pub(crate) fn sources_on(page: &str) -> u32 {
    u32::try_from(page.matches("\nmacwatch_source_frames_total{").count()).unwrap()
}
