//! What kind of address a source uses, as its bits alone tell.

use crate::mac::Mac;

/// Bits of an address.
const BITS: u32 = 48;

/// Addresses that redundant routers share: each moves from one machine to another at a failover. First address,
/// and how many of its bits are the same for all.
const VIRTUAL_ROUTERS: [([u8; 6], u32); 6] = [
    // VRRP for IPv4: 00-00-5E-00-01-{VRID}, RFC 9568 section 7.3. CARP of the BSDs uses them too.
    ([0x00, 0x00, 0x5e, 0x00, 0x01, 0x00], 40),
    // VRRP for IPv6: 00-00-5E-00-02-{VRID}, same section.
    ([0x00, 0x00, 0x5e, 0x00, 0x02, 0x00], 40),
    // HSRP version 1: 0000.0c07.ac{group}, RFC 2281.
    ([0x00, 0x00, 0x0c, 0x07, 0xac, 0x00], 40),
    // HSRP version 2: 0000.0c9f.f{group of 12 bits}. Cisco, "Configuring HSRP".
    ([0x00, 0x00, 0x0c, 0x9f, 0xf0, 0x00], 36),
    // HSRP for IPv6: 0005.73a0.0{group of 12 bits}. Cisco, "HSRP for IPv6".
    ([0x00, 0x05, 0x73, 0xa0, 0x00, 0x00], 36),
    // GLBP: 0007.b4, then six zero bits, ten bits of group, eight of forwarder. Cisco, "Configuring GLBP".
    ([0x00, 0x07, 0xb4, 0x00, 0x00, 0x00], 30),
];

/// The kinds. Each address is of one: the first in this order that fits.
///
/// The order decides two cases only. All zeros would be universal, all ones group; the other kinds share no
/// address: virtual routers have neither the group nor the local bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressType {
    /// 00:00:00:00:00:00, which nobody has: a sender that was not set up.
    Zero,
    /// ff:ff:ff:ff:ff:ff, a destination that no honest sender uses as its source.
    Broadcast,
    /// The group bit is set: a destination too. (In Token Ring it says that a route follows.)
    Group,
    /// Shared by redundant routers: VRRP, HSRP or GLBP.
    VirtualRouter,
    /// The local bit is set: chosen by software, as by phones at random, hypervisors and containers.
    Local,
    /// Given by a manufacturer, or so it says: anyone may send anything.
    Universal,
}

impl AddressType {
    /// The kind of an address.
    pub fn of(mac: Mac) -> Self {
        let [first, ..] = mac.octets();
        if mac.number() == 0 {
            Self::Zero
        } else if mac.octets() == [0xff; 6] {
            Self::Broadcast
        } else if first & 1 != 0 {
            Self::Group
        } else if is_virtual_router(mac) {
            Self::VirtualRouter
        } else if first & 2 != 0 {
            Self::Local
        } else {
            Self::Universal
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Zero, Self::Broadcast, Self::Group, Self::VirtualRouter, Self::Local, Self::Universal];

    /// Whether an honest device may send from such an address.
    pub const fn may_send(self) -> bool {
        !matches!(self, Self::Zero | Self::Broadcast | Self::Group)
    }

    /// As the label `address_type` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Broadcast => "broadcast",
            Self::Group => "group",
            Self::VirtualRouter => "virtual_router",
            Self::Local => "local",
            Self::Universal => "universal",
        }
    }
}

fn is_virtual_router(mac: Mac) -> bool {
    VIRTUAL_ROUTERS.iter().any(|(start, bits)| {
        let differing = mac.number() ^ Mac::new(*start).number();
        differing >> (BITS - bits) == 0
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mac(number: u64) -> Mac {
        let [_, _, octets @ ..] = number.to_be_bytes();
        Mac::new(octets)
    }

    #[test]
    fn each_range_ends_where_its_protocol_says() {
        for (first, last) in [
            (0x0000_5e00_0100, 0x0000_5e00_01ff),
            (0x0000_5e00_0200, 0x0000_5e00_02ff),
            (0x0000_0c07_ac00, 0x0000_0c07_acff),
            (0x0000_0c9f_f000, 0x0000_0c9f_ffff),
            (0x0005_73a0_0000, 0x0005_73a0_0fff),
            (0x0007_b400_0000, 0x0007_b403_ffff),
        ] {
            for inside in [first, u64::midpoint(first, last), last] {
                assert_eq!(AddressType::of(mac(inside)).as_str(), "virtual_router", "{}", mac(inside));
            }
            for outside in [first - 1, last + 1] {
                // The two of VRRP touch.
                if ![0x0000_5e00_01ff, 0x0000_5e00_0200].contains(&outside) {
                    assert_eq!(AddressType::of(mac(outside)).as_str(), "universal", "{}", mac(outside));
                }
            }
        }
    }

    #[test]
    fn the_first_kind_that_fits_wins() {
        for (number, kind) in [
            (0, "zero"),
            (1, "universal"),
            (0xffff_ffff_ffff, "broadcast"),
            (0xffff_ffff_fffe, "group"),
            (0x0100_5e00_0001, "group"),
            (0x0300_0000_0001, "group"),
            // The bits of VRRP behind a local bit are nobody's in particular.
            (0x0200_5e00_0101, "local"),
            (0x0242_ac11_0002, "local"),
            (0x001b_213c_4d5e, "universal"),
        ] {
            assert_eq!(AddressType::of(mac(number)).as_str(), kind, "{}", mac(number));
        }
    }

    proptest! {
        #[test]
        fn the_bits_decide(number in 0u64..1 << 48) {
            let kind = AddressType::of(mac(number));
            let (group, local) = (number >> 40 & 1 == 1, number >> 40 & 2 == 2);
            let expected: &[&str] = match (group, local) {
                (true, _) => &["group", "broadcast"],
                (false, true) => &["local"],
                (false, false) => &["universal", "virtual_router", "zero"],
            };
            prop_assert!(expected.contains(&kind.as_str()), "{} {kind:?}", mac(number));
        }
    }
}
