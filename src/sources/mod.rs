//! The sources: who sends, how much, since when.
//!
//! [`Sources`] owns the two counter vectors of the mission, labelled by interface and source MAC, and the
//! room that all interfaces share. Each watched interface has two faces here:
//!
//! - a [`Table`], owned by the thread that captures it: from MAC to cached handles, no lock on the path of a
//!   frame;
//! - a [`Ledger`], seen by whoever renders a page: one [`Snapshot`] of it is consistent in itself, so the
//!   books balance: frames = live sources + expired + untracked + runts.

mod ledger;
mod memory;
mod room;
mod row;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};
use prometheus::{IntCounterVec, Opts};

use room::Room;

use crate::clock::Moment;
use crate::mac::Mac;
use crate::tally::Tallies;

pub use ledger::{Ledger, Snapshot, SourceSample};
pub use memory::{Forgetful, Memory, Remembered};
pub use room::{MOST_RESERVED, Nobody, Roster, Standing};
pub use row::Row;
pub use table::Table;

/// Name and help of the counter vectors; the page exposes them under these words.
pub const FRAMES: (&str, &str) = (
    "macwatch_source_frames_total",
    "Frames on the wire sent by this MAC address. Scrapers see a new source at 0 once (zero first).",
);
/// See [`FRAMES`].
pub const BYTES: (&str, &str) = (
    "macwatch_source_bytes_total",
    "Bytes on the wire sent by this MAC address: Ethernet headers included, frame check sequences not. Scrapers see a new source at 0 once (zero first).",
);
/// The labels of both vectors. The second has a fixed length, so that no two pairs concatenate alike: the
/// crate hashes them without a separator.
pub const LABELS: [&str; 2] = ["interface", "source_mac"];

/// How many sources are remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sources of one interface, those with reserved room aside.
    pub per_interface: usize,
    /// Most sources of all interfaces together, those with reserved room aside.
    pub total: usize,
    /// A source silent for longer is forgotten.
    pub idle_timeout: Duration,
}

impl Limits {
    /// Most sources that one interface may come to have.
    pub fn most_per_interface(&self) -> usize {
        self.per_interface.min(self.total)
    }
}

/// All sources of all interfaces.
#[derive(Debug)]
pub struct Sources {
    frames: IntCounterVec,
    bytes: IntCounterVec,
    limits: Limits,
    room: Room,
    roster: Arc<dyn Roster>,
    memory: Arc<dyn Memory>,
    ledgers: RwLock<BTreeMap<Arc<str>, Arc<Ledger>>>,
    /// The number of the newest source. Held while one gets its number and its entry, and while a page is read:
    /// so a page has every source up to this number, and none above it.
    newest: Mutex<u64>,
    mirrors: Mutex<Vec<Weak<Mutex<Table>>>>,
}

/// A table whose frames something else counts, shared by who looks after it and who makes pages. Dropped, its books
/// are closed, though a page that is being made may have the table in its hands.
#[derive(Debug)]
pub struct Mirror(Arc<Mutex<Table>>);

impl Mirror {
    /// The table.
    pub fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.lock().close(Moment::now());
    }
}

impl Sources {
    /// No sources yet, and none remembered. The roster says who will have reserved room.
    ///
    /// # Errors
    ///
    /// Only if the crate refuses the names of the vectors, which a test rules out.
    pub fn new(limits: Limits, roster: Arc<dyn Roster>) -> prometheus::Result<Arc<Self>> {
        Self::with_memory(limits, roster, Arc::new(Forgetful))
    }

    /// The same with a memory of sources from before.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_memory(
        limits: Limits,
        roster: Arc<dyn Roster>,
        memory: Arc<dyn Memory>,
    ) -> prometheus::Result<Arc<Self>> {
        let vector = |(name, help): (&str, &str)| IntCounterVec::new(Opts::new(name, help), &LABELS);
        Ok(Arc::new(Self {
            frames: vector(FRAMES)?,
            bytes: vector(BYTES)?,
            limits,
            room: Room::new(limits.total),
            roster,
            memory,
            ledgers: RwLock::default(),
            newest: Mutex::default(),
            mirrors: Mutex::default(),
        }))
    }

    /// The limits that all tables keep to.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The counter vectors: frames, bytes. The page is written from the tables' own handles to the same
    /// counters; these are for whoever wants to `gather` them.
    pub fn vectors(&self) -> (&IntCounterVec, &IntCounterVec) {
        (&self.frames, &self.bytes)
    }

    /// Opens the books of an interface. They are on the page until the table is dropped. Sources that are
    /// remembered are in them from the start, with nothing counted yet.
    ///
    /// One interface has one table at a time: the series of a second one of the same name would be the same.
    pub fn open(self: &Arc<Self>, interface: &str) -> Table {
        self.new_table(interface, None)
    }

    /// The same for frames that something else counts. The table is brought up to date whenever a snapshot is taken.
    pub fn open_mirror(self: &Arc<Self>, interface: &str, tallies: Box<dyn Tallies>) -> Mirror {
        let table = Arc::new(Mutex::new(self.new_table(interface, Some(tallies))));
        let mut mirrors = self.mirrors.lock();
        mirrors.retain(|mirror| mirror.strong_count() > 0);
        mirrors.push(Arc::downgrade(&table));
        Mirror(table)
    }

    /// How many sources there are on all interfaces.
    pub fn tracked(&self) -> usize {
        self.ledgers.read().values().map(|ledger| ledger.entries.lock().live.len()).sum()
    }

    fn new_table(self: &Arc<Self>, interface: &str, tallies: Option<Box<dyn Tallies>>) -> Table {
        let ledger = Arc::new(Ledger::new(interface));
        // Before sources are numbered: no page has a number that counts sources which it does not show.
        self.ledgers.write().insert(ledger.interface().clone(), Arc::clone(&ledger));
        Table::new(Arc::clone(self), ledger, tallies, Moment::now())
    }

    /// Brings the tables up to date whose frames something else counts, and what counts them with the roster.
    pub fn catch_up(&self) {
        let tables: Vec<_> = self.mirrors.lock().iter().filter_map(Weak::upgrade).collect();
        let now = Moment::now();
        for table in tables {
            table.lock().catch_up(now);
        }
    }

    /// A consistent view of each interface, in order of name.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        self.numbered_snapshot().0
    }

    /// The same, and the number of the newest source in it. There is none above it; of those up to it, all are
    /// there that have not been forgotten.
    pub fn numbered_snapshot(&self) -> (Vec<Snapshot>, u64) {
        self.catch_up();
        let newest = self.newest.lock();
        let ledgers: Vec<_> = self.ledgers.read().values().map(Arc::clone).collect();
        let books = ledgers.iter().map(|ledger| ledger.snapshot()).collect();
        (books, *newest)
    }

    /// Numbers a new source and puts it on the page. One that is only remembered has not appeared yet.
    fn enter(&self, ledger: &Ledger, mac: Mac, row: Arc<Row>, appeared: bool) {
        let mut newest = self.newest.lock();
        *newest += 1;
        row.set_number(*newest);
        if !appeared {
            row.set_counted_since(ledger.opened_unix_ms());
        }
        let mut entries = ledger.entries.lock();
        entries.live.insert(mac, row);
        entries.appeared += u64::from(appeared);
    }

    fn close(&self, ledger: &Arc<Ledger>) {
        let mut ledgers = self.ledgers.write();
        if ledgers.get(ledger.interface()).is_some_and(|current| Arc::ptr_eq(current, ledger)) {
            ledgers.remove(ledger.interface());
        }
    }
}
