//! Encrypted connections, as curl and openssl see them.
//!
//! Longer than most: each kind of client's certificate is tried against each kind of demand.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use crate::common::exporter::PORT;
use crate::common::http::connect;
use crate::common::pki::Pki;
use crate::common::secure::{Secure, TLS};
use crate::common::{Namespace, root, wait_until};

/// The section with more in it.
fn tls(more: &str) -> String {
    TLS.replace('}', &format!(", {more}}}"))
}

/// Options of `s_client`, and what it says; none if there is no handshake.
type Client = (&'static str, Option<&'static str>);

#[test]
fn versions_suites_and_curves_are_those_of_the_file() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let cases: &[(&str, &[Client])] = &[
        (
            "prefer_server_cipher_suites: true",
            &[
                ("-tls1_1", None),
                ("-tls1_2", Some("TLSv1.2")),
                ("-tls1_3", Some("TLSv1.3")),
                ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", None),
                ("-alpn h2", Some("ALPN protocol: h2")),
                ("-alpn http/1.1,h2", Some("ALPN protocol: h2")),
                ("-alpn http/1.1", Some("ALPN protocol: http/1.1")),
            ],
        ),
        ("min_version: TLS13", &[("-tls1_2", None), ("-tls1_3", Some("TLSv1.3"))]),
        ("max_version: TLS12", &[("-tls1_2", Some("TLSv1.2")), ("-tls1_3", None)]),
        (
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
            &[
                ("-tls1_2", Some("ECDHE-ECDSA-AES128-GCM-SHA256")),
                ("-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", None),
                // As in Go, those of 1.3 are not to be chosen.
                ("-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", Some("TLS_AES_256_GCM_SHA384")),
            ],
        ),
        (
            "curve_preferences: [CurveP384]",
            &[("-groups P-384", Some("Server Temp Key: ECDH, secp384r1")), ("-groups X25519", None)],
        ),
    ];
    for (more, clients) in cases {
        let secure = Secure::start(&namespace, &pki, &tls(more), "");
        for (options, expected) in *clients {
            let said = secure.s_client(options);
            match expected {
                None => assert_eq!(said, None, "{more}: {options}"),
                Some(part) => {
                    let said = said.unwrap_or_else(|| panic!("{more}: {options}: no handshake"));
                    assert!(
                        said.contains(part) && said.contains("Verify return code: 0"),
                        "{options}: {said}"
                    );
                }
            }
        }
        let page = secure.get("/metrics", "");
        assert_eq!((page.status, page.http.as_str()), (200, "2"), "{more}");
    }
}

/// With TLS 1.2; both sides have the same two suites, in opposite orders.
#[test]
fn the_side_that_the_file_says_chooses_the_suite() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let names = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"];
    let keys = ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"];
    for (preference, server_chooses) in [
        ("prefer_server_cipher_suites: true, ", true),
        ("prefer_server_cipher_suites: false, ", false),
        ("", true),
    ] {
        for (first, second) in [(0, 1), (1, 0)] {
            let more = format!("{preference}cipher_suites: [{}, {}]", keys[first], keys[second]);
            let secure = Secure::start(&namespace, &pki, &tls(&more), "");
            let said = secure.s_client(&format!("-tls1_2 -cipher {}:{}", names[second], names[first]));
            let chosen = names[if server_chooses { first } else { second }];
            let said = said.unwrap_or_else(|| panic!("{more}: no handshake"));
            assert!(said.contains(&format!("Cipher is {chosen}\n")), "{more}: {said}");
        }
    }
}

