//! Clients of many addresses that mean no good: what one of them does, another does not notice.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::common::exporter::PORT;
use crate::common::http::{Response, connect, connect_from, read_one, read_rest};
use crate::common::{Exporter, Namespace, root, veth, wait_until, wire};

/// As Prometheus asks.
const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n";

/// One of so many clients' addresses, none of which is the scraper's.
fn client(n: usize, clients: usize) -> Ipv4Addr {
    let n = u8::try_from(n % clients).unwrap();
    Ipv4Addr::new(127, 0, 1, n)
}

#[track_caller]
fn scrape(mut stream: &TcpStream) -> Response {
    stream.write_all(SCRAPE.as_bytes()).unwrap();
    let page = read_one(stream, "GET");
    assert_eq!(page.status, 200, "{}", page.head);
    page
}

/// A scraper whose connection stays. It is remembered once it has had a page.
#[track_caller]
fn scraper(namespace: &Namespace) -> TcpStream {
    let stream = connect(namespace, PORT).unwrap();
    scrape(&stream);
    scrape(&stream);
    stream
}

fn open_files(exporter: &Exporter<'_>) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", exporter.pid())).unwrap().count()
}

/// Whether the server has closed it.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0; 16]);
    stream.set_nonblocking(false).unwrap();
    !matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// As many as all the clients take, and the tests beside.
fn allow_many_files() {
    const MANY: u64 = 8000;
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    assert!(most.is_none_or(|most| most >= MANY), "it takes {MANY} open files: see ulimit -Hn");
}

#[test]
fn five_thousand_silent_connections_delay_and_refuse_no_scrape() {
    if !root() {
        return;
    }
    allow_many_files();
    for clients in [1, 250] {
        let namespace = Namespace::new();
        let exporter = Exporter::start(&namespace, "");
        let kept = scraper(&namespace);
        let before = open_files(&exporter);
        let mut silent: Vec<TcpStream> = Vec::new();
        for n in 0..5000 {
            silent.push(connect_from(&namespace, client(n, clients), PORT).unwrap());
            if n % 250 == 0 {
                // On the connection that it had from the start, and on one of its own.
                scrape(&kept);
                exporter.scrape();
            }
        }
        scrape(&kept);
        let more = open_files(&exporter) - before;
        let most = if clients == 1 { 128 } else { 512 };
        assert!(more < most + 20, "{clients} clients: {more} descriptors more are open");
        assert!(is_closed(&silent[0]) && !is_closed(&silent[4999]), "{clients} clients");
        assert_eq!(exporter.logged("cannot accept"), 0, "{}", exporter.log());
    }
}

/// However few there are: sockets for interfaces to come take none from the one that is there.
#[test]
fn with_few_descriptors_it_captures() {
    let Some((ours, _theirs)) = wire() else { return };
    for limit in (20..=52).step_by(4) {
        let mut command = ours.with_descriptors(limit);
        // The kernel engine's tables take too many of the fewest.
        command.args(["--capture.engine", "auto"]);
        let exporter = Exporter::spawn(&ours, command);
        exporter.wait_ready();
        // An interface that could not even be begun with is none that is waited for until then.
        exporter.wait_up("mw0");
        assert_eq!(exporter.logged("cannot capture"), 0, "{limit}: {}", exporter.log());
    }
}

/// Few descriptors are shared between clients and what macwatch is for.
#[test]
fn with_few_descriptors_clients_leave_enough_for_the_work() {
    if !root() {
        return;
    }
    for limit in [64, 256] {
        let namespace = Namespace::new();
        let files = tempfile::tempdir().unwrap();
        let inventory = files.path().join("ethers");
        std::fs::write(&inventory, "").unwrap();
        let mut command = namespace.with_descriptors(limit);
        command.arg("--inventory.file").arg(&inventory);
        let exporter = Exporter::spawn(&namespace, command);
        exporter.wait_ready();
        let kept = scraper(&namespace);
        // Half of what is free by then is for the work, of which some goes on.
        let most = usize::midpoint(open_files(&exporter), limit) + 8;
        let silent: Vec<TcpStream> =
            (0..600).map(|n| connect_from(&namespace, client(n, 200), PORT).unwrap()).collect();
        scrape(&kept);
        exporter.scrape();
        let open = open_files(&exporter);
        assert!(open < most && most < limit, "{open} of {limit} are open, {most} may be");
        // Files are read all the while.
        std::fs::write(&inventory, "02:00:00:00:00:01 one\n").unwrap();
        exporter.wait_value("macwatch_inventory_entries", 1.0);
        assert_eq!(exporter.logged("cannot accept"), 0, "{}", exporter.log());
        assert_eq!(exporter.logged("fewer connections, as few open files are allowed"), 1);
        assert_eq!(exporter.logged(&format!("allowed={limit}")), 1);
        drop(silent);
    }
}

