//! Options of packet sockets: packet(7) and net/packet/af_packet.c in the kernel.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Puts the virtio-net header in front of each frame that is read (`PACKET_VNET_HDR`, Linux 2.6.27).
///
/// # Errors
///
/// That of setsockopt(2).
pub(crate) fn set_offload_header(socket: impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &ON)
}

/// Leaves out the frames that this host sends (`PACKET_IGNORE_OUTGOING`, Linux 4.20).
///
/// # Errors
///
/// That of setsockopt(2): `ENOPROTOOPT` on an older kernel.
pub(crate) fn set_ignore_outgoing(socket: impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &ON)
}

/// Takes back what pnet asked for when it bound the socket: that the interface be promiscuous for us
/// (`PACKET_DROP_MEMBERSHIP`).
///
/// # Errors
///
/// That of setsockopt(2): `EADDRNOTAVAIL` if it is not promiscuous for us, or has gone.
pub(crate) fn leave_promiscuous(socket: impl AsFd, index: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: c_int::try_from(index).unwrap_or(0),
        mr_type: PROMISCUOUS,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(socket, libc::SOL_PACKET, libc::PACKET_DROP_MEMBERSHIP, &request)
}

/// Puts an eBPF program on it, in the place of any other filter (`SO_ATTACH_BPF`, Linux 3.19).
///
/// # Errors
///
/// That of setsockopt(2): `ENOMEM` where net.core.optmem_max has no room for both, for the old one stays until the new
/// one is there.
pub(crate) fn attach(socket: impl AsFd, program: impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &program.as_fd().as_raw_fd())
}

/// Frames that the receive queue had no room for since this was last asked: the kernel resets the number
/// when it is read (`PACKET_STATISTICS`).
///
/// # Errors
///
/// That of getsockopt(2).
pub(crate) fn take_drops(socket: impl AsFd) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = length_of(&statistics);
    // SAFETY: the descriptor is open while it is borrowed; the pointers are to live locals, and `length` is
    // the size of the one that the kernel writes into.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            ptr::from_mut(&mut statistics).cast(),
            &raw mut length,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(statistics.tp_drops)
}

/// `PACKET_MR_PROMISC`, in the type that the request has.
const PROMISCUOUS: libc::c_ushort = 1;

/// An option that is on.
const ON: c_int = 1;

fn set<T: Copy>(socket: impl AsFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed; the pointer is to a value that lives meanwhile, and
    // the length is its size. The kernel reads it and keeps nothing.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            length_of(value),
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn length_of<T>(_: &T) -> libc::socklen_t {
    // Every option here is a few bytes long, so no bits are lost.
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default()
}
