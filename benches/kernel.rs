//! What one frame costs in the kernel engine's program, without the receive path around it: the kernel runs the
//! program, with its real tables, on a frame that nobody sent (`BPF_PROG_TEST_RUN`) and says how long it took.
//!
//! `again`: a million runs on the same frame, timed together, so everything that it touches is at hand. `alone`: runs
//! timed one by one, each on another source drawn at random, so caches and branch predictors hold what the system
//! calls between leave them; two looks at the clock are in it. `floor` is the program when all frames go the other
//! way: what remains is the test's own cost, in both columns.
//!
//! Objects named on the command line are measured beside the one that is built in, in turns, for experiments with
//! count.bpf.c. Wants root or `CAP_BPF` and `CAP_NET_ADMIN`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]
#![expect(clippy::print_stdout, reason = "its result")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use macwatch::capture::Direction;
use macwatch::capture::kernel::{Engine, Share, Wants};
use macwatch::tally::Tallies as _;

/// Each figure is the median of so many, taken in turns.
const ROUNDS: usize = 5;
const AGAIN: u32 = 1_000_000;
const ALONE: u32 = 1 << 16;
/// Most sources of the tables.
const MOST: u32 = 1 << 16;
const RESERVED: usize = 4096;
/// Frames seem to arrive on the loopback: the test's default.
const LOOPBACK: u32 = 1;

const FRAME_BYTES: usize = 60;
const SOURCE: usize = 6;
/// A test of a socket filter takes the first bytes for an Ethernet header and shows the program what follows it.
const HIDDEN: usize = 14;

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut programs = vec![Program { name: "built in".to_owned(), object: None }];
    programs.extend(paths.into_iter().map(|path| {
        let object = std::fs::read(&path).unwrap();
        Program { name: path, object: Some(object) }
    }));
    for program in &programs {
        println!("program: {}", program.name);
    }
    println!("nanoseconds a frame; one column for each program");
    let none: [Case; 2] = [("floor, again", floor_again), ("floor, alone", floor_alone)];
    for (name, case) in none {
        row(name, &programs, case);
    }
    for sources in [1, 256, 4096, 16_384, MOST] {
        row(&format!("known, one of {sources}, again"), &programs, |program| known_again(program, sources));
        row(&format!("known, one of {sources}, alone"), &programs, |program| known_alone(program, sources));
    }
    let others: [Case; 5] = [
        ("known, super-frame of 6, again", super_frame_again),
        ("unknown, no room, again", untracked_again),
        ("unknown, no room, alone", untracked_alone),
        ("unknown, gets a slot, alone", inserted_alone),
        ("runt, again", runt_again),
    ];
    for (name, case) in others {
        row(name, &programs, case);
    }
    tables();
}

