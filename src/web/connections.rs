//! The open connections: how many there may be, and how they end.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::guard::{Busy, Guard, Patience};
use super::http2::Streams;
use super::unread::Reader;
use super::{Server, gate, handshake, http2};

/// Most connections at a time. For one more the oldest is closed that is not at work, so that silent clients
/// cannot keep a scraper out.
const MOST: usize = 512;

/// Most bytes of a request's head; more is answered with 431.
const HEAD_BYTES: usize = 16 * 1024;
/// Most headers of a request; hyper keeps them without allocating up to this number.
const HEADERS: usize = 100;

/// See the module's docs.
pub(super) struct Connections {
    most: usize,
    patience: Patience,
    tasks: JoinSet<()>,
    /// In the order in which they were opened.
    by_age: BTreeMap<u64, Connection>,
    ages: HashMap<Id, u64>,
    next: u64,
    graceful: GracefulShutdown,
    stopping: watch::Sender<bool>,
}

#[derive(Debug)]
struct Connection {
    task: AbortHandle,
    busy: Busy,
}

impl Default for Connections {
    fn default() -> Self {
        Self::new(MOST, Patience::default())
    }
}

impl Connections {
    pub(super) fn new(most: usize, patience: Patience) -> Self {
        Self {
            most,
            patience,
            tasks: JoinSet::new(),
            by_age: BTreeMap::new(),
            ages: HashMap::new(),
            next: 0,
            graceful: GracefulShutdown::new(),
            stopping: watch::Sender::new(false),
        }
    }

    /// How many there are.
    pub(super) fn open(&self) -> usize {
        self.by_age.len()
    }

    /// Serves a client.
    pub(super) fn add(&mut self, stream: TcpStream, server: Arc<Server>) {
        self.reap();
        if self.open() >= self.most {
            self.close_one();
        }
        // Answers are written whole; waiting for more would only delay their end.
        drop(stream.set_nodelay(true));
        // Whoever has gone already has no address, and gets no answer. A dual-stack listener sees IPv4 within IPv6.
        let peer = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
        let busy = Busy::default();
        let client = Client {
            server,
            peer,
            patience: self.patience,
            busy: busy.clone(),
            watcher: self.graceful.watcher(),
        };
        let mut stopping = self.stopping.subscribe();
        let task = match client.server.site.security.as_ref().and_then(|security| security.rules().tls.clone()) {
            None => self.tasks.spawn(client.http1(stream)),
            Some(tls) => self.tasks.spawn(async move {
                // While it agrees on how to speak, it is one of those that can be closed for others.
                let agreed = tokio::select! {
                    agreed = tokio::time::timeout(client.patience.head, handshake::accept(stream, tls)) => agreed,
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                };
                match agreed.map_err(io::Error::from).flatten() {
                    Ok(stream) if handshake::is_http2(&stream) => client.http2(stream).await,
                    Ok(stream) => client.http1(stream).await,
                    Err(error) => tracing::debug!(%error, peer = ?client.peer, "no TLS with this client"),
                }
            }),
        };
        self.ages.insert(task.id(), self.next);
        self.by_age.insert(self.next, Connection { task, busy });
        self.next += 1;
    }

    /// Forgets those that have ended.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = match ended {
                Ok((id, ())) => id,
                Err(error) => error.id(),
            };
            if let Some(age) = self.ages.remove(&id) {
                self.by_age.remove(&age);
            }
        }
    }

    /// Closes the oldest connection that is not at work; if all are, the oldest.
    fn close_one(&mut self) {
        let idle = self.by_age.iter().find(|(_, connection)| !connection.busy.is_set());
        if let Some((&age, connection)) = idle.or_else(|| self.by_age.first_key_value()) {
            connection.task.abort();
            self.ages.remove(&connection.task.id());
            self.by_age.remove(&age);
        }
    }

    /// Tells all clients that this was their last answer, and waits until they have it, but no longer than
    /// `grace`.
    pub(super) async fn finish(mut self, grace: Duration) {
        self.stopping.send_replace(true);
        let graceful = std::mem::take(&mut self.graceful);
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
            self.reap();
            tracing::warn!(open = self.open(), "connections still open; closing them");
        }
    }
}

/// A client that is served.
struct Client {
    server: Arc<Server>,
    peer: Option<IpAddr>,
    patience: Patience,
    busy: Busy,
    watcher: Watcher,
}

impl Client {
    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Self { server, peer, patience, busy, watcher } = self;
        let at_work = busy.clone();
        let reader = Reader::default();
        let reads = reader.clone();
        let service = service_fn(move |request| {
            at_work.set(true);
            gate::answer(Arc::clone(&server), request, peer, reads.clone())
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience.idle)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .half_close(true)
            .serve_connection(TokioIo::new(Guard::new(stream, patience, busy)), service);
        tokio::select! {
            biased;
            () = reader.given_up() => {}
            ended = watcher.watch(connection) => told(ended),
        }
    }

    async fn http2(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Self { server, peer, patience, busy, watcher } = self;
        let streams = Streams::new(patience, busy);
        let begun = streams.clone();
        let reader = Reader::default();
        let reads = reader.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let stream = begun.begin();
            let head = request.method() == Method::HEAD;
            let answer = gate::answer(Arc::clone(&server), request, peer, reads.clone());
            async move { answer.await.map(|answer| http2::hold(answer, head, stream)) }
        });
        let connection = http2::builder().serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            biased;
            () = reader.given_up() => {}
            () = streams.expired() => {}
            ended = watcher.watch(connection) => told(ended),
        }
    }
}

/// How a client's connection ends is the client's business.
fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("open", &self.open()).finish_non_exhaustive()
    }
}
