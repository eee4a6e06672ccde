//! The open connections: how many there may be, who gives way, and how they end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use std::{fmt, io};

use ahash::RandomState;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::ending::Ending;
use super::guard::{Busy, Guard, Patience};
use super::http2::Streams;
use super::peer::{Origin, Peer};
use super::portion::Portioned;
use super::turns::{Pace, Turns};
use super::unread::Reader;
use super::{Server, gate, handshake, http2};

/// Most connections at a time.
const MOST: usize = 512;
/// Of these, one client may have a part of this, but no fewer than are `FEW`.
const PART_OF_ONE: usize = 4;
/// As many as any client may have a use for: browsers open six. Below that, nobody has more than others.
const FEW: usize = 8;

/// Descriptors that are taken to be open where that cannot be known.
const USUALLY_OPEN: usize = 64;

/// Most bytes of a request's head; more is answered with 431.
const HEAD_BYTES: usize = 16 * 1024;
/// Most headers of a request; hyper keeps them without allocating up to this number.
const HEADERS: usize = 100;

/// How many there may be, and how long their clients may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) most: usize,
    pub(super) of_one: usize,
    pub(super) patience: Patience,
}

impl Limits {
    pub(super) fn new(most: usize, patience: Patience) -> Self {
        Self { most, of_one: (most / PART_OF_ONE).max(FEW), patience }
    }

    /// The usual ones; fewer connections where few descriptors are allowed. Half of those that are left belong to what
    /// macwatch is for: interfaces that come, files that it reads and writes.
    pub(super) fn of_process() -> Self {
        let open = std::fs::read_dir("/proc/self/fd").map_or(USUALLY_OPEN, Iterator::count);
        let allowed = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
        let free = allowed.map_or(usize::MAX, |allowed| allowed.saturating_sub(open));
        let limits = Self::new((free / 2).clamp(1, MOST), Patience::default());
        if limits.most < MOST {
            tracing::info!(
                connections = limits.most,
                allowed,
                "fewer connections, as few open files are allowed"
            );
        }
        limits
    }
}

/// See the module's docs.
pub(super) struct Connections {
    limits: Limits,
    server: Arc<Server>,
    turns: Turns,
    usher: AbortHandle,
    tasks: JoinSet<()>,
    /// In the order in which they were opened.
    by_age: BTreeMap<u64, Connection>,
    ages: HashMap<Id, u64, RandomState>,
    /// How many each client has; its connections have the same number at hand.
    shares: HashMap<Origin, Arc<AtomicUsize>, RandomState>,
    next: u64,
    stopping: watch::Sender<bool>,
}

#[derive(Debug)]
struct Connection {
    task: AbortHandle,
    busy: Busy,
    peer: Option<Peer>,
    origin: Origin,
    /// How many its client has.
    share: Arc<AtomicUsize>,
}

/// Scrapers that are remembered, and how many connections each of them has.
type Scraping = HashMap<Peer, usize, RandomState>;

/// How much somebody would miss a connection; that which is missed least is closed first. What stands first decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Value {
    /// One of the few of a scraper that is remembered.
    scraper: bool,
    /// Connections of its client, if they are more than a few.
    share: Reverse<usize>,
    /// A request is being answered on it.
    busy: bool,
    /// Since when it is, or is not: the longest goes first.
    since: Instant,
}

impl Connection {
    /// Asked of all of them whenever one has to go, which a flood of new ones has happen for each.
    fn value(&self, scrapers: &Scraping) -> Value {
        let of_scraper = self.peer.and_then(|peer| scrapers.get(&peer));
        let (busy, since) = self.busy.since();
        Value {
            scraper: of_scraper.is_some_and(|count| *count <= FEW),
            share: Reverse(self.share.load(Relaxed).max(FEW)),
            busy,
            since,
        }
    }
}

impl Connections {
    /// Within a runtime.
    pub(super) fn new(server: Arc<Server>, limits: Limits) -> Self {
        let turns = Turns::new(Arc::clone(&server.scrapers));
        Self {
            limits,
            server,
            usher: tokio::spawn(turns.clone().run()).abort_handle(),
            turns,
            tasks: JoinSet::new(),
            by_age: BTreeMap::new(),
            ages: HashMap::default(),
            shares: HashMap::default(),
            next: 0,
            stopping: watch::Sender::new(false),
        }
    }

    /// How many there are.
    pub(super) fn open(&self) -> usize {
        self.by_age.len()
    }

