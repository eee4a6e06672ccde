//! One watched interface as the supervisor sees it, and what the log is told of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::leaving::Leaving;
use super::worker::{Sink, Worker};
use super::{Link, Status};
use crate::interface::Interface;

/// A change for the worse is logged when it has lasted this long: `ip link del` takes an interface down
/// first, and one thing that happened deserves one line.
const SETTLE: Duration = Duration::from_millis(300);

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) worker: Worker<S>,
    pub(super) status: Arc<Status>,
    /// Asked for by name: it is waited for when it is not there.
    pub(super) named: bool,
    /// The index that the worker was told to capture on.
    pub(super) index: Option<u32>,
    /// The state that the log told last.
    pub(super) told: Link,
    /// When to tell of a change for the worse, if it lasts.
    pub(super) tell_at: Option<Instant>,
}

impl<S> Watched<S> {
    /// Notes the state of the interface, and tells the log: at once when it is for the better.
    pub(super) fn become_(&mut self, link: Link, interface: Option<&Interface>) {
        self.status.set_link(link, interface.and_then(|interface| interface.mac));
        if link == Link::Up {
            // Not before frames are captured: who reads the line may rely on it. The thread rings when it is so.
            if self.status.capture_up() && (self.told != Link::Up || self.tell_at.is_some()) {
                self.tell();
            }
        } else if link == self.told {
            self.tell_at = None;
        } else if self.tell_at.is_none() {
            self.tell_at = Some(Instant::now() + SETTLE);
        }
    }

    pub(super) fn tell(&mut self) {
        self.tell_at = None;
        if self.status.link() == Link::Up && !self.status.capture_up() {
            return;
        }
        let interface = self.status.interface();
        self.told = self.status.link();
        match self.told {
            Link::Up => {
                let mac = self.status.mac().map(|mac| mac.to_string());
                let queue_bytes = self.status.queue_bytes();
                let engine = self.status.engine();
                tracing::info!(interface, mac, engine, queue_bytes, "capturing");
            }
            Link::Down => tracing::warn!(interface, "interface is down; capturing goes on when it is up"),
            Link::Absent => tracing::warn!(interface, "interface is gone; waiting for it"),
            Link::Unfit => {
                tracing::error!(interface, "interface cannot be watched; see `macwatch interfaces`");
            }
        }
    }
}

impl<S: Sink> Watched<S> {
    /// Captures there no longer; the name stays.
    pub(super) fn let_go(&mut self, name: &str) -> Option<Leaving<S>> {
        let index = self.index.take()?;
        let released = self.worker.release();
        Some(Leaving::new(name.to_owned(), Some(index), released, None))
    }

    /// Captures no longer at all. `deleted`: the interface has gone.
    pub(super) fn end(mut self, deleted: bool) -> Option<Leaving<S>> {
        let released = self.worker.end()?;
        let name = self.status.interface().to_owned();
        let index = self.index;
        Some(Leaving::new(name, index, released, Some((self, deleted))))
    }
}
