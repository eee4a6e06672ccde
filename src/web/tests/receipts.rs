//! Scrapers, what they received, and whom a page suits.

use socket2::{Domain, Socket, Type};

use super::*;

/// A client at an address of its own.
pub(super) fn connect_from(server: &Running, n: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, n], 0)).into()).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let client = TcpStream::from(socket);
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

pub(super) fn ask_as_scraper(client: &mut TcpStream) {
    write!(client, "GET /metrics HTTP/1.1\r\nHost: test\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n")
        .unwrap();
}

fn received(server: &Running, n: u8) -> Option<u64> {
    server.server.scrapers.received([127, 0, 0, n].into(), Instant::now())
}

/// Waits until that is what was noted: the server does so just after the client has the last byte.
#[track_caller]
pub(super) fn wait_received(server: &Running, n: u8, mark: Option<u64>) {
    wait_until("a receipt", || received(server, n) == mark);
}

/// A server whose pages tell their number and whom they were made for.
struct Numbered {
    server: Running,
    /// Lets one page be finished.
    release: mpsc::Sender<()>,
    /// How many were begun.
    begun: Arc<AtomicU64>,
}

/// Pages with a mark that the test sets, finished when it says so.
fn numbered(mark: &Arc<AtomicU64>) -> Numbered {
    let (release, page) = held();
    let begun = Arc::<AtomicU64>::default();
    let (mark, count) = (Arc::clone(mark), Arc::clone(&begun));
    let metrics = move |wanted: Wanted, out: &mut dyn Write| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        page();
        write!(out, "{number} {:?}", wanted.received)?;
        Ok(mark.load(Ordering::Relaxed))
    };
    let site = Site { metrics: Box::new(metrics), ..site(0, Vec::new) };
    Numbered { server: Running::start(site, 20, PATIENT), release, begun }
}

/// The pages that those get who ask while one is being made: first a person, who gets that one, then these; `None` is
/// a person, and the others are scrapers by their addresses. So many pages are made for them.
fn pages(numbered: &Numbered, made: usize, who: &[Option<u8>]) -> Vec<String> {
    let Numbered { server, release, begun } = numbered;
    let before = begun.load(Ordering::Relaxed);
    let mut clients = vec![server.connect()];
    ask(&mut clients[0], "/metrics");
    // Whoever asks before it is begun may have it too.
    wait_until("the first page to be begun", || begun.load(Ordering::Relaxed) > before);
    for (n, who) in who.iter().enumerate() {
        let mut client = who.map_or_else(|| server.connect(), |address| connect_from(server, address));
        match who {
            Some(_) => ask_as_scraper(&mut client),
            None => ask(&mut client, "/metrics"),
        }
        server.wait_in_flight(n + 2);
        clients.push(client);
    }
    (0..made).for_each(|_| release.send(()).unwrap());
    clients.iter_mut().map(|client| String::from_utf8(answer(client).1).unwrap()).collect()
}

#[test]
fn a_page_is_made_once_for_all_whom_it_suits() {
    let mark = Arc::new(AtomicU64::new(7));
    let numbered = numbered(&mark);
    let server = &numbered.server;
    // Strangers all get the same, scrapers too.
    assert_eq!(pages(&numbered, 2, &[Some(2), None, Some(3)]), ["0 None", "1 None", "1 None", "1 None"]);
    wait_received(server, 2, Some(7));
    wait_received(server, 3, Some(7));
    assert_eq!(received(server, 4), None);
    // Nothing is new to anybody: one page, whomever it was made for.
    let all = pages(&numbered, 2, &[Some(2), None, Some(3), Some(4)]);
    assert_eq!(all, ["2 None", "3 Some(7)", "3 Some(7)", "3 Some(7)", "3 Some(7)"]);
    wait_received(server, 4, Some(7));
    // Then there is something new, to scrapers that were here before; and each kind is made once.
    mark.store(8, Ordering::Relaxed);
    let all = pages(&numbered, 3, &[Some(2), None, Some(3), None, Some(5), Some(4)]);
    assert_eq!(
        all,
        ["4 None", "5 Some(7)", "6 None", "5 Some(7)", "6 None", "6 None", "5 Some(7)"],
        "the scraper at 5 is a stranger"
    );
    [2, 3, 4, 5].iter().for_each(|n| wait_received(server, *n, Some(8)));
    assert!(server.server.renderer.is_idle(), "no page is kept when nobody waits");
}

