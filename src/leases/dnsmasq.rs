//! dnsmasq's leases: `1795353600 b8:27:eb:4f:10:07 192.168.1.20 octoprint 01:b8:27:eb:4f:10:07`.
//!
//! The end of the lease, hardware address, IP address, name or `*`, client identifier or `*` (`src/lease.c`,
//! `lease_update_file`). After a line `duid …` come leases of IPv6, with an identity where the hardware address was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Lease, Record, decimal, hostname};
use crate::mac;

/// An end before this is none: dnsmasq for machines without a clock (`HAVE_BROKEN_RTC`) writes how long the lease
/// was for. 1973-03-03.
const EARLIEST_END: u64 = 100_000_000;

pub(super) fn line(line: &str, now: u64) -> Result<Option<Record>, String> {
    let words: Vec<&str> = line.split_whitespace().take(6).collect();
    if let ["duid", _] = words[..] {
        return Ok(None);
    }
    let odd = || format!("{} is no lease of dnsmasq", mac::shortened(line));
    let &[end, hardware, ip, name] = words.get(..4).and_then(|words| words.first_chunk()).ok_or_else(odd)?;
    let end = decimal(end).ok_or_else(odd)?;
    if ip.parse::<Ipv6Addr>().is_ok() {
        return Ok(Some(Record::WithoutMac));
    }
    let ip = ip.parse::<Ipv4Addr>().map_err(|_| odd())?;
    // Hardware of another kind has its type in front: 06-….
    if hardware.as_bytes().get(2) == Some(&b'-') {
        return Ok(Some(Record::WithoutMac));
    }
    let mac = mac::parse(hardware)?;
    // 0 is for ever.
    if (EARLIEST_END..now).contains(&end) {
        return Ok(Some(Record::Expired));
    }
    Ok(Some(Record::Current(Lease { mac, ip: Some(IpAddr::V4(ip)), hostname: hostname(name) })))
}