#[test]
fn http2_is_used_unless_it_is_turned_off() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    for (http2, expected) in [("true", "2"), ("false", "1.1")] {
        let web = format!("{TLS}http_server_config: {{http2: {http2}}}\n");
        let mut secure = Secure::start(&namespace, &pki, &web, "");
        for path in ["/metrics", "/", "/-/healthy", "/nothing"] {
            let answer = secure.get(path, "");
            assert_eq!(answer.http, expected, "{path}");
            let old = secure.get(path, "--http1.1");
            assert_eq!((old.http.as_str(), old.status), ("1.1", answer.status), "{path}");
        }
        let page = secure.get("/metrics", "--compressed").text;
        assert!(page.ends_with('\n') && page.contains("macwatch_build_info"), "{page}");
        assert_eq!(secure.get("/", "--head").status, 200);
        // Whoever does not encrypt is told so.
        let mut plain = connect(&namespace, PORT).unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut said = String::new();
        plain.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.0 400 ") && said.contains("HTTPS server"), "{said}");
        secure.exporter.signal(Signal::TERM);
        assert_eq!(secure.exporter.wait().code(), Some(0));
    }
}

/// Were anything of what it says left unread, the end of the connection would take the answer away with it.
#[test]
fn who_does_not_encrypt_is_told_so_however_much_it_says() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let secure = Secure::start(&namespace, &pki, TLS, "");
    for bytes in [1, 5_000, 100_000] {
        let mut plain = connect(&namespace, PORT).unwrap();
        plain.write_all(&vec![b'x'; bytes]).unwrap();
        let mut said = String::new();
        plain.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.0 400 ") && said.ends_with("HTTPS server.\n"), "{bytes}: {said}");
    }
    // Who never ends is not listened to for ever.
    let mut plain = connect(&namespace, PORT).unwrap();
    let endless = (0..10_000).map(|_| plain.write_all(&[b'x'; 65_536])).find(Result::is_err);
    assert!(endless.is_some());
    assert_eq!(secure.status(""), 200);
}

#[test]
fn clients_show_what_the_file_asks_for() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    pki.issue("other", "DNS:other.example");
    // The same authority, when its time was over.
    pki.openssl("x509 -in ca.pem -signkey ca.key -days -1 -out late.pem");
    let late = std::fs::read_to_string(pki.path("late.pem")).unwrap();
    pki.put("both.pem", late + &std::fs::read_to_string(pki.path("ca.pem")).unwrap());
    let nobody = "";
    let client = "--cert client.pem --key client.key";
    let stranger = "--cert stranger.pem --key stranger.key";
    let other = "--cert other.pem --key other.key";
    let (yes, no) = (200, 0);
    let ca = "client_ca_file: ca.pem, client_auth_type";
    let san = |names: &str| format!("{ca}: RequireAndVerifyClientCert, client_allowed_sans: [{names}]");
    for (more, expected) in [
        ("client_auth_type: NoClientCert".to_owned(), [yes, yes, yes, yes]),
        ("client_auth_type: RequestClientCert".to_owned(), [yes, yes, yes, yes]),
        ("client_auth_type: RequireAnyClientCert".to_owned(), [no, yes, yes, yes]),
        ("client_auth_type: RequireClientCert".to_owned(), [no, yes, yes, yes]),
        (format!("{ca}: VerifyClientCertIfGiven"), [yes, yes, no, yes]),
        (format!("{ca}: RequireAndVerifyClientCert"), [no, yes, no, yes]),
        (
            "client_ca_file: late.pem, client_auth_type: RequireAndVerifyClientCert".to_owned(),
            [no, no, no, no],
        ),
        (
            "client_ca_file: both.pem, client_auth_type: RequireAndVerifyClientCert".to_owned(),
            [no, yes, no, yes],
        ),
        // One that is itself among the authorities' needs nobody else.
        (
            "client_ca_file: stranger.pem, client_auth_type: RequireAndVerifyClientCert".to_owned(),
            [no, no, yes, no],
        ),
        (san("nobody.example, scraper.example"), [no, yes, no, no]),
        (san("ops@example.org"), [no, yes, no, no]),
        (san("192.0.2.7"), [no, yes, no, no]),
        (san("'spiffe://example/scraper'"), [no, yes, no, no]),
        (san("'*.example', client, scraper"), [no, no, no, no]),
        (
            "client_auth_type: RequireAnyClientCert, client_allowed_sans: [stranger.example]".to_owned(),
            [no, no, yes, no],
        ),
    ] {
        let secure = Secure::start(&namespace, &pki, &tls(&more), "");
        for version in ["--tls-max 1.2", "--tlsv1.3"] {
            let seen =
                [nobody, client, stranger, other].map(|who| secure.status(&format!("{who} {version}")));
            assert_eq!(seen, expected, "{more}, {version}");
        }
    }
}

