//! What the server says to a client, to the byte.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};

use crate::common::exporter::PORT;
use crate::common::http::{self, Response, ask, connect, exchange, inflated, read_one, read_rest};
use crate::common::{Exporter, Namespace, root};

const TEXT: &str = "text/plain; charset=utf-8";

/// A server with nothing to capture.
fn server(namespace: &Namespace) -> Exporter<'_> {
    Exporter::start(namespace, "")
}

fn get(namespace: &Namespace, path: &str, headers: &str) -> Response {
    http::request(namespace, PORT, "GET", path, headers).unwrap()
}

/// The names, types and help texts on a page.
fn families(page: &[u8]) -> BTreeSet<&str> {
    std::str::from_utf8(page).unwrap().lines().filter(|line| line.starts_with('#')).collect()
}

#[test]
fn the_metrics_page_says_what_it_is() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    for path in ["/metrics", "/metrics?name=value"] {
        let page = get(&namespace, path, "");
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(page.header("vary"), Some("Accept, Accept-Encoding"));
        assert_eq!(page.header("content-encoding"), None);
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.length(), page.body.len());
        assert!(page.text().ends_with('\n') && page.text().contains("\nmacwatch_build_info{"));
    }
}

#[test]
fn the_client_chooses_whether_the_page_is_compressed() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    let plain = get(&namespace, "/metrics", "");
    for (accept, gzip) in [
        ("gzip", true),
        ("gzip;q=1.0, identity;q=0.5", true),
        ("deflate, br;q=0.9, gzip;q=0.1", true),
        ("gzip;q=0", false),
        ("gzip;q=0.4, identity;q=0.9", false),
        ("identity", false),
        ("br", false),
    ] {
        let page = get(&namespace, "/metrics", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!(page.status, 200, "{accept}");
        assert_eq!(page.header("content-encoding"), gzip.then_some("gzip"), "{accept}");
        assert_eq!(page.header("vary"), Some("Accept, Accept-Encoding"), "{accept}");
        assert_eq!(page.header("content-type"), plain.header("content-type"), "{accept}");
        assert_eq!(page.length(), page.body.len(), "{accept}");
        if gzip {
            assert!(page.body.len() < plain.body.len() / 2, "{accept}: {} bytes", page.body.len());
        }
        assert_eq!(families(inflated(&page).as_bytes()), families(&plain.body), "{accept}");
    }
}

#[test]
fn the_client_chooses_the_format() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let plain = "text/plain; version=0.0.4; charset=utf-8";
    for (accept, expected) in [
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.3", open),
        ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.6", plain),
        ("text/html, */*;q=0.8", plain),
    ] {
        for coding in ["gzip", "identity"] {
            let headers = format!("Accept: {accept}\r\nAccept-Encoding: {coding}\r\n");
            let page = get(&namespace, "/metrics", &headers);
            assert_eq!(page.status, 200, "{accept}");
            assert_eq!(page.header("content-type"), Some(expected), "{accept}");
            assert_eq!(page.length(), page.body.len(), "{accept}");
            assert_eq!(inflated(&page).ends_with("\n# EOF\n"), expected == open, "{accept}");
        }
    }
}

#[test]
fn head_is_get_without_the_body() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    // On one connection, where a body too many or too few would be taken for the next answer.
    let stream = connect(&namespace, PORT).unwrap();
    for (path, status) in [("/metrics", 200), ("/", 200), ("/-/healthy", 200), ("/-/ready", 200), ("/x", 404)]
    {
        ask(&stream, "HEAD", path);
        let head = read_one(&stream, "HEAD");
        ask(&stream, "GET", path);
        let get = read_one(&stream, "GET");
        assert_eq!((head.status, get.status), (status, status), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        // The numbers on the metrics page change, and their lengths with them.
        assert!(head.length().abs_diff(get.length()) < 100 && head.length() > 0, "{path}");
    }
}