type Case = (&'static str, fn(&Program) -> f64);

fn row(name: &str, programs: &[Program], case: impl Fn(&Program) -> f64) {
    let mut figures = vec![Vec::new(); programs.len()];
    for _ in 0..ROUNDS {
        for (program, figures) in programs.iter().zip(&mut figures) {
            figures.push(case(program));
        }
    }
    print!("{name:<36}");
    for figures in &mut figures {
        figures.sort_by(f64::total_cmp);
        print!(" {:8.1} ({:.0} to {:.0})", figures[ROUNDS / 2], figures[0], figures[ROUNDS - 1]);
    }
    println!();
}

struct Program {
    name: String,
    object: Option<Vec<u8>>,
}

impl Program {
    fn load(&self, direction: Direction, room: u32) -> Loaded {
        let room = room as usize;
        let wants = Wants { direction, per_interface: room, total: room, reserved: RESERVED };
        let engine = match &self.object {
            Some(object) => Engine::load_object(object, wants),
            None => Engine::load(wants),
        };
        let engine = Arc::new(engine.unwrap());
        let mut share = engine.share().unwrap();
        share.target(LOOPBACK);
        let slots = u32::try_from(room + RESERVED).unwrap();
        Loaded { engine, share, slots, is_whole: self.object.is_none() }
    }

    /// Tables with room for all, in which these sources are known.
    fn knowing(&self, sources: u32) -> Loaded {
        let loaded = self.load(Direction::Both, MOST);
        for number in 0..sources {
            loaded.run(&frame(number), 1);
        }
        loaded
    }
}

struct Loaded {
    engine: Arc<Engine>,
    share: Share,
    slots: u32,
    /// Experiments may leave parts out.
    is_whole: bool,
}

impl Loaded {
    /// Nanoseconds for each of so many runs.
    fn run(&self, frame: &[u8], repeat: u32) -> f64 {
        self.run_with(frame, &[], repeat)
    }

    fn run_with(&self, frame: &[u8], context: &[u8], repeat: u32) -> f64 {
        self.engine.run(frame, context, repeat).unwrap().duration.as_secs_f64() * 1e9
    }

    /// Runs one by one, on sources drawn at random.
    fn run_alone(&self, sources: u32) -> f64 {
        let mut number = numbers();
        // The upper half times the number of sources: a share of the range.
        let mut draw = || ((u64::from(number()) * u64::from(sources)) >> 32).try_into().unwrap();
        (0..ALONE).map(|_| self.run(&frame(draw()), 1)).sum::<f64>() / f64::from(ALONE)
    }

    /// Every run must have been counted: else it was not what was to be measured.
    fn assert_counted(self, frames: u64) {
        if !self.is_whole {
            return;
        }
        let counted: u64 = (0..self.slots).map(|slot| self.share.read(slot).frames).sum();
        let outside = self.share.outside();
        assert_eq!(counted + outside.untracked_frames + outside.runt_frames, frames);
    }
}

fn floor_again(program: &Program) -> f64 {
    program.load(Direction::Out, MOST).run(&frame(0), AGAIN)
}

fn floor_alone(program: &Program) -> f64 {
    program.load(Direction::Out, MOST).run_alone(1)
}

fn known_again(program: &Program, sources: u32) -> f64 {
    let loaded = program.knowing(sources);
    // Some of them, in case one has neighbours in the hash.
    const SOME: u32 = 16;
    let tried = SOME.min(sources);
    let sum: f64 =
        (0..tried).map(|number| loaded.run(&frame(number * (sources / tried)), AGAIN / tried)).sum();
    loaded.assert_counted(u64::from(sources) + u64::from(AGAIN / tried * tried));
    sum / f64::from(tried)
}

fn known_alone(program: &Program, sources: u32) -> f64 {
    let loaded = program.knowing(sources);
    let figure = loaded.run_alone(sources);
    loaded.assert_counted(u64::from(sources) + u64::from(ALONE));
    figure
}

/// The time of a whole super-frame, not of each frame that it stands for.
fn super_frame_again(program: &Program) -> f64 {
    const SEGMENTS: u16 = 6;
    const HEADERS: usize = 14 + 20 + 32;
    let loaded = program.load(Direction::Both, MOST);
    let mut frame = frame(0);
    frame.resize(HIDDEN + HEADERS + usize::from(SEGMENTS) * 512, 0);
    let ethernet = &mut frame[HIDDEN..];
    ethernet[12..14].copy_from_slice(&[0x08, 0x00]);
    ethernet[14] = 0x45;
    ethernet[14 + 9] = 6; // TCP
    ethernet[34 + 12] = 8 << 4; // its header has eight words
    // include/uapi/linux/bpf.h, struct __sk_buff: gso_segs, gso_size
    let mut context = [0; 192];
    context[164..166].copy_from_slice(&SEGMENTS.to_ne_bytes());
    context[176..178].copy_from_slice(&512u16.to_ne_bytes());
    let figure = loaded.run_with(&frame, &context, AGAIN);
    loaded.assert_counted(u64::from(SEGMENTS) * u64::from(AGAIN));
    figure
}

const FULL: u32 = 1024;

/// Tables that others have filled.
fn full(program: &Program) -> Loaded {
    let loaded = program.load(Direction::Both, FULL);
    for number in 0..FULL {
        loaded.run(&frame(MOST + number), 1);
    }
    loaded
}

fn untracked_again(program: &Program) -> f64 {
    let loaded = full(program);
    let figure = loaded.run(&frame(0), AGAIN);
    loaded.assert_counted(u64::from(FULL) + u64::from(AGAIN));
    figure
}

fn untracked_alone(program: &Program) -> f64 {
    let loaded = full(program);
    let figure = loaded.run_alone(MOST);
    loaded.assert_counted(u64::from(FULL) + u64::from(ALONE));
    figure
}

fn inserted_alone(program: &Program) -> f64 {
    let loaded = program.load(Direction::Both, MOST);
    let sum: f64 = (0..MOST).map(|number| loaded.run(&frame(number), 1)).sum();
    loaded.assert_counted(u64::from(MOST));
    sum / f64::from(MOST)
}

fn runt_again(program: &Program) -> f64 {
    let loaded = program.load(Direction::Both, MOST);
    // The test refuses frames that are shorter than a header; what the program sees is.
    let figure = loaded.run(&frame(0)[..HIDDEN + 13], AGAIN);
    loaded.assert_counted(u64::from(AGAIN));
    figure
}

/// What user space does with the tables.
fn tables() {
    println!("\nmilliseconds, with room for sources as given");
    for room in [1024, 16_384, MOST] {
        let mut load = Vec::new();
        let mut interface = Vec::new();
        let mut look = Vec::new();
        let mut accept = Vec::new();
        let mut read = Vec::new();
        let program = Program { name: String::new(), object: None };
        for _ in 0..ROUNDS {
            let mut loaded = None;
            load.push(timed(|| loaded = Some(program.load(Direction::Both, room))));
            let mut loaded = loaded.unwrap();
            interface.push(timed(|| {
                let mut share = loaded.engine.share().unwrap();
                share.target(LOOPBACK + 1);
            }));
            for number in 0..room {
                loaded.run(&frame(number), 1);
            }
            let mut newcomers = Vec::new();
            look.push(timed(|| newcomers = loaded.share.newcomers()));
            assert_eq!(newcomers.len(), room as usize);
            accept.push(timed(|| newcomers.iter().for_each(|one| loaded.share.accept(one.slot))));
            // As a page finds them: in no order. Here in that of a shuffled deck.
            let mut number = numbers();
            let mut slots: Vec<_> = newcomers.iter().map(|one| one.slot).collect();
            for last in (1..slots.len()).rev() {
                slots.swap(last, number() as usize % (last + 1));
            }
            let mut frames = 0;
            read.push(timed(|| frames = slots.iter().map(|slot| loaded.share.read(*slot).frames).sum()));
            assert_eq!(frames, u64::from(room));
        }
        println!("{room} sources");
        for (name, figures) in [
            ("  load the program, make its tables", &mut load),
            ("  one more interface's share", &mut interface),
            ("  look the table through, all new", &mut look),
            ("  accept them", &mut accept),
            ("  read all tallies", &mut read),
        ] {
            figures.sort();
            let [low, middle, high] =
                [0, ROUNDS / 2, ROUNDS - 1].map(|at: usize| figures[at].as_secs_f64() * 1e3);
            println!("{name:<36} {middle:8.3} ({low:.3} to {high:.3})");
        }
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// A frame of the smallest size from this source, after what the test hides.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0; HIDDEN + FRAME_BYTES];
    let [_, a, b, c] = number.to_be_bytes();
    frame[HIDDEN + SOURCE..][..6].copy_from_slice(&[0x02, 0x42, 0xac, a, b, c]);
    frame
}

/// Xorshift (Marsaglia 2003): the same numbers in each run.
fn numbers() -> impl FnMut() -> u32 {
    let mut state = 2_463_534_242u32;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}
