//! The machine's network interfaces: which exist, which of them are watched and why.

pub mod card;
pub mod follow;
mod link;
pub mod select;

use std::borrow::Cow;

use pnet_datalink::{MacAddr, NetworkInterface};

use crate::mac::Mac;

/// `ARPHRD_ETHER`, the only type whose frames begin with an Ethernet header (include/uapi/linux/if_arp.h).
const ETHERNET: u16 = 1;

/// One interface, as netlink describes it (rtnetlink(7), `RTM_NEWLINK`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it; never used again while the machine runs, unless someone asks for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Further names that `ip` knows it by (`altname`); it is selected, and labelled, by the first.
    pub other_names: Vec<String>,
    /// Its hardware address, if that is an Ethernet one.
    pub mac: Option<Mac>,
    /// Administratively up (`IFF_UP`), with a carrier or not.
    pub up: bool,
    /// Something is attached that could hear it (`IFF_LOWER_UP`): a cable, an access point, the peer of a veth.
    pub carrier: bool,
    /// Its hardware type, `ARPHRD_…`.
    pub hardware: u16,
    /// The loopback.
    pub loopback: bool,
    /// The interface that it is a port of.
    pub master: Option<Master>,
}

/// The interface that another one is a port of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// Its index.
    pub index: u32,
    /// Its kind: `bridge`, `bond`, `team`, `vrf`, `openvswitch` …; empty if the kernel does not say.
    pub kind: String,
}

impl Interface {
    /// What is wrong with watching it, if it cannot be watched.
    pub fn unfit(&self) -> Option<String> {
        if self.loopback {
            Some("it is the loopback, whose frames carry no sender's address".to_owned())
        } else if self.hardware != ETHERNET {
            let kind = hardware_name(self.hardware);
            Some(format!("its frames have no Ethernet header ({kind}), so no sender's address"))
        } else if self.name.contains(char::REPLACEMENT_CHARACTER) {
            Some("its name is not UTF-8 text, as the label of a metric has to be; give it another".to_owned())
        } else {
            None
        }
    }

    /// Whether frames from this address may be its own. The loopback's, all zeros, is no address.
    pub fn is_own(&self, mac: Mac) -> bool {
        self.mac == Some(mac) && self.unfit().is_none()
    }

    /// The same in pnet's terms, for opening a channel. Only the index matters to the kernel.
    pub fn for_pnet(&self) -> NetworkInterface {
        let mac = self.mac.map(|mac| {
            let [a, b, c, d, e, f] = mac.octets();
            MacAddr(a, b, c, d, e, f)
        });
        NetworkInterface {
            name: self.name.clone(),
            description: String::new(),
            index: self.index,
            mac,
            ips: Vec::new(),
            flags: 0,
        }
    }
}

/// The names of the interfaces that could be watched, for a person who asked for another.
pub fn names(interfaces: &[Interface]) -> String {
    let fit = interfaces.iter().filter(|interface| interface.unfit().is_none());
    fit.map(|interface| shown(&interface.name)).collect::<Vec<_>>().join(" ")
}

/// An interface's name as a terminal may have it: the kernel takes all bytes but `/`, `:` and white space for a name, and
/// with them what a terminal acts on.
pub fn shown(name: &str) -> Cow<'_, str> {
    if name.contains(char::is_control) {
        Cow::Owned(name.escape_debug().to_string())
    } else {
        Cow::Borrowed(name)
    }
}

/// The hardware types that people meet, by the names that they know.
fn hardware_name(hardware: u16) -> String {
    match hardware {
        512 => "ppp".to_owned(),
        768 | 769 => "an IP tunnel".to_owned(),
        776 => "sit".to_owned(),
        778 => "gre".to_owned(),
        801..=803 => "Wi-Fi in monitor mode".to_owned(),
        65_534 => "tun, wireguard or another without link layer".to_owned(),
        other => format!("hardware type {other}"),
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// An Ethernet interface that is up and stands for itself.
    pub(crate) fn ethernet(index: u32, name: &str) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            other_names: Vec::new(),
            mac: Some(Mac::new([2, 0, 0, 0, 0, 1])),
            up: true,
            carrier: true,
            hardware: ETHERNET,
            loopback: false,
            master: None,
        }
    }
}
