//! A frame is a frame on the wire, whatever buffers the kernel made of it: offloads change nothing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use crate::common::{DEADLINE, Exporter, Namespace, Program, bridge, root, veth};

const THERE: usize = 20 << 20;
const BACK: usize = 2 << 20;

/// Frames in flight must fit in the ring of a veth that does GRO (256): what is lost in it was on the wire
/// before, and not after.
const WINDOW: &str = "4096 65536 131072";

fn offloads(namespace: &Namespace, interface: &str, settings: &str) {
    namespace.run(&format!("ethtool -K {interface} {settings}"));
}

/// What the kernel counts: its own buffers, super-frames once.
fn buffers_sent(namespace: &Namespace, interface: &str) -> f64 {
    namespace.run(&format!("cat /sys/class/net/{interface}/statistics/tx_packets")).trim().parse().unwrap()
}

/// Sends much there, a little back, over one connection.
fn transfer(client: &Namespace, server: &Namespace, address: &str) {
    let listener = server.inside(|| TcpListener::bind(address).unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut all = vec![0; THERE];
            stream.read_exact(&mut all).unwrap();
            stream.write_all(&all[..BACK]).unwrap();
        });
        let mut stream = client.inside(|| TcpStream::connect(address).unwrap());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&vec![7; THERE]).unwrap();
        stream.read_exact(&mut vec![0; BACK]).unwrap();
    });
}

/// ```text
/// A ──────── bridge ──────── C ──────── D
/// a0       sa      sc      cs cd       d0
/// TSO, GSO         cut here            GRO
/// ```
/// C is a bridge too, so that A's frames are A's all the way.
#[test]
fn the_same_transfer_is_the_same_everywhere() {
    if !root() {
        return;
    }
    let (a, s, c, d) = (Namespace::new(), Namespace::new(), Namespace::new(), Namespace::new());
    veth(&a, "a0", &s, "sa");
    veth(&s, "sc", &c, "cs");
    veth(&c, "cd", &d, "d0");
    for (namespace, ports) in [(&s, ["sa", "sc"]), (&c, ["cs", "cd"])] {
        bridge(namespace, "br0");
        ports.iter().for_each(|port| namespace.ip(&format!("link set {port} master br0")));
    }
    offloads(&a, "a0", "tso on gso on tx on");
    for (namespace, interface) in [(&s, "sc"), (&c, "cs"), (&c, "cd")] {
        offloads(namespace, interface, "tso off gso off gro off");
    }
    offloads(&d, "d0", "gro on");
    for namespace in [&a, &d] {
        namespace.inside(|| std::fs::write("/proc/sys/net/ipv4/tcp_rmem", WINDOW).unwrap());
    }

    let exporters = [
        Exporter::start(&a, "-i a0"),
        Exporter::start(&s, "-i sa -i sc"),
        Exporter::start(&c, "-i cs -i cd"),
        Exporter::start(&d, "-i d0"),
    ];
    let points = [(0, "a0"), (1, "sa"), (1, "sc"), (2, "cs"), (2, "cd"), (3, "d0")];
    points.iter().for_each(|(exporter, interface)| exporters[*exporter].wait_up(interface));
    let mut merged =
        Program::spawn(d.command("tcpdump").args("-n -i d0 -c 1 greater 1600".split_whitespace()));
    merged.wait_said("listening on");
    let macs = [(&a, "a0"), (&d, "d0")].map(|(namespace, interface)| {
        namespace.run(&format!("cat /sys/class/net/{interface}/address")).trim().to_owned()
    });
    // Only now may anyone speak.
    a.ip("addr add 10.7.0.1/24 dev a0");
    d.ip("addr add 10.7.0.4/24 dev d0");
    transfer(&a, &d, "10.7.0.4:7777");

    // The last acknowledgements may still be on their way.
    let begun = Instant::now();
    let counts = loop {
        let pages = exporters.each_ref().map(Exporter::scrape);
        let counts = points
            .map(|(exporter, interface)| macs.each_ref().map(|mac| pages[exporter].source(interface, mac)));
        if counts.iter().all(|count| *count == counts[0]) || begun.elapsed() > DEADLINE {
            for (exporter, interface) in points {
                assert_eq!(pages[exporter].interface("dropped_frames_total", interface), 0.0);
                assert_eq!(pages[exporter].interface("sources", interface), 2.0, "only A and D speak");
            }
            break counts;
        }
    };
    for (count, (_, interface)) in counts.iter().zip(points) {
        assert_eq!(*count, counts[0], "{interface} and a0 differ; {points:?}: {counts:#?}");
    }

    // All of it, cut into full segments: 1448 bytes of payload behind 66 of headers.
    let [(there_frames, there_bytes), (_, back_bytes)] = counts[0];
    let full = (THERE as f64 / 1448.0).ceil();
    assert!(there_frames >= full && there_bytes >= THERE as f64 + 66.0 * full, "{counts:?}");
    assert!(back_bytes > BACK as f64, "{counts:?}");
    // And it was not the same everywhere to begin with: A sent super-frames, C none, D merged them anew.
    let sent = buffers_sent(&a, "a0");
    assert!(sent * 2.0 < there_frames, "A sent no super-frames: {sent} buffers, {there_frames} frames");
    assert_eq!(buffers_sent(&c, "cd"), there_frames, "C did not cut: {counts:?}");
    assert!(merged.wait().success(), "D merged nothing");
}

