//! The kernel engine's program beside its source is what its source says.
//!
//! Objects differ from one build of clang to the next where it does not matter, so instructions, maps and
//! relocations are compared, not bytes. `src/capture/compile` makes it anew.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends, and says why")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use aya_obj::Object;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/capture");

/// What the kernel gets to see, as text that can be compared and read.
fn contents(object: &Path) -> Vec<String> {
    let bytes = std::fs::read(object).unwrap();
    [instructions_and_maps(&bytes), relocations(&bytes)].concat()
}

/// Which map or function the instructions refer to.
fn relocations(bytes: &[u8]) -> Vec<String> {
    let object = object::File::parse(bytes).unwrap();
    let mut lines = Vec::new();
    for section in object.sections() {
        let name = section.name().unwrap();
        // Those of debug information, and of BTF, which the maps have been read from.
        if name.starts_with(".debug") || name.starts_with(".BTF") {
            continue;
        }
        for (at, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { panic!("{relocation:?}") };
            let symbol = object.symbol_by_index(index).unwrap();
            let target = symbol.name().unwrap();
            lines.push(format!(
                "relocation {name} {at} {target} {} {}",
                symbol.address(),
                relocation.addend()
            ));
        }
    }
    assert!(lines.len() > 20, "{lines:?}");
    lines
}

fn instructions_and_maps(bytes: &[u8]) -> Vec<String> {
    let object = Object::parse(bytes).unwrap();
    let mut lines = vec![format!("license {:?}", object.license)];
    for (name, program) in &object.programs {
        lines.push(format!("program {name} {:?}", program.section));
    }
    let functions: BTreeMap<_, _> = object.functions.iter().collect();
    for (at, function) in functions {
        lines.push(format!("function {at:?} {}", function.name));
        for instruction in &function.instructions {
            let (code, off, imm) = (instruction.code, instruction.off, instruction.imm);
            let registers = (instruction.dst_reg(), instruction.src_reg());
            lines.push(format!("{code:02x} {registers:?} {off} {imm}"));
        }
    }
    let maps: BTreeMap<_, _> = object.maps.iter().collect();
    for (name, map) in maps {
        lines.push(format!(
            "map {name}: type {} key {} value {} entries {} flags {} data {:?}",
            map.map_type(),
            map.key_size(),
            map.value_size(),
            map.max_entries(),
            map.map_flags(),
            map.data()
        ));
    }
    lines
}

#[test]
fn the_program_is_its_sources() {
    let scratch = tempfile::tempdir().unwrap();
    let built = scratch.path().join("count.bpf.o");
    // Debug information is no part of what is compared.
    let made = Command::new(Path::new(FOLDER).join("compile")).arg(&built).env("OBJCOPY", "true").status();
    assert!(
        made.unwrap().success(),
        "src/capture/compile failed; tests/run --prepare installs what it takes"
    );
    let (built, kept) = (contents(&built), contents(&Path::new(FOLDER).join("count.bpf.o")));
    assert!(kept.len() > 500, "{} lines", kept.len());
    for (built, kept) in built.iter().zip(&kept) {
        assert_eq!(built, kept, "count.bpf.o is not made of count.bpf.c as it is: run src/capture/compile");
    }
    assert_eq!(built.len(), kept.len());
}

/// What a socket may hold is limited (net.core.optmem_max), and it holds the program twice while it is replaced. By the
/// default of Linux 6.1, 1,090 instructions were taken and 1,126 were not.
#[test]
fn a_socket_has_room_for_the_program() {
    const MOST: usize = 1090;
    let bytes = std::fs::read(Path::new(FOLDER).join("count.bpf.o")).unwrap();
    let object = Object::parse(&bytes).unwrap();
    let length: usize = object.functions.values().map(|function| function.instructions.len()).sum();
    assert!((500..=MOST).contains(&length), "{length} instructions");
}
