//! What survives a restart, a crash, and a disk that is full or damaged.
//!
//! Longer than most: a file can fail in many ways, and all of them are tried with the same few helpers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::exporter::{BINARY, Metrics};
use crate::common::frames::{Stop, frame, send, source, text};
use crate::common::state::file;
use crate::common::{Exporter, Namespace, Program, root, veth, wait_until};

const LOADED: &str = "macwatch_state_last_load_successful";
const WRITTEN: &str = "macwatch_state_last_write_successful";
const CREATED: &str = "macwatch_state_created_timestamp_seconds";

/// A network, and a folder for the state.
struct Site {
    ours: Namespace,
    theirs: Namespace,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        veth(&ours, "mw0", &theirs, "peer0");
        Self { ours, theirs, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn read(&self) -> String {
        fs::read_to_string(self.path()).unwrap_or_default()
    }

    #[track_caller]
    fn start(&self, options: &str) -> Exporter<'_> {
        let exporter =
            Exporter::start(&self.ours, &format!("-i mw0 --state.file {} {options}", self.path().display()));
        exporter.wait_up("mw0");
        exporter
    }

    fn send(&self, sources: &[u32]) {
        let frames: Vec<_> = sources.iter().map(|n| frame(source(*n), 60)).collect();
        send(&self.theirs, "peer0", &frames);
    }

