//! Interfaces that ought to be captured and are not, because it could not be started. They are on the board with no
//! capture, so that whoever asks sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Board, Link, Status};
use crate::mac::Mac;

/// See the module's docs.
#[derive(Debug, Default)]
pub(super) struct Missing {
    shown: BTreeMap<String, (Arc<Status>, String)>,
    /// Those that were found missing since the last time that all were looked at.
    found: BTreeSet<String>,
}

impl Missing {
    /// Shows that nothing is captured there, which `make` does the first time; true if there is news: it was captured
    /// before, or there is another reason.
    pub(super) fn show(
        &mut self,
        board: &Board,
        (name, link, mac): (&str, Link, Option<Mac>),
        why: String,
        make: impl FnOnce() -> Status,
    ) -> bool {
        self.found.insert(name.to_owned());
        let is_new = self.shown.get(name).is_none_or(|(_, before)| *before != why);
        let (status, before) =
            self.shown.entry(name.to_owned()).or_insert_with(|| (Arc::new(make()), String::new()));
        *before = why;
        status.set_link(link, mac);
        board.add(status);
        is_new
    }

    /// All have been looked at: takes those away that were not found missing any more.
    pub(super) fn settle(&mut self, board: &Board, is_watched: impl Fn(&str) -> bool) {
        let found = std::mem::take(&mut self.found);
        self.shown.retain(|name, _| {
            let stays = found.contains(name);
            // Under this name there is a capture otherwise.
            if !stays && !is_watched(name) {
                board.remove(name);
            }
            stays
        });
    }
}

/// Tells the log.
pub(super) fn tell(interface: &str, error: &io::Error, retry_in: Duration) {
    let remedy = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => "; raise the limit on open files (ulimit -n)",
        _ => "",
    };
    tracing::error!(interface, %error, ?retry_in, "cannot start capturing{remedy}");
}
