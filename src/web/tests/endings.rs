//! What becomes of open connections when the server stops.

use std::process::Command;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;

#[test]
fn who_has_just_connected_is_answered_and_who_had_an_answer_is_let_go() {
    let mut server = Running::start(site(0, Vec::new), 9, PATIENT);
    let (mut used, mut new) = (server.used(), server.connect());
    server.wait_open(2);
    server.stop();
    wait_closed(&mut used);
    ask(&mut new, "/-/healthy");
    let mut said = String::new();
    new.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
}

#[test]
fn who_had_the_time_to_ask_is_let_go() {
    let mut server = Running::start(site(0, Vec::new), 9, Patience { first: SHORT, ..PATIENT });
    let mut silent = server.connect();
    server.wait_open(1);
    server.stop();
    wait_closed(&mut silent);
}

/// Who comes while others are still waited for had better be refused than kept waiting until the end.
#[test]
fn who_comes_after_the_end_began_is_refused() {
    let (release, page) = held();
    let mut server = Running::start(site(0, page), 9, PATIENT);
    let mut busy = server.connect();
    ask(&mut busy, "/metrics");
    server.wait_in_flight(1);
    server.stop();
    wait_until("nobody to listen", || {
        let connected = TcpStream::connect_timeout(&server.address, SHORT);
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    server.wait_in_flight(1);
    release.send(()).unwrap();
    assert_eq!(answer(&mut busy).1, b"page");
}

/// A server that encrypts, and those who trust it.
struct Encrypted {
    running: Running,
    roots: RootCertStore,
}

type Client = StreamOwned<ClientConnection, TcpStream>;

impl Encrypted {
    fn start(patience: Patience) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext \
                    basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost -keyout key -out cert";
        let made = Command::new("openssl").current_dir(&folder).args(line.split(' ')).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let web = folder.path().join("web.yml");
        std::fs::write(&web, "tls_server_config: {cert_file: cert, key_file: key}\n").unwrap();
        let security = Some(Arc::new(Security::start(&web).unwrap().0));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.path().join("cert")).unwrap()).unwrap();
        let site = Site { security, ..site(0, Vec::new) };
        Self { running: Running::start(site, 9, patience), roots }
    }

    /// A client that has connected, and said nothing yet.
    fn connect(&self, protocol: &[u8]) -> Client {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), self.running.connect())
    }
}

fn shake_hands(client: &mut Client) {
    client.conn.complete_io(&mut client.sock).unwrap();
    assert!(!client.conn.is_handshaking());
}

/// To the end, be it said or not.
fn read_to_end(client: &mut Client) -> Vec<u8> {
    let mut said = Vec::new();
    match client.read_to_end(&mut said) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => panic!("{error}"),
        _ => said,
    }
}

/// A frame of HTTP/2.
fn h2_frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// What is said to GET /-/healthy, to the end; the connection has to be ended as HTTP/2 ends one.
fn ask_h2(client: &mut Client) -> Vec<u8> {
    // With END_STREAM and END_HEADERS; by HPACK's tables.
    let head = h2_frame(HEADERS, 5, 1, b"\x82\x87\x04\x0a/-/healthy\x41\x09localhost");
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &h2_frame(SETTINGS, 0, 0, &[])[..], &head].concat();
    client.write_all(&begin).unwrap();
    let (mut body, mut goodbye) = (Vec::new(), false);
    loop {
        let mut head = [0; 9];
        match client.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => panic!("{error}"),
        }
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        client.read_exact(&mut payload).unwrap();
        match (head[3], head[4]) {
            (DATA, _) => body.extend(payload),
            (HEADERS, _) => assert_eq!(payload[0], 0x88, "status 200"),
            (GOAWAY, _) => goodbye = true,
            // It may have gone already.
            (PING, flags) if flags & ACK == 0 => drop(client.write_all(&h2_frame(PING, ACK, 0, &payload))),
            _ => {}
        }
    }
    assert!(goodbye);
    body
}

#[test]
fn who_has_just_connected_may_agree_on_keys_first() {
    for protocol in [&b"http/1.1"[..], b"h2"] {
        for shaken in [false, true] {
            let mut server = Encrypted::start(PATIENT);
            let mut used = server.connect(b"http/1.1");
            used.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            used.read_exact(&mut [0; 1]).unwrap();
            let mut new = server.connect(protocol);
            server.running.wait_open(2);
            if shaken {
                shake_hands(&mut new);
            }
            server.running.stop();
            assert!(read_to_end(&mut used).ends_with(b"macwatch is healthy.\n"));
            if protocol == b"h2" {
                assert_eq!(ask_h2(&mut new), b"macwatch is healthy.\n");
            } else {
                new.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
                let said = String::from_utf8(read_to_end(&mut new)).unwrap();
                assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("healthy.\n"), "{said}");
            }
        }
    }
}

/// In the middle of a handshake, after it, and in the middle of a request.
#[test]
fn who_had_the_time_to_agree_and_ask_is_let_go() {
    let mut server = Encrypted::start(Patience { first: SHORT, ..PATIENT });
    let mut silent = [&b"http/1.1"[..], b"h2", b"http/1.1"].map(|protocol| server.connect(protocol));
    server.running.wait_open(3);
    silent[1..].iter_mut().for_each(shake_hands);
    server.running.stop();
    wait_closed(&mut silent[0].sock);
    for client in &mut silent[1..] {
        read_to_end(client);
    }
}
