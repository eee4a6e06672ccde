//! Known and unknown: the inventory, our own addresses, and what changes while it runs.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::common::exporter::{BINARY, Metrics, PORT};
use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, http, root, wait_until, wire};

/// A folder with an inventory in it.
struct Inventory {
    folder: tempfile::TempDir,
}

impl Inventory {
    fn new(content: &str) -> Self {
        let inventory = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(inventory.path(), content).unwrap();
        inventory
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ethers")
    }

    /// Written beside and renamed, as editors do.
    fn replace(&self, content: &str) {
        let beside = self.folder.path().join("ethers.new");
        fs::write(&beside, content).unwrap();
        fs::rename(beside, self.path()).unwrap();
    }

    fn option(&self) -> String {
        format!("--inventory.file {}", self.path().display())
    }
}

fn known(page: &Metrics, source: &str) -> Option<f64> {
    page.get(&format!("macwatch_source_known{{interface=\"mw0\",source_mac=\"{source}\"}}"))
}

fn entry(n: u32, name: &str) -> String {
    format!("{} {name}\n", text(source(n)))
}

fn successful(page: &Metrics) -> f64 {
    page.value("macwatch_inventory_last_reload_successful")
}

#[test]
fn the_inventory_and_our_own_addresses_are_known() {
    let Some((ours, theirs)) = wire() else { return };
    ours.ip("link set mw0 address 02:00:00:00:aa:01");
    // The address of an interface that is not watched, and not even up.
    ours.ip("link add spare0 address 02:00:00:00:aa:02 type bridge");
    let prefix = &text(source(2))[..14];
    let inventory = Inventory::new(&format!("{}{prefix}:* some of them\n", entry(1, "the printer")));
    let exporter = Exporter::start(&ours, &format!("-i mw0 {}", inventory.option()));
    exporter.wait_up("mw0");
    let stranger = [0x02, 0xff, 0, 0, 0, 1];
    let frames = [source(1), source(2), stranger, [0x02, 0, 0, 0, 0xaa, 0x02]].map(|mac| frame(mac, 60));
    send(&theirs, "peer0", &frames);
    send(&ours, "mw0", &[frame([0x02, 0, 0, 0, 0xaa, 0x01], 60)]);
    let page = exporter.wait_frames("mw0", 5.0);
    for (mac, expected) in [
        (text(source(1)), 1.0),
        (text(source(2)), 1.0),
        (text(stranger), 0.0),
        ("02:00:00:00:aa:01".to_owned(), 1.0),
        ("02:00:00:00:aa:02".to_owned(), 1.0),
    ] {
        assert_eq!(known(&page, &mac), Some(expected), "{mac}");
    }
    assert_eq!(page.interface("unknown_sources", "mw0"), 1.0);
    assert_eq!(page.value("macwatch_inventory_entries"), 2.0);
    assert_eq!(successful(&page), 1.0);
    assert!(page.value("macwatch_inventory_last_reload_success_timestamp_seconds") > 1.7e9);
    page.assert_balanced();
}

/// Who is known is a matter of the source address of frames alone: one device may have any IP address, or ten.
#[test]
fn a_known_source_is_known_under_any_ip_address() {
    let Some((ours, theirs)) = wire() else { return };
    let inventory = Inventory::new(&entry(1, "the printer"));
    let exporter = Exporter::start(&ours, &format!("-i mw0 {}", inventory.option()));
    exporter.wait_up("mw0");
    let mac = source(1);
    let announcement = |host: u8| {
        let mut arp = vec![0xff; 6];
        arp.extend(mac);
        arp.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend(mac);
        arp.extend([192, 0, 2, host, 0, 0, 0, 0, 0, 0, 192, 0, 2, host]);
        arp.resize(60, 0);
        arp
    };
    let announcements: Vec<_> = (1..=10).map(announcement).collect();
    send(&theirs, "peer0", &announcements);
    let page = exporter.wait_frames("mw0", 10.0);
    assert_eq!(known(&page, &text(mac)), Some(1.0));
    assert_eq!((page.source("mw0", &text(mac)), page.sources("mw0").len()), ((10.0, 600.0), 1));
    assert_eq!(page.interface("unknown_sources", "mw0"), 0.0);
    assert_eq!(page.interface("new_sources_total", "mw0"), 1.0);
}

#[test]
fn without_an_inventory_nobody_is_known_or_unknown() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 60)]);
    let page = exporter.wait_frames("mw0", 1.0);
    for family in ["macwatch_source_known", "macwatch_interface_unknown_sources", "macwatch_inventory"] {
        assert_eq!(page.matching(family).count(), 0, "{family}");
    }
    // A hang-up has nothing to do, and does not kill.
    exporter.signal(Signal::HUP);
    wait_until("it to say so", || exporter.logged("nothing to reload") == 1);
    exporter.scrape();
}

