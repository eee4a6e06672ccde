//! The server on a thread of its own, clients on real sockets of the loopback.
//!
//! Limits on time are set small, and one at a time: the others are so long that a test would fail by its
//! deadline if the wrong one were at work. Longer than most files: the clients and the server that they share are
//! a third of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{LazyLock, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::oneshot;

use super::connections::Limits;
use super::guard::Patience;
use super::packed::{Packer, UNPACKING};
use super::unread::ANSWER;
use super::*;

mod broken;
mod clients;
mod endings;
mod pages;
mod receipts;
mod resources;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(200);
/// Longer than any of the clients below should have to wait.
const DEADLINE: Duration = Duration::from_secs(60);

/// Bytes of a page; more than the kernel's buffers on both sides take.
const LONG_PAGE: usize = 64 << 20;

/// Such a page, which no compression makes shorter.
static LONG_TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random.to_be_bytes().into_iter().take(4)
    };
    (0..LONG_PAGE / 4).flat_map(|_| next()).collect()
});

/// Bytes that one takes while it is read.
static LONG_UNREAD: LazyLock<usize> = LazyLock::new(|| {
    let mut packer = Packer::new();
    packer.write_all(&LONG_TEXT).unwrap();
    packer.finish().unwrap().gzip.len() + UNPACKING + ANSWER
});

const PATIENT: Patience = Patience { first: LONG, idle: LONG, head: LONG, answer: LONG, last: LONG };