#[test]
fn other_methods_are_refused_and_the_right_ones_named() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let exporter = server(&namespace);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        for path in ["/metrics", "/", "/-/healthy", "/-/ready"] {
            let body = "Connection: close\r\nContent-Length: 4\r\n\r\nbody";
            let answer = exchange(
                &namespace,
                PORT,
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{body}").as_bytes(),
            );
            let answer = http::parse(&answer).unwrap();
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
        }
    }
    assert_eq!(exporter.scrape().value("macwatch_http_requests_total{code=\"405\"}"), 24.0);
}

#[test]
fn a_body_that_nobody_wants_is_not_waited_for() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let exporter = server(&namespace);
    let head = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    for sent in [0, 3_000_000] {
        let request = [head.as_bytes(), &vec![b'x'; sent]].concat();
        let answer = http::parse(&exchange(&namespace, PORT, &request)).unwrap();
        assert_eq!(answer.status, 405, "{sent} bytes of a body");
    }
    assert_eq!(exporter.scrape().value("macwatch_http_requests_total{code=\"405\"}"), 2.0);
}

#[test]
fn unknown_paths_are_not_found() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    for path in ["/metrics/", "/Metrics", "//metrics", "/favicon.ico", "/-/", "/../metrics"] {
        let answer = get(&namespace, path, "");
        assert_eq!((answer.status, answer.header("content-type")), (404, Some(TEXT)), "{path}");
    }
}

#[test]
fn there_is_a_page_for_a_person_and_two_for_probes() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    let landing = get(&namespace, "/", "");
    assert_eq!(landing.status, 200);
    assert_eq!(landing.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(landing.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    for part in ["<a href=\"./metrics\">", "macwatch interfaces", ":10148'", env!("CARGO_PKG_VERSION")] {
        assert!(landing.text().contains(part), "{part}");
    }
    for (path, text) in [("/-/healthy", "macwatch is healthy.\n"), ("/-/ready", "macwatch is ready.\n")] {
        let answer = get(&namespace, path, "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(TEXT)), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.text(), text);
    }
}

#[test]
fn the_metrics_may_be_elsewhere() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = Exporter::start(&namespace, "--web.telemetry-path /probe/mac");
    assert_eq!(get(&namespace, "/probe/mac", "").status, 200);
    assert_eq!(get(&namespace, "/metrics", "").status, 404);
    let landing = get(&namespace, "/", "").text();
    assert!(landing.contains("<a href=\"./probe/mac\">"), "{landing}");
    assert!(landing.contains("metrics_path: '/probe/mac'"), "{landing}");
}

#[test]
fn it_listens_wherever_it_is_told_to() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip("addr add 192.0.2.1/32 dev lo");
    let listen = "--web.listen-address 127.0.0.1:10148 --web.listen-address 192.0.2.1:10148 \
                  --web.listen-address [::1]:9";
    let _exporter = Exporter::start(&namespace, listen);
    let answers = |address: &str| {
        namespace.inside(|| TcpStream::connect(address)).is_ok_and(|stream| {
            ask(&stream, "GET", "/metrics");
            read_one(&stream, "GET").status == 200
        })
    };
    for address in ["127.0.0.1:10148", "192.0.2.1:10148", "[::1]:9"] {
        assert!(answers(address), "{address}");
    }
    for address in ["127.0.0.2:10148", "[::1]:10148", "127.0.0.1:9"] {
        assert!(!answers(address), "{address}");
    }
}

#[test]
fn a_port_alone_is_both_families() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    for address in ["127.0.0.1:10148", "[::1]:10148"] {
        let stream = namespace.inside(|| TcpStream::connect(address)).unwrap();
        ask(&stream, "GET", "/metrics");
        assert_eq!(read_one(&stream, "GET").status, 200, "{address}");
    }
}

