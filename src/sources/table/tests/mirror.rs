//! A table whose frames are counted elsewhere, held against a model of the kernel's tables: whatever happens in
//! whatever order, no frame is lost or counted twice, and no slot is anybody's but its owner's.

use std::collections::{BTreeSet, HashSet};

use parking_lot::Mutex;

use super::*;
use crate::sources::Mirror;
use crate::tally::{Newcomer, Outside};

const TOTAL: usize = 6;
const PER_INTERFACE: usize = 4;
const RESERVED: usize = 3;

/// What count.bpf.c and its maps do, in one place and one thread.
#[derive(Debug, Default)]
struct Kernel {
    hash: HashMap<(Mac, u32), Slot>,
    slots: Vec<Option<Taken>>,
    ordinary: Vec<Slot>,
    reserved: Vec<Slot>,
    /// Reserved slots that are lent to ordinary sources.
    owed: usize,
    listed: HashSet<Mac>,
    /// From index to number.
    interfaces: HashMap<u32, usize>,
    held: HashMap<usize, i64>,
    outside: HashMap<usize, Outside>,
    /// Frames that have found their slot, and are not counted in it yet.
    under_way: Vec<Slot>,
    numbers: usize,
    steady_ms: u64,
    /// A frame that arrives just before the roster does.
    surprise: Option<(u32, Mac)>,
}

#[derive(Clone, Debug)]
struct Taken {
    mac: Mac,
    number: usize,
    interface: u32,
    place: Place,
    is_accepted: bool,
    reading: Reading,
}

impl Kernel {
    fn new() -> Arc<Mutex<Self>> {
        let all: Vec<Slot> = (0..).take(TOTAL + RESERVED).collect();
        Arc::new(Mutex::new(Self {
            slots: vec![None; all.len()],
            ordinary: all[..TOTAL].to_vec(),
            reserved: all[TOTAL..].to_vec(),
            steady_ms: 1000,
            ..Self::default()
        }))
    }

    /// A frame arrives; where it is counted, if anywhere. `late`: it is counted with the next grace period.
    fn frame(&mut self, interface: u32, mac: Mac, late: bool) {
        if let Some(slot) = self.hash.get(&(mac, interface)).copied() {
            return if late { self.under_way.push(slot) } else { self.count(slot) };
        }
        let number = *self.interfaces.get(&interface).expect("an interface that is captured has its books");
        match self.enter(interface, mac, number) {
            Some(slot) => self.count(slot),
            None => {
                let outside = self.outside.entry(number).or_default();
                outside.untracked_frames += 1;
                outside.untracked_bytes += 60;
            }
        }
    }

    fn count(&mut self, slot: Slot) {
        let now = self.steady_ms;
        let reading = &mut self.slots[slot as usize].as_mut().expect("counted in a free slot").reading;
        if reading.frames == 0 {
            reading.first_steady_ms = now;
        }
        reading.last_steady_ms = now;
        reading.frames += 1;
        reading.bytes += 60;
    }

    fn enter(&mut self, interface: u32, mac: Mac, number: usize) -> Option<Slot> {
        let reserved = if self.listed.contains(&mac) { self.reserved.pop() } else { None };
        let (slot, place) = match reserved {
            Some(slot) => (slot, Place::Reserved),
            None if self.held.get(&number).copied().unwrap_or(0) >= PER_INTERFACE as i64 => return None,
            None => (self.ordinary.pop()?, Place::Ordinary),
        };
        self.take(
            slot,
            Taken { mac, number, interface, place, is_accepted: false, reading: Reading::default() },
        );
        Some(slot)
    }

    fn take(&mut self, slot: Slot, taken: Taken) {
        self.hold(taken.number, taken.place, 1);
        let before = self.hash.insert((taken.mac, taken.interface), slot);
        assert_eq!(before, None, "two slots of one source");
        assert!(self.slots[slot as usize].replace(taken).is_none(), "a slot was handed out twice");
    }