fn site(max_requests: usize, metrics: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Site {
    Site {
        telemetry_path: "/metrics".to_owned(),
        max_requests,
        metrics: Box::new(move |_, out| out.write_all(&metrics()).map(|()| 0)),
        remember_scrapers: true,
        offers: vec![Offer { media: "text/plain", version: "1", content_type: "text/plain" }],
        resources: Vec::new(),
        ready: Box::new(|| true),
        reload: None,
        security: None,
    }
}

/// A running server; ended when dropped.
struct Running {
    address: SocketAddr,
    server: Arc<Server>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(site: Site, most: usize, patience: Patience) -> Self {
        Self::start_with(Server::new(site, Arc::default()), most, patience)
    }

    /// Patient, but not beyond this many bytes of answers that nobody takes.
    fn start_unread(site: Site, most_unread: usize) -> Self {
        let server = Server::new(site, Arc::default());
        let unread = Arc::new(Unread::new(most_unread, Arc::clone(&server.scrapers)));
        Self::start_with(Server { unread, ..server }, 9, PATIENT)
    }

    fn start_with(server: Server, most: usize, patience: Patience) -> Self {
        Self::start_with_limits(server, Limits::new(most, patience))
    }

    fn start_with_limits(server: Server, limits: Limits) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(server);
        let served = Arc::clone(&server);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                // Sent or dropped: either way it is over.
                let shutdown = async { drop(stopped.await) };
                serve_with(vec![listener], served, limits, shutdown).await.unwrap();
            });
        });
        Self { address, server, stop: Some(stop), thread: Some(thread) }
    }

    /// Tells it to stop; `drop` waits until it has.
    fn stop(&mut self) {
        drop(self.stop.take());
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    /// A connection on which one request has been answered. On a busy machine this thread may come too late with it, where
    /// requests are waited for briefly; then it is another connection.
    fn used(&self) -> TcpStream {
        let begun = Instant::now();
        loop {
            let mut client = self.connect();
            if is_open(&mut client) {
                return client;
            }
            assert!(begun.elapsed() < DEADLINE, "no connection is served");
        }
    }

    /// Waits until this many connections are open: each holds the server once, besides us and the loop.
    fn wait_open(&self, connections: usize) {
        wait_until("connections", || Arc::strong_count(&self.server) == connections + 2);
    }

    fn wait_in_flight(&self, requests: usize) {
        wait_until("requests in flight", || self.server.traffic.in_flight() == requests);
    }

    fn wait_unread(&self, bytes: usize) {
        wait_until("bytes of unread answers", || self.server.unread.bytes() == bytes);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn ask(client: &mut TcpStream, path: &str) {
    write!(client, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
}

/// Reads one answer by its Content-Length: status line and body.
fn answer(client: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    client.read_exact(&mut body).unwrap();
    (head.lines().next().unwrap().to_owned(), body)
}

/// A process that was stopped and continued has its waits interrupted.
fn uninterrupted<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Waits until the server closes. Nothing may arrive before.
#[track_caller]
fn wait_closed(client: &mut TcpStream) {
    match uninterrupted(|| client.read(&mut [0; 64])) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}

/// Whether the server still answers on this connection.
#[track_caller]
fn is_open(client: &mut TcpStream) -> bool {
    // It may be closed by now, which shows when something is read.
    drop(client.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n"));
    let open = uninterrupted(|| client.peek(&mut [0])).is_ok_and(|read| read == 1);
    if open {
        assert_eq!(answer(client).0, "http/1.1 200 ok");
    }
    open
}

#[track_caller]
fn assert_open(client: &mut TcpStream) {
    assert!(is_open(client), "the server closed");
}

/// The server must not have been less patient than it was told to be since then: a moment before its time began.
#[track_caller]
fn assert_patient(begun: Instant) {
    let waited = begun.elapsed();
    assert!(waited >= SHORT / 2, "too early: {waited:?}");
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let server = Running::start(site(0, Vec::new), 9, Patience { idle: SHORT, ..PATIENT });
    let begun = Instant::now();
    wait_closed(&mut server.connect());
    assert_patient(begun);
}

#[test]
fn a_connection_is_closed_that_says_nothing_after_an_answer() {
    let server = Running::start(site(0, Vec::new), 9, Patience { idle: SHORT, ..PATIENT });
    let begun = Instant::now();
    wait_closed(&mut server.used());
    assert_patient(begun);
}

#[test]
fn idle_time_begins_anew_with_each_answer() {
    let idle = Duration::from_millis(600);
    let server = Running::start(site(0, Vec::new), 9, Patience { idle, ..PATIENT });
    let start = Instant::now();
    'anew: loop {
        let begun = Instant::now();
        let (mut client, mut asked) = (server.used(), begun);
        while begun.elapsed() < idle * 2 {
            std::thread::park_timeout(idle / 6);
            let asking = Instant::now();
            if !is_open(&mut client) {
                // On a busy machine this thread may have been away for too long itself.
                assert!(asked.elapsed() >= idle && start.elapsed() < DEADLINE, "closed too early");
                continue 'anew;
            }
            asked = asking;
        }
        return wait_closed(&mut client);
    }
}

/// Lets time pass while the server has nothing to say.
#[track_caller]
fn pause(mut client: &TcpStream, time: Duration) {
    let begun = Instant::now();
    client.set_read_timeout(Some(time / 10)).unwrap();
    while begun.elapsed() < time {
        let read = uninterrupted(|| client.read(&mut [0; 64]));
        assert!(read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "the server closed or spoke");
    }
    client.set_read_timeout(Some(DEADLINE)).unwrap();
}

/// Sends a head that never ends, byte by byte, until the server closes.
#[track_caller]
fn trickle(mut client: TcpStream) {
    let begun = Instant::now();
    client.set_read_timeout(Some(SHORT / 10)).unwrap();
    drop(client.write_all(b"GET / HTTP/1.1\r\nX: "));
    loop {
        assert!(begun.elapsed() < DEADLINE, "a head may take for ever");
        match uninterrupted(|| client.read(&mut [0; 64])) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            other => panic!("not closed: {other:?}"),
        }
        // It may be closed by now; the next read says so.
        drop(client.write_all(b"x"));
    }
}

#[test]
fn a_head_that_trickles_is_cut_off() {
    let server = Running::start(site(0, Vec::new), 9, Patience { head: SHORT, ..PATIENT });
    // The time of the first request is that of the connection, too.
    for connect in [Running::connect, Running::used] {
        let begun = Instant::now();
        trickle(connect(&server));
        assert_patient(begun);
    }
}

#[test]
fn time_for_the_head_does_not_run_between_requests() {
    let server = Running::start(site(0, Vec::new), 9, Patience { head: SHORT, ..PATIENT });
    let mut client = server.used();
    pause(&client, SHORT * 3);
    assert_open(&mut client);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = Running::start(site(0, || LONG_TEXT.clone()), 9, Patience { answer: SHORT, ..PATIENT });
    let mut client = server.connect();
    server.wait_open(1);
    ask(&mut client, "/metrics");
    server.wait_open(0);
    // What it reads now is not the whole page.
    let mut read = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(bytes @ 1..) = client.read(&mut buffer) {
        read += bytes;
    }
    assert!(read < LONG_PAGE, "{read}");
}

#[test]
fn time_for_an_answer_ends_with_it() {
    // More than the kernel's buffers take, and far less than can be read in this time.
    let (answer_time, size) = (Duration::from_secs(3), 16 << 20);
    let patience = Patience { answer: answer_time, ..PATIENT };
    let server = Running::start(site(0, move || vec![b'x'; size]), 9, patience);
    let mut client = server.connect();
    ask(&mut client, "/metrics");
    assert_eq!(answer(&mut client).1.len(), size);
    pause(&client, answer_time + SHORT);
    ask(&mut client, "/metrics");
    assert_eq!(answer(&mut client).1.len(), size);
}

#[test]
fn the_oldest_idle_connection_makes_room() {
    let server = Running::start(site(0, Vec::new), 3, PATIENT);
    let mut first = server.used();
    let mut others = [server.used(), server.used(), server.used()];
    wait_closed(&mut first);
    for client in &mut others {
        assert_open(client);
    }
}

/// A page that is made when the test says so.
fn held() -> (mpsc::Sender<()>, impl Fn() -> Vec<u8> + Send + Sync) {
    let (release, released) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let page = move || {
        released.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        b"page".to_vec()
    };
    (release, page)
}

#[test]
fn a_connection_at_work_stays() {
    let (release, page) = held();
    let server = Running::start(site(0, page), 2, PATIENT);
    let mut busy = server.connect();
    ask(&mut busy, "/metrics");
    server.wait_in_flight(1);
    let mut idle = server.used();
    let mut newest = server.used();
    wait_closed(&mut idle);
    release.send(()).unwrap();
    assert_eq!(answer(&mut busy), ("http/1.1 200 ok".to_owned(), b"page".to_vec()));
    assert_open(&mut newest);
}

#[test]
fn beyond_the_limit_of_requests_the_answer_is_503_at_once() {
    let (release, page) = held();
    let server = Running::start(site(1, page), 9, PATIENT);
    let mut first = server.connect();
    ask(&mut first, "/metrics");
    server.wait_in_flight(1);
    let mut second = server.connect();
    ask(&mut second, "/metrics");
    let (status, body) = answer(&mut second);
    assert_eq!(status, "http/1.1 503 service unavailable");
    assert_eq!(body, b"Limit of concurrent requests reached (1), try again later.\n");
    // Other pages take no place.
    assert_open(&mut second);
    release.send(()).unwrap();
    assert_eq!(answer(&mut first).1, b"page");
    // The place is free again.
    release.send(()).unwrap();
    ask(&mut second, "/metrics");
    assert_eq!(answer(&mut second).1, b"page");
}

/// Each client is closed for the next one while its page is in the making.
#[test]
fn who_asks_and_goes_away_leaves_no_more_than_one_page_in_the_making() {
    let begun = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&begun);
    let (release, page) = held();
    let page = move || {
        count.fetch_add(1, Ordering::Relaxed);
        page()
    };
    let server = Running::start(site(2, page), 1, PATIENT);
    let mut client = server.connect();
    for _ in 0..5 {
        ask(&mut client, "/metrics");
        server.wait_in_flight(1);
        wait_until("a page to be begun", || begun.load(Ordering::Relaxed) > 0);
        let next = server.connect();
        wait_closed(&mut client);
        server.wait_in_flight(0);
        client = next;
    }
    // As long as it is made, it has one of the two places.
    wait_until("one free place", || server.server.places.as_ref().unwrap().taken() == 1);
    (0..9).for_each(|_| release.send(()).unwrap());
    ask(&mut client, "/metrics");
    assert_eq!(answer(&mut client).1, b"page");
    assert_eq!(begun.load(Ordering::Relaxed), 2, "the one in the making, and one for who asked after it");
    wait_until("no page kept", || server.server.renderer.is_idle());
    assert_eq!(server.server.places.as_ref().unwrap().taken(), 0);
}

#[test]
fn who_asks_while_a_page_is_made_gets_a_newer_one() {
    let begun = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&begun);
    let (release, page) = held();
    let page = move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        page();
        number.to_string().into_bytes()
    };
    let server = Running::start(site(0, page), 9, PATIENT);
    let mut clients: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
    ask(&mut clients[0], "/metrics");
    wait_until("a page to be begun", || begun.load(Ordering::Relaxed) == 1);
    for client in &mut clients[1..] {
        ask(client, "/metrics");
    }
    server.wait_in_flight(4);
    release.send(()).unwrap();
    release.send(()).unwrap();
    let pages: Vec<Vec<u8>> = clients.iter_mut().map(|client| answer(client).1).collect();
    assert_eq!(pages, [b"0", b"1", b"1", b"1"], "one page for all who waited, none older than the question");
}

