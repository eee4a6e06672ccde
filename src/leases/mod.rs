//! What address servers know of the machines that they serve: DHCP leases, and arpwatch's list.
//!
//! ```text
//! a file ─► recognised by its first line ─► its parser ─► Leases: one for each MAC
//! ```
//! The names in these files are what clients chose to be called: hostile input. They are handed on as they stand;
//! whoever writes them down makes them harmless.

mod arpwatch;
mod dnsmasq;
mod isc;
mod kea;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use crate::mac::{self, Mac};
use crate::textfile::{self, Fault, Faults, MOST_FAULTS};

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// dnsmasq's `dnsmasq.leases`.
    Dnsmasq,
    /// ISC's `dhcpd.leases`.
    Isc,
    /// Kea's `kea-leases4.csv`, as its memfile back end keeps it; `kea-leases6.csv` too.
    Kea,
    /// arpwatch's `arp.dat`.
    Arpwatch,
}

impl Format {
    /// What it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Isc => "ISC dhcpd",
            Self::Kea => "Kea",
            Self::Arpwatch => "arpwatch",
        }
    }
}

/// One machine that was served, or seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its address.
    pub mac: Mac,
    /// Its address on the layer above, for a person to recognise it by.
    pub ip: Option<IpAddr>,
    /// What it calls itself, as it stands in the file.
    pub hostname: Option<String>,
}

/// All that a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    /// Its format.
    pub format: Format,
    /// One for each MAC, in order.
    pub list: Vec<Lease>,
    /// Lines left out: the lease is over, or was given back.
    pub expired: usize,
    /// Lines left out: they name no Ethernet address, as most leases of IPv6.
    pub without_mac: usize,
}

/// What a line, or block, comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    Current(Lease),
    Expired,
    WithoutMac,
}

/// Reads a file. `now` is Unix time in seconds.
///
/// # Errors
///
/// All that is wrong, with file and line; the list is cut after some.
pub fn load(path: &Path, now: u64) -> Result<Leases, Vec<Fault>> {
    let mut faults = Faults::new(&path.into(), MOST_FAULTS);
    match textfile::read(path).and_then(|bytes| parse(&bytes, now, &mut faults)) {
        Ok(leases) if faults.is_empty() => return Ok(leases),
        Ok(_) => {}
        Err(what) => faults.add(0, what),
    }
    Err(faults.into_list())
}

/// Reads a file's bytes. Total: any bytes are either leases or faults.
fn parse(bytes: &[u8], now: u64, faults: &mut Faults) -> Result<Leases, String> {
    // Names may be in any encoding. What is no UTF-8 is no letter either, and will not be in a name.
    let text = String::from_utf8_lossy(bytes);
    let format = recognise(&text)?;
    let records = match format {
        Format::Dnsmasq => lines(&text, faults, |line| dnsmasq::line(line, now)),
        Format::Arpwatch => lines(&text, faults, arpwatch::line),
        Format::Kea => kea::records(&text, now, faults),
        Format::Isc => isc::records(&text, now, faults),
    };
    Ok(gather(format, records))
}

/// The format whose first line this text begins with.
fn recognise(text: &str) -> Result<Format, String> {
    let Some(first) = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
    else {
        return Err("not recognised: it says nothing".to_owned());
    };
    if kea::is_header(first) {
        Ok(Format::Kea)
    } else if isc::is_statement(first) {
        Ok(Format::Isc)
    } else if arpwatch::line(first).is_ok() {
        Ok(Format::Arpwatch)
    } else if dnsmasq::line(first, 0).is_ok() {
        Ok(Format::Dnsmasq)
    } else {
        Err(format!(
            "not recognised: {} begins neither dnsmasq's leases, nor ISC's dhcpd.leases, Kea's kea-leases4.csv or \
             arpwatch's arp.dat",
            mac::shortened(first)
        ))
    }
}

/// The records of a format that has one in each line; None for a line that says nothing.
fn lines(
    text: &str,
    faults: &mut Faults,
    read: impl Fn(&str) -> Result<Option<Record>, String>,
) -> Vec<Record> {
    let mut records = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match read(line) {
            Ok(record) => records.extend(record),
            Err(what) => faults.add(index + 1, what),
        }
    }
    records
}

/// One lease for each MAC: the last in the file, with the last name that any had.
fn gather(format: Format, records: Vec<Record>) -> Leases {
    let (mut expired, mut without_mac) = (0, 0);
    let mut list = BTreeMap::<Mac, Lease>::new();
    for record in records {
        match record {
            Record::Expired => expired += 1,
            Record::WithoutMac => without_mac += 1,
            Record::Current(mut lease) => {
                if let Some(before) = list.remove(&lease.mac) {
                    lease.hostname = lease.hostname.or(before.hostname);
                }
                list.insert(lease.mac, lease);
            }
        }
    }
    Leases { format, list: list.into_values().collect(), expired, without_mac }
}

/// The name in a field; `*` and nothing say that there is none.
fn hostname(field: &str) -> Option<String> {
    let name = field.trim().trim_end_matches('.');
    (!name.is_empty() && name != "*").then(|| name.to_owned())
}

/// A number of digits alone: `parse` takes a sign too.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
