//! The packet socket of one interface, made before pnet opens a channel on it.
//!
//! A socket that pnet makes itself listens to *every* interface until it is bound. Ours is made with
//! protocol 0 and hears nothing until pnet binds it. It also outlives the channel: pnet is given a duplicate
//! of the descriptor each time, so options, the receive queue and what is in it stay when the interface is
//! bound again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use pnet_datalink::{Channel, Config, DataLinkReceiver, NetworkInterface};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use socket2::{SockFilter, SockRef};

use super::kernel::Engine;
use crate::frame::HEADER_BYTES;
use crate::frame::wire::OFFLOAD_BYTES;
use crate::sys::packet;

/// Holds the largest super-frame: `GSO_MAX_SIZE` is eight times 64 KiB where BIG TCP is on
/// (include/linux/netdevice.h), and some room for headers. pnet would cut a longer one without a word. The
/// pages are not touched, so not used, until such a frame arrives.
const READ_BYTES: usize = OFFLOAD_BYTES + HEADER_BYTES + 8 * 65_536 + 1024;

/// The receive queue asked for: at 2 M frames/s of the smallest size it lasts about 80 ms. The kernel doubles
/// it, for its own bookkeeping (socket(7)).
const QUEUE_BYTES: u64 = 64 << 20;
/// No queue takes more than this part of the machine's memory, doubled as it is,
const QUEUE_SHARE: u64 = 64;
/// and all of them together no more than this.
const ALL_QUEUES_SHARE: u64 = 8;
/// However little memory there is, this much is asked for.
const LEAST_QUEUE_BYTES: u64 = 256 << 10;

/// The same with the kernel engine, whose queue holds notices alone: room for some five thousand of them. One that
/// is lost costs nothing but a count.
const NOTICE_QUEUE_BYTES: usize = 2 << 20;

/// Which frames count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Those that arrive and those that this host sends.
    #[default]
    Both,
    /// Those that arrive.
    In,
    /// Those that this host sends.
    Out,
}

/// What a packet socket hears, and how its frames are counted.
#[derive(Clone, Debug)]
pub enum Hearing {
    /// Each frame is handed over.
    All(Direction),
    /// The kernel counts; the first frame of each source is handed over.
    Notices(Arc<Engine>),
}

impl Hearing {
    /// The engine, as it is called in metrics and flags.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::All(_) => "channel",
            Self::Notices(_) => "kernel",
        }
    }
}

/// A packet socket, bound or not yet.
#[derive(Debug)]
pub struct PacketSocket {
    descriptor: OwnedFd,
    hearing: Hearing,
}

