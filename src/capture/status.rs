//! What is known of the capture on each watched interface, for whoever asks: pages, metrics, the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use super::{Hearing, PacketSocket};
use crate::clock::Moment;
use crate::mac::Mac;

/// The state of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Link {
    /// There is no such interface.
    Absent,
    /// It is administratively down.
    Down,
    /// It is administratively up.
    Up,
    /// It is of a kind that cannot be watched.
    Unfit,
}

/// One watched interface.
#[derive(Debug)]
pub struct Status {
    interface: String,
    since_unix_ms: u64,
    link: AtomicU8,
    bound: AtomicBool,
    mac: Mutex<Option<Mac>>,
    rebinds: AtomicU64,
    unreadable: AtomicU64,
    dropped: AtomicU64,
    engine: &'static str,
    /// What is captured with; none if that could not be started.
    socket: Option<Arc<PacketSocket>>,
    /// Rung when a capture begins or ends.
    changed: Arc<Notify>,
}

impl Status {
    pub(super) fn new(interface: &str, socket: Arc<PacketSocket>, changed: Arc<Notify>) -> Self {
        let engine = socket.hearing().engine();
        Self { socket: Some(socket), ..Self::missing(interface, engine, changed) }
    }

    /// Without a capture, which could not be started.
    pub(super) fn missing(interface: &str, engine: &'static str, changed: Arc<Notify>) -> Self {
        Self {
            interface: interface.to_owned(),
            since_unix_ms: Moment::now().unix_ms,
            link: AtomicU8::new(Link::Absent as u8),
            bound: AtomicBool::new(false),
            mac: Mutex::new(None),
            rebinds: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            engine,
            socket: None,
            changed,
        }
    }

    /// The same capture under another name; what was counted so far is the old name's.
    pub(super) fn renamed(&self, interface: &str) -> Self {
        let status = Self {
            socket: self.socket.clone(),
            ..Self::missing(interface, self.engine, Arc::clone(&self.changed))
        };
        status.set_link(self.link(), self.mac());
        status.set_bound(self.bound.load(Ordering::Relaxed));
        status
    }

    /// The name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Unix time since which its counters count, in milliseconds.
    pub fn since_unix_ms(&self) -> u64 {
        self.since_unix_ms
    }

    /// Whether frames are being captured.
    pub fn capture_up(&self) -> bool {
        self.bound.load(Ordering::Relaxed) && self.link() == Link::Up
    }

    /// The state of the interface.
    pub fn link(&self) -> Link {
        match self.link.load(Ordering::Relaxed) {
            link if link == Link::Up as u8 => Link::Up,
            link if link == Link::Down as u8 => Link::Down,
            link if link == Link::Unfit as u8 => Link::Unfit,
            _ => Link::Absent,
        }
    }

    /// The interface's own address, if it was ever there.
    pub fn mac(&self) -> Option<Mac> {
        *self.mac.lock()
    }

    /// How often the capture had to be bound again.
    pub fn rebinds(&self) -> u64 {
        self.rebinds.load(Ordering::Relaxed)
    }

    /// The engine that counts: `kernel` or `channel`.
    pub fn engine(&self) -> &'static str {
        self.engine
    }

    /// Frames that the kernel saw for us and could not hand over: no room in the queue, or no way to describe
    /// them. A super-frame counts once: what was dropped cannot be taken apart. None with the kernel engine, which
    /// counts frames before they are handed over.
    pub fn dropped_frames(&self) -> u64 {
        self.not_handed_over(|hearing| matches!(hearing, Hearing::All(_)))
    }

    /// Notices of new sources that were lost in the same way. They are counted all the same.
    pub fn missed_notices(&self) -> u64 {
        self.not_handed_over(|hearing| matches!(hearing, Hearing::Notices(_)))
    }

    /// 0 if what the socket hears is something else.
    fn not_handed_over(&self, is_meant: impl FnOnce(&Hearing) -> bool) -> u64 {
        let Some(socket) = self.socket.as_ref().filter(|socket| is_meant(socket.hearing())) else { return 0 };
        // The kernel forgets the number as it tells it, so whoever asks must add it up. An error would say
        // that the socket is closed, and ours is open.
        if let Ok(drops) = socket.take_drops() {
            self.dropped.fetch_add(u64::from(drops), Ordering::Relaxed);
        }
        self.dropped.load(Ordering::Relaxed) + self.unreadable.load(Ordering::Relaxed)
    }

    /// What is captured with.
    pub(super) fn socket(&self) -> Option<Arc<PacketSocket>> {
        self.socket.clone()
    }

    /// Bytes of memory that the receive queue may take.
    pub(super) fn queue_bytes(&self) -> usize {
        self.socket.as_ref().map_or(0, |socket| socket.queue_bytes())
    }

    pub(super) fn set_link(&self, link: Link, mac: Option<Mac>) {
        self.link.store(link as u8, Ordering::Relaxed);
        if mac.is_some() {
            *self.mac.lock() = mac;
        }
    }

    pub(super) fn set_bound(&self, bound: bool) {
        self.bound.store(bound, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// What is rung when a capture begins or ends.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    pub(super) fn count_rebind(&self) {
        self.rebinds.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_unreadable(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }
}

/// All watched interfaces.
#[derive(Debug, Default)]
pub struct Board {
    interfaces: RwLock<BTreeMap<String, Arc<Status>>>,
    /// Marked whenever the interfaces have been looked at.
    settled: watch::Sender<()>,
}

impl Board {
    /// The watched interfaces, in order of name.
    pub fn list(&self) -> Vec<Arc<Status>> {
        self.interfaces.read().values().cloned().collect()
    }

    /// Sees a change whenever the interfaces have been looked at: when one changed, or a capture began or ended.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.settled.subscribe()
    }

    pub(super) fn settle(&self) {
        self.settled.send_replace(());
    }

    pub(super) fn add(&self, status: &Arc<Status>) {
        self.interfaces.write().insert(status.interface.clone(), Arc::clone(status));
    }

    pub(super) fn remove(&self, interface: &str) {
        self.interfaces.write().remove(interface);
    }
}
