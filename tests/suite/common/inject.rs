//! Frames at full speed, many a system call, from a CPU of one's choice.

use std::io::IoSlice;
use std::os::fd::{AsFd as _, OwnedFd};

use pnet_datalink::{Channel, ChannelType, Config, MacAddr, NetworkInterface};
use rustix::io::Errno;
use rustix::net::{AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType};
use rustix::net::{sendmmsg, socket_with};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Namespace;

/// Frames a system call.
const BATCH: usize = 64;

/// All frames are of this length, the shortest that a wire carries.
pub(crate) const BYTES: usize = 60;

/// A frame that lacks its source, to a group that nobody has joined.
const TEMPLATE: [u8; BYTES] = {
    let mut frame = [0; BYTES];
    (frame[0], frame[5], frame[12], frame[13]) = (0x03, 1, 0x88, 0xb5);
    frame
};

/// Sends on one interface.
pub(crate) struct Injector {
    socket: OwnedFd,
}

impl Injector {
    /// Opens it on an interface of a namespace. It hears nothing.
    #[track_caller]
    pub(crate) fn open(namespace: &Namespace, interface: &str) -> Self {
        let index = namespace.index(interface);
        namespace.inside(|| {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).unwrap();
            let duplicate = socket.try_clone().unwrap();
            let interface = NetworkInterface {
                name: interface.to_owned(),
                description: String::new(),
                index,
                mac: Some(MacAddr::zero()),
                ips: Vec::new(),
                flags: 0,
            };
            let config = Config {
                channel_type: ChannelType::Layer3(0),
                promiscuous: false,
                socket_fd: Some(std::os::fd::IntoRawFd::into_raw_fd(duplicate)),
                ..Config::default()
            };
            match pnet_datalink::channel(&interface, config).unwrap() {
                // The socket stays bound.
                Channel::Ethernet(..) => Self { socket },
                _ => panic!("not an Ethernet channel"),
            }
        })
    }

    /// Sends a frame of each source until there are no more; how many that were.
    #[track_caller]
    pub(crate) fn pour(&self, sources: impl IntoIterator<Item = [u8; 6]>) -> u64 {
        self.try_pour(sources).unwrap()
    }

    /// The same for an interface that may be down or gone; what was taken off our hands may be lost then.
    pub(crate) fn try_pour(&self, sources: impl IntoIterator<Item = [u8; 6]>) -> Result<u64, Errno> {
        let mut sources = sources.into_iter();
        let mut frames = [TEMPLATE; BATCH];
        let mut sent = 0;
        loop {
            let mut full = 0;
            // In this order none is taken that there is no frame for.
            for (frame, source) in frames.iter_mut().zip(sources.by_ref()) {
                frame[6..12].copy_from_slice(&source);
                full += 1;
            }
            if full == 0 {
                return Ok(sent);
            }
            self.send(&frames[..full])?;
            sent += full as u64;
        }
    }

    fn send(&self, frames: &[[u8; BYTES]]) -> Result<(), Errno> {
        let mut done = 0;
        while done < frames.len() {
            let slices: Vec<[IoSlice<'_>; 1]> =
                frames[done..].iter().map(|frame| [IoSlice::new(frame)]).collect();
            let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
            let mut messages: Vec<_> = slices
                .iter()
                .zip(&mut controls)
                .map(|(slice, control)| MMsgHdr::new(slice, control))
                .collect();
            match sendmmsg(self.socket.as_fd(), &mut messages, SendFlags::empty()) {
                Ok(sent) => done += sent,
                Err(Errno::INTR | Errno::NOBUFS | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Keeps the calling thread on one CPU, the n-th of those that it may have, round and round: what it sends over a veth is
/// received there. In a container they may be any of the machine's.
pub(crate) fn pin(n: usize) {
    let allowed = sched_getaffinity(None).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let mut set = CpuSet::new();
    set.set(cpus[n % cpus.len()]);
    sched_setaffinity(None, &set).unwrap();
}

/// The n-th of a series of sources without order: each once in 2^40 (a bijection of their number).
pub(crate) fn random_source(n: u64) -> [u8; 6] {
    const MASK: u64 = (1 << 40) - 1;
    // Odd multipliers and shifts to the right can be undone.
    let mut mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & MASK;
    mixed ^= mixed >> 17;
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) & MASK;
    mixed ^= mixed >> 23;
    let [_, _, _, a, b, c, d, e] = mixed.to_be_bytes();
    [0x06, a, b, c, d, e]
}