impl PacketSocket {
    /// Whether packet sockets may be made at all.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn allowed() -> io::Result<()> {
        socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(())
    }

    /// Makes a socket that hears nothing yet, with a receive queue of this size if it may have one.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`, `EMFILE` and its like, `ENOPROTOOPT` where the kernel is too old for
    /// [`Direction::In`].
    pub fn open(hearing: Hearing, queue_bytes: usize) -> io::Result<Self> {
        let descriptor = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        packet::set_offload_header(&descriptor)?;
        match &hearing {
            Hearing::All(Direction::Both) => {}
            Hearing::All(Direction::In) => packet::set_ignore_outgoing(&descriptor)?,
            Hearing::All(Direction::Out) => SockRef::from(&descriptor).attach_filter(&OUTGOING_ONLY)?,
            Hearing::Notices(engine) => engine.attach(&descriptor)?,
        }
        // Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it the kernel gives what it may.
        if sockopt::set_socket_recv_buffer_size_force(&descriptor, queue_bytes).is_err() {
            sockopt::set_socket_recv_buffer_size(&descriptor, queue_bytes)?;
        }
        Ok(Self { descriptor, hearing })
    }

    /// What it hears.
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// Opens pnet's channel for an interface on this socket, which binds it. Frames arrive from then on; an
    /// interface that is down is bound too, and frames arrive once it is up.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface has just gone, `EMFILE` and its like.
    pub fn bind(
        &self,
        interface: &NetworkInterface,
        promiscuous: bool,
    ) -> io::Result<Box<dyn DataLinkReceiver>> {
        // pnet owns what it is given and closes it, also when it fails.
        let duplicate = self.descriptor.try_clone()?.into_raw_fd();
        let config = Config {
            read_buffer_size: READ_BYTES,
            write_buffer_size: 0,
            // `next` then returns at once when there is nothing to read.
            read_timeout: Some(std::time::Duration::ZERO),
            promiscuous,
            socket_fd: Some(duplicate),
            ..Config::default()
        };
        let Channel::Ethernet(_, receiver) = pnet_datalink::channel(interface, config)? else {
            return Err(io::Error::other("pnet opened a channel of another kind"));
        };
        self.unmute()?;
        Ok(receiver)
    }

    /// Lets nothing into the queue until the socket is bound again, and takes back the wish that interface
    /// `index` be promiscuous. A binding cannot be undone, only replaced, and an interface that was renamed goes
    /// on under its other name.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn mute(&self, index: u32) -> io::Result<()> {
        let muted = SockRef::from(&self.descriptor).attach_filter(&NOTHING);
        // After that: whoever sees the interface as it was may rely on not being heard. It fails when the interface has
        // gone, and the wish with it, or when there was none.
        drop(packet::leave_promiscuous(&self.descriptor, index));
        muted
    }

    fn unmute(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.descriptor);
        match &self.hearing {
            Hearing::Notices(engine) => return engine.attach(&self.descriptor),
            Hearing::All(Direction::Out) => return socket.attach_filter(&OUTGOING_ONLY),
            Hearing::All(Direction::Both | Direction::In) => {}
        }
        match socket.detach_filter() {
            // It was not muted.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }

    /// The error that waits on the socket, taken off it.
    ///
    /// # Errors
    ///
    /// That of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(&self.descriptor).take_error()
    }

    /// Frames dropped for want of room in the queue since this was last asked.
    ///
    /// # Errors
    ///
    /// That of getsockopt(2).
    pub fn take_drops(&self) -> io::Result<u32> {
        packet::take_drops(&self.descriptor)
    }

    /// Bytes of memory that the receive queue may take, as the kernel accounts them: twice what was asked for
    /// (socket(7)); a small frame costs about 768.
    pub fn queue_bytes(&self) -> usize {
        sockopt::socket_recv_buffer_size(&self.descriptor).unwrap_or(0)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// What to ask for, so that `sockets` queues of twice that size leave the machine most of its memory.
fn queue_bytes(memory: u64, sockets: usize) -> usize {
    let share = memory / QUEUE_SHARE / 2;
    let of_all = memory / ALL_QUEUES_SHARE / 2 / (sockets as u64).max(1);
    let bytes = share.min(of_all).clamp(LEAST_QUEUE_BYTES, QUEUE_BYTES);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn memory() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram.saturating_mul(u64::from(system.mem_unit))
}

const RETURN: u16 = 0x06;

/// A classic filter that keeps what this host sends: `PACKET_OUTGOING` (4) in `skb->pkt_type`
/// (Documentation/networking/filter.rst, "type" extension).
const OUTGOING_ONLY: [SockFilter; 4] = {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    /// `SKF_AD_OFF + SKF_AD_PKTTYPE`
    const PACKET_TYPE: u32 = 0xffff_f000 + 4;
    const OUTGOING: u32 = 4;
    [
        SockFilter::new(LOAD_WORD, 0, 0, PACKET_TYPE),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, OUTGOING),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
};

/// A classic filter that keeps nothing.
const NOTHING: [SockFilter; 1] = [SockFilter::new(RETURN, 0, 0, 0)];

/// Sockets made while it was allowed to give them large receive queues.
///
/// That takes `CAP_NET_ADMIN`, which is dropped before the first frame is read. Interfaces that appear later
/// get one of these, and give it back when they are gone; if all are in use, a new socket's queue is bounded by
/// net.core.rmem_max.
#[derive(Debug)]
pub struct SocketPool {
    hearing: Hearing,
    queue_bytes: usize,
    spare: Vec<Arc<PacketSocket>>,
    told: bool,
}

impl SocketPool {
    /// Spare sockets beyond those needed at once. An idle one costs a descriptor and about a kilobyte.
    const SPARE: usize = 16;

    /// Makes sockets for `needed` interfaces, and some to spare.
    ///
    /// # Errors
    ///
    /// If not even one can be made: see [`PacketSocket::open`]. It is made in any case, so that a missing
    /// capability shows at the start and not when the first interface appears.
    pub fn prepare(hearing: Hearing, needed: usize) -> io::Result<Self> {
        let most = needed + Self::SPARE;
        let queue_bytes = match hearing {
            Hearing::All(_) => queue_bytes(memory(), most),
            Hearing::Notices(_) => NOTICE_QUEUE_BYTES,
        };
        let told = matches!(hearing, Hearing::Notices(_));
        let mut pool = Self { hearing, queue_bytes, spare: Vec::new(), told };
        let first = pool.open()?;
        pool.spare.push(first);
        // Whoever captures takes a second descriptor, and there is more to open: as many as these stay free.
        let mut free = Vec::new();
        while pool.spare.len() < most {
            let made = pool.open().and_then(|socket| Ok((socket.descriptor.try_clone()?, socket)));
            match made {
                Ok((descriptor, socket)) => {
                    free.push(descriptor);
                    pool.spare.push(socket);
                }
                // Descriptors may be few: then half of the sockets are let go of, so that others can open something, to
                // listen with for one, and sockets that are missing are asked for when they are needed.
                Err(error) => {
                    pool.spare.truncate(pool.spare.len().div_ceil(2));
                    tracing::debug!(%error, made = pool.spare.len(), "no more spare sockets");
                    break;
                }
            }
        }
        Ok(pool)
    }

    /// What its sockets hear.
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// A socket that hears nothing yet.
    ///
    /// # Errors
    ///
    /// See [`PacketSocket::open`].
    pub fn take(&mut self) -> io::Result<Arc<PacketSocket>> {
        match self.spare.pop() {
            Some(socket) => Ok(socket),
            None => self.open(),
        }
    }

    /// Takes a socket back whose interface was deleted. It is muted and drained, and bound to nothing any more.
    pub fn give_back(&mut self, socket: Arc<PacketSocket>) {
        if self.spare.len() < Self::SPARE {
            // What the last interface left behind is not the next one's.
            drop(socket.take_error());
            drop(socket.take_drops());
            self.spare.push(socket);
        }
    }

    fn open(&mut self) -> io::Result<Arc<PacketSocket>> {
        let socket = PacketSocket::open(self.hearing.clone(), self.queue_bytes)?;
        let (given, wanted) = (socket.queue_bytes(), 2 * self.queue_bytes);
        if given < wanted && !std::mem::replace(&mut self.told, true) {
            tracing::info!(
                given,
                wanted,
                "small receive queues: bursts may be dropped, and counted as such; CAP_NET_ADMIN at the start or \
                 sysctl net.core.rmem_max={} makes them larger",
                self.queue_bytes
            );
        }
        Ok(Arc::new(socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_leave_the_machine_its_memory() {
        const GIB: u64 = 1 << 30;
        assert_eq!(queue_bytes(24 * GIB, 17), 64 << 20, "the usual server");
        for memory in [GIB / 4, GIB, 4 * GIB, 64 * GIB] {
            for sockets in [1, 17, 80, 500] {
                let doubled = 2 * queue_bytes(memory, sockets) as u64;
                assert!(doubled <= memory / QUEUE_SHARE, "one of {memory}");
                let all = doubled * sockets as u64;
                assert!(all <= (memory / ALL_QUEUES_SHARE).max(2 * LEAST_QUEUE_BYTES * sockets as u64));
            }
        }
    }
}
