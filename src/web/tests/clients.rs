//! Who gives way to whom, and that one client's flood is its own affair.

use super::receipts::{ask_as_scraper, connect_from, wait_received};
use super::*;

impl Running {
    fn start_limited(site: Site, most: usize, of_one: usize) -> Self {
        Self::start_with_limits(Server::new(site, Arc::default()), Limits { most, of_one, patience: PATIENT })
    }

    /// A connection of the client with this number, which the server has taken.
    fn idle(&self, n: u8) -> TcpStream {
        let mut client = connect_from(self, n);
        assert_open(&mut client);
        client
    }
}

#[test]
fn a_client_that_has_as_many_as_it_may_closes_its_own() {
    let server = Running::start_limited(site(0, Vec::new), 99, 3);
    let mut other = server.idle(2);
    let mut own: Vec<TcpStream> = (0..5).map(|_| server.idle(3)).collect();
    for closed in &mut own[..2] {
        wait_closed(closed);
    }
    own[2..].iter_mut().chain([&mut other]).for_each(assert_open);
}

#[test]
fn who_has_most_gives_way_then_who_was_idle_longest() {
    let server = Running::start_limited(site(0, Vec::new), 12, 10);
    let mut few = [server.idle(2), server.idle(2)];
    let mut many: Vec<TcpStream> = (0..10).map(|_| server.idle(3)).collect();
    let mut newest = [server.idle(4), server.idle(5)];
    for closed in &mut many[..2] {
        wait_closed(closed);
    }
    // Nobody has more than a few now. The first of two has just been used.
    few.iter_mut().rev().for_each(assert_open);
    many.iter_mut().skip(2).chain(&mut newest).for_each(assert_open);
    let mut last = server.idle(6);
    wait_closed(&mut few[1]);
    many.iter_mut().skip(2).chain(&mut newest).chain([&mut few[0], &mut last]).for_each(assert_open);
}

#[test]
fn a_scraper_s_connection_stays_whoever_comes() {
    let server = Running::start_limited(site(0, || b"page".to_vec()), 4, 4);
    let mut scraper = connect_from(&server, 2);
    ask_as_scraper(&mut scraper);
    assert_eq!(answer(&mut scraper).1, b"page");
    wait_received(&server, 2, Some(0));
    // Each an address of its own, and each younger.
    let others: Vec<TcpStream> = (3..30).map(|n| server.idle(n)).collect();
    ask_as_scraper(&mut scraper);
    assert_eq!(answer(&mut scraper).1, b"page");
    drop(others);
}

#[test]
fn who_connects_is_expected_to_ask() {
    let server = Running::start(site(0, Vec::new), 9, Patience { head: SHORT, ..PATIENT });
    let begun = Instant::now();
    wait_closed(&mut server.connect());
    assert_patient(begun);
}

#[test]
fn one_client_s_requests_do_not_take_the_place_of_another() {
    let (release, page) = held();
    let server = Running::start(site(2, page), 9, PATIENT);
    let mut flood = [(); 3].map(|()| connect_from(&server, 2));
    for (n, client) in flood.iter_mut().enumerate().take(2) {
        ask(client, "/metrics");
        server.wait_in_flight(n + 1);
    }
    ask(&mut flood[2], "/metrics");
    assert_eq!(answer(&mut flood[2]).0, "http/1.1 503 service unavailable");
    let mut others = [connect_from(&server, 3), connect_from(&server, 4)];
    for (n, client) in others.iter_mut().enumerate() {
        ask(client, "/metrics");
        server.wait_in_flight(n + 3);
    }
    // One for the first, one for all who waited.
    (0..2).for_each(|_| release.send(()).unwrap());
    for client in flood[..2].iter_mut().chain(&mut others) {
        assert_eq!(answer(client).0, "http/1.1 200 ok");
    }
}

/// They are read from only as they take their answers.
#[test]
fn pipelined_floods_are_answered_in_turns() {
    let server = Running::start(site(0, || b"page".to_vec()), 99, PATIENT);
    let flood = [(); 4].map(|()| connect_from(&server, 2));
    let requests = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    for mut client in &flood {
        socket2::SockRef::from(client).set_recv_buffer_size(4096).unwrap();
        client.set_nonblocking(true).unwrap();
        // As much as there is room for, on both ways.
        while client.write(requests.as_bytes()).is_ok() {}
    }
    for n in 3..6 {
        let mut other = connect_from(&server, n);
        ask(&mut other, "/metrics");
        assert_eq!(answer(&mut other).1, b"page");
    }
    for mut client in flood {
        client.set_nonblocking(false).unwrap();
        assert_eq!(answer(&mut client).0, "http/1.1 200 ok");
    }
}

/// However many wait at the first, whoever comes to the second is the next but one.
#[test]
fn listeners_have_their_turns() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut listeners = Vec::new();
        for _ in 0..2 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let at = [0, 0, 0, 0, 1].map(|n: usize| listeners[n].local_addr().unwrap());
        let _clients = at.map(|address| TcpStream::connect(address).unwrap());
        let (mut first, mut order) = (0, Vec::new());
        for _ in 0..3 {
            let stream =
                std::future::poll_fn(|context| poll_accept(&listeners, &mut first, context)).await.unwrap();
            order.push(at.iter().position(|one| *one == stream.local_addr().unwrap()).unwrap());
        }
        assert_eq!(order, [0, 4, 0]);
    });
}