    fn hold(&mut self, number: usize, place: Place, change: i64) {
        if place == Place::Ordinary {
            *self.held.entry(number).or_default() += change;
        }
    }

    fn push(&mut self, slot: Slot, place: Place) {
        if place == Place::Ordinary && self.owed > 0 {
            self.owed -= 1;
            self.reserved.push(slot);
        } else if place == Place::Ordinary {
            self.ordinary.push(slot);
        } else {
            self.reserved.push(slot);
        }
    }

    fn forget(&mut self, mac: Mac, interface: u32, slot: Slot) {
        if self.hash.get(&(mac, interface)) == Some(&slot) {
            self.hash.remove(&(mac, interface));
        }
    }

    /// Each slot is free or somebody's, once.
    fn check(&self) {
        let free: BTreeSet<Slot> = self.ordinary.iter().chain(&self.reserved).copied().collect();
        assert_eq!(free.len(), self.ordinary.len() + self.reserved.len(), "freed twice: {self:?}");
        for (slot, taken) in (0..).zip(&self.slots) {
            assert_ne!(taken.is_some(), free.contains(&slot), "slot {slot}: {self:?}");
        }
        for ((mac, interface), slot) in &self.hash {
            let taken = self.slots[*slot as usize].as_ref().expect("the hash leads to a free slot");
            assert_eq!((taken.mac, taken.interface), (*mac, *interface), "{self:?}");
        }
        assert!(self.held.values().all(|held| *held >= 0), "{self:?}");
    }
}

#[derive(Debug)]
struct Fake {
    kernel: Arc<Mutex<Kernel>>,
    number: usize,
    interface: Option<u32>,
}

impl Fake {
    fn new(kernel: &Arc<Mutex<Kernel>>) -> Self {
        let mut locked = kernel.lock();
        locked.numbers += 1;
        Self { kernel: Arc::clone(kernel), number: locked.numbers, interface: None }
    }
}

impl Tallies for Fake {
    fn target(&mut self, index: u32) {
        if self.interface != Some(index) {
            self.release();
            let kernel = &mut *self.kernel.lock();
            for (slot, taken) in (0..).zip(&mut kernel.slots) {
                if let Some(taken) = taken.as_mut().filter(|taken| taken.number == self.number) {
                    taken.interface = index;
                    kernel.hash.insert((taken.mac, index), slot);
                }
            }
        }
        self.interface = Some(index);
        self.kernel.lock().interfaces.insert(index, self.number);
    }

    fn release(&mut self) {
        self.close();
        self.interface = None;
        let mut kernel = self.kernel.lock();
        for (slot, taken) in (0..).zip(&kernel.slots.clone()) {
            if let Some(taken) = taken.as_ref().filter(|taken| taken.number == self.number) {
                kernel.forget(taken.mac, taken.interface, slot);
            }
        }
    }

    fn close(&mut self) {
        let mut kernel = self.kernel.lock();
        if let Some(index) = self.interface
            && kernel.interfaces.get(&index) == Some(&self.number)
        {
            kernel.interfaces.remove(&index);
        }
    }

    fn newcomers(&mut self) -> Vec<Newcomer> {
        let kernel = self.kernel.lock();
        let slots = (0..).zip(&kernel.slots);
        slots
            .filter_map(|(slot, taken)| Some((slot, taken.as_ref()?)))
            .filter(|(_, taken)| taken.number == self.number && !taken.is_accepted)
            .map(|(slot, taken)| Newcomer { mac: taken.mac, slot, place: taken.place })
            .collect()
    }

    fn accept(&mut self, slot: Slot) {
        self.kernel.lock().slots[slot as usize].as_mut().unwrap().is_accepted = true;
    }

    fn read(&self, slot: Slot) -> Reading {
        let kernel = self.kernel.lock();
        let taken = kernel.slots[slot as usize].as_ref().expect("a free slot was read");
        assert_eq!(taken.number, self.number, "another's slot was read");
        taken.reading
    }

