//! The program itself, on frames that are handed to it (`BPF_PROG_TEST_RUN`), which may be what no wire carries.
//!
//! It runs on the machine's kernel, so this takes root. Longer than most files: each needs the same few helpers.

use std::io::{Read as _, Seek as _};
use std::time::Instant;

use super::*;
use crate::tally::{Newcomer, Outside, Place, Tallies as _};

/// The kernel takes the first 14 bytes of what it is given for an Ethernet header, and hides them from a socket filter
/// (net/bpf/test_run.c: `bpf_prog_test_run_skb`). Those who see the frame are shown what follows.
const HIDDEN: usize = 14;

/// The kernel runs it on the loopback.
const LOOPBACK: u32 = 1;

const WANTS: Wants = Wants { direction: Direction::Both, per_interface: 4, total: 6, reserved: 2 };

fn engine(wants: Wants) -> Option<std::sync::Arc<Engine>> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: loads an eBPF program, which takes root");
        return None;
    }
    Some(std::sync::Arc::new(Engine::load(wants).unwrap()))
}

fn frame(source: [u8; 6], bytes: usize) -> Vec<u8> {
    let mut frame = [&[3, 0, 0, 0, 0, 1], &source[..], &[0x88, 0xb5]].concat();
    frame.resize(bytes, 0);
    frame
}

/// What of the frame user space gets to read.
fn run(engine: &Engine, frame: &[u8], times: u32) -> u32 {
    let data = [&[0; HIDDEN], frame].concat();
    engine.run(&data, &[], times).unwrap().value
}

#[test]
fn what_is_shorter_than_a_header_is_a_runt() {
    let Some(engine) = engine(WANTS) else { return };
    let mut share = engine.share().unwrap();
    share.target(LOOPBACK);
    let source = [2, 0, 0, 0, 0, 7];
    for bytes in [1, 6, 11, 12, 13] {
        assert_eq!(run(&engine, &frame(source, bytes), 1), 0);
    }
    assert_eq!(share.outside(), Outside { runt_frames: 5, ..Outside::default() });
    assert_eq!(share.newcomers(), []);

    // A header and no more is a frame.
    assert_eq!(run(&engine, &frame(source, 14), 1), 14, "a notice");
    assert_eq!(run(&engine, &frame(source, 15), 3), 0, "no more of them");
    let [Newcomer { mac, slot, place: Place::Ordinary }] = share.newcomers()[..] else {
        panic!("one newcomer")
    };
    assert_eq!(mac, Mac::new(source));
    let reading = share.read(slot);
    assert_eq!((reading.frames, reading.bytes), (4, 14 + 3 * 15));
    assert_eq!(share.outside().runt_frames, 5);
}

#[test]
fn any_source_counts_as_it_was_sent() {
    let Some(engine) = engine(WANTS) else { return };
    let mut share = engine.share().unwrap();
    share.target(LOOPBACK);
    let odd = [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]];
    for (source, times) in odd.into_iter().zip(1..) {
        run(&engine, &frame(source, 60), times);
    }
    let newcomers = share.newcomers();
    for (source, times) in odd.into_iter().zip(1..) {
        let found = newcomers.iter().find(|newcomer| newcomer.mac == Mac::new(source)).unwrap();
        assert_eq!(share.read(found.slot).frames, times, "{source:?}");
    }
    // The limit of one interface.
    run(&engine, &frame([2; 6], 60), 3);
    assert_eq!(share.newcomers().len(), 4);
    let outside = share.outside();
    assert_eq!((outside.untracked_frames, outside.untracked_bytes), (3, 180));
}

#[test]
fn the_reserve_is_for_those_who_are_listed() {
    let Some(engine) = engine(Wants { per_interface: 2, ..WANTS }) else { return };
    let mut share = engine.share().unwrap();
    share.target(LOOPBACK);
    let listed = [[2, 1, 1, 1, 1, 1], [2, 1, 1, 1, 1, 2], [2, 1, 1, 1, 1, 3]];
    share.reserve(1, &|| listed.map(Mac::new).to_vec());
    for n in 0..4 {
        run(&engine, &frame([2, 0, 0, 0, 0, n], 60), 1);
    }
    for source in listed {
        run(&engine, &frame(source, 60), 2);
    }
    let mut newcomers = share.newcomers();
    newcomers.sort_by_key(|newcomer| newcomer.mac);
    let places: Vec<_> = newcomers.iter().map(|newcomer| newcomer.place).collect();
    assert_eq!(places, [Place::Ordinary, Place::Ordinary, Place::Reserved, Place::Reserved]);
    assert_eq!(share.outside().untracked_frames, 4, "two strangers, and a listed one beyond the reserve");

    // Forgotten, its slot is the next one's, who begins at 0.
    let gone = newcomers[0];
    newcomers.iter().for_each(|newcomer| share.accept(newcomer.slot));
    assert!(share.dismiss(gone.mac, gone.slot));
    share.grace();
    share.free(gone.slot, gone.place);
    run(&engine, &frame([2, 9, 9, 9, 9, 9], 60), 1);
    let [newcomer] = share.newcomers()[..] else { panic!("one newcomer") };
    assert_eq!(share.read(newcomer.slot).frames, 1);
}

