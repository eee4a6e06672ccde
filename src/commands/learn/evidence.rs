//! What there is to say of each address, from whichever side it became known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::inventory::write;
use crate::leases::{Format, Leases};
use crate::mac::Mac;
use crate::state::{Content, Seen};

/// Most addresses. Strangers choose how many there are, and files hold what they like.
const MOST: usize = 65_536;
/// Most interfaces that are named of one address: those of containers come and go.
const MOST_INTERFACES: usize = 8;

/// All addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    found: BTreeMap<Mac, Found>,
    /// Addresses, or repetitions of one, for which there was no room.
    pub(super) beyond: u64,
    /// Leases left out because they were over.
    pub(super) expired: usize,
    /// Leases left out because they name no address.
    pub(super) without_mac: usize,
    /// This machine's own addresses, and the interfaces that have them.
    own: BTreeMap<Mac, String>,
}

/// One address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// When, if it was on the wire.
    pub(super) seen: Option<Seen>,
    /// How many frames, if they were counted.
    pub(super) frames: Option<u64>,
    /// Where.
    pub(super) interfaces: BTreeSet<Arc<str>>,
    /// What it calls itself, made harmless.
    pub(super) name: Option<String>,
    /// Where its lease stood, and for which address.
    pub(super) lease: Option<(Format, Option<IpAddr>)>,
}

impl Evidence {
    /// Adds that an address was on the wire.
    pub(super) fn heard(&mut self, interface: &Arc<str>, mac: Mac, seen: Seen, frames: Option<u64>) {
        let Some(found) = self.entry(mac) else { return };
        found.seen = Some(match found.seen {
            Some(before) => Seen {
                first_unix_ms: before.first_unix_ms.min(seen.first_unix_ms),
                last_unix_ms: before.last_unix_ms.max(seen.last_unix_ms),
            },
            None => seen,
        });
        found.frames = match (found.frames, frames) {
            (Some(before), Some(frames)) => Some(before + frames),
            (before, frames) => before.or(frames),
        };
        if found.interfaces.len() < MOST_INTERFACES {
            found.interfaces.insert(Arc::clone(interface));
        }
    }

    /// Adds what an exporter remembers, of the interfaces that are wanted.
    pub(super) fn add_state(&mut self, content: &Content, wanted: impl Fn(&str) -> bool) {
        for entry in content.entries.iter().filter(|entry| wanted(&entry.interface)) {
            self.heard(&entry.interface, entry.mac, entry.seen, None);
        }
    }

    /// Adds what a server knows. The first file that has a name for an address gives it.
    pub(super) fn add_leases(&mut self, leases: &Leases) {
        self.expired += leases.expired;
        self.without_mac += leases.without_mac;
        for lease in &leases.list {
            let Some(found) = self.entry(lease.mac) else { continue };
            if found.name.is_none() {
                found.name = lease.hostname.as_deref().and_then(write::name);
            }
            found.lease.get_or_insert((leases.format, lease.ip));
        }
    }

    /// Takes all that another has.
    pub(super) fn add(&mut self, other: &Self) {
        for (mac, found) in &other.found {
            for interface in &found.interfaces {
                if let Some(seen) = found.seen {
                    // Frames count once, whatever the number of interfaces.
                    let first = found.interfaces.first() == Some(interface);
                    self.heard(interface, *mac, seen, found.frames.filter(|_| first));
                }
            }
        }
        self.beyond += other.beyond;
        self.own.extend(other.own.iter().map(|(mac, name)| (*mac, name.clone())));
    }

    /// An address is an interface's of this machine.
    pub(super) fn set_own(&mut self, mac: Mac, interface: &str) {
        self.own.entry(mac).or_insert_with(|| interface.to_owned());
    }

    /// The interface of this machine that has, or had, this address.
    pub(super) fn owner(&self, mac: Mac) -> Option<&str> {
        self.own.get(&mac).map(String::as_str)
    }

    /// The addresses, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Mac, &Found)> {
        self.found.iter().map(|(mac, found)| (*mac, found))
    }

    /// How many addresses there are.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    fn entry(&mut self, mac: Mac) -> Option<&mut Found> {
        if self.found.len() >= MOST && !self.found.contains_key(&mac) {
            self.beyond += 1;
            return None;
        }
        Some(self.found.entry(mac).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leases::Lease;
    use crate::state::Entry;

    fn seen(first: u64, last: u64) -> Seen {
        Seen { first_unix_ms: first, last_unix_ms: last }
    }

    #[test]
    fn one_address_on_several_interfaces_is_one() {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let entry = |interface: &str, first, last| Entry {
            interface: interface.into(),
            mac,
            seen: seen(first, last),
        };
        let content = Content {
            created_unix_ms: 0,
            entries: vec![entry("eth1", 5, 9), entry("eth0", 2, 3), entry("br0", 1, 9)],
        };
        let mut evidence = Evidence::default();
        evidence.add_state(&content, |interface| interface.starts_with("eth"));
        let mut twice = Evidence::default();
        twice.add(&evidence);
        twice.add(&evidence);
        for evidence in [evidence, twice] {
            let all: Vec<_> = evidence.iter().collect();
            let expected = Found {
                seen: Some(seen(2, 9)),
                interfaces: ["eth0".into(), "eth1".into()].into(),
                ..Found::default()
            };
            assert_eq!(all, [(mac, &expected)]);
        }
    }

    #[test]
    fn frames_add_up_and_the_first_name_stays() {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let leases = |name: &str| Leases {
            format: Format::Dnsmasq,
            list: vec![Lease { mac, ip: None, hostname: Some(name.to_owned()) }],
            expired: 1,
            without_mac: 2,
        };
        let mut evidence = Evidence::default();
        for name in ["...", "first", "second"] {
            evidence.add_leases(&leases(name));
        }
        let mut wire = Evidence::default();
        wire.heard(&"eth0".into(), mac, seen(1, 2), Some(3));
        wire.heard(&"eth1".into(), mac, seen(1, 2), Some(4));
        evidence.add(&wire);
        let (_, found) = evidence.iter().next().unwrap();
        assert_eq!((found.name.as_deref(), found.frames), (Some("first"), Some(7)));
        assert_eq!((evidence.expired, evidence.without_mac), (3, 6));
    }

    #[test]
    fn there_is_an_end() {
        let mut evidence = Evidence::default();
        for n in 0..MOST as u64 + 5 {
            evidence.heard(&"eth0".into(), Mac::from_number(n), seen(1, 2), None);
        }
        assert_eq!((evidence.len(), evidence.beyond), (MOST, 5));
    }
}
