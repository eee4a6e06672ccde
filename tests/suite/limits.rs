//! What strangers can do to the books and to the machine: they are many, they forge, they fall silent.

use rustix::process::Signal;

use crate::common::crowd::{crowd_of, sources_on};
use crate::common::exporter::{Metrics, PORT};
use crate::common::frames::{frame, send, source, text};
use crate::common::http::{self, OPEN, inflated};
use crate::common::{Engine, Exporter, Namespace, root, veth, wait_for, wait_until, wire};

#[test]
fn a_flood_of_forged_sources_is_bounded_and_counted() {
    if !root() {
        return;
    }
    const FORGED: u32 = 100_000;
    const FRIEND_FRAMES: u32 = 100;
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(0), 60)]);
    let before = exporter.wait_frames("mw0", 1.0);

    // One that was there before talks on throughout.
    let flood: Vec<_> = (1..=FORGED)
        .flat_map(|n| {
            let friend = n % (FORGED / FRIEND_FRAMES) == 0;
            std::iter::once(frame(source(n), 60)).chain(friend.then(|| frame(source(0), 60)))
        })
        .collect();
    send(&theirs, "peer0", &flood);
    let sent = f64::from(1 + FORGED + FRIEND_FRAMES);
    let page = exporter.wait_page("all frames to be counted", |page| {
        page.interface("frames_total", "mw0") + page.interface("dropped_frames_total", "mw0") == sent
    });
    page.assert_balanced();
    let dropped = page.interface("dropped_frames_total", "mw0");
    let untracked = page.interface("untracked_frames_total", "mw0");
    assert_eq!(page.interface("sources", "mw0"), 1024.0);
    assert_eq!(page.sources("mw0").len(), 1024);
    assert_eq!(page.interface("new_sources_total", "mw0"), 1024.0);
    // The queue holds more than this, but a machine that is very busy may still drop some.
    if dropped == 0.0 {
        assert_eq!(untracked, f64::from(FORGED - 1023));
        assert_eq!(page.source("mw0", &text(source(0))).0, f64::from(1 + FRIEND_FRAMES));
    }
    assert_eq!(page.interface("untracked_bytes_total", "mw0"), untracked * 60.0);
    assert_eq!(exporter.logged("no room for more sources"), 1, "one line, not one for each");
    let resident = "process_resident_memory_bytes";
    let grown = page.value(resident) - before.value(resident);
    assert!(grown < f64::from(16 << 20), "{grown} bytes more of memory");
}

/// What the queue cannot hold is not counted as a source's, and not forgotten either.
#[test]
fn what_is_dropped_is_told() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    if Engine::under_test() == Engine::Kernel {
        // There is no queue to run over: a process that stands still misses nothing.
        exporter.wait_up("mw0");
        exporter.signal(Signal::STOP);
        send(&theirs, "peer0", &vec![frame(source(1), 1514); 100_000]);
        exporter.signal(Signal::CONT);
        let page = exporter.wait_frames("mw0", 100_000.0);
        assert_eq!(page.source("mw0", &text(source(1))), (100_000.0, 151_400_000.0));
        assert_eq!(page.interface("dropped_frames_total", "mw0"), 0.0);
        return;
    }
    let queue: usize = wait_for("the log to tell the size of the queue", || {
        exporter.log().split("queue_bytes=").nth(1)?.split_whitespace().next()?.parse().ok()
    });
    // A frame takes at least its own length of the queue.
    let frames = queue / 1514 + 1000;

    exporter.signal(Signal::STOP);
    send(&theirs, "peer0", &vec![frame(source(1), 1514); frames]);
    exporter.signal(Signal::CONT);
    let page = exporter.wait_page("all frames to be accounted for", |page| {
        let of = |family| page.interface(family, "mw0");
        of("frames_total") + of("dropped_frames_total") == frames as f64
    });
    let dropped = page.interface("dropped_frames_total", "mw0");
    assert!(dropped > 0.0, "{frames} frames went into {queue} bytes of queue");
    let counted = frames as f64 - dropped;
    assert_eq!(page.source("mw0", &text(source(1))), (counted, counted * 1514.0));
    page.assert_balanced();

    // It goes on.
    send(&theirs, "peer0", &[frame(source(2), 60)]);
    exporter.wait_frames("mw0", counted + 1.0);
}