/// Sources of an interface that there is not, so many that the hash takes no others.
fn fill_hash(engine: &Engine) -> Vec<[u32; 3]> {
    let all: Vec<_> = (0..engine.tables.size().slots()).map(|n| [n, 0, 77]).collect();
    let slots = &mut engine.maps.lock().slots;
    all.iter().for_each(|key| slots.insert(key, 0, 0).unwrap());
    all
}

#[test]
fn a_refused_source_is_not_one_without_room() {
    let Some(engine) = engine(WANTS) else { return };
    let mut share = engine.share().unwrap();
    share.target(LOOPBACK);
    let filled = fill_hash(&engine);
    let listed = [2, 1, 1, 1, 1, 1];
    share.reserve(1, &|| vec![Mac::new(listed)]);
    run(&engine, &frame([2, 0, 0, 0, 0, 1], 60), 3);
    run(&engine, &frame(listed, 60), 4);
    let refused =
        Outside { untracked_frames: 7, untracked_bytes: 420, refused_frames: 7, ..Outside::default() };
    assert_eq!((share.outside(), share.outside().crowded_out_frames()), (refused, 0));
    assert_eq!(share.newcomers(), []);

    // As soon as it is taken, it has its room, all of which there still is.
    filled.iter().for_each(|key| engine.maps.lock().slots.remove(key).unwrap());
    for n in 1..7 {
        run(&engine, &frame([2, 0, 0, 0, 0, n], 60), 1);
    }
    run(&engine, &frame(listed, 60), 1);
    assert_eq!(share.newcomers().len(), 5);
    let outside = share.outside();
    assert_eq!((outside.untracked_frames, outside.crowded_out_frames()), (9, 2));
}

#[test]
fn what_the_log_is_told_of_one_trouble_hides_no_other() {
    let Some(engine) = engine(WANTS) else { return };
    let mut shares = [engine.share().unwrap(), engine.share().unwrap()];
    let log = tempfile::tempfile().unwrap();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(log.try_clone().unwrap()).finish();
    tracing::subscriber::with_default(lines, || {
        shares[0].target(LOOPBACK);
        fill_hash(&engine);
        // The books of another interface do not have to wait for these to be told of.
        for times in [2, 3] {
            run(&engine, &frame([2, 0, 0, 0, 0, 1], 60), times);
            shares[0].newcomers();
        }
        shares[1].target(LOOPBACK);
        run(&engine, &frame([2, 0, 0, 0, 0, 1], 60), 4);
        shares[1].newcomers();
        // Nor what user space is refused.
        assert_eq!(shares[1].admit(Mac::new([2; 6]), Place::Ordinary), None);
        assert_eq!(shares[1].admit(Mac::new([4; 6]), Place::Ordinary), None);
    });
    let mut told = String::new();
    (&log).rewind().unwrap();
    (&log).read_to_string(&mut told).unwrap();
    let told: Vec<&str> = told.lines().filter_map(|line| line.split("engine").nth(1)).collect();
    let refused =
        |frames| format!("'s tables refused new sources for now; untracked index=1 frames={frames}");
    assert_eq!(told[..2], [refused(2), refused(4)], "{told:?}");
    assert!(told[2].starts_with(" cannot insert into its tables"), "{told:?}");
    assert_eq!(told.len(), 3, "{told:?}");
}

/// Its queue is full just when the program gives a slot back. No queue is ever full, but one may be locked for too long.
#[test]
fn a_slot_that_its_queue_refuses_is_taken_back() {
    /// One of the others, which has nothing to do there.
    const FILLING: u32 = 7;
    let Some(engine) = engine(WANTS) else { return };
    if thread::available_parallelism().unwrap().get() < 2 {
        return println!("skipped: takes a second CPU that interferes");
    }
    let mut share = engine.share().unwrap();
    share.target(LOOPBACK);
    fill_hash(&engine);
    let is_ours = |(slot, _): &(u32, Place)| *slot != FILLING;
    let found = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !found.load(std::sync::atomic::Ordering::Relaxed) {
                // Refused when it is full, which is the point.
                let _ = engine.maps.lock().ordinary.push(FILLING, 0);
            }
        });
        let deadline = Instant::now() + std::time::Duration::from_secs(60);
        while !engine.tables.strays().iter().any(is_ours) && Instant::now() < deadline {
            run(&engine, &frame([2, 0, 0, 0, 0, 1], 60), 10_000);
        }
        found.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let strays = engine.tables.strays();
    assert!(strays.iter().any(is_ours), "none in a minute");
    assert!(strays.iter().all(|(_, place)| *place == Place::Ordinary), "{strays:?}");
    let drain = || -> Vec<u32> { std::iter::from_fn(|| engine.maps.lock().pop(Place::Ordinary)).collect() };
    let mut all = drain();
    share.newcomers();
    assert_eq!(engine.tables.strays(), []);
    all.extend(drain());
    all.retain(|slot| *slot != FILLING);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    assert_eq!(engine.tables.held(share.number).unwrap().load(std::sync::atomic::Ordering::Relaxed), 0);
    let outside = share.outside();
    assert_eq!(outside.untracked_frames, outside.refused_frames);
}