#[test]
fn a_page_that_cannot_be_made_is_a_500_and_no_more() {
    let server = Running::start(site(0, || panic!("a test's page")), 9, PATIENT);
    let mut client = server.connect();
    ask(&mut client, "/metrics");
    assert_eq!(answer(&mut client).0, "http/1.1 500 internal server error");
    assert_open(&mut client);
    assert_eq!(server.server.traffic.responses().find(|(code, _)| *code == 500), Some((500, 1)));
}

/// A client that has asked for the page, and begun to read the answer.
fn slow_reader(server: &Running) -> TcpStream {
    let mut client = server.connect();
    ask(&mut client, "/metrics");
    // A signal may interrupt one look.
    wait_until("an answer to begin", || client.peek(&mut [0]).is_ok_and(|read| read == 1));
    client
}

#[test]
fn the_oldest_slow_reader_makes_room() {
    let page = || LONG_TEXT.clone();
    let server = Running::start_unread(site(0, page), 2 * *LONG_UNREAD);
    let [mut first, mut second, mut third] = [(); 3].map(|()| slow_reader(&server));
    // The first is not waited for, and what is left of its answer is not kept.
    server.wait_open(2);
    assert_eq!(server.server.unread.bytes(), 2 * *LONG_UNREAD);
    let mut read = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(bytes @ 1..) = first.read(&mut buffer) {
        read += bytes;
    }
    assert!(read < LONG_PAGE, "{read}");
    // Late, but whole; and then it is like any other client.
    assert_eq!(answer(&mut third).1.len(), LONG_PAGE);
    server.wait_unread(*LONG_UNREAD);
    assert_open(&mut third);
    assert_eq!(answer(&mut second).1.len(), LONG_PAGE);
    server.wait_unread(0);
}