#[test]
fn without_memory_scrapers_are_strangers() {
    let metrics = |wanted: Wanted, out: &mut dyn Write| write!(out, "{:?}", wanted.received).map(|()| 1);
    let site = Site { metrics: Box::new(metrics), remember_scrapers: false, ..site(0, Vec::new) };
    let server = Running::start(site, 9, PATIENT);
    let mut client = server.connect();
    for _ in 0..2 {
        ask_as_scraper(&mut client);
        assert_eq!(answer(&mut client).1, b"None");
    }
    // But it is known that it scrapes.
    wait_received(&server, 1, Some(1));
}

#[test]
fn a_page_counts_as_received_when_all_of_it_was_taken() {
    let (mark, bytes) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicUsize::new(1)));
    let (marks, lengths) = (Arc::clone(&mark), Arc::clone(&bytes));
    let metrics = move |_, out: &mut dyn Write| {
        out.write_all(&LONG_TEXT[..lengths.load(Ordering::Relaxed)])?;
        Ok(marks.load(Ordering::Relaxed))
    };
    let site = Site { metrics: Box::new(metrics), ..site(0, Vec::new) };
    let server = Running::start_unread(site, 2 * *LONG_UNREAD);
    let mut client = server.connect();
    ask_as_scraper(&mut client);
    answer(&mut client);
    wait_received(&server, 1, Some(1));

    mark.store(2, Ordering::Relaxed);
    bytes.store(LONG_PAGE, Ordering::Relaxed);
    // One goes away in the middle, one has its answer under way, one asks for the head alone, one is a person.
    let mut gone = server.connect();
    ask_as_scraper(&mut gone);
    gone.read_exact(&mut [0; 100_000]).unwrap();
    server.wait_open(2);
    drop(gone);
    server.wait_open(1);
    let mut slow = server.connect();
    ask_as_scraper(&mut slow);
    assert_eq!(uninterrupted(|| slow.peek(&mut [0])).unwrap(), 1);
    bytes.store(1, Ordering::Relaxed);
    let head = "HEAD /metrics HTTP/1.1\r\nHost: test\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    assert!(client.read(&mut [0; 1000]).unwrap() > 0);
    ask(&mut client, "/metrics");
    answer(&mut client);
    wait_received(&server, 1, Some(1));
    assert_eq!(answer(&mut slow).1.len(), LONG_PAGE);
    wait_received(&server, 1, Some(2));
}

#[test]
fn a_page_is_shared_by_those_who_want_its_form() {
    let (release, page) = held();
    let metrics = move |wanted: Wanted, out: &mut dyn Write| {
        page();
        write!(out, "{}", wanted.offer).map(|()| 0)
    };
    let offers = ["a/a", "b/b"].map(|media| Offer { media, version: "1", content_type: media }).to_vec();
    let site = Site { metrics: Box::new(metrics), offers, ..site(0, Vec::new) };
    let server = Running::start(site, 9, PATIENT);
    let mut clients = ["a/a", "b/b", "a/a", "b/b"].map(|accept| (accept, server.connect()));
    for (n, (accept, client)) in clients.iter_mut().enumerate() {
        write!(client, "GET /metrics HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n").unwrap();
        server.wait_in_flight(n + 1);
    }
    // One for the first alone, perhaps, who may have asked before the others; one of each form for the rest.
    (0..3).for_each(|_| release.send(()).unwrap());
    let pages = clients.map(|(_, mut client)| answer(&mut client).1);
    assert_eq!(pages, [b"0", b"1", b"0", b"1"]);
}