/// Two books of one interface, one after the other and back, as when it is renamed.
#[test]
fn an_interface_is_counted_for_whoever_took_it_last() {
    let Some(engine) = engine(WANTS) else { return };
    let (mut first, mut second) = (engine.share().unwrap(), engine.share().unwrap());
    first.target(LOOPBACK);
    let frame = frame([2, 0, 0, 0, 0, 7], 60);
    run(&engine, &frame, 2);
    let [of_first] = first.newcomers()[..] else { panic!("one newcomer") };
    first.accept(of_first.slot);

    first.release();
    assert_eq!(run(&engine, &frame, 1), 0, "nobody's");
    second.target(LOOPBACK);
    run(&engine, &frame, 3);
    let [of_second] = second.newcomers()[..] else { panic!("one newcomer") };
    second.accept(of_second.slot);
    assert_eq!((first.read(of_first.slot).frames, second.read(of_second.slot).frames), (2, 3));

    // Back, without a word from the other: what it has there is taken over.
    first.target(LOOPBACK);
    run(&engine, &frame, 5);
    assert_eq!((first.read(of_first.slot).frames, second.read(of_second.slot).frames), (7, 3));
    second.release();
    run(&engine, &frame, 1);
    assert_eq!(first.read(of_first.slot).frames, 8);
    assert_eq!((first.newcomers(), second.newcomers()), (Vec::new(), Vec::new()));
}

/// Two interfaces change names, and change back before the slower of two threads has heard of it.
#[test]
fn an_interface_goes_back_to_who_did_not_leave_it() {
    const OTHER: u32 = 77;
    let Some(engine) = engine(WANTS) else { return };
    let (mut quick, mut slow) = (engine.share().unwrap(), engine.share().unwrap());
    quick.target(LOOPBACK);
    slow.target(OTHER);
    let (known, new) = (frame([2, 0, 0, 0, 0, 7], 60), frame([2, 0, 0, 0, 0, 8], 60));
    run(&engine, &known, 2);
    let [met] = quick.newcomers()[..] else { panic!("one newcomer") };
    quick.accept(met.slot);
    // The same address has been heard on the other one.
    let taken = slow.admit(met.mac, Place::Ordinary).unwrap();

    quick.target(OTHER);
    quick.target(LOOPBACK);
    run(&engine, &known, 1);
    slow.target(LOOPBACK);
    run(&engine, &known, 3);
    slow.target(OTHER);
    run(&engine, &known, 4);
    assert_eq!(run(&engine, &new, 1), 14, "a notice");
    assert_eq!((quick.read(met.slot).frames, slow.read(taken).frames), (2 + 1 + 4, 3));
    let [newcomer] = quick.newcomers()[..] else { panic!("one newcomer") };
    assert_eq!(quick.read(newcomer.slot).frames, 1);
    quick.accept(newcomer.slot);

    // One that is gone gives back what it took, and does not get back what it had.
    slow.target(LOOPBACK);
    run(&engine, &known, 1);
    assert!(slow.dismiss(met.mac, taken));
    slow.grace();
    assert_eq!(slow.read(taken).frames, 4);
    slow.free(taken, Place::Ordinary);
    drop(slow);
    run(&engine, &known, 5);
    assert_eq!(quick.read(met.slot).frames, 2 + 1 + 4 + 5);
    quick.release();
    assert_eq!(run(&engine, &frame([2, 0, 0, 0, 0, 9], 60), 1), 0, "nobody's");
    assert_eq!(quick.newcomers(), []);
}

/// Met, and taken over before anybody looked: its frames are in the books all the same.
#[test]
fn a_newcomer_is_found_after_a_takeover() {
    let Some(engine) = engine(WANTS) else { return };
    let (mut first, mut second) = (engine.share().unwrap(), engine.share().unwrap());
    first.target(LOOPBACK);
    second.target(77);
    let source = [2, 0, 0, 0, 0, 7];
    second.admit(Mac::new(source), Place::Ordinary).unwrap();
    run(&engine, &frame(source, 60), 2);
    second.target(LOOPBACK);
    run(&engine, &frame(source, 60), 1);
    let [met] = first.newcomers()[..] else { panic!("one newcomer") };
    assert_eq!(first.read(met.slot).frames, 2);
    first.accept(met.slot);
    assert!(first.dismiss(met.mac, met.slot));
    first.grace();
    first.free(met.slot, met.place);
    assert_eq!(first.newcomers(), []);
}

