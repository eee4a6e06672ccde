//! arpwatch's list: `b8:27:eb:4f:10:7 192.168.1.20 1795349524 octoprint eth0`, with tabs between.
//!
//! Hardware address, IP address, when it was last seen, and perhaps a name and an interface (arpwatch(8), `arp.dat`).
//! Nothing in it ends.

use std::net::{IpAddr, Ipv4Addr};

use super::{Lease, Record, decimal, hostname};
use crate::mac;

pub(super) fn line(line: &str) -> Result<Option<Record>, String> {
    let odd = || format!("{} is no line of arpwatch", mac::shortened(line));
    // With tabs an empty name keeps its place.
    let fields: Vec<&str> = line.split('\t').take(5).collect();
    let words: Vec<&str> = line.split_whitespace().take(5).collect();
    let fields = if fields.len() < 3 { words } else { fields };
    let &[hardware, ip, seen] = fields.get(..3).and_then(|fields| fields.first_chunk()).ok_or_else(odd)?;
    let mac = mac::parse(hardware)?;
    let ip = ip.parse::<Ipv4Addr>().map_err(|_| odd())?;
    decimal(seen).ok_or_else(odd)?;
    let hostname = fields.get(3).and_then(|name| hostname(name));
    Ok(Some(Record::Current(Lease { mac, ip: Some(IpAddr::V4(ip)), hostname })))
}
