//! However macwatch ends, it leaves nothing in the kernel; while it runs, what comes and goes costs nothing for good.

use std::collections::BTreeSet;
use std::fs;

use aya::maps::{MapInfo, loaded_maps};
use aya::programs::loaded_programs;
use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::inject::{Injector, random_source};
use crate::common::{Engine, Exporter, Namespace, Program, root, veth, wait_until, wire};

/// Programs that a process has loaded, and their maps, by their numbers.
fn held(pid: u32) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let mut programs = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let Ok(info) = fs::read_to_string(entry.unwrap().path()) else { continue };
        let numbers =
            info.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok());
        programs.extend(numbers);
    }
    let of_them = loaded_programs().filter_map(Result::ok).filter(|info| programs.contains(&info.id()));
    let maps = of_them.flat_map(|info| info.map_ids().unwrap().unwrap()).collect();
    (programs, maps)
}

/// Those that there are in the kernel, whoever has them.
fn existing() -> (BTreeSet<u32>, BTreeSet<u32>) {
    // What goes away between being listed and being looked at was not left behind.
    let programs = loaded_programs().filter_map(|info| Some(info.ok()?.id()));
    let maps = loaded_maps().filter_map(|info| Some(info.ok()?.id()));
    (programs.collect(), maps.collect())
}

/// Whether a map is of tables for this many sources in all: no other test uses the number.
fn is_of(info: &MapInfo, total: u32) -> bool {
    info.max_entries() == total + 4096
}

fn maps_of(total: u32) -> usize {
    loaded_maps().filter_map(Result::ok).filter(|info| is_of(info, total)).count()
}

/// Threads that capture. Those that make pages come and go as they are asked for.
fn capturing(exporter: &Exporter<'_>) -> usize {
    let threads = fs::read_dir(format!("/proc/{}/task", exporter.pid())).unwrap();
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    threads.filter_map(Result::ok).map(name).filter(|name| name.trim() == "capture").count()
}

#[test]
fn nothing_is_left_in_the_kernel() {
    let Some((ours, _theirs)) = wire() else { return };
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut exporter = Exporter::start(&ours, "-i mw0");
        exporter.wait_up("mw0");
        let (programs, maps) = held(exporter.pid());
        if Engine::under_test() == Engine::Channel {
            assert!(programs.is_empty() && maps.is_empty());
        } else {
            assert!(programs.len() == 1 && maps.len() >= 9, "{programs:?} {maps:?}");
        }
        exporter.signal(signal);
        exporter.wait();
        wait_until("the kernel to have freed them", || {
            let (all_programs, all_maps) = existing();
            programs.is_disjoint(&all_programs) && maps.is_disjoint(&all_maps)
        });
    }
}

#[test]
fn a_failed_start_leaves_nothing_either() {
    if !root() {
        return;
    }
    /// Sources in all.
    const TOTAL: u32 = 12_343;
    let namespace = Namespace::new();
    let running = Exporter::start(&namespace, "--web.listen-address 127.0.0.1:10148");
    let room = format!("--sources.max-total {TOTAL}");
    for options in ["", "--web.listen-address :10149 --inventory.file /nowhere", "-i lo"] {
        let mut command = namespace.command(BINARY);
        command.args(room.split(' ')).args(options.split_whitespace());
        let mut program = Program::spawn(&mut command);
        assert_eq!(program.wait().code(), Some(1), "{}", program.stderr());
        wait_until("the kernel to have freed them", || maps_of(TOTAL) == 0);
    }
    drop(running);
    // They are to be found while they are there.
    let exporter = Exporter::start(&namespace, &room);
    let expected = if Engine::under_test() == Engine::Kernel { 1 } else { 0 };
    assert!(maps_of(TOTAL) >= expected);
    drop(exporter);
    wait_until("the kernel to have freed them", || maps_of(TOTAL) == 0);
}

/// Interfaces come and go, each with sources that fill the room; at the end all of it is there again.
#[test]
fn a_hundred_interfaces_cost_nothing_for_good() {
    if !root() {
        return;
    }
    const ROUNDS: u64 = 25;
    const AT_ONCE: u64 = 4;
    const MOST: u64 = 200;
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let options = format!("-i mw* --sources.max {MOST} --sources.max-total {}", MOST * AT_ONCE);
    let exporter = Exporter::start(&ours, &options);
    let descriptors = || exporter.scrape().value("process_open_fds");
    let mut after_first = None;
    for round in 0..ROUNDS {
        for n in 0..AT_ONCE {
            veth(&ours, &format!("mw{n}"), &theirs, &format!("peer{n}"));
        }
        for n in 0..AT_ONCE {
            let name = format!("mw{n}");
            exporter.wait_up(&name);
            let first = (round * AT_ONCE + n) * 1000;
            Injector::open(&theirs, &format!("peer{n}")).pour((first..first + MOST + 50).map(random_source));
            let page = exporter.wait_frames(&name, (MOST + 50) as f64);
            assert_eq!(page.interface("sources", &name), MOST as f64, "round {round}");
            assert_eq!(page.interface("untracked_frames_total", &name), 50.0, "round {round}");
            assert!(capturing(&exporter) > 0);
        }
        (0..AT_ONCE).for_each(|n| ours.ip(&format!("link del mw{n}")));
        (0..AT_ONCE).for_each(|n| drop(exporter.wait_gone(&format!("mw{n}"))));
        wait_until("threads to end", || capturing(&exporter) == 0);
        let first = *after_first.get_or_insert_with(descriptors);
        // The connection that asks for the page may come and go.
        wait_until("descriptors to be as after the first round", || descriptors() <= first + 1.0);
    }
    let fell = exporter.log().lines().filter(|line| line.contains("level=ERROR")).count();
    assert_eq!(fell, 0, "{}", exporter.log());
}
