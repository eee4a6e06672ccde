//! The sources that a query asks for, in its order.

use std::cmp::Ordering;

use crate::address::AddressType;
use crate::known::is_known;
use crate::sources::SourceSample;
use crate::vendor::Vendors;

use super::look::Look;
use super::query::{Key, Query, Sort};

/// A source, and all that is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) interface: &'a str,
    pub(super) sample: &'a SourceSample,
    pub(super) name: Option<&'a str>,
    pub(super) vendor: Option<&'a str>,
    /// None without an inventory: then nobody is known or unknown.
    pub(super) known: Option<bool>,
}

impl Row<'_> {
    pub(super) fn address_type(&self) -> AddressType {
        AddressType::of(self.sample.mac)
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.known == Some(false)
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    /// How many sources the filters let through.
    pub(super) total: usize,
    /// Those of them that were asked for.
    pub(super) rows: Vec<Row<'a>>,
}

/// Finds what a query asks for, no more than `limit` of them.
pub(super) fn select<'a>(look: &'a Look, vendors: &'a Vendors, query: &Query, limit: usize) -> Selection<'a> {
    let mut rows = Vec::new();
    let mut vendors = vendors.walk();
    let needle = Needle::new(&query.text);
    let asked =
        |interface: &str| query.interfaces.is_empty() || query.interfaces.iter().any(|i| i == interface);
    for books in look.books.iter().filter(|books| asked(&books.interface)) {
        for sample in &books.sources {
            let entry = look.inventory.as_deref().and_then(|inventory| inventory.find(sample.mac));
            let row = Row {
                interface: &books.interface,
                sample,
                name: entry.map(|entry| &*entry.name),
                vendor: vendors.find(sample.mac),
                known: look.inventory.as_ref().map(|_| is_known(entry, sample.own)),
            };
            let kind = query.address_type.is_none_or(|kind| kind == row.address_type());
            if kind && (query.known.is_none() || query.known == row.known) && needle.is_in(&row) {
                rows.push(row);
            }
        }
    }
    let total = rows.len();
    let end = query.offset.saturating_add(limit).min(total);
    let order = |a: &Row<'_>, b: &Row<'_>| compare(a, b, query.sort);
    if (1..total).contains(&end) {
        // Only what comes before the end needs an order.
        rows.select_nth_unstable_by(end - 1, order);
        rows.truncate(end);
    }
    rows.sort_unstable_by(order);
    rows.drain(..query.offset.min(rows.len()));
    rows.truncate(limit);
    Selection { total, rows }
}

/// No two are equal: an address is on an interface once.
fn compare(a: &Row<'_>, b: &Row<'_>, sort: Sort) -> Ordering {
    let (one, other) = (a.sample, b.sample);
    let order = match sort.key {
        Key::Unknown => b
            .is_unknown()
            .cmp(&a.is_unknown())
            .then(other.first_seen_unix_ms.cmp(&one.first_seen_unix_ms))
            .then(other.number.cmp(&one.number)),
        Key::LastSeen => one.last_seen_unix_ms.cmp(&other.last_seen_unix_ms),
        Key::FirstSeen => one.first_seen_unix_ms.cmp(&other.first_seen_unix_ms),
        Key::Frames => one.frames.cmp(&other.frames),
        Key::Bytes => one.bytes.cmp(&other.bytes),
        Key::SourceMac => one.mac.cmp(&other.mac),
        Key::Name => match (a.name, b.name) {
            (Some(a), Some(b)) => lower(a).cmp(lower(b)),
            // Whoever has no name comes last.
            (a, b) => b.is_some().cmp(&a.is_some()),
        },
    };
    let order = if sort.descending { order.reverse() } else { order };
    order.then_with(|| (a.interface, one.mac).cmp(&(b.interface, other.mac)))
}

fn lower(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

/// A text that is searched for, be it written large or small.
#[derive(Debug)]
struct Needle {
    text: String,
    /// The same without separators, if it may be part of an address: people write these in several ways.
    digits: Option<String>,
}

impl Needle {
    fn new(text: &str) -> Self {
        let text: String = lower(text.trim()).collect();
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
        let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self { digits: hex.then_some(digits), text }
    }

    fn is_in(&self, row: &Row<'_>) -> bool {
        if self.text.is_empty() {
            return true;
        }
        let within = |text: Option<&str>| {
            text.is_some_and(|text| lower(text).collect::<String>().contains(&self.text))
        };
        let address = |digits: &String| format!("{:012x}", row.sample.mac.number()).contains(digits);
        within(row.name) || within(row.vendor) || self.digits.as_ref().is_some_and(address)
    }
}

#[cfg(test)]
mod tests;