/// Super-frames of more than 64 KiB. In IPv6 the kernel puts a jumbo option into each, and takes it out again
/// where they are cut.
///
/// ```text
/// A ──────── bridge ──────── D
/// a0       sa      sd (cut)  d0
/// ```
#[test]
fn big_tcp_is_the_same_whole_and_cut() {
    if !root() {
        return;
    }
    let (a, s, d) = (Namespace::new(), Namespace::new(), Namespace::new());
    veth(&a, "a0", &s, "sa");
    veth(&s, "sd", &d, "d0");
    for (namespace, interface) in [(&a, "a0"), (&s, "sa"), (&s, "sd"), (&d, "d0")] {
        namespace.ip(&format!("link set {interface} gso_max_size 185000 gro_max_size 185000"));
    }
    bridge(&s, "br0");
    ["sa", "sd"].iter().for_each(|port| s.ip(&format!("link set {port} master br0")));
    offloads(&s, "sd", "tso off gso off sg off tx off");
    offloads(&d, "d0", "gro off");
    for namespace in [&a, &d] {
        namespace.inside(|| {
            for file in ["tcp_wmem", "tcp_rmem"] {
                let path = format!("/proc/sys/net/ipv4/{file}");
                std::fs::write(path, "4096 8388608 16777216").unwrap();
            }
        });
    }
    let exporter = Exporter::start(&s, "-i sa -i sd");
    exporter.wait_up("sa");
    exporter.wait_up("sd");
    let arguments = "-n -i sa -c 1 greater 70000".split_whitespace();
    let mut larger = Program::spawn(s.command("tcpdump").args(arguments));
    larger.wait_said("listening on");
    for (namespace, interface, host) in [(&a, "a0", 1), (&d, "d0", 4)] {
        let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        namespace.inside(|| std::fs::write(path, "0").unwrap());
        namespace.ip(&format!("addr add fd00::{host}/64 dev {interface} nodad"));
    }
    transfer(&a, &d, "[fd00::4]:7777");

    let mac = a.run("cat /sys/class/net/a0/address").trim().to_owned();
    let page = exporter.wait_page("the same on both sides", |page| {
        let (whole, cut) = (page.source("sa", &mac), page.source("sd", &mac));
        whole == cut && whole.1 > THERE as f64
    });
    let (frames, bytes) = page.source("sa", &mac);
    // 1428 bytes of payload behind 86 of headers, none of them the jumbo option's.
    let full = (THERE as f64 / 1428.0).ceil();
    assert!(frames >= full && bytes >= THERE as f64 + 86.0 * full, "{frames} frames, {bytes} bytes");
    assert!(larger.wait().success(), "no super-frame of more than 64 KiB");
}