/// Pages of 30 MB, and two scrapers and a person who want one at the same time.
#[test]
fn long_pages_take_little_memory() {
    if !root() {
        return;
    }
    const SOURCES: u32 = 65_536;
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = crowd_of(SOURCES, &ours, &theirs, "--sources.max-total 70000");
    let codings = ["gzip", "gzip", "identity"];
    std::thread::scope(|scope| {
        let scrapes = codings.map(|coding| {
            let ours = &ours;
            scope.spawn(move || {
                let headers = format!("{OPEN}Accept-Encoding: {coding}\r\n");
                inflated(&http::request(ours, PORT, "GET", "/metrics", &headers).unwrap())
            })
        });
        for scrape in scrapes {
            let page = scrape.join().unwrap();
            assert_eq!(sources_on(&page), SOURCES);
            assert!(page.len() > 25 << 20 && page.ends_with("\n# EOF\n"));
        }
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
    let kib = |key: &str| -> u64 {
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix("kB"));
        value.unwrap_or_else(|| panic!("{status}")).trim().parse().unwrap()
    };
    // How much of the program itself is there is up to the kernel.
    let peak = kib("VmHWM:") - kib("RssFile:");
    assert!(peak < 144 << 10, "{peak} KiB at the most");
}

#[test]
fn the_silent_are_forgotten_and_their_frames_are_not() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0 --sources.idle-timeout 1s");
    exporter.wait_up("mw0");
    let (leaves, stays) = (frame(source(1), 100), frame(source(2), 60));
    let expired = |page: &Metrics| {
        ["sources", "frames", "bytes"].map(|what| page.interface(&format!("expired_{what}_total"), "mw0"))
    };
    // One that is silent goes, and begins anew when it is back; one that talks on stays. Unless this machine is so busy
    // that it is silent for a second, too: then once more.
    let mut sent = (0.0, 0.0);
    wait_until("one source to leave alone, and to be back", || {
        let before = expired(&exporter.wait_page("nobody", |page| page.sources("mw0").is_empty()));
        send(&theirs, "peer0", &vec![leaves.clone(); 3]);
        sent.0 += 3.0;
        let page = exporter.wait_page("one source to leave", |page| {
            page.assert_balanced();
            send(&theirs, "peer0", std::slice::from_ref(&stays));
            sent.1 += 1.0;
            expired(page) != before
        });
        let left = std::array::from_fn(|n| expired(&page)[n] - before[n]);
        send(&theirs, "peer0", std::slice::from_ref(&leaves));
        sent.0 += 1.0;
        let page = exporter.wait_page("all frames", |page| {
            page.assert_balanced();
            page.interface("frames_total", "mw0") == sent.0 + sent.1
        });
        let alone = left == [1.0, 3.0, 300.0] && expired(&page)[0] - before[0] == 1.0;
        let back = page.source("mw0", &text(source(1)));
        assert!(!alone || back == (1.0, 100.0), "{back:?}");
        alone && page.sources("mw0").len() == 2
    });

    // With nobody talking, nobody is left, and every frame is still in the books.
    let page = exporter.wait_page("all sources to leave", |page| page.sources("mw0").is_empty());
    page.assert_balanced();
    assert_eq!(page.interface("frames_total", "mw0"), sent.0 + sent.1);
    let [sources, frames, bytes] = expired(&page);
    assert_eq!((frames, bytes), (sent.0 + sent.1, sent.0 * 100.0 + sent.1 * 60.0));
    assert_eq!(page.interface("new_sources_total", "mw0"), sources);
}
