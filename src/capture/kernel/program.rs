//! The program on its way into the kernel: `aya-obj` reads the object and writes the maps into its instructions, `aya`
//! makes the maps.
//!
//! `aya`'s own loader, as of 0.14, also reads the type information of the whole kernel, which this program does not need
//! and which takes 19 MB meanwhile, and tries out what the kernel can by loading two dozen little programs. From 0.15 on
//! it does the first only when it must; that one takes Rust 1.98.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::maps::MapData;
use aya_obj::generated::bpf_insn;
use aya_obj::{EbpfSectionKind, Object};

use crate::sys::bpf;

/// How often a program whose checking was broken off is loaded anew: whoever sends more signals does not mean to ask for
/// anything.
const MOST_SIGNALS: usize = 1000;

/// Room for what a verifier says. Where that is more, its end is kept (Linux 6.4), or its beginning (before).
const LOG_BYTES: usize = 1 << 20;

/// The maps, by name.
pub(super) struct Maps(HashMap<String, MapData>);

impl Maps {
    /// Takes one out.
    pub(super) fn take(&mut self, name: &str) -> Result<MapData, String> {
        self.0.remove(name).ok_or_else(|| format!("no map {name}"))
    }
}

/// Loads the one program of an object, with these constants, and its maps, with room for so many entries where that is
/// said here.
///
/// # Errors
///
/// What the kernel says, or what the object lacks.
pub(super) fn load(
    object: &[u8],
    constants: &[(&str, &[u8])],
    entries: &[(&str, u32)],
) -> Result<(OwnedFd, Maps), Box<dyn Error>> {
    let mut object = Object::parse(object)?;
    object.patch_map_data(constants.iter().map(|(name, value)| (*name, (*value, true))).collect())?;

    let mut maps = HashMap::new();
    let mut frozen = Vec::new();
    let mut made = Vec::new();
    for (name, mut map) in object.maps.drain() {
        let descriptor = if map.section_kind() == EbpfSectionKind::Rodata {
            let constants = bpf::constants(&CString::new(name.as_str())?, map.data())?;
            let descriptor = constants.as_raw_fd();
            frozen.push(constants);
            descriptor
        } else {
            if let Some((_, entries)) = entries.iter().find(|(wanted, _)| *wanted == name) {
                map.set_max_entries(*entries);
            }
            if let aya_obj::Map::Btf(map) = &mut map {
                // They refer to type information that is not loaded.
                map.def.btf_key_type_id = 0;
                map.def.btf_value_type_id = 0;
            }
            let data = MapData::create(map.clone(), &name, None)?;
            let descriptor = data.fd().as_fd().as_raw_fd();
            maps.insert(name.clone(), data);
            descriptor
        };
        made.push((name, descriptor, map));
    }
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object
        .relocate_maps(made.iter().map(|(name, descriptor, map)| (name.as_str(), *descriptor, map)), &text)?;
    object.relocate_calls(&text)?;

    let (name, program) = object.programs.iter().next().ok_or("no program")?;
    let function = object.functions.get(&program.function_key()).ok_or("no instructions")?;
    // It holds its maps itself from here on: the constants' descriptor may go.
    let program = verify(&CString::new(name.as_str())?, &function.instructions, &program.license)?;
    Ok((program, Maps(maps)))
}

/// Has it verified; once more to be told why, where it is refused.
fn verify(name: &CStr, instructions: &[bpf_insn], license: &CStr) -> Result<OwnedFd, Rejected> {
    let load = |log: &mut [u8]| load_whatever_comes(name, instructions, license, log);
    load(&mut []).or_else(|error| {
        let mut log = vec![0; LOG_BYTES];
        // It may be taken at the second attempt, too.
        load(&mut log).map_err(|_| {
            let text = CStr::from_bytes_until_nul(&log).map(|text| text.to_string_lossy().into_owned());
            Rejected { error, log: text.unwrap_or_default() }
        })
    })
}

/// The kernel breaks off checking a program when its process gets a signal, be it one that asks for a reload or one that
/// stops and continues it, and asks to try again (kernel/bpf/verifier.c: `do_check`).
fn load_whatever_comes(
    name: &CStr,
    instructions: &[bpf_insn],
    license: &CStr,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    for _ in 0..MOST_SIGNALS {
        match bpf::load_socket_filter(name, instructions, license, log) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            result => return result,
        }
    }
    bpf::load_socket_filter(name, instructions, license, log)
}

/// The kernel does not take the program.
#[derive(Debug)]
struct Rejected {
    error: io::Error,
    /// What the verifier says: a lot, with what it failed on at the end.
    log: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, log } = self;
        write!(f, "{error}")?;
        if log.is_empty() { Ok(()) } else { write!(f, ": {log}") }
    }
}

impl Error for Rejected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Refusal;
    use super::*;

    #[test]
    fn what_the_verifier_says_is_told() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: loads an eBPF program, which takes root");
            return;
        }
        // `exit`, without a result in R0.
        let exit =
            bpf_insn { code: 0x95, _bitfield_align_1: [], _bitfield_1: Default::default(), off: 0, imm: 0 };
        let rejected = verify(c"bad", &[exit], c"GPL").unwrap_err();
        assert_eq!(rejected.error.raw_os_error(), Some(libc::EACCES));
        assert!(rejected.to_string().contains("R0 !read_ok"), "{rejected}");
        let line = Refusal::of(&rejected).to_string();
        assert!(line.contains("refuses its program: ") && line.contains("R0 !read_ok"), "{line}");
        assert!(!line.contains('\n'));
    }

    #[test]
    fn an_object_that_is_none_is_refused() {
        assert!(load(b"\x7fELF", &[], &[]).is_err());
        let unknown = load(super::super::PROGRAM, &[("nothing", &[0; 4])], &[]);
        assert!(unknown.err().is_some_and(|error| error.to_string().contains("nothing")));
    }
}
