//! What is known of a source before its first frame, and when that was.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::common::exporter::Metrics;
use crate::common::frames::{frame, send, source, text};
use crate::common::state::file;
use crate::common::{Engine, Exporter, Namespace, root, veth, wait_until, wire};

const MOST: u32 = 16;

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn seen(page: &Metrics, which: &str, n: u32) -> f64 {
    let mac = text(source(n));
    let family = format!("macwatch_source_{which}_seen_timestamp_seconds");
    page.value(&format!("{family}{{interface=\"mw0\",source_mac=\"{mac}\"}}"))
}

/// Those who are remembered have their room before anybody else comes: strangers who fill the rest do not take it.
#[test]
fn who_is_restored_has_room_before_the_first_frame() {
    let Some((ours, theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let options = format!("-i mw0 --sources.max {MOST} --state.file {}", state.display());
    // Three quarters of the room.
    let remembered = MOST / 4 * 3;
    let say = |n: u32, frames| send(&theirs, "peer0", &vec![frame(source(n), 60); frames]);
    let mut exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    (0..remembered).for_each(|n| say(n, 1));
    let before = exporter.wait_frames("mw0", f64::from(remembered));
    exporter.signal(Signal::TERM);
    assert!(exporter.wait().success());
    drop(exporter);
    assert!(fs::read_to_string(&state).unwrap().contains(&text(source(remembered - 1))));

    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    let page = exporter.scrape();
    assert_eq!(page.interface("sources", "mw0"), f64::from(remembered));
    assert_eq!(page.interface("frames_total", "mw0"), 0.0);
    // More strangers than there is room for.
    (100..150).for_each(|n| say(n, 1));
    let page = exporter.wait_frames("mw0", 50.0);
    assert_eq!(page.interface("sources", "mw0"), f64::from(MOST));
    assert_eq!(page.interface("untracked_frames_total", "mw0"), f64::from(50 - (MOST - remembered)));
    (0..remembered).for_each(|n| say(n, 2));
    let page = exporter.wait_frames("mw0", f64::from(50 + 2 * remembered));
    for n in 0..remembered {
        assert_eq!(page.source("mw0", &text(source(n))), (2.0, 120.0));
        assert_eq!(seen(&page, "first", n), seen(&before, "first", n));
        assert!(seen(&page, "last", n) > seen(&before, "last", n));
    }
    assert_eq!(page.interface("new_sources_total", "mw0"), f64::from(MOST - remembered));
    page.assert_balanced();
}

/// A flood, and a restart just after it or some time later: what was forged goes when it would have gone.
#[test]
fn a_restart_does_not_keep_a_flood() {
    const KNOWN_FOR_LONG: u32 = 3;
    let Some((ours, theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    // Ten minutes later it is forgotten, which is at once, or was before the restart.
    for seconds in [598, 660] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ago = |seconds: u64| u64::try_from(now.as_millis()).unwrap() - seconds * 1000;
        let others = (0..KNOWN_FOR_LONG).map(|n| (n, ago(36_000), ago(900)));
        let forged = (100..200).map(|n| (n, ago(seconds), ago(seconds)));
        fs::write(&state, file(ago(36_000), &others.chain(forged).collect::<Vec<_>>())).unwrap();
        let exporter =
            Exporter::start(&ours, &format!("-i mw0 --sources.max {MOST} --state.file {}", state.display()));
        exporter.wait_up("mw0");
        let page = exporter.wait_page("the forged ones to be forgotten", |page| {
            page.interface("sources", "mw0") == f64::from(KNOWN_FOR_LONG)
        });
        assert_eq!(page.sources("mw0"), (0..KNOWN_FOR_LONG).map(|n| text(source(n))).collect::<Vec<_>>());
        // All of the room is there for others.
        let more = MOST - KNOWN_FOR_LONG;
        send(&theirs, "peer0", &(300..300 + more).map(|n| frame(source(n), 60)).collect::<Vec<_>>());
        let page = exporter.wait_frames("mw0", f64::from(more));
        assert_eq!(page.interface("untracked_frames_total", "mw0"), 0.0);
        page.assert_balanced();
    }
}

/// The time of a frame is that of its arrival, whenever somebody looks.
#[test]
fn a_source_was_first_seen_when_it_first_spoke() {
    if !root() {
        return;
    }
    if Engine::under_test() == Engine::Channel {
        // It knows when it reads a frame.
        return println!("skipped: the time of the kernel engine");
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    exporter.signal(Signal::STOP);
    let wait = |pause: Duration| {
        let begun = Instant::now();
        wait_until("some time to pass", || begun.elapsed() >= pause);
    };
    let say = || {
        let before = unix_seconds();
        send(&theirs, "peer0", &[frame(source(1), 60)]);
        let said = before..unix_seconds();
        wait(Duration::from_millis(700));
        said
    };
    let (first, last) = (say(), say());
    exporter.signal(Signal::CONT);
    let page = exporter.wait_frames("mw0", 2.0);
    for (which, expected) in [("first", first), ("last", last)] {
        let told = seen(&page, which, 1);
        // The kernel's clock for this ticks every few milliseconds.
        let expected = expected.start - 0.05..expected.end + 0.05;
        assert!(expected.contains(&told), "{which} seen {told}, sent {expected:?}");
    }
}
