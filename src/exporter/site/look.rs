//! One look at everything: what an answer tells is of one time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::capture::{Board, Link, Status};
use crate::clock::Moment;
use crate::inventory::Inventory;
use crate::known::{Known, is_known};
use crate::sources::{Snapshot, Sources};

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) unix_ms: u64,
    pub(super) books: Vec<Snapshot>,
    pub(super) captures: Vec<Arc<Status>>,
    pub(super) inventory: Option<Arc<Inventory>>,
    /// Most sources that an interface may have.
    limit: usize,
}

/// A watched interface: how it is captured, and what was counted on it. One that has never been there has no books;
/// one that is just being taken down may have books alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface<'a> {
    pub(super) name: &'a str,
    pub(super) capture: Option<&'a Status>,
    pub(super) books: Option<&'a Snapshot>,
    /// None without books or without an inventory.
    pub(super) unknown: Option<usize>,
    pub(super) limit: usize,
}

impl Look {
    pub(super) fn new(sources: &Sources, board: &Board, known: &Known) -> Self {
        Self {
            books: sources.snapshot(),
            captures: board.list(),
            inventory: known.inventory(),
            limit: sources.limits().most_per_interface(),
            unix_ms: Moment::now().unix_ms,
        }
    }

    /// The interfaces, in order of name.
    pub(super) fn interfaces(&self) -> Vec<Interface<'_>> {
        let mut interfaces = BTreeMap::new();
        let new = |name| Interface { name, capture: None, books: None, unknown: None, limit: self.limit };
        for capture in &self.captures {
            let name = capture.interface();
            interfaces.entry(name).or_insert_with(|| new(name)).capture = Some(capture);
        }
        for books in &self.books {
            let interface = interfaces.entry(&*books.interface).or_insert_with(|| new(&books.interface));
            interface.books = Some(books);
            interface.unknown = self.inventory.as_deref().map(|inventory| {
                let known = |mac, own| is_known(inventory.find(mac), own);
                books.sources.iter().filter(|source| !known(source.mac, source.own)).count()
            });
        }
        interfaces.into_values().collect()
    }
}

impl Interface<'_> {
    /// Whether frames are being captured.
    pub(super) fn capture_up(&self) -> bool {
        self.capture.is_some_and(Status::capture_up)
    }

    /// The state of the interface in a word.
    pub(super) fn link(&self) -> &'static str {
        match self.capture.map_or(Link::Absent, Status::link) {
            Link::Absent => "absent",
            Link::Down => "down",
            Link::Up => "up",
            Link::Unfit => "unfit",
        }
    }
}