/// Bound again to the interface that it has: what another took meanwhile, and let go of, is the same source's.
#[test]
fn a_source_keeps_its_slot_through_a_takeover() {
    let Some(engine) = engine(WANTS) else { return };
    let (mut first, mut second) = (engine.share().unwrap(), engine.share().unwrap());
    first.target(LOOPBACK);
    let frame = frame([2, 0, 0, 0, 0, 7], 60);
    run(&engine, &frame, 1);
    let [met] = first.newcomers()[..] else { panic!("one newcomer") };
    first.accept(met.slot);
    second.target(LOOPBACK);
    run(&engine, &frame, 1);
    assert!(first.dismiss(met.mac, met.slot), "while another has the interface");
    second.release();
    assert_eq!(run(&engine, &frame, 1), 14, "dismissed, so it is new");
    let [again] = first.newcomers()[..] else { panic!("one newcomer") };
    assert_ne!(again.slot, met.slot);
    first.accept(again.slot);
    second.target(LOOPBACK);
    second.release();
    first.target(LOOPBACK);
    run(&engine, &frame, 2);
    assert_eq!((first.read(met.slot).frames, first.read(again.slot).frames), (2, 3));
    assert_eq!(first.newcomers(), []);
}

#[test]
fn there_is_an_end_of_interfaces() {
    let Some(engine) = engine(WANTS) else { return };
    let mut shares: Vec<Share> = (0..INTERFACES).map(|_| engine.share().unwrap()).collect();
    let error = engine.share().unwrap_err().to_string();
    assert!(error.contains("1024 interfaces at the most"), "{error}");
    shares.pop();
    engine.share().unwrap();
}

/// Slots that could not be freed are lost, and their interface's number with them.
#[test]
fn a_number_that_has_slots_is_nobody_elses() {
    let Some(engine) = engine(WANTS) else { return };
    let mut first = engine.share().unwrap();
    first.target(LOOPBACK);
    run(&engine, &frame([2, 0, 0, 0, 0, 7], 60), 1);
    let number = first.number;
    drop(first);
    let mut second = engine.share().unwrap();
    assert_ne!(second.number, number);
    second.target(LOOPBACK);
    assert_eq!(second.newcomers(), []);
    let number = second.number;
    drop(second);
    assert_eq!(engine.share().unwrap().number, number, "given back");
}

#[test]
fn only_the_direction_that_was_asked_for() {
    // What is handed to it is neither marked as sent nor as arrived by a card: it counts as arrived.
    for (direction, expected) in [(Direction::Both, 1), (Direction::In, 1), (Direction::Out, 0)] {
        let Some(engine) = engine(Wants { direction, ..WANTS }) else { return };
        let mut share = engine.share().unwrap();
        share.target(LOOPBACK);
        run(&engine, &frame([2; 6], 60), 1);
        assert_eq!(share.newcomers().len(), expected);
    }
}

/// CPUs with a column of their own, and CPUs that share one: none takes a frame from another.
#[test]
fn no_cpu_loses_anothers_frames() {
    const FRAMES: u32 = 300_000;
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: loads an eBPF program, which takes root");
    }
    for columns in [1, 2, columns()] {
        let engine = std::sync::Arc::new(Engine::try_load(PROGRAM, WANTS, columns).unwrap());
        let mut share = engine.share().unwrap();
        share.target(LOOPBACK);
        // In a container these may be any of the machine's.
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        thread::scope(|scope| {
            for cpu in (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)) {
                let engine = &engine;
                scope.spawn(move || {
                    let mut set = rustix::thread::CpuSet::new();
                    set.set(cpu);
                    rustix::thread::sched_setaffinity(None, &set).unwrap();
                    run(engine, &frame([2; 6], 60), FRAMES);
                });
            }
        });
        let [newcomer] = share.newcomers()[..] else { panic!("one newcomer") };
        let (reading, all) = (share.read(newcomer.slot), u64::from(FRAMES) * u64::from(allowed.count()));
        assert_eq!((reading.frames, reading.bytes), (all, all * 60), "{columns} columns");
        assert!(reading.first_steady_ms <= reading.last_steady_ms);
    }
}

#[test]
fn the_last_cpu_of_a_list() {
    for (list, last) in [("0", 0), ("0-1\n", 1), ("0-3,8", 8), ("0,2-5\n", 5)] {
        assert_eq!(last_cpu(list), Some(last), "{list}");
    }
    assert_eq!(last_cpu(""), None);
}
