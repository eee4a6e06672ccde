//! Random histories of two interfaces.

use super::*;
use crate::sources::Memory;

/// What can happen.
#[derive(Clone, Debug)]
enum Event {
    /// A frame of this source on the interface of this table.
    Frame { table: usize, source: u64, late: bool },
    /// Frames that are under way are counted.
    Grace,
    /// A page is made.
    Page,
    /// A capturing thread looks after its table, in the way of `exporter::Counter`.
    Upkeep { table: usize, interrupted: bool },
    /// Time goes by.
    Wait { seconds: u64 },
    /// The inventory changes, and the tables learn of it just after a frame of this source.
    List { listed: Vec<u64>, surprise: Option<(usize, u64)> },
    /// The interface is deleted and made anew.
    Anew { table: usize },
    /// It has gone; frames are nobody's until it is back.
    Gone { table: usize },
    /// The interface takes another name: other books.
    Rename { table: usize },
    /// The two swap names, and their interfaces with them; a frame may arrive when one has learnt of it.
    Swap { between: Option<u64> },
}

fn event() -> impl Strategy<Value = Event> {
    let table = || 0..2usize;
    prop_oneof![
        20 => (table(), 0..12u64, any::<bool>())
            .prop_map(|(table, source, late)| Event::Frame { table, source, late }),
        2 => Just(Event::Grace),
        4 => Just(Event::Page),
        6 => (table(), any::<bool>()).prop_map(|(table, interrupted)| Event::Upkeep { table, interrupted }),
        4 => (1..9u64).prop_map(|seconds| Event::Wait { seconds }),
        2 => (proptest::collection::vec(0..12u64, 0..5), proptest::option::of((table(), 0..12u64)))
            .prop_map(|(listed, surprise)| Event::List { listed, surprise }),
        1 => table().prop_map(|table| Event::Anew { table }),
        1 => table().prop_map(|table| Event::Gone { table }),
        1 => table().prop_map(|table| Event::Rename { table }),
        1 => proptest::option::of(0..12u64).prop_map(|between| Event::Swap { between }),
    ]
}

/// Remembers two sources of each interface that books are opened for, seen at this time.
#[derive(Debug)]
struct Two(u64);

impl Memory for Two {
    fn find(&self, _: &str, _: Mac) -> Option<Remembered> {
        None
    }
    fn appeared(&self) {}
    fn recall(&self, _: &str) -> Vec<Remembered> {
        let seen = self.0;
        let remembered = |n| Remembered { mac: mac(n), first_seen_unix_ms: seen, last_seen_unix_ms: seen };
        [1, 2].map(remembered).to_vec()
    }
    fn keep(&self, _: &Arc<str>, _: Remembered, _: Moment) {}
}

struct World {
    kernel: Arc<Mutex<Kernel>>,
    sources: Arc<Sources>,
    list: Arc<List>,
    tables: Vec<Mirror>,
    /// The index of each table's interface, if it is there.
    indexes: [Option<u32>; 2],
    next: u32,
    /// Books are opened by the real clock; from there on time is ours.
    now: Moment,
    sent: u64,
    /// Frames of books that have been closed.
    closed: u64,
}

impl World {
    fn new() -> Self {
        let (kernel, list) = (Kernel::new(), Arc::new(List::default()));
        let roster = Arc::<List>::clone(&list);
        let (limits, now) = (limits(PER_INTERFACE, TOTAL), Moment::now());
        kernel.lock().steady_ms = now.steady_ms;
        let sources = Sources::with_memory(limits, roster, Arc::new(Two(now.unix_ms))).unwrap();
        let mut world = Self {
            kernel,
            sources,
            list,
            tables: Vec::new(),
            indexes: [None; 2],
            next: 10,
            now,
            sent: 0,
            closed: 0,
        };
        for table in 0..2 {
            let opened = world.open();
            world.tables.push(opened);
            world.target(table);
        }
        world
    }

    fn open(&mut self) -> Mirror {
        self.next += 1;
        self.sources.open_mirror(&format!("if{}", self.next), Box::new(Fake::new(&self.kernel)))
    }

