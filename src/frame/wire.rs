//! From what the kernel hands over to what went over the wire.
//!
//! Offloads (TSO, GSO, GRO) make one kernel buffer of many frames. With `PACKET_VNET_HDR` each read begins
//! with a header that says into what pieces the buffer was, or will be, cut
//! (`include/uapi/linux/virtio_net.h`; written by `virtio_net_hdr_from_skb` in `include/linux/virtio_net.h`).
//! A *super-frame* of n segments is n frames on the wire, each with a copy of the headers, so it stands for
//! (n−1) × headers more bytes than it holds.

use super::HEADER_BYTES;

/// Bytes of the header in front of each read.
pub const OFFLOAD_BYTES: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the kernel says where the transport header begins.
const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: a train of datagrams, each with a UDP header of its own.
const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: a flag beside the kind.
const GSO_ECN: u8 = 0x80;

/// What one read stands for on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Ethernet frames, at least one.
    pub frames: u64,
    /// Their bytes: Ethernet headers included, frame check sequences not.
    pub bytes: u64,
}

/// The offload header of one read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    flags: u8,
    kind: u8,
    /// `gso_size`: payload bytes of each segment but the last; 0 for an ordinary frame.
    segment_bytes: u16,
    /// `csum_start`: offset of the innermost transport header, when `flags` says that it is set.
    transport_offset: u16,
}

/// Takes a read apart: its offload header and the frame. None if it is too short to hold the header, which
/// the kernel never sends.
#[inline]
pub fn split(read: &[u8]) -> Option<(Offload, &[u8])> {
    let (header, frame) = read.split_first_chunk::<OFFLOAD_BYTES>()?;
    // `vio_le()` in net/packet/af_packet.c: the numbers are in the machine's own byte order.
    let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let offload = Offload {
        flags: header[0],
        kind: header[1] & !GSO_ECN,
        // 2: hdr_len, the length of the linear part: no use, it may cover payload.
        segment_bytes: number(4),
        transport_offset: number(6),
    };
    Some((offload, frame))
}

impl Offload {
    /// What a frame with this header stands for on the wire.
    #[inline]
    pub fn wire(self, frame: &[u8]) -> Wire {
        if self.segment_bytes == 0 {
            return Wire { frames: 1, bytes: frame.len() as u64 };
        }
        self.super_frame(frame)
    }

    #[cold]
    fn super_frame(self, frame: &[u8]) -> Wire {
        // BIG TCP's extra header is taken out before anything is sent.
        let jumbo = if has_jumbo_option(frame) { JUMBO_BYTES } else { 0 };
        let length = (frame.len() - jumbo) as u64;
        let headers = self.headers(frame).unwrap_or(HEADER_BYTES).saturating_sub(jumbo) as u64;
        let payload = length.saturating_sub(headers);
        let frames = payload.div_ceil(u64::from(self.segment_bytes)).max(1);
        Wire { frames, bytes: length + (frames - 1) * headers }
    }

    /// Bytes of the headers that every segment repeats.
    fn headers(self, frame: &[u8]) -> Option<usize> {
        // TSO leaves the checksum to the card and GRO asks for it anew, so the kernel nearly always knows
        // where the transport header is, inside a tunnel too. Otherwise walk the outermost headers.
        let transport = if self.flags & NEEDS_CHECKSUM != 0 {
            usize::from(self.transport_offset)
        } else {
            transport_offset(frame)?
        };
        let length = match self.kind {
            // RFC 9293, 3.1: the data offset counts 32-bit words.
            GSO_TCP_V4 | GSO_TCP_V6 => usize::from(frame.get(transport + 12)? >> 4) * 4,
            GSO_UDP_L4 => 8,
            _ => return None,
        };
        Some(transport + length)
    }
}

/// Bytes of the hop-by-hop header that holds a jumbo payload option, and nothing else.
const JUMBO_BYTES: usize = 8;