#[test]
fn a_slow_reader_that_goes_away_makes_room_too() {
    let server = Running::start_unread(site(0, || LONG_TEXT.clone()), 2 * *LONG_UNREAD);
    let mut first = slow_reader(&server);
    let gone = slow_reader(&server);
    server.wait_unread(2 * *LONG_UNREAD);
    drop(gone);
    server.wait_unread(*LONG_UNREAD);
    slow_reader(&server);
    assert_eq!(answer(&mut first).1.len(), LONG_PAGE);
    server.wait_unread(0);
}

#[test]
fn slow_readers_of_one_page_take_the_room_of_one() {
    let (release, page) = held();
    let page = move || [page(), LONG_TEXT[4..].to_vec()].concat();
    let server = Running::start_unread(site(0, page), 2 * *LONG_UNREAD + 4 * (UNPACKING + ANSWER));
    let mut clients: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    for client in &mut clients {
        ask(client, "/metrics");
    }
    server.wait_in_flight(6);
    // One page for the first and whoever asked before it was begun, one for the others.
    release.send(()).unwrap();
    release.send(()).unwrap();
    server.wait_in_flight(0);
    assert!((1..=2).contains(&(server.server.unread.bytes() / LONG_PAGE)));
    for client in &mut clients {
        assert_eq!(answer(client).1.len(), LONG_PAGE);
    }
    server.wait_unread(0);
}