    fn target(&mut self, table: usize) {
        self.next += 1;
        self.indexes[table] = Some(self.next);
        self.tables[table].lock().target(self.next, self.now);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame { table, source, late } => {
                let interface = self.indexes[table].unwrap_or_else(|| {
                    self.target(table);
                    self.next
                });
                self.kernel.lock().frame(interface, mac(source), late);
                self.sent += 1;
            }
            Event::Grace => Fake::new(&self.kernel).grace(),
            Event::Page => self.page(),
            Event::Upkeep { table, interrupted } => self.upkeep(table, interrupted),
            Event::Wait { seconds } => {
                self.now.unix_ms += seconds * 1000;
                self.now.steady_ms += seconds * 1000;
                self.kernel.lock().steady_ms = self.now.steady_ms;
            }
            Event::List { listed, surprise } => {
                self.list.set(&listed, &[]);
                let Some((table, source)) = surprise else { return };
                if let Some(interface) = self.indexes[table] {
                    self.kernel.lock().surprise = Some((interface, mac(source)));
                    self.sent += 1;
                    self.upkeep(table, false);
                }
            }
            Event::Anew { table } => self.target(table),
            Event::Gone { table } => {
                self.tables[table].lock().release(self.now);
                self.indexes[table] = None;
            }
            Event::Rename { table } => {
                let Some(interface) = self.indexes[table] else { return };
                let opened = self.open();
                opened.lock().target(interface, self.now);
                let before = std::mem::replace(&mut self.tables[table], opened);
                // As when it is dropped, and what it had counted is looked at.
                before.lock().close(self.now);
                self.closed += before.lock().ledger.snapshot().frames();
            }
            Event::Swap { between } => {
                let [Some(first), Some(second)] = self.indexes else { return };
                self.tables[0].lock().target(second, self.now);
                if let Some(source) = between {
                    self.kernel.lock().frame(second, mac(source), false);
                    self.sent += 1;
                }
                self.tables[1].lock().target(first, self.now);
                self.indexes.swap(0, 1);
            }
        }
        self.kernel.lock().check();
    }

    fn upkeep(&self, table: usize, interrupted: bool) {
        let mut locked = self.tables[table].lock();
        locked.expire(self.now);
        if locked.is_waiting() && !interrupted {
            drop(locked);
            Fake::new(&self.kernel).grace();
            self.tables[table].lock().finish(self.now);
        }
    }

    /// What a page says is never more than what was sent, and its books balance.
    fn page(&self) {
        let books = self.sources.snapshot();
        let shown: u64 = books.iter().map(|books| books.frames()).sum();
        assert!(shown + self.closed <= self.sent, "{shown} shown, {} sent", self.sent);
        for books in &books {
            let macs: BTreeSet<Mac> = books.sources.iter().map(|source| source.mac).collect();
            assert_eq!(macs.len(), books.sources.len());
        }
    }

    /// When nothing is under way any more, every frame is in the books once.
    fn settle(&self) {
        Fake::new(&self.kernel).grace();
        (0..2).for_each(|table| self.upkeep(table, false));
        for table in &self.tables {
            let table = table.lock();
            for (mac, handles) in &table.rows {
                let listed = self.list.standing(*mac).is_reserved();
                assert!(listed || handles.place == Place::Ordinary, "{mac} has room that it may not have");
            }
        }
        let books = self.sources.snapshot();
        let shown: u64 = books.iter().map(|books| books.frames()).sum();
        assert_eq!(shown + self.closed, self.sent, "{:?}", self.kernel.lock());
        let bytes: u64 = books.iter().map(|books| books.bytes()).sum();
        assert_eq!(bytes, shown * 60);
        self.kernel.lock().check();
    }
}

impl World {
    /// After all have been silent for long enough, ordinary room is free again, all of it, and what is reserved is
    /// held by those who are listed.
    fn fall_silent(mut self) {
        self.settle();
        self.list.set(&[], &[]);
        for _ in 0..4 {
            self.happen(Event::Wait { seconds: 100 });
            (0..2).for_each(|table| self.upkeep(table, false));
        }
        self.settle();
        let kernel = self.kernel.lock();
        let free = (kernel.ordinary.len(), kernel.reserved.len(), kernel.owed);
        assert_eq!(free, (TOTAL, RESERVED, 0), "{kernel:?}");
        assert!(kernel.held.values().all(|held| *held == 0), "{kernel:?}");
        assert!(kernel.hash.is_empty());
        drop(kernel);
        assert_eq!(self.sources.snapshot().iter().map(|books| books.sources.len()).sum::<usize>(), 0);
        assert!(!self.sources.room.is_crowded());
        drop(self.tables);
        self.kernel.lock().check();
    }
}

proptest! {
    #[test]
    fn no_history_loses_a_frame_or_a_slot(events in proptest::collection::vec(event(), 0..120)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        world.fall_silent();
    }
}