    /// Waits until the file has a line for this source.
    #[track_caller]
    fn wait_stored(&self, n: u32) {
        wait_until("the source to be in the file", || self.read().contains(&text(source(n))));
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn time(page: &Metrics, which: &str, n: u32) -> Option<f64> {
    let mac = text(source(n));
    page.get(&format!(
        "macwatch_source_{which}_seen_timestamp_seconds{{interface=\"mw0\",source_mac=\"{mac}\"}}"
    ))
}

#[track_caller]
fn first(page: &Metrics, n: u32) -> f64 {
    time(page, "first", n).unwrap()
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

#[test]
fn a_source_is_not_new_after_a_restart() {
    if !root() {
        return;
    }
    let site = Site::new();
    let mut exporter = site.start("");
    site.send(&[1, 2, 1]);
    let before = exporter.wait_frames("mw0", 3.0);
    assert_eq!((before.value(LOADED), before.value(WRITTEN)), (1.0, 1.0));
    exporter.signal(Signal::TERM);
    assert!(exporter.wait().success());
    drop(exporter);
    assert_eq!(site.names(), ["state", "state.lock"]);
    assert_eq!(fs::metadata(site.path()).unwrap().permissions().mode() & 0o777, 0o600);

    // There at 0, with what is known of them; then they count on.
    let mut exporter = site.start("");
    let page = exporter.scrape();
    assert_eq!(page.interface("sources", "mw0"), 2.0);
    assert_eq!(page.interface("new_sources_total", "mw0"), 0.0);
    assert_eq!(page.source("mw0", &text(source(1))), (0.0, 0.0));
    for which in ["first", "last"] {
        for n in [1, 2] {
            assert_eq!(time(&page, which, n), time(&before, which, n), "{which} {n}");
        }
    }
    assert_eq!(page.value(CREATED), before.value(CREATED));
    site.send(&[1, 3]);
    let page = exporter.wait_frames("mw0", 2.0);
    assert_eq!(page.source("mw0", &text(source(1))), (1.0, 60.0));
    assert_eq!(first(&page, 1), first(&before, 1));
    assert!(time(&page, "last", 1) > time(&before, "last", 1));
    assert!(first(&page, 3) > first(&before, 1));
    page.assert_balanced();

    // Killed, once the new one is in the file.
    site.wait_stored(3);
    exporter.signal(Signal::KILL);
    exporter.wait();
    drop(exporter);
    let exporter = site.start("");
    assert_eq!(first(&exporter.scrape(), 3), first(&page, 3));
}

#[test]
fn first_seen_survives_idleness_and_a_change_of_the_interface() {
    if !root() {
        return;
    }
    let site = Site::new();
    let exporter = site.start("--sources.idle-timeout 1s");
    // On a busy machine it may be forgotten before anybody has looked.
    let seen = || {
        exporter.wait_page("the source", |page| {
            if page.interface("sources", "mw0") == 0.0 {
                site.send(&[1]);
            }
            time(page, "first", 1).is_some()
        })
    };
    let before = seen();
    exporter.wait_page("it to be forgotten", |page| page.interface("sources", "mw0") == 0.0);
    let page = seen();
    assert_eq!(first(&page, 1), first(&before, 1));
    assert!(
        page.interface("new_sources_total", "mw0") > before.interface("new_sources_total", "mw0"),
        "it was forgotten"
    );
    page.assert_balanced();
    site.wait_stored(1);
    drop(exporter);

    // An interface by pattern leaves the page with its sources, and finds them again.
    let options = format!("-i mw* --state.file {}", site.path().display());
    let exporter = Exporter::start(&site.ours, &options);
    exporter.wait_up("mw0");
    site.ours.ip("link del mw0");
    exporter.wait_gone("mw0");
    veth(&site.ours, "mw0", &site.theirs, "peer0");
    exporter.wait_up("mw0");
    assert_eq!(first(&exporter.scrape(), 1), first(&before, 1));
}

#[test]
fn restored_sources_leave_room_and_the_longest_lived_come_first() {
    if !root() {
        return;
    }
    let site = Site::new();
    let now = unix_ms();
    let hour = 3_600_000;
    let mut entries: Vec<_> = (1..=10).map(|n| (n, now - u64::from(n) * hour, now - hour / 2)).collect();
    // Silent for longer than a day.
    entries.push((11, now - 1000 * hour, now - 25 * hour));
    fs::write(site.path(), file(now - 1000 * hour, &entries)).unwrap();
    let exporter = site.start("--sources.max 8");
    let page = exporter.scrape();
    let expected: Vec<String> = (5..=10).map(|n| text(source(n))).collect();
    assert_eq!(page.sources("mw0"), expected);
    assert_eq!(page.value(CREATED), (now - 1000 * hour) as f64 / 1000.0);
    // The others are remembered all the same.
    site.send(&[1, 11]);
    let page = exporter.wait_frames("mw0", 2.0);
    assert_eq!(first(&page, 1), (now - hour) as f64 / 1000.0);
    assert_eq!(first(&page, 11), (now - 1000 * hour) as f64 / 1000.0);
}

/// A machine whose clock is ten days ahead when it first starts, and right later. Until the file is a week old nobody is
/// new, which would be seventeen days; and with a clock that is decades ahead, for good.
#[test]
fn a_file_from_the_future_is_one_of_now() {
    if !root() {
        return;
    }
    let site = Site::new();
    let begun = unix_ms();
    let ahead = begun + 10 * 86_400_000;
    fs::write(site.path(), file(ahead, &[(1, ahead, ahead + 5000)])).unwrap();
    let exporter = site.start("");
    let page = exporter.scrape();
    let now = begun as f64 / 1000.0..=unix_ms() as f64 / 1000.0;
    assert!(now.contains(&page.value(CREATED)), "{}", page.value(CREATED));
    assert_eq!(exporter.logged("the state file is from the future"), 1);
    wait_until("the file to say so", || {
        let content = site.read();
        let created = content.lines().nth(1).and_then(|line| line.strip_prefix("created "));
        created.is_some_and(|created| created.parse::<u64>().unwrap() < ahead)
    });
}

/// A machine without a battery starts with a clock that is two hours behind: what is remembered seems to lie ahead.
#[test]
fn a_clock_that_is_behind_replaces_no_time() {
    if !root() {
        return;
    }
    let site = Site::new();
    let (hour, begun) = (3_600_000, unix_ms());
    let known = (1, begun + hour, begun + 2 * hour);
    fs::write(site.path(), file(begun - 720 * hour, &[known])).unwrap();
    let exporter = site.start("");
    site.send(&[1, 2]);
    let page = exporter.wait_frames("mw0", 2.0);
    let told = ["first", "last"].map(|which| time(&page, which, 1).unwrap());
    assert_eq!(told, [known.1, known.2].map(|unix_ms| unix_ms as f64 / 1000.0));
    site.wait_stored(2);
    let line = format!("{} {} {} mw0", text(source(1)), known.1, known.2);
    let content = site.read();
    assert!(content.lines().any(|stored| stored == line), "{content}");
}

#[test]
fn two_processes_do_not_share_a_file() {
    if !root() {
        return;
    }
    let site = Site::new();
    let _first = site.start("");
    let output = site
        .ours
        .command(BINARY)
        .args(["-i", "mw0", "--log.level", "error", "--web.listen-address", ":0", "--state.file"])
        .arg(site.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains(&site.path().display().to_string()) && said.contains("another macwatch"), "{said}");
}

#[test]
fn systemd_says_where() {
    if !root() {
        return;
    }
    let site = Site::new();
    let mut command = site.ours.command(BINARY);
    command.args(["-i", "mw0"]).env("STATE_DIRECTORY", format!("{}:/nowhere", site.folder.path().display()));
    let exporter = Exporter::spawn(&site.ours, command);
    exporter.wait_ready();
    wait_until("the file", || site.path().exists());
    assert_eq!(exporter.scrape().value(WRITTEN), 1.0);
    drop(exporter);
    // Without either there is nothing to say.
    let exporter = Exporter::start(&site.ours, "-i mw0");
    assert_eq!(exporter.scrape().matching("macwatch_state_").count(), 0);
}

#[test]
fn what_cannot_be_understood_is_set_aside() {
    if !root() {
        return;
    }
    let site = Site::new();
    let now = unix_ms();
    let whole = file(now - 1000, &[(1, now - 1000, now)]);
    let newer = String::from_utf8(whole.clone()).unwrap().replace("state 1", "state 2").into_bytes();
    for (bytes, aside) in [
        (whole[..whole.len() - 20].to_vec(), "state.damaged-1"),
        (Vec::new(), "state.damaged-2"),
        (newer, "state.newer-1"),
    ] {
        fs::write(site.path(), &bytes).unwrap();
        let mut exporter = site.start("");
        let page = exporter.scrape();
        assert_eq!((page.value(LOADED), page.value(WRITTEN)), (0.0, 1.0));
        assert!(page.value(CREATED) >= now as f64 / 1000.0, "what is known began anew");
        assert_eq!(fs::read(site.folder.path().join(aside)).unwrap(), bytes);
        assert_eq!(exporter.logged(aside), 1, "{}", exporter.log());
        site.send(&[2]);
        site.wait_stored(2);
        exporter.signal(Signal::TERM);
        exporter.wait();
        drop(exporter);
        // What it wrote is good.
        let exporter = site.start("");
        assert_eq!(exporter.scrape().value(LOADED), 1.0);
    }
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    if !root() {
        return;
    }
    let site = Site::new();
    let now = unix_ms();
    let bytes = file(now - 1000, &[(1, now - 1000, now)]);
    fs::write(site.path(), &bytes).unwrap();
    // Without CAP_DAC_OVERRIDE, which is given up at the start, root needs the permission of others too.
    std::os::unix::fs::chown(site.path(), Some(4711), Some(4711)).unwrap();
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let mut exporter = site.start("");
    assert_eq!(exporter.scrape().value(LOADED), 0.0);
    assert_eq!(exporter.logged("cannot read the state: going on without"), 1, "{}", exporter.log());
    assert_eq!(exporter.logged("state opened"), 0, "as if all was well: {}", exporter.log());
    site.send(&[2]);
    exporter.wait_value(WRITTEN, 0.0);
    exporter.signal(Signal::TERM);
    assert!(exporter.wait().success());
    assert_eq!(fs::read(site.path()).unwrap(), bytes);

    // Given back while it runs, it is read and added to.
    drop(exporter);
    let exporter = site.start("");
    site.send(&[2]);
    exporter.wait_value(WRITTEN, 0.0);
    std::os::unix::fs::chown(site.path(), Some(0), Some(0)).unwrap();
    exporter.wait_page("the cure", |page| page.value(WRITTEN) == 1.0 && page.value(LOADED) == 1.0);
    site.wait_stored(2);
    site.wait_stored(1);
    assert_eq!(exporter.logged("msg=\"the state could be read now\" file="), 1, "{}", exporter.log());
    assert_eq!(exporter.scrape().value(CREATED), (now - 1000) as f64 / 1000.0);
}

/// macwatch in a mount namespace of its own, where a small disk lies on the folder.
fn on_a_small_disk(site: &Site, before: &str) -> Program {
    let folder = site.folder.path().display();
    let script = format!(
        "mount -t tmpfs -o size=64k macwatch {folder} && {before} && \
         exec {BINARY} -i mw0 --state.file {folder}/state"
    );
    Program::spawn(site.ours.command("unshare").args(["-m", "sh", "-c", &script]))
}

fn scrape(site: &Site) -> Option<Metrics> {
    let page = crate::common::http::request(&site.ours, 10148, "GET", "/metrics", "").ok()?;
    Some(Metrics::parse(&page.text()))
}

#[track_caller]
fn wait_written(site: &Site, expected: f64) {
    wait_until("the outcome of writing", || {
        scrape(site).is_some_and(|page| page.get(WRITTEN) == Some(expected))
    });
}

#[test]
fn a_full_disk_costs_what_is_new() {
    if !root() {
        return;
    }
    let site = Site::new();
    let folder = site.folder.path().display().to_string();
    let program = on_a_small_disk(&site, &format!("(dd if=/dev/zero of={folder}/filler 2>/dev/null; true)"));
    wait_written(&site, 0.0);
    program.wait_said("cannot write the state");
    site.send(&[1]);
    wait_until("it to be counted", || {
        scrape(&site).is_some_and(|page| page.source("mw0", &text(source(1))) == (1.0, 60.0))
    });
    // Room again: what is new is written after all. Its disk is seen through its own root.
    let inside = |name: &str| {
        let pid = fs::read_dir("/proc").unwrap().find_map(|entry| {
            let path = entry.ok()?.path();
            let line = fs::read(path.join("cmdline")).ok()?;
            let is_it =
                line.starts_with(BINARY.as_bytes()) && String::from_utf8_lossy(&line).contains(&folder);
            is_it.then_some(path)
        });
        pid.unwrap().join("root").join(folder.trim_start_matches('/')).join(name)
    };
    fs::remove_file(inside("filler")).unwrap();
    wait_written(&site, 1.0);
    program.wait_said("the state can be written again");
    let stored = fs::read_to_string(inside("state")).unwrap();
    assert!(stored.contains(&text(source(1))), "{stored}");
}

#[test]
fn a_disk_that_is_read_only_or_missing_is_no_reason_not_to_start() {
    if !root() {
        return;
    }
    let site = Site::new();
    let folder = site.folder.path().display().to_string();
    {
        let remount = format!("mount -o remount,ro {folder}");
        let program = on_a_small_disk(&site, &remount);
        wait_written(&site, 0.0);
        program.wait_said("Read-only file system");
    }
    let options = format!("-i mw0 --state.file {folder}/missing/state");
    let exporter = Exporter::start(&site.ours, &options);
    exporter.wait_value(WRITTEN, 0.0);
    assert_eq!(exporter.logged("its folder is missing"), 1, "{}", exporter.log());
    fs::create_dir(format!("{folder}/missing")).unwrap();
    exporter.wait_value(WRITTEN, 1.0);
    assert!(Path::new(&format!("{folder}/missing/state")).exists());
}

/// Under load it is killed at some moment; whatever was there for longer than the promised time is not new
/// when it starts again, and the file is whole each time.
#[test]
fn killed_at_any_moment_it_keeps_what_it_promised() {
    if !root() {
        return;
    }
    let rounds = if std::env::var_os("MACWATCH_FULL").is_some() { 50 } else { 6 };
    let site = Site::new();
    // What each start of macwatch showed for a source first stays true.
    let mut promised = std::collections::BTreeMap::<String, f64>::new();
    let mut next = 1u32;
    for round in 0..rounds {
        let mut exporter = site.start("--sources.max 16384");
        let page = exporter.scrape();
        assert_eq!(page.value(LOADED), 1.0, "round {round}: {}", exporter.log());
        let shown: std::collections::BTreeMap<_, _> = page
            .matching("macwatch_source_first_seen_")
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        for (series, first) in &promised {
            assert_eq!(shown.get(series), Some(first), "round {round}: {series}; {}", exporter.log());
        }
        let over = AtomicBool::new(false);
        next = std::thread::scope(|scope| {
            let stop = Stop(&over);
            let (site, over) = (&site, &over);
            let talk = scope.spawn(move || {
                let mut n = next;
                while !over.load(Ordering::Relaxed) {
                    // A new one each twentieth of a second or so, and those before it.
                    let frames: Vec<_> =
                        (n.saturating_sub(20).max(1)..=n).map(|n| frame(source(n), 60)).collect();
                    send(&site.theirs, "peer0", &frames);
                    std::thread::park_timeout(Duration::from_millis(50));
                    n += 1;
                }
                n
            });
            // Any moment of the cycle of writes, spread over it without a generator of random numbers.
            let moment = Duration::from_millis(2_200 + (round * 377) % 1_500);
            let begun = Instant::now();
            let mut last = exporter.scrape();
            // How slow the machine is: a page, and a write as a state file is written.
            let mut slowest = Duration::ZERO;
            wait_until("the moment", || {
                let asked = Instant::now();
                last = exporter.scrape();
                let file = fs::File::create(site.folder.path().join("probe")).unwrap();
                file.set_len(4096).and_then(|()| file.sync_all()).unwrap();
                fs::File::open(site.folder.path()).and_then(|folder| folder.sync_all()).unwrap();
                slowest = slowest.max(asked.elapsed());
                begun.elapsed() >= moment + 2 * slowest
            });
            exporter.signal(Signal::KILL);
            let killed_at = unix_ms() as f64 / 1000.0;
            for (series, first) in last.matching("macwatch_source_first_seen_") {
                // Two seconds, and what a busy machine takes for a write.
                if first < killed_at - 2.0 - 0.3 - 2.0 * slowest.as_secs_f64() {
                    promised.insert(series.to_owned(), first);
                }
            }
            drop(stop);
            talk.join().unwrap()
        });
        exporter.wait();
        let names = site.names();
        assert!(!names.iter().any(|name| name.contains("damaged")), "{names:?}");
        assert!(site.read().contains("\nend "), "whole");
    }
    assert!(promised.len() as u64 > rounds, "{} sources were promised", promised.len());
}