/// A session that is resumed is not asked for the certificate again, be it expired by then or not.
#[test]
fn who_shows_a_certificate_shows_it_each_time() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    for (more, resumed) in [
        ("client_auth_type: NoClientCert", HandshakeKind::Resumed),
        ("client_auth_type: RequestClientCert", HandshakeKind::Full),
        ("client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert", HandshakeKind::Full),
    ] {
        let _secure = Secure::start(&namespace, &pki, &tls(more), "");
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let chain = vec![CertificateDer::from_pem_file(pki.path("client.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_file(pki.path("client.key")).unwrap();
            let config = Arc::new(trusting(&pki, &[version]).with_client_auth_cert(chain, key).unwrap());
            let handshake = || {
                let mut client = open(&namespace, Arc::clone(&config));
                client.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                client.conn.handshake_kind().unwrap()
            };
            assert_eq!([handshake(), handshake()], [HandshakeKind::Full, resumed], "{more}, {version:?}");
        }
    }
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let secure = Secure::start(&namespace, &pki, TLS, "");
    let serial = || {
        let said = secure.s_client("-showcerts").unwrap();
        said.split("-----BEGIN CERTIFICATE-----").nth(1).unwrap().split("-----END").next().unwrap().to_owned()
    };
    let first = serial();
    let expiry = || secure.scrape("").value("macwatch_web_certificate_expiry_timestamp_seconds");
    let said = || {
        let date = pki.openssl("x509 -in server.pem -noout -enddate -dateopt iso_8601");
        let date = date.trim().trim_start_matches("notAfter=").replace(' ', "T");
        date.parse::<jiff::Timestamp>().unwrap().as_second() as f64
    };
    assert_eq!(expiry(), said());
    pki.issue("server", "DNS:localhost,IP:127.0.0.1");
    wait_until("the new certificate", || serial() != first);
    secure.wait_read("", true);
    assert_eq!(expiry(), said());
    // The first of a chain to end.
    let server = std::fs::read_to_string(pki.path("server.pem")).unwrap();
    pki.openssl("x509 -in ca.pem -signkey ca.key -days 3 -out soon.pem");
    pki.put("server.pem", format!("{server}{}", std::fs::read_to_string(pki.path("soon.pem")).unwrap()));
    wait_until("the authority's time", || expiry() < said() - 20.0 * 86400.0);
    pki.put("server.pem", server);
    wait_until("the certificate's time", || expiry() == said());
    let second = serial();
    // Garbage, gone, and another's key: what was good is served on.
    for (file, text) in [("server.pem", "garbage"), ("server.key", "")] {
        let good = std::fs::read(pki.path(file)).unwrap();
        let before = secure.exporter.logged("not reloaded");
        pki.put(file, text);
        secure.wait_read("", false);
        assert_eq!((serial(), secure.exporter.logged("not reloaded")), (second.clone(), before + 1));
        pki.put(file, good);
        secure.wait_read("", true);
    }
    std::fs::rename(pki.path("server.pem"), pki.path("away.pem")).unwrap();
    secure.wait_read("", false);
    assert!(serial() == second && secure.exporter.log().contains("there is no such file"));
    std::fs::rename(pki.path("away.pem"), pki.path("server.pem")).unwrap();
    secure.wait_read("", true);
    // TLS itself cannot be taken away.
    pki.put("web.yml", "");
    secure.wait_read("", false);
    assert!(secure.exporter.log().contains("turns TLS off, which takes a restart"));
    // Another certificate by another name; the folder of that is watched from then on.
    std::fs::create_dir(pki.path("later")).unwrap();
    for name in ["server.pem", "server.key"] {
        std::fs::copy(pki.path(name), pki.path("later").join(name)).unwrap();
    }
    pki.put("web.yml", "tls_server_config: {cert_file: later/server.pem, key_file: later/server.key}\n");
    secure.wait_read("", true);
    pki.issue("server", "DNS:localhost,IP:127.0.0.1");
    for name in ["server.key", "server.pem"] {
        pki.put(&format!("later/{name}"), std::fs::read(pki.path(name)).unwrap());
    }
    wait_until("the newest certificate", || serial() != second);
}

/// What openssl makes if nobody asks for more; rustls itself would not have it.
#[test]
fn a_certificate_of_version_1_is_served() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    pki.openssl("x509 -req -in server.csr -signkey server.key -out server.pem");
    let said = pki.openssl("x509 -in server.pem -noout -text");
    assert!(said.contains("Version: 1"), "{said}");
    let secure = Secure::start(&namespace, &pki, TLS, "");
    assert_eq!(secure.status("--insecure"), 200);
}

