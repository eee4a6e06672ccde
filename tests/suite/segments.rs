//! Super-frames of all kinds that this kernel makes, whole on one side of a bridge and cut on the other: frames and
//! bytes are those that the cutting interface says it sent.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::common::exporter::Metrics;
use crate::common::{DEADLINE, Exporter, Namespace, bridge, root, veth};

/// Bytes of a transfer.
const THERE: usize = 6 << 20;

/// ```text
/// A ──────── bridge ──────── D
/// a0       sa      sd (cut)  d0
/// ```
struct Wire {
    a: Namespace,
    s: Namespace,
    d: Namespace,
}

impl Wire {
    fn new() -> Self {
        let (a, s, d) = (Namespace::new(), Namespace::new(), Namespace::new());
        veth(&a, "a0", &s, "sa");
        veth(&s, "sd", &d, "d0");
        bridge(&s, "br0");
        ["sa", "sd"].iter().for_each(|port| s.ip(&format!("link set {port} master br0")));
        s.run("ethtool -K sd tso off gso off sg off tx off");
        d.run("ethtool -K d0 gro off");
        for namespace in [&a, &d] {
            let window = "4096 65536 131072";
            namespace.inside(|| std::fs::write("/proc/sys/net/ipv4/tcp_rmem", window).unwrap());
        }
        Self { a, s, d }
    }

    fn exporter(&self) -> Exporter<'_> {
        let exporter = Exporter::start(&self.s, "-i sa -i sd");
        exporter.wait_up("sa");
        exporter.wait_up("sd");
        exporter
    }

    fn address(&self, interface: &str, prefix: &str, bits: u8) {
        for (namespace, host) in [(&self.a, 1), (&self.d, 4)] {
            let name =
                if namespace.name() == self.a.name() { interface } else { &interface.replace('a', "d") };
            let dad = if prefix.contains(':') { " nodad" } else { "" };
            if prefix.contains(':') {
                let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
                namespace.inside(|| std::fs::write(path, "0").unwrap());
            }
            namespace.ip(&format!("addr add {prefix}{host}/{bits} dev {name}{dad}"));
        }
    }

    /// Waits until the page tells of A's frames on both sides what the cutting interface tells, and of at least this
    /// many; asserts that they were cut there, and only there.
    #[track_caller]
    fn compare(&self, exporter: &Exporter<'_>, what: &str, least: f64) -> (Metrics, f64, f64) {
        let mac = self.a.run("cat /sys/class/net/a0/address").trim().to_owned();
        let statistic = |namespace: &Namespace, interface: &str, name: &str| -> f64 {
            let path = format!("/sys/class/net/{interface}/statistics/{name}");
            namespace.run(&format!("cat {path}")).trim().parse().unwrap()
        };
        let mut last = None;
        let page = exporter.wait_page(what, |page| {
            let truth = (statistic(&self.s, "sd", "tx_packets"), statistic(&self.s, "sd", "tx_bytes"));
            let (whole, cut) = (page.source("sa", &mac), page.source("sd", &mac));
            let seen = (whole, cut, truth);
            if last.replace(seen) != Some(seen) {
                eprintln!("{what}: whole {whole:?}, cut {cut:?}, sent {truth:?}");
            }
            whole == cut && cut == truth && truth.0 >= least
        });
        let (frames, bytes) = page.source("sa", &mac);
        let buffers = statistic(&self.a, "a0", "tx_packets");
        assert!(buffers * 2.0 < frames, "{what}: {buffers} buffers of {frames} frames: hardly a super-frame");
        page.assert_balanced();
        for interface in ["sa", "sd"] {
            assert_eq!(page.interface("dropped_frames_total", interface), 0.0);
        }
        (page, frames, bytes)
    }
}

fn transfer(client: &Namespace, server: &Namespace, address: &str) {
    let listener = server.inside(|| TcpListener::bind(address).unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.read_exact(&mut vec![0; THERE]).unwrap();
            stream.write_all(&[1]).unwrap();
        });
        let mut stream = client.inside(|| TcpStream::connect(address).unwrap());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&vec![7; THERE]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn tcp_over_ipv6() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    let exporter = wire.exporter();
    wire.address("a0", "fd00::", 64);
    transfer(&wire.a, &wire.d, "[fd00::4]:7777");
    let full = (THERE as f64 / 1428.0).ceil();
    let (_, frames, bytes) = wire.compare(&exporter, "TCP over IPv6", full);
    assert!(bytes >= THERE as f64 + 86.0 * full && frames >= full, "{frames} frames, {bytes} bytes");
}