/// A machine may have all addresses of its /64, and so has whoever is in it beside the scraper.
#[test]
fn a_network_of_64_bits_is_one_client_but_for_its_scraper() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    namespace.inside(|| drop(std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0")));
    let address = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n);
    let lines: String = (1..=40).map(|n| format!("addr add {}/128 dev lo nodad\n", address(n))).collect();
    namespace.ip_batch(&lines);
    namespace.ip("addr add 2001:db8:0:2::1/128 dev lo nodad");
    let exporter = Exporter::start(&namespace, "");
    let connect = |source: Ipv6Addr| {
        let stream: TcpStream = namespace.inside(|| {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
            socket.connect(&SocketAddr::from((address(1), PORT)).into()).unwrap();
            socket.into()
        });
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let kept = connect(address(40));
    scrape(&kept);
    scrape(&kept);
    let elsewhere = connect("2001:db8:0:2::1".parse().unwrap());
    scrape(&elsewhere);
    let before = open_files(&exporter);
    let silent: Vec<TcpStream> = (0..300).map(|n| connect(address(n % 39 + 1))).collect();
    wait_until("all but 128 of them to be closed", || {
        silent.iter().filter(|stream| !is_closed(stream)).count() < 129
    });
    assert!(!is_closed(&silent[299]), "the newest stays");
    scrape(&kept);
    scrape(&elsewhere);
    let more = open_files(&exporter) - before;
    assert!(more < 150, "{more} descriptors more");
}

/// On a segment each machine has one of its own, and the same on another segment is another machine's.
#[test]
fn a_link_local_client_answers_for_no_other() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    for n in 0..2 {
        veth(&ours, &format!("mw{n}"), &theirs, &format!("peer{n}"));
    }
    for (namespace, interface, addresses) in [
        (&ours, "mw0", &["fe80::1"][..]),
        (&ours, "mw1", &["fe80::1"]),
        (&theirs, "peer0", &["fe80::2", "fe80::3"]),
        (&theirs, "peer1", &["fe80::3"]),
    ] {
        let switch = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        namespace.inside(|| std::fs::write(switch, "0").unwrap());
        for address in addresses {
            namespace.ip(&format!("addr add {address}/64 dev {interface} nodad"));
        }
    }
    let _exporter = Exporter::start(&ours, "");
    let connect = |source: &str, interface: &str| {
        let at = |address: &str, port| {
            let address: Ipv6Addr = address.parse().unwrap();
            SocketAddr::from(SocketAddrV6::new(address, port, 0, theirs.index(interface))).into()
        };
        let stream: TcpStream = theirs.inside(|| {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
            socket.bind(&at(source, 0)).unwrap();
            socket.connect(&at("fe80::1", PORT)).unwrap();
            socket.into()
        });
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let mut others = [("fe80::2", "peer0"), ("fe80::3", "peer1")].map(|(source, on)| connect(source, on));
    let mut assert_open = || {
        for stream in &mut others {
            stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            assert_eq!(read_one(stream, "GET").status, 200);
        }
    };
    assert_open();
    let silent: Vec<TcpStream> = (0..300).map(|_| connect("fe80::3", "peer0")).collect();
    wait_until("all but 128 of them to be closed", || {
        silent.iter().filter(|stream| !is_closed(stream)).count() < 129
    });
    assert_open();
}

#[test]
fn who_has_said_all_before_asking_is_let_go() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let exporter = Exporter::start(&namespace, "");
    let before = open_files(&exporter);
    let mut half: Vec<TcpStream> = (0..100)
        .map(|n| {
            let mut stream = connect_from(&namespace, client(n, 10), PORT).unwrap();
            // Some in the middle of a request.
            if n % 2 == 0 {
                stream.write_all(b"GET /metrics HTT").unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        })
        .collect();
    wait_until("their descriptors to be free", || open_files(&exporter) <= before + 2);
    for stream in &mut half {
        let said = String::from_utf8(read_rest(stream)).unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
    }
}

/// They send all that there is room for, and take nothing.
#[test]
fn pipelined_floods_keep_no_scraper_out() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    namespace.inside(|| {
        for buffer in ["tcp_wmem", "tcp_rmem"] {
            std::fs::write(format!("/proc/sys/net/ipv4/{buffer}"), "4096 16384 65536").unwrap();
        }
    });
    let exporter = Exporter::start(&namespace, "--web.max-requests 2");
    let kept = scraper(&namespace);
    for path in ["/metrics", "/-/healthy", "/", "/nothing"] {
        let requests = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(500);
        let flood: Vec<TcpStream> = (0..30)
            .map(|n| {
                let mut stream = connect_from(&namespace, client(n, 3), PORT).unwrap();
                stream.set_nonblocking(true).unwrap();
                while stream.write(requests.as_bytes()).is_ok() {}
                stream
            })
            .collect();
        for _ in 0..5 {
            scrape(&kept);
            exporter.scrape();
        }
        drop(flood);
    }
}
