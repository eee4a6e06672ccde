//! What survives a restart: when each source was first and last seen.
//!
//! [`store`] holds it and keeps it bounded, [`format`] writes it down and reads it back, [`file`] puts that on
//! the disk so that a crash leaves the old or the new one, and [`pace`] says when that is worth a write.
//! [`examine`] tells a person what is wrong with a file. No threads and no timers: whoever uses it brings the
//! time.

pub mod examine;
pub mod file;
pub mod format;
pub mod pace;
pub mod store;

use std::sync::Arc;

use crate::mac::Mac;

/// When a source was seen. Unix time in milliseconds; the first is never after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its first frame ever.
    pub first_unix_ms: u64,
    /// Its newest one.
    pub last_unix_ms: u64,
}

impl Seen {
    /// How long it is known to have been around.
    pub fn life_ms(self) -> u64 {
        self.last_unix_ms.saturating_sub(self.first_unix_ms)
    }
}

/// One source on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The interface's name.
    pub interface: Arc<str>,
    /// The address.
    pub mac: Mac,
    /// When.
    pub seen: Seen,
}

/// All that a state file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// When the file was first made, Unix time in milliseconds.
    pub created_unix_ms: u64,
    /// The sources.
    pub entries: Vec<Entry>,
}