/// Whether the kernel put a jumbo payload option into this IPv6 super-frame: it does so beyond 64 KiB and
/// takes it out again when the super-frame is cut (`ipv6_has_hopopt_jumbo` in include/net/ipv6.h; RFC 2675).
fn has_jumbo_option(frame: &[u8]) -> bool {
    const TCP: u8 = 6;
    const JUMBO: u8 = 0xc2;
    let Some(ip) = frame.get(HEADER_BYTES..HEADER_BYTES + 44) else { return false };
    frame.len() > 65_536
        && frame[12..14] == [0x86, 0xdd]
        && ip[6] == 0
        && ip[40] == TCP
        && ip[41] == 0
        && ip[42] == JUMBO
}

/// Where the transport header of an IP packet in an Ethernet frame begins, VLAN tags skipped.
fn transport_offset(frame: &[u8]) -> Option<usize> {
    let be16 = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let mut ip = HEADER_BYTES;
    // 802.1Q and 802.1ad tags are four bytes each; two are usual, the kernel itself gives up at eight.
    while ip < HEADER_BYTES + 8 * 4 && matches!(be16(ip - 2)?, 0x8100 | 0x88a8) {
        ip += 4;
    }
    match be16(ip - 2)? {
        0x0800 => Some(ip + usize::from(frame.get(ip)? & 15) * 4),
        0x86dd => {
            let mut next = *frame.get(ip + 6)?;
            let mut at = ip + 40;
            // Extension headers that may stand before a segmentable packet (RFC 8200, 4): hop-by-hop,
            // routing, destination options. Each says its length in units of eight bytes beyond the first.
            while matches!(next, 0 | 43 | 60) {
                next = *frame.get(at)?;
                at += (usize::from(*frame.get(at + 1)?) + 1) * 8;
            }
            Some(at)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(flags: u8, kind: u8, segment: u16, transport: u16, frame: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flags, kind, 0, 0];
        bytes.extend(segment.to_ne_bytes());
        bytes.extend(transport.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(frame);
        bytes
    }

    fn wire(read: &[u8]) -> Wire {
        let (offload, frame) = split(read).unwrap();
        offload.wire(frame)
    }

    /// An Ethernet frame with `tags` VLAN tags, an IP header and a transport header, then `payload` bytes.
    fn frame(tags: usize, ip: &[u8], ethertype: u16, transport: &[u8], payload: usize) -> Vec<u8> {
        let mut bytes = vec![2; 12];
        for _ in 0..tags {
            bytes.extend([0x81, 0x00, 0, 7]);
        }
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(ip);
        bytes.extend(transport);
        bytes.resize(bytes.len() + payload, 0xaa);
        bytes
    }

    fn ipv4() -> Vec<u8> {
        let mut header = vec![0; 20];
        header[0] = 0x45;
        header
    }

    fn tcp(words: u8) -> Vec<u8> {
        let mut header = vec![0; usize::from(words) * 4];
        header[12] = words << 4;
        header
    }

    #[test]
    fn an_ordinary_frame_is_itself() {
        let whole = frame(0, &ipv4(), 0x0800, &tcp(5), 1446);
        assert_eq!(wire(&read(0, 0, 0, 0, &whole)), Wire { frames: 1, bytes: 1500 });
        assert_eq!(wire(&read(1, 0, 0, 34, &whole)), Wire { frames: 1, bytes: 1500 });
    }

    #[test]
    fn tcp_segments_repeat_their_headers() {
        // Ten full segments and one of 100 bytes, 66 bytes of headers each.
        let whole = frame(0, &ipv4(), 0x0800, &tcp(8), 14_580);
        let expected = Wire { frames: 11, bytes: 14_580 + 11 * 66 };
        assert_eq!(wire(&read(1, GSO_TCP_V4, 1448, 34, &whole)), expected);
        // The same without the kernel's word, and with the congestion flag beside the kind.
        assert_eq!(wire(&read(0, GSO_TCP_V4, 1448, 0, &whole)), expected);
        assert_eq!(wire(&read(0, GSO_TCP_V4 | GSO_ECN, 1448, 0, &whole)), expected);
    }

    #[test]
    fn tags_and_ipv6_extension_headers_are_headers() {
        let mut ip = vec![0; 40];
        ip[6] = 0; // hop-by-hop, sixteen bytes, then TCP
        let mut hop = vec![0; 16];
        hop[0] = 6;
        hop[1] = 1;
        ip.extend(hop);
        let whole = frame(2, &ip, 0x86dd, &tcp(5), 3000);
        let headers = 14 + 8 + 40 + 16 + 20;
        assert_eq!(
            wire(&read(0, GSO_TCP_V6, 1000, 0, &whole)),
            Wire { frames: 3, bytes: 3000 + 3 * headers }
        );
    }

    #[test]
    fn the_jumbo_option_is_not_on_the_wire() {
        let mut ip = vec![0; 48];
        ip[40..44].copy_from_slice(&[6, 0, 0xc2, 4]);
        let whole = frame(0, &ip, 0x86dd, &tcp(5), 140_000);
        let headers = 14 + 40 + 20;
        let expected = Wire { frames: 100, bytes: 140_000 + 100 * headers };
        assert_eq!(wire(&read(1, GSO_TCP_V6, 1400, 62, &whole)), expected);
        assert_eq!(wire(&read(0, GSO_TCP_V6, 1400, 0, &whole)), expected);
    }

    #[test]
    fn a_udp_train_repeats_its_headers() {
        let whole = frame(0, &ipv4(), 0x0800, &[0; 8], 5000);
        assert_eq!(wire(&read(1, GSO_UDP_L4, 1200, 34, &whole)), Wire { frames: 5, bytes: 5000 + 5 * 42 });
    }

    #[test]
    fn inside_a_tunnel_the_kernels_word_counts() {
        // Ethernet, IPv4, UDP, VXLAN, Ethernet, IPv4: the inner TCP header begins at 84.
        let mut outer = ipv4();
        outer.extend([0; 8 + 8 + 14]);
        outer.extend(ipv4());
        let whole = frame(0, &outer, 0x0800, &tcp(5), 2000);
        assert_eq!(wire(&read(1, GSO_TCP_V4, 1000, 84, &whole)), Wire { frames: 2, bytes: 2000 + 2 * 104 });
    }

    #[test]
    fn no_header_no_read() {
        assert_eq!(split(&[0; OFFLOAD_BYTES - 1]), None);
        assert_eq!(wire(&[0; OFFLOAD_BYTES]), Wire { frames: 1, bytes: 0 });
    }

    proptest! {
        #[test]
        fn bytes_and_frames_never_shrink(
            flags: u8, kind: u8, segment: u16, transport: u16,
            whole in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let wire = wire(&read(flags, kind, segment, transport, &whole));
            prop_assert!(wire.frames >= 1);
            prop_assert!(wire.bytes >= whole.len() as u64);
            if segment == 0 {
                prop_assert_eq!(wire, Wire { frames: 1, bytes: whole.len() as u64 });
            }
        }

        /// The frames that a card would cut add up to what the super-frame is said to stand for.
        #[test]
        fn cutting_adds_up(payload in 1usize..60_000, segment in 1u16..9000, words in 5u8..16, tags in 0usize..3) {
            let whole = frame(tags, &ipv4(), 0x0800, &tcp(words), payload);
            let headers = whole.len() - payload;
            let (mut frames, mut bytes, mut left) = (0u64, 0u64, payload);
            while left > 0 {
                let piece = left.min(usize::from(segment));
                frames += 1;
                bytes += (headers + piece) as u64;
                left -= piece;
            }
            prop_assert_eq!(wire(&read(0, GSO_TCP_V4, segment, 0, &whole)), Wire { frames, bytes });
        }
    }
}
