//! Kea's leases as its memfile back end keeps them: CSV with a header, one line for each change of a lease.
//!
//! Fields are not quoted; a comma within one is written `&#x2c` (Kea, `src/lib/util/csv_file.cc`). The last line of an
//! address tells; a valid lifetime of 0 says that the lease was removed (`memfile_lease_mgr.cc`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Lease, Record, decimal, hostname};
use crate::mac;
use crate::textfile::Faults;

/// The columns that are looked at. Later versions of Kea have more, and more will come.
const ADDRESS: &str = "address";
const HARDWARE: &str = "hwaddr";
const LIFETIME: &str = "valid_lifetime";
const EXPIRE: &str = "expire";
const HOSTNAME: &str = "hostname";
const STATE: &str = "state";

/// A lease for ever (`Lease::INFINITY_LFT`).
const FOR_EVER: u64 = 0xffff_ffff;

/// Whether a line is the header of such a file.
pub(super) fn is_header(line: &str) -> bool {
    let columns: Vec<&str> = line.split(',').take(64).collect();
    columns.first() == Some(&ADDRESS)
        && [HARDWARE, LIFETIME, EXPIRE, HOSTNAME].iter().all(|name| columns.contains(name))
}

pub(super) fn records(text: &str, now: u64, faults: &mut Faults) -> Vec<Record> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut lines = lines.by_ref().skip_while(|(_, line)| !is_header(line.trim()));
    let header: Vec<&str> = lines.next().map_or("", |(_, line)| line.trim()).split(',').take(64).collect();
    let mut last = BTreeMap::new();
    for (index, line) in lines {
        let fields: Vec<&str> = line.trim().split(',').take(64).collect();
        let field = |name: &str| {
            let at = header.iter().position(|column| *column == name)?;
            fields.get(at).copied()
        };
        match record(field, now) {
            // Kea writes its header again where it begins a file anew.
            None if is_header(line.trim()) => {}
            None => faults.add(index + 1, format!("{} is no lease of Kea", mac::shortened(line))),
            Some((ip, record)) => {
                last.insert(ip, record);
            }
        }
    }
    last.into_values().collect()
}

fn record<'a>(field: impl Fn(&str) -> Option<&'a str>, now: u64) -> Option<(IpAddr, Record)> {
    let ip: IpAddr = field(ADDRESS)?.parse().ok()?;
    let lifetime = decimal(field(LIFETIME)?)?;
    let end = decimal(field(EXPIRE)?)?;
    // 0 is the state of a lease in use; the others are declined, reclaimed, released.
    let in_use = field(STATE).is_none_or(|state| matches!(state, "" | "0"));
    if !in_use || lifetime == 0 || (end < now && lifetime != FOR_EVER) {
        return Some((ip, Record::Expired));
    }
    // Other hardware has addresses of other lengths, and a client of IPv6 need not have one.
    let Ok(mac) = mac::parse(field(HARDWARE)?) else {
        return Some((ip, Record::WithoutMac));
    };
    let name = field(HOSTNAME)?.replace("&#x2c", ",");
    Some((ip, Record::Current(Lease { mac, ip: Some(ip), hostname: hostname(&name) })))
}