#[test]
fn approval_changes_a_gauge_and_forks_no_series() {
    let Some((ours, theirs)) = wire() else { return };
    let inventory = Inventory::new("");
    let exporter = Exporter::start(&ours, &format!("-i mw0 {}", inventory.option()));
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 60)]);
    let before = exporter.wait_frames("mw0", 1.0);
    let mac = text(source(1));
    assert_eq!(known(&before, &mac), Some(0.0));

    let of_source = |page: &Metrics| -> Vec<String> {
        let all = page.matching("macwatch_source_").map(|(name, _)| name.to_owned());
        // Its labels are there to change: names are joined from it.
        all.filter(|name| !name.starts_with("macwatch_source_info{")).collect()
    };
    inventory.replace(&entry(1, "a guest"));
    let after = exporter.wait_page("the approval", |page| known(page, &mac) == Some(1.0));
    assert_eq!(of_source(&before), of_source(&after));
    assert_eq!(after.source("mw0", &mac), (1.0, 60.0));
    let named = format!("macwatch_source_info{{interface=\"mw0\",source_mac=\"{mac}\",name=\"a guest\",");
    assert_eq!(after.matching(&named).count(), 1);
    assert_eq!(after.interface("unknown_sources", "mw0"), 0.0);

    // In place, as a shell does it; and struck off again.
    fs::write(inventory.path(), entry(2, "another")).unwrap();
    exporter.wait_page("the change", |page| known(page, &mac) == Some(0.0));
    assert_eq!(exporter.logged("the inventory is empty"), 1);
    assert_eq!(exporter.logged("msg=\"inventory read\" entries=0"), 1);
}

/// A full disk leaves an empty file behind, and `git checkout` or a deployment one for a moment. Who is there would be
/// a stranger then, all of them at once.
#[test]
fn an_inventory_that_is_emptied_makes_nobody_a_stranger() {
    let Some((ours, theirs)) = wire() else { return };
    let inventory = Inventory::new(&(entry(1, "the printer") + "06:* guests\n"));
    let exporter = Exporter::start(&ours, &format!("-i mw0 {}", inventory.option()));
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 60), frame([6, 0, 0, 0, 0, 1], 60)]);
    exporter.wait_frames("mw0", 2.0);
    for nobody in ["", "# all of them are comments\n"] {
        if nobody.is_empty() {
            fs::write(inventory.path(), nobody).unwrap();
        } else {
            // In place it would be empty for a moment, too, which may be told.
            inventory.replace(nobody);
        }
        let page = exporter.wait_page("the refusal", |page| successful(page) == 0.0);
        assert_eq!(known(&page, &text(source(1))), Some(1.0));
        assert_eq!(page.interface("unknown_sources", "mw0"), 0.0);
        assert_eq!(page.value("macwatch_inventory_entries"), 2.0);
        inventory.replace(&(entry(1, "the printer") + "06:* guests\n"));
        exporter.wait_page("the list", |page| successful(page) == 1.0);
    }
    let told = "ethers: it lists nobody any more (entries before: 2); restart macwatch if that is meant";
    wait_until("the log to tell", || exporter.logged(told) == 2);
    assert_eq!(exporter.logged("the inventory is empty"), 0);
}

/// One of several files; but who only moved from one to another is still listed.
#[test]
fn a_file_that_is_emptied_into_another_is_no_fault() {
    let Some((ours, _theirs)) = wire() else { return };
    let (one, two) = (Inventory::new(&entry(1, "the printer")), Inventory::new(&entry(2, "the door")));
    let exporter = Exporter::start(&ours, &format!("-i mw0 {} {}", one.option(), two.option()));
    fs::write(one.path(), "").unwrap();
    let page = exporter.wait_page("the refusal", |page| successful(page) == 0.0);
    assert_eq!(page.value("macwatch_inventory_entries"), 2.0);
    two.replace(&(entry(1, "the printer") + &entry(2, "the door")));
    let page = exporter.wait_page("the list", |page| successful(page) == 1.0);
    assert_eq!(page.value("macwatch_inventory_entries"), 2.0);
}

#[test]
fn a_broken_edit_keeps_the_last_good_list() {
    let Some((ours, theirs)) = wire() else { return };
    let inventory = Inventory::new(&entry(1, "the printer"));
    let exporter = Exporter::start(&ours, &format!("-i mw0 {}", inventory.option()));
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 60)]);
    exporter.wait_frames("mw0", 1.0);
    let mac = text(source(1));

    inventory.replace(&format!("{}02:00:00:00:00 five\n02:00:00:00:00:01\n", entry(2, "another")));
    let page = exporter.wait_page("the fault", |page| successful(page) == 0.0);
    assert_eq!(known(&page, &mac), Some(1.0));
    assert_eq!(page.value("macwatch_inventory_entries"), 1.0);
    let log = exporter.log();
    for part in ["ethers:2: \\\"02:00:00:00:00\\\" has 5 bytes", "ethers:3: 02:00:00:00:00:01 has no name"] {
        assert!(log.contains(part), "{part} in {log}");
    }

    // Gone altogether: the same.
    fs::remove_file(inventory.path()).unwrap();
    wait_until("it to be missed", || exporter.logged("there is no such file") > 0);
    assert_eq!(known(&exporter.scrape(), &mac), Some(1.0));

    inventory.replace(&entry(2, "another"));
    let page = exporter.wait_page("the cure", |page| successful(page) == 1.0);
    assert_eq!(known(&page, &mac), Some(0.0));
}

