//! bpf(2), for what the crate that makes and reads the maps does not do by itself: see
//! [`capture::kernel`](crate::capture). Structures and numbers are those of include/uapi/linux/bpf.h.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_insn, bpf_map_type, bpf_prog_type};

/// The program may read the map and not write it (`BPF_F_RDONLY_PROG`).
const READ_ONLY: u32 = 1 << 7;

/// What a program made of a frame that was handed to it.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What it returned: bytes of the frame for the socket.
    pub value: u32,
    /// How long a run took, on average.
    pub duration: Duration,
}

/// Makes a map that holds these bytes for good. The verifier of a program that has it takes them for constants
/// (kernel/bpf/verifier.c: `bpf_map_is_rdonly`).
///
/// # Errors
///
/// Those of bpf(2).
pub(crate) fn constants(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut request = zeroed();
    // SAFETY: all of it is zero, which every field may be.
    let wanted = unsafe { &mut request.__bindgen_anon_1 };
    wanted.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    wanted.key_size = 4;
    wanted.value_size = length(bytes)?;
    wanted.max_entries = 1;
    wanted.map_flags = READ_ONLY;
    wanted.map_name = short(name);
    // SAFETY: nothing is pointed to.
    let map = unsafe { descriptor(bpf_cmd::BPF_MAP_CREATE, &mut request)? };

    let index = 0_u32;
    let mut request = zeroed();
    // SAFETY: all of it is zero, which every field may be.
    let wanted = unsafe { &mut request.__bindgen_anon_2 };
    wanted.map_fd = number(&map);
    wanted.key = address(&index);
    wanted.__bindgen_anon_1.value = address(bytes);
    // SAFETY: the kernel reads the four bytes of the index and as many of the value as the map was made for, just
    // now: all of `bytes`. Both live until it returns.
    unsafe { call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut request)? };

    let mut request = zeroed();
    request.__bindgen_anon_2.map_fd = number(&map);
    // SAFETY: nothing is pointed to.
    unsafe { call(bpf_cmd::BPF_MAP_FREEZE, &mut request)? };
    Ok(map)
}

/// Loads a socket filter whose instructions name the maps by descriptor. What the verifier says goes into `log`, as text
/// that ends with a zero byte, if there is room for anything.
///
/// # Errors
///
/// Those of bpf(2): `EACCES` or `EINVAL` from the verifier, `ENOSPC` where the log has too little room, `EAGAIN` where a
/// signal came.
pub(crate) fn load_socket_filter(
    name: &CStr,
    instructions: &[bpf_insn],
    license: &CStr,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let mut request = zeroed();
    // SAFETY: all of it is zero, which every field may be.
    let wanted = unsafe { &mut request.__bindgen_anon_3 };
    wanted.prog_type = bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER as u32;
    wanted.insn_cnt = length(instructions)?;
    wanted.insns = address(instructions);
    wanted.license = address(license);
    wanted.prog_name = short(name);
    if !log.is_empty() {
        wanted.log_level = 1;
        wanted.log_size = length(log)?;
        wanted.log_buf = ptr::from_mut(log).expose_provenance() as u64;
    }
    // SAFETY: the kernel reads so many instructions and the license up to its zero byte, and writes no more than the
    // log's size into it. All three are borrowed until it returns.
    unsafe { descriptor(bpf_cmd::BPF_PROG_LOAD, &mut request) }
}

/// Runs a program on a frame that nobody sent, so many times (`BPF_PROG_TEST_RUN`). The context is a `struct __sk_buff`,
/// as far as it is given.
///
/// # Errors
///
/// Those of bpf(2).
pub(crate) fn run(program: impl AsFd, frame: &[u8], context: &[u8], times: u32) -> io::Result<Run> {
    let mut request = zeroed();
    // SAFETY: all of it is zero, which every field may be.
    let wanted = unsafe { &mut request.test };
    wanted.prog_fd = number(program);
    wanted.data_in = address(frame);
    wanted.data_size_in = length(frame)?;
    if !context.is_empty() {
        wanted.ctx_in = address(context);
        wanted.ctx_size_in = length(context)?;
    }
    wanted.repeat = times;
    // SAFETY: the kernel reads so many bytes of the two slices, which are borrowed until it returns, and writes nothing
    // but its answer into the request.
    unsafe { call(bpf_cmd::BPF_PROG_TEST_RUN, &mut request)? };
    // SAFETY: the kernel has written the field that was asked with, and any number is a valid one.
    let answer = unsafe { request.test };
    Ok(Run { value: answer.retval, duration: Duration::from_nanos(answer.duration.into()) })
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of structures of integers, for each of which zero is a value.
    unsafe { mem::zeroed() }
}

/// A system call that answers with a descriptor.
///
/// # Safety
///
/// As of [`call`]; the command is one that makes a descriptor.
unsafe fn descriptor(command: bpf_cmd, request: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: that of the caller.
    let descriptor = unsafe { call(command, request)? };
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, for us alone, closed when a program is executed (kernel/bpf/syscall.c:
    // `bpf_map_new_fd`, `bpf_prog_new_fd`).
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The system call.
///
/// # Safety
///
/// What the request points to lives until it returns, is as long as the kernel takes it to be, and may be written where
/// the kernel writes.
unsafe fn call(command: bpf_cmd, request: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the request is of the size that is given; for the rest that of the caller.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, ptr::from_mut(request), size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Exposed, for the kernel uses it: what is behind an address that is only a number counts as not used by anybody.
fn address<T: ?Sized>(of: &T) -> u64 {
    ptr::from_ref(of).expose_provenance() as u64
}

fn number(of: impl AsFd) -> u32 {
    // An open descriptor is not negative.
    of.as_fd().as_raw_fd().cast_unsigned()
}

fn length<T>(of: &[T]) -> io::Result<u32> {
    u32::try_from(of.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))
}

/// A name as the kernel keeps it: fifteen bytes and a zero.
fn short(name: &CStr) -> [libc::c_char; 16] {
    let mut short = [0; 16];
    let bytes = name.to_bytes().iter().take(15);
    for (to, from) in short.iter_mut().zip(bytes) {
        *to = from.cast_signed() as libc::c_char;
    }
    short
}
