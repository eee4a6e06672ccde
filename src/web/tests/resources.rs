//! What is served beside the metrics page, and that it never takes the place of it.

use super::*;

/// A site with something fixed, and something that is made by this.
fn site_of(maker: impl Fn(&str, &mut dyn Write) -> io::Result<Verdict> + Send + Sync + 'static) -> Site {
    let fixed = Resource::fixed("/style.css", "text/css", "p { }").unwrap();
    let made = Resource::made("/made", "text/plain", Arc::new(maker)).with_headers(&[("x-one", "1")]);
    Site { resources: vec![fixed, made], ..site(1, || b"page".to_vec()) }
}

/// Head and body of the answer to these headers.
fn exchange(server: &Running, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut client = server.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase(), bytes[end + 4..].to_vec())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn who_has_what_never_changes_is_not_sent_it_again() {
    let server = Running::start(site_of(|_, _| Ok(Verdict::Answered)), 9, PATIENT);
    let (head, body) = exchange(&server, "/style.css", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!((header(&head, "content-type"), &*body), (Some("text/css"), &b"p { }"[..]));
    let tag = &header(&head, "etag").unwrap().replace("w/", "W/");
    for (headers, status) in
        [(format!("If-None-Match: {tag}\r\n"), "304"), ("If-None-Match: \"x\"\r\n".to_owned(), "200")]
    {
        let (head, body) = exchange(&server, "/style.css", &headers);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert_eq!(body.is_empty(), status == "304");
        assert_eq!(header(&head, "etag").map(|tag| tag.replace("w/", "W/")).as_ref(), Some(tag));
    }
    let (head, _) = exchange(&server, "/style.css", "Accept-Encoding: gzip\r\n");
    assert_eq!(header(&head, "content-encoding"), Some("gzip"));
}

/// One that is so long that it cannot be written at once shows it.
#[test]
fn what_never_changes_is_there_once_for_all_who_read_it() {
    let text = "x".repeat(LONG_PAGE);
    let resources = vec![Resource::fixed("/long", "text/plain", &text).unwrap()];
    let server = Running::start_unread(Site { resources, ..site(1, Vec::new) }, 2 * LONG_PAGE);
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        ask(client, "/long");
    }
    server.wait_unread(LONG_PAGE + 2 * ANSWER);
    for client in &mut clients {
        assert_eq!(answer(client).1.len(), LONG_PAGE);
    }
    server.wait_unread(0);
}

#[test]
fn a_maker_gets_the_query_and_judges_it() {
    let server = Running::start(
        site_of(|query, out| {
            write!(out, "[{query}]")?;
            Ok(if query == "bad" { Verdict::Refused } else { Verdict::Answered })
        }),
        9,
        PATIENT,
    );
    for (path, status, expected) in
        [("/made", "200", "[]"), ("/made?a=%20&b", "200", "[a=%20&b]"), ("/made?bad", "400", "[bad]")]
    {
        let (head, body) = exchange(&server, path, "");
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        assert_eq!((header(&head, "cache-control"), header(&head, "x-one")), (Some("no-store"), Some("1")));
        assert_eq!(header(&head, "vary"), Some("accept-encoding"));
    }
    assert_eq!(server.server.traffic.responses().find(|(code, _)| *code == 400), Some((400, 1)));
}

#[test]
fn a_maker_that_fails_is_a_500_and_no_more() {
    let server = Running::start(
        site_of(
            |query, _| if query.is_empty() { Err(io::Error::other("no")) } else { panic!("a test's page") },
        ),
        9,
        PATIENT,
    );
    for path in ["/made", "/made?x"] {
        let (head, _) = exchange(&server, path, "");
        assert!(head.starts_with("http/1.1 500"), "{head}");
    }
    assert!(exchange(&server, "/style.css", "").0.starts_with("http/1.1 200"));
}

#[test]
fn those_who_wait_for_what_is_made_are_few_and_keep_no_scraper_out() {
    let (release, page) = held();
    let server = Running::start(
        site_of(move |_, out| {
            page();
            out.write_all(b"made").map(|()| Verdict::Answered)
        }),
        99,
        PATIENT,
    );
    let mut clients: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        ask(client, "/made");
    }
    server.wait_in_flight(8);
    let (head, _) = exchange(&server, "/made", "");
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(header(&head, "retry-after"), Some("1"));
    assert_eq!(exchange(&server, "/metrics", "").1, b"page");
    for _ in &clients {
        release.send(()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(answer(client), ("http/1.1 200 ok".to_owned(), b"made".to_vec()));
    }
}