#[test]
fn a_reload_may_be_asked_for() {
    let Some((ours, _theirs)) = wire() else { return };
    let inventory = Inventory::new(&entry(1, "x"));
    let post = || http::request(&ours, PORT, "POST", "/-/reload", "Content-Length: 0\r\n").unwrap();
    {
        let _exporter = Exporter::start(&ours, &format!("-i mw0 {}", inventory.option()));
        let answer = post();
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("--web.enable-lifecycle"));
    }
    let exporter = Exporter::start(&ours, &format!("-i mw0 --web.enable-lifecycle {}", inventory.option()));
    let answer = post();
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!(exporter.logged("msg=\"inventory reloaded\" cause=HTTP entries=1"), 1);
    let answer = exporter.get("/-/reload").unwrap();
    assert_eq!((answer.status, answer.header("Allow")), (405, Some("POST, PUT")));

    // Nobody notices this change by itself: size and time are what they were.
    let facts = fs::metadata(inventory.path()).unwrap();
    fs::write(inventory.path(), entry(1, "").replace('\n', "\n#")).unwrap();
    let file = fs::File::options().write(true).open(inventory.path()).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(facts.modified().unwrap())).unwrap();
    let answer = post();
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("has no name"), "{}", answer.text());
    exporter.signal(Signal::HUP);
    wait_until("the hang-up", || exporter.logged("cause=SIGHUP") == 1);
}

#[test]
fn a_flood_pushes_nobody_out_who_is_known() {
    let Some((ours, theirs)) = wire() else { return };
    let listed: String = (1..=5).map(|n| entry(n, &format!("host {n}"))).collect();
    let inventory = Inventory::new(&format!("{listed}06:* by prefix\n"));
    let exporter = Exporter::start(&ours, &format!("-i mw0 --sources.max 8 {}", inventory.option()));
    exporter.wait_up("mw0");
    // First the flood, under a known prefix at that, then those who are listed.
    let flood: Vec<_> = (0..2000u16)
        .map(|n| {
            let [a, b] = n.to_be_bytes();
            frame([0x06, 0, 0, 0, a, b], 60)
        })
        .collect();
    send(&theirs, "peer0", &flood);
    exporter.wait_frames("mw0", 2000.0);
    send(&theirs, "peer0", &(1..=5).flat_map(|n| vec![frame(source(n), 60); 3]).collect::<Vec<_>>());
    let page = exporter.wait_frames("mw0", 2015.0);
    for n in 1..=5 {
        assert_eq!(page.source("mw0", &text(source(n))), (3.0, 180.0));
        assert_eq!(known(&page, &text(source(n))), Some(1.0));
    }
    assert_eq!(page.interface("sources", "mw0"), 13.0);
    assert_eq!(page.interface("untracked_frames_total", "mw0"), 1992.0);
    page.assert_balanced();
}

/// Nobody wakes the exporter or asks for a page between the listing and the frames: it shows in the state file.
#[test]
fn who_is_listed_while_the_table_is_full_is_tracked_from_then_on() {
    let Some((ours, theirs)) = wire() else { return };
    let inventory = Inventory::new(&entry(1, "gateway"));
    let state = inventory.folder.path().join("state");
    let options = format!("-i mw0 --sources.max 2 --state.file {} {}", state.display(), inventory.option());
    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[2, 3, 4].map(|n| frame(source(n), 60)));
    exporter.wait_frames("mw0", 3.0);
    let is_stored =
        |n: u32| fs::read_to_string(&state).is_ok_and(|content| content.contains(&text(source(n))));
    wait_until("the first ones to be stored", || is_stored(2) && is_stored(3));
    inventory.replace(&(entry(1, "gateway") + &entry(9, "printer")));
    wait_until("the listed one to be stored", || {
        send(&theirs, "peer0", &[frame(source(9), 60)]);
        is_stored(9)
    });
    assert!(!is_stored(4));
}

#[test]
fn a_broken_inventory_at_the_start_is_the_end() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let inventory = Inventory::new("02:00:00:00:00 five\nprinter\n");
    let missing = inventory.folder.path().join("missing");
    let output = namespace
        .command(BINARY)
        .args(["--log.level", "error", "--inventory.file"])
        .arg(inventory.path())
        .arg("--inventory.file")
        .arg(&missing)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    for (line, part) in lines.iter().zip(["ethers:1: ", "ethers:2: ", "missing: there is no such file"]) {
        assert!(line.starts_with("macwatch: inventory: ") && line.contains(part), "{line}");
    }
}
