//! The kernel engine: an eBPF program on the packet socket counts each frame where it is received.
//!
//! ```text
//!  frame ─► count.bpf.c ─► slots (hash: who has which) ─► tallies [slot][CPU] ◄─ mapped ─ Tables::read
//!               │                   ▲
//!               │                   └ free slots (queues) ◄──── Share: hands out, takes back
//!               └ first frame of a source ─► socket ─► pnet's channel: a notice
//! ```
//! One program and one set of tables serve all interfaces; a source is an address on an interface. The limits are
//! simply how many slots there are: those of `--sources.max-total` are for anyone, and 4,096 more for those who are
//! listed. Kernel memory is bounded by that, however many interfaces there are:
//!
//! ```text
//! slots × (128 + 32 × columns) + 1,024 × 32 × columns + 2.5 million + listed addresses × about 100 bytes,
//! slots = --sources.max-total + 4,096, columns = CPUs (64 at most) + 1
//! ```
//! It is released with the last descriptor, however the process ends.

mod maps;
mod program;
mod refusal;
mod share;
mod tables;

use std::collections::HashSet;
use std::error::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::{fs, io, thread};

use aya::maps::{HashMap, Map, MapData, Queue};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::Direction;
use crate::mac::Mac;
use crate::sys::{bpf, packet};
use maps::Quiet;
use tables::{Size, Tables};

pub use crate::sys::bpf::Run;
pub use refusal::Refusal;
pub use share::Share;

/// What the program counts, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Which frames count.
    pub direction: Direction,
    /// Most ordinary sources of one interface.
    pub per_interface: usize,
    /// Most ordinary sources of all interfaces.
    pub total: usize,
    /// Most sources with reserved room.
    pub reserved: usize,
}

/// Interfaces that can be counted on at a time.
const INTERFACES: u32 = 1024;

/// Most addresses that the kernel is told to have reserved room. Only 4,096 of them can have it at a time.
const MOST_LISTED: u32 = 1 << 17;

/// The first Linux that lets whoever holds a map's descriptor change the map.
const ANYBODYS: (u32, u32) = (6, 0);

/// CPUs that have a column of their own; those beyond share one.
const MOST_COLUMNS: u32 = 64;

/// Descriptors that must be left for all else, such as sockets to capture and to listen with: an exporter without these
/// tables is better than one that nobody can read.
const LEFT_OVER: usize = 16;

static PROGRAM: &[u8] = aya::include_bytes_aligned!("../count.bpf.o");

/// The loaded program and its tables.
pub struct Engine {
    program: OwnedFd,
    tables: Tables,
    maps: Mutex<Maps>,
    /// See [`Self::grace`].
    spare: Mutex<Option<OwnedFd>>,
}

