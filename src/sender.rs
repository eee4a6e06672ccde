//! A packet socket that only sends.

use std::io;
use std::os::fd::IntoRawFd;
use std::time::Duration;

use pnet_datalink::{Channel, ChannelType, Config, DataLinkSender, NetworkInterface};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// How long a frame may wait for room in the send queue. One that is full for longer belongs to a card that has
/// stopped sending.
const PATIENCE: Duration = Duration::from_secs(1);

/// Puts frames on the wire of one interface.
pub struct Sender(Box<dyn DataLinkSender>);

impl Sender {
    /// Opens pnet's channel on a socket of ours, without making the interface promiscuous.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` if the interface has just gone.
    pub fn open(interface: &NetworkInterface) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let config = Config {
            read_buffer_size: 0,
            write_buffer_size: 0,
            write_timeout: Some(PATIENCE),
            // To pnet the layer is only the protocol that it binds the socket to. With protocol 0 the kernel
            // hands us no frames (packet(7)), and leaves no error behind on the socket when the interface goes
            // down and up between two of ours; it reads the protocol of each from its header.
            channel_type: ChannelType::Layer3(0),
            promiscuous: false,
            socket_fd: Some(socket.into_raw_fd()),
            ..Config::default()
        };
        match pnet_datalink::channel(interface, config)? {
            Channel::Ethernet(sender, _) => Ok(Self(sender)),
            _ => Err(io::Error::other("pnet opened a channel of another kind")),
        }
    }

    /// Sends a frame, headers and all.
    ///
    /// # Errors
    ///
    /// `ENETDOWN` while the interface is down, `ENXIO` when it has gone, `TimedOut` when the send queue is stuck.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.0
            .send_to(frame, None)
            .unwrap_or_else(|| Err(io::Error::other("pnet found no room for the frame")))
    }
}
