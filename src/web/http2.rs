//! Connections that speak HTTP/2: many requests at a time, and so limits of their own.
//!
//! HTTP/1 is limited by [`super::guard`], which sees one request after the other on a connection. Here each request
//! has a clock, and a connection that has none for long ends.

use std::collections::BTreeMap;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use http_body_util::{BodyExt as _, Either, Empty, Full};
use hyper::Response;
use hyper::body::Body;
use hyper::header::CONTENT_LENGTH;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use super::guard::{Busy, Patience};
use super::turns::Pace;

/// Most requests at a time on a connection: more than a scraper or a browser with the page has.
const MOST_STREAMS: u32 = 8;
/// Most bytes of a request's head. HTTP/2 counts 32 more for each header.
const HEAD_BYTES: u32 = 16 * 1024;
/// Requests that were taken back before anybody looked at them; for more the connection ends (CVE-2023-44487).
const MOST_TAKEN_BACK: usize = 20;
/// The same for those that break the rules.
const MOST_BROKEN: usize = 64;
/// Most bytes of an answer that are handed over before the client takes some.
const SEND_BYTES: usize = 64 * 1024;
/// Most bytes of requests' bodies, which nobody reads.
const WINDOW: u32 = 65_535;

/// How such a connection is served.
pub(super) fn builder(pace: Pace) -> Builder<Pace> {
    let mut builder = Builder::new(pace);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .max_pending_accept_reset_streams(MOST_TAKEN_BACK)
        .max_local_error_reset_streams(MOST_BROKEN)
        .max_send_buf_size(SEND_BYTES)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    builder
}

/// The requests of a connection.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    busy: Busy,
    patience: Patience,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    next: u64,
    /// When each began.
    open: BTreeMap<u64, Instant>,
    quiet_since: Instant,
}

/// A request, until its answer is with the client or given up.
#[derive(Debug)]
pub(super) struct Stream {
    streams: Streams,
    number: u64,
}

impl Streams {
    pub(super) fn new(patience: Patience, busy: Busy) -> Self {
        let books = Books { next: 0, open: BTreeMap::new(), quiet_since: Instant::now() };
        Self(Arc::new(Inner { busy, patience, books: Mutex::new(books) }))
    }

    /// A request begins.
    pub(super) fn begin(&self) -> Stream {
        let mut books = self.0.books.lock();
        let number = books.next;
        books.next += 1;
        books.open.insert(number, Instant::now());
        self.0.busy.set(true);
        Stream { streams: self.clone(), number }
    }

    /// Waits until the client has taken too long.
    pub(super) async fn expired(&self) {
        let mut timer: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep(Duration::ZERO));
        loop {
            timer.as_mut().await;
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return;
            }
            timer.as_mut().reset(deadline);
        }
    }

    fn deadline(&self) -> Instant {
        let Inner { patience, books, .. } = &*self.0;
        let books = books.lock();
        match books.open.first_key_value() {
            Some((_, begun)) => *begun + patience.head + patience.answer,
            // Whoever connects is expected to ask at once.
            None if books.next == 0 => books.quiet_since + patience.idle.min(patience.head),
            None => books.quiet_since + patience.idle,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut books = self.streams.0.books.lock();
        books.open.remove(&self.number);
        if books.open.is_empty() {
            books.quiet_since = Instant::now();
            self.streams.0.busy.set(false);
        }
    }
}

/// An answer that keeps its request open until its last byte is written. That to a HEAD has none: hyper sees to it for
/// HTTP/1 alone.
pub(super) fn hold<B: Buf>(
    mut answer: Response<Full<B>>,
    head: bool,
    stream: Stream,
) -> Response<impl Body<Data = Held<B>, Error: Into<Box<dyn Error + Send + Sync>>>> {
    if let Some(length) = answer.body().size_hint().exact().filter(|_| head) {
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    let stream = Arc::new(stream);
    let hold = move |bytes| Held { bytes, _stream: Arc::clone(&stream) };
    answer.map(|body| match head {
        true => Either::Right(Empty::new()),
        false => Either::Left(body.map_frame(move |frame| frame.map_data(&hold))),
    })
}

/// See [`hold`].
#[derive(Debug)]
pub(super) struct Held<B> {
    bytes: B,
    _stream: Arc<Stream>,
}

impl<B: Buf> Buf for Held<B> {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(50);

    /// Whether it is over at once, or will be once the short time has passed.
    fn ends(patience: Patience, requests: usize, answered: usize) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let busy = Busy::default();
            let streams = Streams::new(patience, busy.clone());
            let mut open: Vec<Stream> = (0..requests).map(|_| streams.begin()).collect();
            open.drain(..answered);
            assert_eq!(busy.is_set(), answered < requests);
            tokio::time::timeout(SHORT * 10, streams.expired()).await.is_ok()
        })
    }

    #[test]
    fn a_connection_ends_when_its_client_takes_too_long() {
        let idle = Patience { first: LONG, idle: SHORT, head: LONG, answer: LONG, last: LONG };
        let slow = Patience { first: LONG, idle: LONG, head: SHORT, answer: SHORT, last: LONG };
        for (patience, requests, answered, expected) in [
            (idle, 0, 0, true),
            (idle, 2, 2, true),
            (idle, 2, 1, false),
            (slow, 0, 0, true),
            (slow, 2, 2, false),
            (slow, 2, 1, true),
        ] {
            assert_eq!(ends(patience, requests, answered), expected, "{patience:?} {requests} {answered}");
        }
    }
}
