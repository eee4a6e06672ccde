//! What netlink says of links (rtnetlink(7)): the few attributes that matter here, and whatever else there is left alone.
//!
//! The crates that know all attributes take nothing of a description of which they understand one part less than the
//! kernel that sent it: with a newer kernel or driver an interface would not be there for us, and nobody would know.

use std::convert::Infallible;

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator,
};

use super::{Interface, Master};
use crate::mac::Mac;

// include/uapi/linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
// include/uapi/linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
// include/uapi/linux/if.h
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_LOWER_UP: u32 = 1 << 16;

/// `struct ifinfomsg`: family, padding, type, index, flags, change mask.
const HEADER: usize = 16;

/// A message about links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Asks for all of them.
    List,
    /// This one is there.
    Is(Interface),
    /// The one with this index is deleted.
    Deleted(u32),
    /// Anything else, such as a port that has left its bridge.
    Other,
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(read(header.message_type, payload).unwrap_or(Self::Other))
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        RTM_GETLINK
    }

    fn buffer_len(&self) -> usize {
        HEADER + 8
    }

    fn serialize(&self, buffer: &mut [u8]) {
        // Links of all families. Statistics are the larger part of a link's description, and nobody here reads them.
        buffer.fill(0);
        let (_, attribute) = buffer.split_at_mut(HEADER);
        attribute[..2].copy_from_slice(&8_u16.to_ne_bytes());
        attribute[2..4].copy_from_slice(&IFLA_EXT_MASK.to_ne_bytes());
        attribute[4..].copy_from_slice(&RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    }
}

/// None if it is not of links, or not of their own family.
fn read(kind: u16, payload: &[u8]) -> Option<Message> {
    let (header, attributes) = payload.split_at_checked(HEADER)?;
    let word = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let (index, flags) = (word(4)?, word(8)?);
    // A bridge tells of its ports in a family of its own.
    if header[0] != 0 {
        return None;
    }
    match kind {
        RTM_NEWLINK => {
            let hardware = u16::from_ne_bytes([header[2], header[3]]);
            interface(index, hardware, flags, attributes).map(Message::Is)
        }
        RTM_DELLINK => Some(Message::Deleted(index)),
        _ => None,
    }
}

/// None if it has no name.
fn interface(index: u32, hardware: u16, flags: u32, attributes: &[u8]) -> Option<Interface> {
    let mut name = None;
    let mut mac = None;
    let mut master = None;
    let mut kind = String::new();
    let mut other_names = Vec::new();
    for attribute in each(attributes) {
        let value = attribute.value();
        match attribute.kind() {
            IFLA_IFNAME => name = Some(text(value)),
            IFLA_ADDRESS => mac = <[u8; 6]>::try_from(value).ok().map(Mac::new),
            IFLA_MASTER => master = value.try_into().ok().map(u32::from_ne_bytes),
            IFLA_PROP_LIST => {
                let names = each(value).filter(|property| property.kind() == IFLA_ALT_IFNAME);
                other_names.extend(names.map(|property| text(property.value())));
            }
            IFLA_LINKINFO => {
                for info in each(value).filter(|info| info.kind() == IFLA_INFO_SLAVE_KIND) {
                    kind = text(info.value());
                }
            }
            _ => {}
        }
    }
    Some(Interface {
        index,
        name: name?,
        other_names,
        mac,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        hardware,
        loopback: flags & IFF_LOOPBACK != 0,
        master: master.map(|index| Master { index, kind }),
    })
}

/// The attributes up to the end, or to one that is not whole.
fn each(attributes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(attributes).map_while(Result::ok)
}

/// A string of the kernel's, which ends in a NUL. What is not UTF-8 in it is U+FFFD.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// Of an Ethernet interface with index 7 that is up and has a carrier.
    fn message(family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![family, 0];
        bytes.extend(1_u16.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend((IFF_UP | IFF_LOWER_UP).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(attributes.concat());
        bytes
    }

    fn deserialize(kind: u16, payload: &[u8]) -> Message {
        let mut header = NetlinkHeader::default();
        header.message_type = kind;
        let Ok(message) = Message::deserialize(&header, payload);
        message
    }

    #[test]
    fn what_matters_is_read_and_the_rest_is_left_alone() {
        let payload = message(
            0,
            &[
                attribute(IFLA_IFNAME, b"eth0\0"),
                attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
                attribute(IFLA_MASTER, &9_u32.to_ne_bytes()),
                // Of another length than anybody knows, and not there today.
                attribute(23, &[0; 3]),
                attribute(999, &[1; 5]),
                attribute(
                    IFLA_LINKINFO,
                    &[
                        attribute(1, b"veth\0"),
                        attribute(5, &[1]),
                        attribute(IFLA_INFO_SLAVE_KIND, b"bond\0"),
                    ]
                    .concat(),
                ),
                attribute(
                    IFLA_PROP_LIST | 1 << 15,
                    &[attribute(IFLA_ALT_IFNAME, b"lan\0"), attribute(IFLA_ALT_IFNAME, b"enp1s0\0")].concat(),
                ),
            ],
        );
        let interface = Interface {
            index: 7,
            name: "eth0".to_owned(),
            other_names: vec!["lan".to_owned(), "enp1s0".to_owned()],
            mac: Some(Mac::new([2, 0, 0, 0, 0, 1])),
            up: true,
            carrier: true,
            hardware: 1,
            loopback: false,
            master: Some(Master { index: 9, kind: "bond".to_owned() }),
        };
        assert_eq!(deserialize(RTM_NEWLINK, &payload), Message::Is(interface));
        assert_eq!(deserialize(RTM_DELLINK, &payload), Message::Deleted(7));
    }

    #[test]
    fn what_is_not_of_links_is_something_else() {
        let name = [attribute(IFLA_IFNAME, b"eth0\0")];
        for (kind, payload) in [
            (RTM_NEWLINK, message(7, &name)),
            (RTM_DELLINK, message(7, &name)),
            (20, message(0, &name)),
            (RTM_NEWLINK, message(0, &[])),
        ] {
            assert_eq!(deserialize(kind, &payload), Message::Other);
        }
    }

    #[test]
    fn nothing_that_is_cut_short_panics() {
        let whole = message(
            0,
            &[
                attribute(IFLA_IFNAME, b"e\xff\0"),
                attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_SLAVE_KIND, b"team")),
                attribute(IFLA_ADDRESS, &[1; 20]),
            ],
        );
        for end in 0..whole.len() {
            deserialize(RTM_NEWLINK, &whole[..end]);
        }
        let Message::Is(interface) = deserialize(RTM_NEWLINK, &whole) else { panic!("it is whole") };
        assert_eq!((&*interface.name, interface.mac), ("e\u{fffd}", None));
    }
}