#[test]
fn a_connection_takes_many_requests_one_after_the_other_or_all_at_once() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    let mut stream = connect(&namespace, PORT).unwrap();
    for _ in 0..20 {
        ask(&stream, "GET", "/metrics");
        assert_eq!(read_one(&stream, "GET").status, 200);
    }
    let paths = ["/metrics", "/-/healthy", "/nothing", "/"];
    let requests: String =
        (0..40).map(|n| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", paths[n % 4])).collect();
    stream.write_all(requests.as_bytes()).unwrap();
    let answers: Vec<u16> = (0..40).map(|_| read_one(&stream, "GET").status).collect();
    assert_eq!(answers, [200, 200, 404, 200].repeat(10), "in order");
}

#[test]
fn old_and_unusual_requests_are_understood() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    for request in [
        "GET /metrics HTTP/1.0\r\n\r\n",
        "GET http://elsewhere.example:80/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "\r\nGET /metrics HTTP/1.1\r\nhost:x\r\nCONNECTION: Close\r\n\r\n",
    ] {
        let answer = http::parse(&exchange(&namespace, PORT, request.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{request}");
        assert!(answer.text().contains("macwatch_build_info"), "{request}");
    }
}

/// Nothing else is spoken here: whoever would rather speak it goes on with what he has.
#[test]
fn who_asks_for_another_protocol_is_answered_in_this_one() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    for headers in [websocket, h2c] {
        let mut stream = connect(&namespace, PORT).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
        let answer = read_one(&stream, "GET");
        assert_eq!((answer.status, answer.header("upgrade")), (200, None), "{headers}");
        // It goes on.
        ask(&stream, "GET", "/-/healthy");
        assert_eq!(read_one(&stream, "GET").status, 200, "{headers}");
    }
    // Without encryption nobody speaks HTTP/2 without asking either.
    let preface = exchange(&namespace, PORT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(http::parse(&preface).is_none_or(|answer| answer.status >= 400));
    let tunnel = b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let tunnel = http::parse(&exchange(&namespace, PORT, tunnel)).unwrap();
    assert!([404, 405].contains(&tunnel.status), "{}", tunnel.head);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let _exporter = server(&namespace);
    let mut stream = connect(&namespace, PORT).unwrap();
    ask(&stream, "GET", "/metrics");
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = http::parse(&read_rest(&mut stream)).unwrap();
    assert_eq!((answer.status, answer.length()), (200, answer.body.len()));
}

#[test]
fn too_much_of_a_request_is_refused() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let exporter = server(&namespace);
    let refused = |what: &str, request: String, codes: &[u16]| {
        let answer = http::parse(&exchange(&namespace, PORT, request.as_bytes()));
        let status = answer.unwrap_or_else(|| panic!("{what}: no answer")).status;
        assert!(codes.contains(&status), "{what}: {status}");
        assert_eq!(exporter.get("/-/healthy").unwrap().status, 200, "after {what}");
    };
    let get = |head: &str| format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
    assert_eq!(http::parse(&exchange(&namespace, PORT, get("X: y\r\n").as_bytes())).unwrap().status, 200);
    refused("a header of 20 KB", get(&format!("X: {}\r\n", "y".repeat(20_000))), &[431]);
    refused("20 KB of headers", get(&"X: yyyyyyyyyyyyyyyyyyyyy\r\n".repeat(800)), &[431]);
    refused("200 headers", get(&"X: y\r\n".repeat(200)), &[431]);
    refused("10,000 headers", get(&"X:\r\n".repeat(10_000)), &[431]);
    refused("a path of 1 MB", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)), &[414, 431]);
}

#[test]
fn what_is_no_request_is_refused() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let exporter = server(&namespace);
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n";
    for garbage in [
        &b"garbage\r\n\r\n"[..],
        b"\x00\xff\x00\xff\r\n\r\n",
        tls_hello,
        b"GET /metrics\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ] {
        let text = String::from_utf8_lossy(garbage);
        let answer = http::parse(&exchange(&namespace, PORT, garbage));
        assert_eq!(answer.unwrap_or_else(|| panic!("{text}: no answer")).status, 400, "{text}");
        assert_eq!(exporter.get("/-/healthy").unwrap().status, 200, "after {text}");
    }
}
