//! Who is at the other end of a connection, and whom that makes one client with whom.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An address, and where it is: on each interface a link-local one is another machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    address: IpAddr,
    /// The index of the interface, if the address is link-local.
    zone: Option<u32>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        // A dual-stack listener sees IPv4 within IPv6.
        let zone = match address {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Some(v6.scope_id()),
            _ => None,
        };
        Self { address: address.ip().to_canonical(), zone }
    }
}

/// A client, as far as limits go: an IPv4 address, or the /64 of an IPv6 address, of which one machine may have all.
///
/// A link-local address is one alone, as one of IPv4 is: all machines of a segment are in that /64, and whoever takes
/// many there could take as many of IPv4. So none of them is held to account for its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin(Option<Peer>);

impl Origin {
    /// One address alone: a scraper that is remembered answers for no neighbour.
    pub(super) fn alone(peer: Peer) -> Self {
        Self(Some(peer))
    }

    /// None is the origin of all who have gone before their address could be read.
    pub(super) fn of(peer: Option<Peer>) -> Self {
        Self(peer.map(|peer| match peer {
            Peer { address: IpAddr::V6(address), zone: None } => {
                let network = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
                Peer { address: network.into(), zone: None }
            }
            _ => peer,
        }))
    }
}

#[cfg(test)]
impl From<[u8; 4]> for Peer {
    fn from(address: [u8; 4]) -> Self {
        SocketAddr::from((address, 0)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Origin {
        Origin::of(Some(text.parse::<SocketAddr>().unwrap().into()))
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:0:0:2]:2"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
        assert_eq!(of("192.0.2.1:1"), of("[::ffff:192.0.2.1]:2"));
        assert_ne!(of("[::1]:1"), Origin::of(None));
    }

    #[test]
    fn a_link_local_address_is_one_client_of_its_segment() {
        assert_eq!(of("[fe80::1%2]:1"), of("[fe80::1%2]:2"));
        assert_ne!(of("[fe80::1%2]:1"), of("[fe80::2%2]:1"), "a neighbour");
        assert_ne!(of("[fe80::1%2]:1"), of("[fe80::1%3]:1"), "another machine, on another segment");
    }
}