/// What a client of our own begins with: our authority, and these versions.
fn trusting(
    pki: &Pki,
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.path("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots)
}

fn open(namespace: &Namespace, config: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    StreamOwned::new(connection, connect(namespace, PORT).unwrap())
}

/// A client of our own, up to the point where it may say anything.
fn client(namespace: &Namespace, pki: &Pki, protocol: &[u8]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut config = trusting(pki, rustls::ALL_VERSIONS).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    open(namespace, Arc::new(config))
}

/// A frame of HTTP/2: its type, flags, stream and payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
/// GET / of localhost, by HPACK's tables.
const GET: &[u8] = b"\x82\x87\x84\x41\x09localhost";

/// Each ends its own connection, and nothing else.
#[test]
fn floods_of_http2_end_their_connection() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let secure = Secure::start(&namespace, &pki, TLS, "");
    let odd = |n: u32| 2 * n + 1;
    let taken_back = (0..5_000).flat_map(|n| {
        [frame(HEADERS, 5, odd(n), GET), frame(RST_STREAM, 0, odd(n), &8u32.to_be_bytes())].concat()
    });
    let endless = (0..5_000).flat_map(|n| match n {
        0 => frame(HEADERS, 1, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &[b"\x00\x01x\x7f\x81\x01", &[b'y'; 256][..]].concat()),
    });
    let settings = (0..200_000).flat_map(|_| frame(SETTINGS, 0, 0, &[]));
    for (what, flood) in [
        ("requests taken back", taken_back.collect::<Vec<u8>>()),
        ("a head without end", endless.collect()),
        ("settings", settings.collect()),
    ] {
        let mut client = client(&namespace, &pki, b"h2");
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
        // It may be closed in the middle.
        let sent = client.write_all(&flood);
        let mut answer = Vec::new();
        let read = client.read_to_end(&mut answer);
        if what != "settings" {
            assert!(sent.is_err() || read.is_ok() || !answer.is_empty(), "{what}: {sent:?} {read:?}");
        }
        assert_eq!(secure.status(""), 200, "after {what}");
    }
    let page = secure.scrape("");
    assert!(
        page.value("macwatch_http_requests_total{code=\"200\"}") < 1_000.0,
        "few of the flood were answered"
    );
    assert!(page.value("process_resident_memory_bytes") < 128e6);
    // Clients must not fill the log.
    assert_eq!(secure.exporter.logged("reset"), 0, "{}", secure.exporter.log());
}

/// More than there may be connections: those that say nothing are closed for those that do.
#[test]
fn whoever_is_silent_in_a_handshake_keeps_nobody_out() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let secure = Secure::start(&namespace, &pki, TLS, "");
    let open = || secure.scrape("").value("process_open_fds");
    let before = open();
    let silent: Vec<TcpStream> = (0..600)
        .map(|n| {
            let mut stream = connect(&namespace, PORT).unwrap();
            // Half of them begin to speak.
            if n % 2 == 0 {
                drop(stream.write_all(b"\x16\x03\x01\x02"));
            }
            stream
        })
        .collect();
    assert_eq!(secure.status(""), 200);
    let more = open() - before;
    assert!(more < 540.0, "{more} descriptors more");
    drop(silent);
}
