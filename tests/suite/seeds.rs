//! What must hold of any bytes that come from outside, tried with the seeds of the fuzz targets, whole and cut off
//! anywhere. `fuzz/run` goes on from there.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate too, for the fuzz targets")]
mod properties;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Panics if something does not hold of these bytes.
type Holds = fn(&[u8]);

const TARGETS: [(&str, Holds); 6] = [
    ("frame", properties::frame::holds),
    ("inventory", properties::inventory::holds),
    ("mac", properties::mac::holds),
    ("state", properties::state::holds),
    ("vendor", properties::vendor::holds),
    ("webconfig", properties::webconfig::holds),
];

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_must_hold_holds_of_every_seed() {
    for (target, holds) in TARGETS {
        let seeds = files(&format!("corpus/{target}"));
        assert!(!seeds.is_empty(), "{target} has no seed");
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            println!("{}", seed.display());
            holds(&bytes);
            for end in 0..bytes.len() {
                println!("its first {end} bytes");
                holds(&bytes[..end]);
            }
        }
    }
}

#[test]
fn every_target_has_its_seeds_and_is_run() {
    let names = |folder: &str| -> BTreeSet<String> {
        files(folder).iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let expected = TARGETS.map(|(target, _)| target.to_owned()).into();
    assert_eq!(names("fuzz_targets"), expected);
    assert_eq!(names("corpus"), expected);
    assert_eq!(names("dictionaries"), expected);
    let run = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/run")).unwrap();
    let listed = run.lines().find_map(|line| line.strip_prefix("TARGETS=\"")?.strip_suffix('"')).unwrap();
    assert_eq!(listed.split(' ').map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}

/// Otherwise `fuzz/run` would fail, which few run: its own lock file has to follow that of macwatch.
#[test]
fn the_targets_are_built_with_what_macwatch_needs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let needs = |file: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let ours = text.split("[[package]]").find(|one| one.contains("\nname = \"macwatch\"\n")).unwrap();
        ours.lines()
            .filter_map(|line| Some(line.strip_prefix(" \"")?.split(['"', ' ']).next()?.to_owned()))
            .collect()
    };
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let tests_alone = manifest.split("[dev-dependencies]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut ours = needs("Cargo.lock");
    ours.retain(|name| !tests_alone.lines().any(|line| line.starts_with(&format!("{name} "))));
    assert_eq!(needs("fuzz/Cargo.lock"), ours, "say: cargo update --manifest-path fuzz/Cargo.toml macwatch");
}
