//! The HTTP server: TLS, users, routes, limits, negotiation. It does not know what it serves.
//!
//! One thread runs all connections, in turns of their clients; pages are made on another, so that neither a large page
//! nor a slow client holds anybody else up.
//!
//! How nobody keeps a scraper out, on a network where anybody may be hostile: `connections` says who gives way, `turns`
//! who is next, `places` and `auth` who waits for what costs, `unread` whose answer is given up. They know a scraper by
//! `scrapers`.

mod auth;
mod body;
mod client;
pub mod config;
mod connections;
mod ending;
mod foreign;
mod gate;
mod guard;
mod handshake;
mod http2;
pub mod listen;
mod negotiate;
mod packed;
mod peer;
mod places;
mod portion;
pub mod probe;
mod rate;
mod render;
mod resource;
mod routes;
mod scrapers;
mod secure;
mod spare;
#[cfg(test)]
mod tests;
mod turns;
mod unread;

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

pub use negotiate::Offer;
pub use resource::{Maker, Resource, Verdict};
pub use secure::{Reading, Security};

use connections::{Connections, Limits};
use places::Places;
use render::Renderer;
use resource::Makers;
use scrapers::Scrapers;
use spare::Spare;
use unread::{Spell, Unread};

/// After an accept error (out of descriptors) the next attempt waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served, and where.
pub struct Site {
    /// Path of the metrics page.
    pub telemetry_path: String,
    /// Most metrics pages rendered or waited for at the same time, of which each client may have one in any case; 0 for
    /// no limit.
    pub max_requests: usize,
    /// Writes the metrics page, on a thread of its own, and tells its mark: that grows with what can be on a page, and
    /// never falls from one to the next. For a mark received that is not below the page's own it writes the same as
    /// for none.
    pub metrics: Box<Metrics>,
    /// Whether to remember which pages scrapers received; if not, nothing is known of anybody.
    pub remember_scrapers: bool,
    /// The forms in which that page can be had. Whoever does not care gets the first.
    pub offers: Vec<Offer>,
    /// What else there is. None has the telemetry path.
    pub resources: Vec<Resource>,
    /// Where requests to reload go; none if they are not allowed.
    pub reload: Option<mpsc::Sender<Reload>>,
    /// Encryption, users and what else the web configuration file says; none if there is none.
    pub security: Option<Arc<Security>>,
    /// Whether the program does what it is for; `/-/ready` answers 503 until it does.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("telemetry_path", &self.telemetry_path).finish_non_exhaustive()
    }
}

/// See [`Site::metrics`].
pub type Metrics = dyn Fn(Wanted, &mut dyn Write) -> io::Result<u64> + Send + Sync;

/// Which metrics page a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Which of the site's offers.
    pub offer: usize,
    /// The mark of the last page that the client has received completely; none if that is not known.
    pub received: Option<u64>,
}

/// Somebody asks that the configuration be read anew, and waits.
#[derive(Debug)]
pub struct Reload(oneshot::Sender<Result<(), String>>);

impl Reload {
    /// Tells them how it went; an error is one line.
    pub fn done(self, result: Result<(), String>) {
        // Whoever does not wait any more does not want to know.
        let _ = self.0.send(result);
    }
}

/// What the server counts about itself.
#[derive(Debug, Default)]
pub struct Traffic {
    responses: [AtomicU64; CODES.len()],
    in_flight: AtomicUsize,
}