/// What takes a system call to change. Locked for as long as that takes.
struct Maps {
    slots: HashMap<MapData, [u32; 3], u32>,
    ordinary: Queue<MapData, u32>,
    reserved: Queue<MapData, u32>,
    listed: HashMap<MapData, u64, u32>,
    interfaces: HashMap<MapData, u32, u32>,
    /// Indexes of interfaces, and the numbers of the books that are to have them; newer claims go first and stand last.
    claims: Vec<(u32, u32)>,
    /// The keys of `listed`.
    reserved_for: HashSet<Mac>,
    /// The roster's generation that they are of.
    reserved_at: Option<u64>,
    /// The log has been told that there are too many of these.
    told: bool,
    /// After a refusal that the log was told of.
    quiet: Quiet,
    /// Numbers of books that nobody has.
    numbers: Vec<u32>,
    /// Reserved slots that are lent to ordinary sources: so many of the next ordinary ones to be freed go back.
    owed: usize,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("size", &self.tables.size()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads the program. This takes `CAP_BPF`; what follows does only before Linux 6.0 (kernel/bpf/syscall.c:
    /// `__sys_bpf` asked for it with each command until then).
    ///
    /// # Errors
    ///
    /// Why it cannot be used here.
    pub fn load(wants: Wants) -> Result<Self, Refusal> {
        Self::load_object(PROGRAM, wants)
    }

    /// The same with another object of the same maps, for benchmarks that compare programs.
    ///
    /// # Errors
    ///
    /// Why it cannot be used here.
    #[doc(hidden)]
    pub fn load_object(object: &[u8], wants: Wants) -> Result<Self, Refusal> {
        if cfg!(not(all(target_endian = "little", target_pointer_width = "64"))) {
            return Err(Refusal::unfit("it is made for little-endian machines of 64 bits"));
        }
        // Held meanwhile, so that they are there afterwards.
        let left =
            (0..LEFT_OVER).map(|_| Ok(eventfd(0, EventfdFlags::CLOEXEC)?)).collect::<io::Result<Vec<_>>>();
        let left = left.map_err(|error| Refusal::of(&error))?;
        let engine = Self::try_load(object, wants, columns()).map_err(|error| Refusal::of(&*error))?;
        engine.try_attach()?;
        drop(left);
        Ok(engine)
    }

    fn try_load(object: &[u8], wants: Wants, columns: u32) -> Result<Self, Box<dyn Error>> {
        // The kernel's own word for it.
        let too_many = || io::Error::from_raw_os_error(libc::E2BIG);
        let number = |size: usize| u32::try_from(size).map_err(|_| too_many());
        let size = Size {
            ordinary: number(wants.total)?,
            reserved: number(wants.reserved)?,
            interfaces: INTERFACES,
            columns,
        };
        if !size.is_countable() {
            return Err(too_many().into());
        }
        let undisturbed = if is_realtime() { 0 } else { size.columns - 1 };
        let direction: u32 = match wants.direction {
            Direction::Both => 0,
            Direction::In => 1,
            Direction::Out => 2,
        };
        let limit = number(wants.per_interface)?;
        let seed = ahash::RandomState::new().hash_one(0);
        let constants = [
            ("direction", &direction.to_ne_bytes()[..]),
            ("columns", &size.columns.to_ne_bytes()),
            ("undisturbed", &undisturbed.to_ne_bytes()),
            ("rows", &size.slots().to_ne_bytes()),
            ("seed", &seed.to_ne_bytes()),
            ("limit", &limit.to_ne_bytes()),
        ];
        let entries = [
            ("slots", size.slots()),
            ("owners", size.slots()),
            ("tallies", size.tallies()),
            ("ordinary", size.slots()),
            ("reserved", size.slots()),
            ("listed", MOST_LISTED),
            ("interfaces", size.interfaces),
            ("all_books", size.books()),
            ("held", size.interfaces),
        ];
        let (program, mut made) = program::load(object, &constants, &entries)?;
        let mut maps = Maps {
            slots: Map::HashMap(made.take("slots")?).try_into()?,
            ordinary: Map::Queue(made.take("ordinary")?).try_into()?,
            reserved: Map::Queue(made.take("reserved")?).try_into()?,
            listed: Map::HashMap(made.take("listed")?).try_into()?,
            interfaces: Map::HashMap(made.take("interfaces")?).try_into()?,
            claims: Vec::new(),
            reserved_for: HashSet::new(),
            reserved_at: None,
            told: false,
            quiet: Quiet::default(),
            numbers: (0..size.interfaces).rev().collect(),
            owed: 0,
        };
        for slot in 0..size.ordinary {
            maps.ordinary.push(slot, 0)?;
        }
        for slot in size.ordinary..size.slots() {
            maps.reserved.push(slot, 0)?;
        }
        let [owners, tallies, books, held] =
            ["owners", "tallies", "all_books", "held"].map(|name| made.take(name));
        let (owners, tallies, books, held) = (owners?, tallies?, books?, held?);
        let arrays = [owners.fd().as_fd(), tallies.fd().as_fd(), books.fd().as_fd(), held.fd().as_fd()];
        let tables = Tables::map(size, arrays)?;
        Ok(Self { program, tables, maps: Mutex::new(maps), spare: Mutex::new(spare_socket().ok()) })
    }

    /// Puts the program on a socket, in the place of any other filter.
    ///
    /// # Errors
    ///
    /// That of setsockopt(2): `ENOMEM` where net.core.optmem_max is too small for the program twice, for the one that
    /// is replaced counts until it has been.
    pub fn attach(&self, socket: impl AsFd) -> io::Result<()> {
        packet::attach(socket, &self.program)
    }

    /// Runs the program on a frame that nobody sent, so many times, for tests and benchmarks. The context is a `struct
    /// __sk_buff`, as far as it is given.
    ///
    /// # Errors
    ///
    /// Those of bpf(2).
    #[doc(hidden)]
    pub fn run(&self, frame: &[u8], context: &[u8], times: u32) -> io::Result<Run> {
        bpf::run(&self.program, frame, context, times)
    }

    /// Whether a socket can hold the program, and have it replaced by itself.
    fn try_attach(&self) -> Result<(), Refusal> {
        let socket = spare_socket().map_err(|error| Refusal::of(&error))?;
        let attached = self.attach(&socket).and_then(|()| self.attach(&socket));
        attached.map_err(|error| Refusal::of_attaching(&error))
    }

    /// Whether `CAP_BPF` is needed for good, not only to load the program.
    pub fn needs_capability(&self) -> bool {
        refusal::linux().is_none_or(|version| version < ANYBODYS)
    }

    /// Waits until no CPU is in the middle of a run of the program that began before: closing a packet socket waits
    /// out a grace period of RCU, which runs of socket filters are inside of (net/packet/af_packet.c:
    /// `packet_release`, `run_filter`). It takes some milliseconds and no CPU.
    pub fn grace(&self) {
        // Without a descriptor to be had, the one that was put by for this serves, until there is another.
        match spare_socket().or_else(|error| self.spare.lock().take().ok_or(error)) {
            Ok(socket) => drop(socket),
            Err(error) => {
                tracing::warn!(%error, "no socket to wait with until frames have been counted; waiting for a second");
                // The longest run takes microseconds.
                thread::sleep(std::time::Duration::from_secs(1));
            }
        }
        let mut spare = self.spare.lock();
        if spare.is_none() {
            *spare = spare_socket().ok();
        }
    }
}

/// A packet socket that hears nothing.
fn spare_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

/// One column for each CPU up to the last that is online now, and one for all others.
fn columns() -> u32 {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let last = online.as_deref().and_then(last_cpu);
    let guess = || thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    last.map_or_else(guess, |last| last.saturating_add(1)).min(MOST_COLUMNS) + 1
}

/// Whether bottom halves may interrupt each other. Such a kernel says so in its version (init/Makefile: `uname -v`).
fn is_realtime() -> bool {
    rustix::system::uname().version().to_string_lossy().contains("PREEMPT_RT")
}

/// The last number of a list such as `0-3,8` (Documentation/admin-guide/cputopology.rst).
fn last_cpu(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests;
