//! Frames on a wire.

use std::os::fd::IntoRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use pnet_datalink::{Channel, Config, DataLinkSender, MacAddr, NetworkInterface};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::time::{ClockId, clock_gettime};

use super::Namespace;

/// Local experimental EtherType (IEEE 802, table 8-1): no host answers it.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// A frame from this source, padded to this many bytes, to a group that nobody has joined.
pub(crate) fn frame(source: [u8; 6], bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x03, 0, 0, 0, 0, 0x01];
    frame.extend(source);
    frame.extend(EXPERIMENTAL);
    frame.resize(bytes.max(14), 0);
    frame
}

/// The same with an 802.1Q tag, which takes four of the bytes.
pub(crate) fn tagged(source: [u8; 6], vlan: u16, bytes: usize) -> Vec<u8> {
    let mut tagged = frame(source, bytes - 4);
    let [high, low] = vlan.to_be_bytes();
    tagged.splice(12..12, [0x81, 0x00, high, low]);
    tagged
}

/// The n-th of a series of sources, locally administered.
pub(crate) fn source(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [0x02, 0x5e, a, b, c, d]
}

/// How addresses are written in labels.
pub(crate) fn text(source: [u8; 6]) -> String {
    source.map(|octet| format!("{octet:02x}")).join(":")
}

/// Sends frames on an interface of a namespace, in order, as if the host behind it did.
pub(crate) fn send(namespace: &Namespace, interface: &str, frames: &[Vec<u8>]) {
    let index = namespace.index(interface);
    namespace.inside(|| {
        let mut sender = sender(interface, index);
        for frame in frames {
            sender.send_to(frame, None).unwrap().unwrap();
        }
    });
}

/// Waits until a frame gets another time than one that has been sent: the kernel engine's clock ticks every few
/// milliseconds, and two frames of one tick are alike in that.
#[track_caller]
pub(crate) fn wait_tick() {
    let now = || {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        (now.tv_sec, now.tv_nsec / 1_000_000)
    };
    let before = now();
    super::wait_until("the clock to tick", || now() != before);
}

/// Sends frames round and round until told to stop; returns how many.
pub(crate) fn send_until(
    namespace: &Namespace,
    interface: &str,
    frames: &[Vec<u8>],
    stop: impl Fn() -> bool + Send + Sync,
) -> u64 {
    let index = namespace.index(interface);
    namespace.inside(|| {
        let mut sender = sender(interface, index);
        let mut sent = 0;
        for frame in frames.iter().cycle().take_while(|_| !stop()) {
            sender.send_to(frame, None).unwrap().unwrap();
            sent += 1;
        }
        sent
    })
}

/// Raises a flag when it goes out of scope, be it because an assertion failed: whoever runs until then ends.
pub(crate) struct Stop<'f>(pub(crate) &'f AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn sender(interface: &str, index: u32) -> Box<dyn DataLinkSender> {
    let interface = NetworkInterface {
        name: interface.to_owned(),
        description: String::new(),
        index,
        mac: Some(MacAddr::zero()),
        ips: Vec::new(),
        flags: 0,
    };
    // Not one of pnet's: what other tests start meanwhile would have it too, and never close it.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap();
    let config = Config { promiscuous: false, socket_fd: Some(socket.into_raw_fd()), ..Config::default() };
    match pnet_datalink::channel(&interface, config).unwrap() {
        Channel::Ethernet(sender, _) => sender,
        _ => panic!("not an Ethernet channel"),
    }
}
