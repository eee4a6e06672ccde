//! From what is known of each address to the lines that an inventory gets.
//!
//! No time, no files, no terminal: the same evidence and the same inventory make the same lines.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::evidence::{Evidence, Found};
use crate::address::AddressType;
use crate::commands::time::timestamp;
use crate::inventory::{Inventory, write};
use crate::leases::Format;
use crate::mac::Mac;
use crate::suggest;
use crate::suggest::guests::{Guests, MANY};
use crate::vendor::Vendors;

/// Most addresses that are named for having been left out.
const MOST_LEFT_OUT: usize = 10;
/// Names longer than this do not push the comments of all others to the right.
const WIDEST: usize = 24;

/// Lines to be written, and what they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    /// The lines, comments among them; none if nothing is new.
    pub(super) lines: Vec<String>,
    /// What they say.
    pub(super) new: Vec<(Mac, String)>,
    /// Addresses that the inventory covers already.
    pub(super) listed: usize,
    /// This machine's own addresses, left out.
    pub(super) own: usize,
    /// Addresses that no device may send from, left out.
    pub(super) anomalies: usize,
}

/// What is there already: the file's text, and the inventory that it holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Existing {
    pub(super) text: Vec<u8>,
    pub(super) inventory: Inventory,
}

/// Makes the lines for what `existing` does not cover. `heading` comes first.
pub(super) fn draft(
    evidence: &Evidence,
    existing: &Existing,
    vendors: &Vendors,
    zone: &TimeZone,
    heading: impl FnOnce(usize) -> Vec<String>,
) -> Draft {
    let mut draft = Draft::default();
    let mut rows: Vec<(Mac, String, String)> = Vec::new();
    let (mut own, mut anomalies) = (Vec::new(), Vec::new());
    for (mac, found) in evidence.iter() {
        let kind = AddressType::of(mac);
        if !kind.may_send() {
            // What comes from a list of leases was not seen.
            let seen = Some(sighting(found, zone)).filter(|seen| !seen.is_empty());
            let seen = seen.map_or_else(String::new, |seen| format!(", {seen}"));
            anomalies.push(format!("{mac} ({}){seen}", kind.as_str()));
        } else if let Some(interface) = evidence.owner(mac) {
            own.push(format!("{mac} of {interface}"));
        } else if existing.inventory.find(mac).is_some() {
            draft.listed += 1;
        } else {
            let vendor = vendors.find(mac);
            let name = found.name.clone().unwrap_or_else(|| suggest::name(mac, vendor));
            rows.push((mac, name, about(mac, vendor, found, zone)));
        }
    }
    (draft.own, draft.anomalies) = (own.len(), anomalies.len());
    if rows.is_empty() {
        return draft;
    }
    draft.lines = heading(rows.len()).iter().map(|line| format!("# {}", write::comment(line))).collect();
    left_out(&mut draft.lines, "no device may send from it", anomalies);
    left_out(&mut draft.lines, "this machine's own are known anyway", own);
    let proposals = proposals(&rows, &existing.text);
    let width = rows.iter().map(|(_, name, _)| name.chars().count()).filter(|width| *width <= WIDEST).max();
    let mut proposed = Vec::new();
    for (mac, name, about) in rows {
        let guests = Guests::of(mac).filter(|guests| !proposed.contains(guests));
        if let Some((guests, count)) = guests.and_then(|one| proposals.get(&one.pattern()).map(|n| (one, *n)))
        {
            draft.lines.extend(propose(guests, count));
            proposed.push(guests);
        }
        draft.lines.push(write::entry(mac, &name, width.unwrap_or(0), &about));
        draft.new.push((mac, name));
    }
    draft
}

/// Comments on addresses that get no line.
fn left_out(lines: &mut Vec<String>, why: &str, mut addresses: Vec<String>) {
    let more = addresses.len().saturating_sub(MOST_LEFT_OUT);
    addresses.truncate(MOST_LEFT_OUT);
    lines.extend(addresses.iter().map(|told| write::comment(&format!("# left out, as {why}: {told}"))));
    if more > 0 {
        lines.push(format!("# left out, as {why}: {more} more"));
    }
}

/// The prefixes under which many addresses are new, unless the file has them already, as a comment perhaps.
fn proposals(rows: &[(Mac, String, String)], text: &[u8]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for guests in rows.iter().filter_map(|(mac, ..)| Guests::of(*mac)) {
        *counts.entry(guests.pattern()).or_insert(0) += 1;
    }
    let text = String::from_utf8_lossy(text);
    counts.retain(|pattern, count| *count >= MANY && !text.contains(pattern.as_str()));
    counts
}

fn propose(guests: Guests, count: usize) -> [String; 3] {
    let (pattern, name, what) = (guests.pattern(), guests.name, guests.what);
    [
        format!(
            "# {count} of these have the prefix of {what}, which come and go. Without its mark the next line vouches"
        ),
        "# for all that there will be, and for anyone who forges an address under it:".to_owned(),
        format!("# {pattern} {name}"),
    ]
}

/// The comment of a line: what helps a person to recognise the device.
fn about(mac: Mac, vendor: Option<&str>, found: &Found, zone: &TimeZone) -> String {
    let mut parts = Vec::new();
    parts.extend(vendor.map(str::to_owned));
    parts.push(suggest::kind(mac));
    if found.seen.is_some() {
        parts.push(sighting(found, zone));
    }
    if let Some((format, ip)) = found.lease {
        let what = match format {
            Format::Arpwatch => "list",
            _ => "lease",
        };
        let of = ip.map(|ip| format!(" of {ip}")).unwrap_or_default();
        let named = if found.name.is_some() { ", named by it" } else { "" };
        parts.push(format!("{} {what}{of}{named}", format.as_str()));
    }
    parts.join(", ")
}

/// When, how often and where it was on the wire.
fn sighting(found: &Found, zone: &TimeZone) -> String {
    let mut parts = Vec::new();
    if let Some(seen) = found.seen {
        parts.push(format!("first seen {}", date_time(seen.first_unix_ms, zone)));
        // What was listened to ended just now.
        if found.frames.is_none() {
            parts.push(format!("last seen {}", date_time(seen.last_unix_ms, zone)));
        }
    }
    parts.extend(found.frames.map(|frames| format!("frames {frames}")));
    let interfaces: Vec<&str> = found.interfaces.iter().map(|name| &**name).collect();
    if !interfaces.is_empty() {
        parts.push(format!("on {}", interfaces.join(" and ")));
    }
    parts.join(", ")
}

/// Local time, to the second.
pub(super) fn date_time(unix_ms: u64, zone: &TimeZone) -> String {
    timestamp(unix_ms).to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests;