/// The status codes that the server answers with.
const CODES: [StatusCode; 10] = [
    StatusCode::OK,
    StatusCode::NOT_MODIFIED,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

impl Traffic {
    /// Responses so far by status code, in order of code, those of 0 included.
    pub fn responses(&self) -> impl Iterator<Item = (u16, u64)> {
        CODES.iter().zip(&self.responses).map(|(code, count)| (code.as_u16(), count.load(Ordering::Relaxed)))
    }

    /// Requests that are being answered now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn count(&self, code: StatusCode) {
        if let Some(at) = CODES.iter().position(|known| *known == code) {
            self.responses[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether the server has something of its own at this path.
pub fn is_reserved(path: &str) -> bool {
    routes::RESERVED.contains(&path)
}

/// The state that all connections share.
struct Server {
    site: Site,
    traffic: Arc<Traffic>,
    renderer: Renderer,
    makers: Makers,
    /// Places for metrics requests; none for no limit.
    places: Option<Arc<Places>>,
    unread: Arc<Unread>,
    scrapers: Arc<Scrapers>,
}

impl Server {
    fn new(site: Site, traffic: Arc<Traffic>) -> Self {
        let places = (site.max_requests > 0).then(|| Places::new(site.max_requests, site.max_requests));
        let (renderer, makers, scrapers) = <(_, _, Arc<Scrapers>)>::default();
        let unread = Arc::new(Unread::new(unread::MOST, Arc::clone(&scrapers)));
        Self { site, traffic, renderer, makers, places, unread, scrapers }
    }
}

/// Serves the site on these listeners until `shutdown` completes, then lets what is in progress finish.
///
/// # Errors
///
/// If a listener cannot be handed to the runtime, or no descriptor can be had for a client. After that nothing ends it
/// but `shutdown`.
pub async fn serve(
    listeners: Vec<std::net::TcpListener>,
    site: Site,
    traffic: Arc<Traffic>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_with(listeners, Arc::new(Server::new(site, traffic)), Limits::of_process(), shutdown).await
}

async fn serve_with(
    listeners: Vec<std::net::TcpListener>,
    server: Arc<Server>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listeners = listeners
        .into_iter()
        .map(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        })
        .collect::<io::Result<Vec<_>>>()?;
    let mut spare = Spare::default();
    put_by(&mut spare, &listeners)?;
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, "listening");
    }
    let mut connections = Connections::new(server, limits);
    let (mut refusing, mut giving_way, mut first) = (false, Spell::default(), 0);
    tokio::pin!(shutdown);
    loop {
        let mut accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = std::future::poll_fn(|context| poll_accept(&listeners, &mut first, context)) => accepted,
        };
        if accepted.as_ref().is_err_and(is_out_of_files) {
            spare.let_go();
            let again =
                std::future::poll_fn(|context| Poll::Ready(poll_accept(&listeners, &mut first, context)));
            match again.await {
                Poll::Ready(again) => accepted = again,
                // The kernel takes a descriptor before it looks whether anybody is there (net/socket.c: `__sys_accept4_file`).
                Poll::Pending => {
                    drop(put_by(&mut spare, &listeners));
                    continue;
                }
            }
        }
        match accepted {
            Ok(stream) => {
                if std::mem::take(&mut refusing) {
                    tracing::info!("accepting connections again");
                }
                connections.add(stream);
                // Those that are open have their turn before the next, and one that was closed gives its descriptor
                // back.
                tokio::task::yield_now().await;
            }
            // A client that gave up before its turn is no failure of ours.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if is_out_of_files(&error) && !is_anybody_there(&listeners) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Err(error) if is_out_of_files(&error) && connections.give_way() => {
                if giving_way.begins(Instant::now()) {
                    tracing::warn!(%error, open = connections.open(), "closing connections to accept others");
                }
                // It has its descriptor until then.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                // Out of descriptors, mostly: one line, however long it lasts.
                if !std::mem::replace(&mut refusing, true) {
                    tracing::warn!(%error, open = connections.open(), "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        // If none is left: after the next client.
        drop(put_by(&mut spare, &listeners));
    }
    // What is put by is a listener, too: with it the kernel would go on taking connections, for nobody.
    drop((listeners, spare));
    connections.finish().await;
    Ok(())
}

/// Whether there are no descriptors left, of ours or of the system's.
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Puts a descriptor by for the next client.
fn put_by(spare: &mut Spare, listeners: &[TcpListener]) -> io::Result<()> {
    listeners.first().map_or(Ok(()), |listener| spare.put_by(listener))
}

/// Whether a client waits to be accepted.
fn is_anybody_there(listeners: &[TcpListener]) -> bool {
    let mut waiting: Vec<_> = listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
    poll(&mut waiting, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// The next connection on any of the listeners, which have their turns: a flood on one keeps nobody from another. The
/// one that is looked at first is behind that of the last connection.
fn poll_accept(
    listeners: &[TcpListener],
    first: &mut usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<TcpStream>> {
    for step in 0..listeners.len() {
        let at = (*first + step) % listeners.len();
        if let Poll::Ready(accepted) = listeners[at].poll_accept(context) {
            *first = at + 1;
            return Poll::Ready(accepted.map(|(stream, _)| stream));
        }
    }
    Poll::Pending
}
