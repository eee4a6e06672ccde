//! What a thread has been told to let go of, and how that is waited for.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::Notify;

use super::roll::Turn;
use super::watched::Watched;
use crate::interface::Interface;

/// An interface that a thread is about to let go of, or a thread that is about to end.
#[derive(Debug)]
pub(super) struct Released(pub(super) Receiver<Infallible>);

impl Released {
    /// Waits until the thread has counted what was left and counts nothing more, or has ended; false if that takes
    /// longer. It takes a batch, or some milliseconds where the sink waits for frames that are being counted elsewhere.
    fn wait(&self, patience: Duration) -> bool {
        // Nothing is ever sent: this is how the end of it is heard of.
        self.0.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Wakes the supervisor when it is dropped.
#[derive(Debug)]
pub(super) struct Ring(pub(super) Arc<Notify>);

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Leaving<S> {
    pub(super) name: String,
    pub(super) index: Option<u32>,
    pub(super) released: Released,
    /// The thread that ends with it, and whether the interface was deleted.
    pub(super) ended: Option<(Watched<S>, bool)>,
    /// It has been waited for in vain.
    pub(super) is_late: bool,
    /// Whoever wants to know whether all come round waits for it, too.
    pub(super) turn: Option<Turn>,
}

impl<S> Leaving<S> {
    pub(super) fn new(
        name: String,
        index: Option<u32>,
        released: Released,
        ended: Option<(Watched<S>, bool)>,
    ) -> Self {
        Self { name, index, released, ended, is_late: false, turn: None }
    }

    /// Whether it is over, in so much time. Who is late is not waited for again.
    pub(super) fn is_over(&self, patience: Duration) -> bool {
        self.released.wait(if self.is_late { Duration::ZERO } else { patience })
    }

    /// Whether nobody else may capture on this interface yet, or count under its name.
    pub(super) fn keeps(&self, interface: &Interface) -> bool {
        self.index == Some(interface.index) || (self.ended.is_some() && self.name == interface.name)
    }
}