/// Trains of datagrams that the sender leaves to be cut (`UDP_SEGMENT`), the last of each shorter than the others.
#[test]
fn trains_of_udp() {
    if !root() {
        return;
    }
    const TRAINS: usize = 40;
    const SEGMENT: usize = 1200;
    const TRAIN: usize = 20 * SEGMENT + 100;
    for (prefix, bits, family, server, headers) in
        [("10.7.0.", 24, "AF_INET", "10.7.0.4", 42), ("fd00::", 64, "AF_INET6", "fd00::4", 62)]
    {
        let wire = Wire::new();
        let exporter = wire.exporter();
        wire.address("a0", prefix, bits);
        let lines = [
            "import socket".to_owned(),
            format!("s = socket.socket(socket.{family}, socket.SOCK_DGRAM)"),
            // SOL_UDP, UDP_SEGMENT (linux/udp.h)
            format!("s.setsockopt(17, 103, {SEGMENT})"),
            format!("s.connect((\"{server}\", 7777))"),
            format!("[s.send(bytes({TRAIN})) for _ in range({TRAINS})]"),
        ];
        let mut sink = wire.d.command("python3");
        sink.args(["-c", &format!("import socket; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.bind((\"{server}\", 7777)); print(\"ready\", flush=True); [s.recv(65536) for _ in iter(int, 1)]")]);
        let sink = crate::common::Program::spawn(&mut sink);
        sink.wait_said("ready");
        let output = wire.a.command("python3").args(["-c", &lines.join("\n")]).output().unwrap();
        assert!(output.status.success(), "{}", crate::common::text(&output));
        let segments = 21 * TRAINS;
        let (_, frames, bytes) = wire.compare(&exporter, family, segments as f64);
        // Whoever asks for a neighbour's address sends some more.
        let datagrams = (TRAINS * TRAIN + segments * headers) as f64;
        let more = frames - segments as f64;
        assert!((0.0..10.0).contains(&more), "{frames} frames");
        assert!(
            (datagrams..datagrams + more * 200.0 + 1.0).contains(&bytes),
            "{bytes} bytes, not {datagrams}"
        );
    }
}

/// Sends super-frames of TCP segments with a tag before their IP header, as virtio guests do: `INTERFACE SOURCE COUNT`.
const TAGGED: &str = r#"
import socket, struct, sys
interface, source, count = sys.argv[1:]
# SOL_PACKET, PACKET_VNET_HDR (linux/if_packet.h)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.setsockopt(263, 15, 1)
s.bind((interface, 0))
tcp = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 5 << 4, 0x10, 1000, 0, 0) + bytes(10_007)
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2]))
ethernet = bytes.fromhex("030000000001") + bytes.fromhex(source.replace(":", "")) + struct.pack("!HHH", 0x8100, 5, 0x800)
# struct virtio_net_hdr: needs a checksum, TCP over IPv4, headers, size of a segment, where the checksum is.
header = struct.pack("=BBHHHH", 1, 1, 58, 1000, 38, 16)
for _ in range(int(count)):
    s.send(header + ethernet + ip + tcp)
"#;

/// Where the sender writes the tag into the frame, it is in each segment's bytes there, and nowhere behind.
#[test]
fn tags_inside_of_super_frames() {
    if !root() {
        return;
    }
    const COUNT: u32 = 50;
    let wire = Wire::new();
    let exporter = wire.exporter();
    let inside = Exporter::start(&wire.a, "-i a0");
    inside.wait_up("a0");
    let mac = wire.a.run("cat /sys/class/net/a0/address").trim().to_owned();
    let mut sender = wire.a.command("python3");
    let output = sender.args(["-c", TAGGED, "a0", &mac, &COUNT.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", crate::common::text(&output));
    // Ten full segments and a short one, each behind 54 bytes, and the tag where it can be seen.
    let segments = f64::from(11 * COUNT);
    let bytes = f64::from(COUNT) * (10_007.0 + 11.0 * 54.0);
    assert_eq!(wire.compare(&exporter, "tagged TCP", segments).1, segments);
    assert_eq!(exporter.scrape().source("sd", &mac), (segments, bytes));
    inside.wait_page("the same frames, with their tags", |page| {
        page.source("a0", &mac) == (segments, bytes + 4.0 * segments)
    });
}

/// TCP inside of VXLAN: each segment has the headers of both.
#[test]
fn tunnelled_super_frames() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    for (namespace, interface, here, there) in [(&wire.a, "a0", 1, 4), (&wire.d, "d0", 4, 1)] {
        let name = interface.replace('0', "7");
        namespace.ip(&format!(
            "link add {name} type vxlan id 7 dstport 4789 local 10.6.0.{here} remote 10.6.0.{there} dev {interface}"
        ));
        crate::common::namespace::silence(namespace, &name);
    }
    let exporter = wire.exporter();
    wire.address("a0", "10.6.0.", 24);
    ["a7", "d7"]
        .iter()
        .zip([&wire.a, &wire.d])
        .for_each(|(name, there)| there.ip(&format!("link set {name} up")));
    wire.address("a7", "10.7.0.", 24);
    transfer(&wire.a, &wire.d, "10.7.0.4:7777");
    // 1398 bytes of payload at the most behind 50 bytes more than usual.
    let full = (THERE as f64 / 1398.0).ceil();
    let (_, frames, bytes) = wire.compare(&exporter, "TCP in VXLAN", full);
    assert!(bytes >= THERE as f64 + 116.0 * full && frames >= full, "{frames} frames, {bytes} bytes");
}