    /// Serves a client.
    pub(super) fn add(&mut self, stream: TcpStream) {
        self.reap();
        // Answers are written whole; waiting for more would only delay their end.
        drop(stream.set_nodelay(true));
        // Whoever has gone already has no address, and gets no answer.
        let peer = stream.peer_addr().ok().map(Peer::from);
        let origin = Origin::of(peer);
        if self.shares.get(&origin).is_some_and(|share| share.load(Relaxed) >= self.limits.of_one) {
            self.close_one(|one| one.origin == origin);
        } else if self.open() >= self.limits.most {
            self.close_one(|_| true);
        }
        let busy = Busy::default();
        let client = Client {
            server: Arc::clone(&self.server),
            turns: self.turns.clone(),
            peer,
            patience: self.limits.patience,
            busy: busy.clone(),
            ending: Ending::new(self.stopping.subscribe(), self.limits.patience.first),
        };
        let stream = Portioned::new(stream);
        let task = match client.server.site.security.as_ref().and_then(|security| security.rules().tls.clone()) {
            None => self.tasks.spawn(self.turns.pace(peer, client.http1(stream))),
            Some(tls) => self.tasks.spawn(self.turns.pace(peer, async move {
                // While it agrees on how to speak, it is one of those that can be closed for others.
                let agreed = tokio::select! {
                    agreed = tokio::time::timeout(client.patience.head, handshake::accept(stream, tls)) => agreed,
                    _ = client.ending.clone().due() => return,
                };
                match agreed.map_err(io::Error::from).flatten() {
                    Ok(stream) if handshake::is_http2(&stream) => client.http2(stream).await,
                    Ok(stream) => client.http1(stream).await,
                    Err(error) => tracing::debug!(%error, peer = ?client.peer, "no TLS with this client"),
                }
            })),
        };
        self.ages.insert(task.id(), self.next);
        let share = Arc::clone(self.shares.entry(origin).or_default());
        share.fetch_add(1, Relaxed);
        self.by_age.insert(self.next, Connection { task, busy, peer, origin, share });
        self.next += 1;
    }

    /// Forgets those that have ended.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = match ended {
                Ok((id, ())) => id,
                Err(error) => error.id(),
            };
            if let Some(age) = self.ages.get(&id).copied() {
                self.remove(age);
            }
        }
    }

    fn remove(&mut self, age: u64) -> Option<Connection> {
        let connection = self.by_age.remove(&age)?;
        self.ages.remove(&connection.task.id());
        if connection.share.fetch_sub(1, Relaxed) == 1 {
            self.shares.remove(&connection.origin);
        }
        Some(connection)
    }

    /// Closes that of these which is missed least.
    fn close_one(&mut self, of: impl Fn(&Connection) -> bool) {
        let scrapers = self.scrapers();
        let least = self
            .by_age
            .iter()
            .filter(|(_, connection)| of(connection))
            .min_by_key(|(_, connection)| connection.value(&scrapers));
        if let Some(connection) = least.map(|(age, _)| *age).and_then(|age| self.remove(age)) {
            connection.task.abort();
        }
    }

    /// Closes one for want of descriptors; false if there is none but those of scrapers.
    pub(super) fn give_way(&mut self) -> bool {
        self.reap();
        let scrapers = self.scrapers();
        let before = self.open();
        self.close_one(|one| one.peer.is_none_or(|peer| !scrapers.contains_key(&peer)));
        self.open() < before
    }

    fn scrapers(&self) -> Scraping {
        let mut scrapers: Scraping =
            self.server.scrapers.remembered(Instant::now()).into_iter().map(|address| (address, 0)).collect();
        if !scrapers.is_empty() {
            for peer in self.by_age.values().filter_map(|connection| connection.peer) {
                scrapers.entry(peer).and_modify(|count| *count += 1);
            }
        }
        scrapers
    }

    /// Tells all clients that this was their last answer, and waits until they have it, but not for ever.
    pub(super) async fn finish(mut self) {
        self.stopping.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.patience.last, all).await.is_err() {
            let open = self.tasks.len();
            tracing::warn!(open, "connections still open; closing them");
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.usher.abort();
    }
}

/// A client that is served.
struct Client {
    server: Arc<Server>,
    turns: Turns,
    peer: Option<Peer>,
    patience: Patience,
    busy: Busy,
    ending: Ending,
}

impl Client {
    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Self { server, peer, patience, busy, ending, .. } = self;
        let (at_work, awaited) = (busy.clone(), ending.clone());
        let reader = Reader::new(peer);
        let reads = reader.clone();
        let service = service_fn(move |request| {
            at_work.set(true);
            awaited.asked();
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
            ended = ending.serve(connection) => told(ended),
        }
    }

    async fn http2(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Self { server, turns, peer, patience, busy, ending } = self;
        let streams = Streams::new(patience, busy);
        let (begun, awaited) = (streams.clone(), ending.clone());
        let reader = Reader::new(peer);
        let reads = reader.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            awaited.asked();
            let stream = begun.begin();
            let head = request.method() == Method::HEAD;
            let answer = gate::answer(Arc::clone(&server), request, peer, reads.clone());
            async move { answer.await.map(|answer| http2::hold(answer, head, stream)) }
        });
        let connection = http2::builder(Pace { turns, peer }).serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            biased;
            () = reader.given_up() => {}
            () = streams.expired() => {}
            ended = ending.serve(connection) => told(ended),
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