    fn outside(&self) -> Outside {
        self.kernel.lock().outside.get(&self.number).copied().unwrap_or_default()
    }

    fn admit(&mut self, mac: Mac, place: Place) -> Option<Slot> {
        let mut kernel = self.kernel.lock();
        let interface = self.interface?;
        if kernel.hash.contains_key(&(mac, interface)) {
            return None;
        }
        let slot = if place == Place::Ordinary { kernel.ordinary.pop() } else { kernel.reserved.pop() }?;
        let reading = Reading::default();
        kernel.take(slot, Taken { mac, number: self.number, interface, place, is_accepted: true, reading });
        Some(slot)
    }

    fn shift(&mut self, to: Place) -> bool {
        let mut kernel = self.kernel.lock();
        if to == Place::Reserved {
            let Some(slot) = kernel.reserved.pop() else { return false };
            kernel.push(slot, Place::Ordinary);
            kernel.hold(self.number, Place::Ordinary, -1);
        } else {
            match kernel.ordinary.pop() {
                Some(slot) => kernel.push(slot, Place::Reserved),
                None => kernel.owed += 1,
            }
            kernel.hold(self.number, Place::Ordinary, 1);
        }
        true
    }

    fn dismiss(&mut self, mac: Mac, slot: Slot) -> bool {
        if let Some(interface) = self.interface {
            self.kernel.lock().forget(mac, interface, slot);
        }
        true
    }

    fn grace(&self) {
        let mut kernel = self.kernel.lock();
        for slot in std::mem::take(&mut kernel.under_way) {
            kernel.count(slot);
        }
    }

    fn free(&mut self, slot: Slot, place: Place) {
        let mut kernel = self.kernel.lock();
        assert!(!kernel.under_way.contains(&slot), "freed while something is counted in it");
        assert!(!kernel.hash.values().any(|found| *found == slot), "freed while it can be found");
        let taken = kernel.slots[slot as usize].take().expect("freed twice");
        assert_eq!(taken.number, self.number, "another's slot was freed");
        kernel.hold(self.number, place, -1);
        kernel.push(slot, place);
    }

    fn reserve(&mut self, _: u64, macs: &dyn Fn() -> Vec<Mac>) {
        let mut kernel = self.kernel.lock();
        if let Some((interface, mac)) = kernel.surprise.take() {
            kernel.frame(interface, mac, false);
        }
        kernel.listed = macs().into_iter().collect();
    }
}

#[test]
fn who_was_refused_is_not_said_to_be_crowded_out() {
    let kernel = Kernel::new();
    let sources = sources(limits(8, 8)).unwrap();
    let mirror = sources.open_mirror("eth0", Box::new(Fake::new(&kernel)));
    let told = |untracked_frames, refused_frames| {
        let outside = Outside { untracked_frames, refused_frames, ..Outside::default() };
        kernel.lock().outside.insert(1, outside);
        assert_eq!(sources.snapshot()[0].frames(), untracked_frames, "each is counted");
        mirror.lock().told_full
    };
    assert!(!told(3, 3));
    assert!(!told(3, 3));
    assert!(told(4, 3));
}

#[test]
fn the_end_of_reserved_room_is_told() {
    let kernel = Kernel::new();
    let list = Arc::new(List::default());
    let listed: Vec<u64> = (0..=RESERVED as u64).collect();
    list.set(&listed, &[]);
    let sources = Sources::new(limits(PER_INTERFACE, TOTAL), Arc::<List>::clone(&list)).unwrap();
    let mirror = sources.open_mirror("eth0", Box::new(Fake::new(&kernel)));
    mirror.lock().target(1, at(0));
    for n in listed {
        kernel.lock().frame(1, mac(n), false);
        sources.snapshot();
        assert_eq!(sources.room.has_told(), n == RESERVED as u64, "{n}");
    }
}

mod model;
