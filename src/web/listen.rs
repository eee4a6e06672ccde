//! Addresses to listen on, in the form that Go programs take.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps until they are accepted, if it lets us (net.core.somaxconn). Who finds no room
/// tries again a second later.
const BACKLOG: i32 = 4096;

/// So often another port is tried where any will do.
const ATTEMPTS: u32 = 20;

/// An address to listen on: `:10148`, `192.0.2.1:10148`, `[::1]:10148` or `host.example:10148`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    text: String,
    /// Empty for all addresses of both families.
    host: String,
    port: u16,
}

impl ListenAddress {
    /// Takes an address apart. Names are looked up when it is bound.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((host, port)) = text.rsplit_once(':') else {
            let meant =
                if text.parse::<u16>().is_ok() { format!(":{text}") } else { format!("{text}:10148") };
            return Err(format!("it has no port; did you mean {meant}?"));
        };
        let port = port.parse().map_err(|_| format!("\"{port}\" is not a port (0 to 65535)"))?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(inner) = bracketed {
            // As in Go, IPv4 may stand in brackets: `[$(NODE_IP)]:10148` fits both families.
            let without_zone = inner.split('%').next().unwrap_or_default();
            if without_zone.parse::<Ipv6Addr>().is_err() && inner.parse::<Ipv4Addr>().is_err() {
                return Err(format!("\"{inner}\" is not an IP address"));
            }
        } else if host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '[' | ']')) {
            return Err(format!("\"{host}\" is neither an address nor a host name"));
        } else if host.contains(':') {
            return Err(format!("an IPv6 address stands in brackets: [{host}]:{port}"));
        }
        Ok(Self { text: text.to_owned(), host: bracketed.unwrap_or(host).to_owned(), port })
    }

    /// Listens on it: on each address of a name that this machine has, and at least on one.
    ///
    /// # Errors
    ///
    /// That of the look-up, of socket(2), bind(2) or listen(2).
    pub fn bind(&self) -> io::Result<Vec<TcpListener>> {
        if self.host.is_empty() || self.host == Ipv6Addr::UNSPECIFIED.to_string() {
            return match listen((Ipv6Addr::UNSPECIFIED, self.port).into()) {
                // No IPv6 on this machine, or switched off.
                Err(error) if is_elsewhere(&error) => {
                    Ok(vec![listen((Ipv4Addr::UNSPECIFIED, self.port).into())?])
                }
                both => Ok(vec![both?]),
            };
        }
        let mut attempts = 1..=ATTEMPTS;
        loop {
            match self.bind_each() {
                // Any port will do, and the one that was free on the first address was not on another.
                Err(error)
                    if self.port == 0
                        && error.kind() == io::ErrorKind::AddrInUse
                        && attempts.next().is_some() => {}
                bound => return bound,
            }
        }
    }

    /// Each address of a name that this machine has, all with the same port.
    fn bind_each(&self) -> io::Result<Vec<TcpListener>> {
        let mut tried = Vec::new();
        let mut listeners = Vec::new();
        let mut port = self.port;
        let mut none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for mut address in (self.host.as_str(), self.port).to_socket_addrs()? {
            // A hosts file may have a line twice.
            if tried.contains(&address) {
                continue;
            }
            tried.push(address);
            // If any port will do, it is the same one on all addresses.
            address.set_port(port);
            match listen(address) {
                Ok(listener) => {
                    port = listener.local_addr()?.port();
                    listeners.push(listener);
                }
                Err(error) if is_elsewhere(&error) => none = error,
                Err(error) => return Err(error),
            }
        }
        if listeners.is_empty() { Err(none) } else { Ok(listeners) }
    }

    /// The addresses at which a program on this machine finds who listens on it.
    ///
    /// # Errors
    ///
    /// That of the look-up.
    pub fn from_here(&self) -> io::Result<Vec<SocketAddr>> {
        let mut found: Vec<SocketAddr> = if self.host.is_empty() {
            vec![(Ipv6Addr::UNSPECIFIED, self.port).into()]
        } else {
            (self.host.as_str(), self.port).to_socket_addrs()?.collect()
        };
        if found.iter().any(|address| address.ip().is_unspecified()) {
            found = vec![(Ipv4Addr::LOCALHOST, self.port).into(), (Ipv6Addr::LOCALHOST, self.port).into()];
        }
        found.dedup();
        Ok(found)
    }
}

/// Whether this machine does not have the address, or no addresses of that kind.
fn is_elsewhere(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The IPv6 wildcard takes IPv4 connections too, as it does for Go programs.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let IpAddr::V6(ip) = address.ip() {
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    // Started anew, it need not wait for the last connections of its predecessor to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn takes_the_usual_forms() {
        for (text, host, port) in [
            (":10148", "", 10148),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("[::1]:80", "::1", 80),
            ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
            ("[192.0.2.1]:80", "192.0.2.1", 80),
            ("localhost:9100", "localhost", 9100),
        ] {
            let address = ListenAddress::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("10148", "did you mean :10148?"),
            ("192.0.2.1", "did you mean 192.0.2.1:10148?"),
            (":http", "not a port"),
            (":65536", "0 to 65535"),
            ("::1:80", "in brackets: [::1]:80"),
            ("[zz]:80", "not an IP address"),
            ("[192.0.2.1%eth0]:80", "not an IP address"),
            ("[localhost]:80", "not an IP address"),
            ("http://x:80", "neither"),
            ("", "no port"),
        ] {
            let error = ListenAddress::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_empty_host_is_both_families() {
        let [listener] = <[_; 1]>::try_from(ListenAddress::parse(":0").unwrap().bind().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_name_is_all_its_addresses_that_are_ours() {
        let listeners = ListenAddress::parse("localhost:0").unwrap().bind().unwrap();
        let bound: Vec<SocketAddr> = listeners.iter().map(|one| one.local_addr().unwrap()).collect();
        let port = bound[0].port();
        for address in ("localhost", port).to_socket_addrs().unwrap() {
            // A machine without IPv6 has no use for the half of what its hosts file says.
            let ours = !listen((address.ip(), 0).into()).is_err_and(|error| is_elsewhere(&error));
            assert_eq!(bound.contains(&address), ours, "{address} of {bound:?}");
            assert!(!ours || TcpStream::connect(address).is_ok(), "{address}");
        }
        // Taken on one of them, it is not silently served on the others alone.
        drop(listeners);
        let _taken = listen(bound[bound.len() - 1]).unwrap();
        let again = ListenAddress::parse(&format!("localhost:{port}")).unwrap().bind();
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = ListenAddress::parse("127.0.0.1:0").unwrap().bind().unwrap();
        let again = ListenAddress::parse(&first[0].local_addr().unwrap().to_string()).unwrap().bind();
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
