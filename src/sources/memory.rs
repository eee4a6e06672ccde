//! What is known of sources from before: the seam to whatever remembers them.

use std::fmt;
use std::sync::Arc;

use crate::clock::Moment;
use crate::mac::Mac;

/// When a source was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The address.
    pub mac: Mac,
    /// Unix time of its first frame ever, in milliseconds.
    pub first_seen_unix_ms: u64,
    /// Unix time of its newest frame, in milliseconds.
    pub last_seen_unix_ms: u64,
}

impl Remembered {
    /// How long it is known to have been around, in milliseconds.
    pub fn life_ms(&self) -> u64 {
        self.last_seen_unix_ms.saturating_sub(self.first_seen_unix_ms)
    }
}

/// Remembers sources for longer than there are rows for them. Asked and told when a row comes or goes, never
/// for a frame of a source that has one.
pub trait Memory: fmt::Debug + Send + Sync {
    /// What is known of a source that is to get a row, if it was ever seen before.
    fn find(&self, interface: &str, mac: Mac) -> Option<Remembered>;

    /// A source has been given a row: the next snapshot has it.
    fn appeared(&self);

    /// All that are remembered of an interface whose books are opened.
    fn recall(&self, interface: &str) -> Vec<Remembered>;

    /// A source loses its row.
    fn keep(&self, interface: &Arc<str>, source: Remembered, now: Moment);
}

/// Remembers nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetful;

impl Memory for Forgetful {
    fn find(&self, _: &str, _: Mac) -> Option<Remembered> {
        None
    }

    fn appeared(&self) {}

    fn recall(&self, _: &str) -> Vec<Remembered> {
        Vec::new()
    }

    fn keep(&self, _: &Arc<str>, _: Remembered, _: Moment) {}
}
