//! The main job: capture, count, serve. Puts the other modules together.

pub mod page;
pub mod process;
pub mod reload;
pub mod remember;
pub mod rows;
pub mod service;
pub mod site;
pub mod web_config;

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::kernel::Engine;
use crate::capture::{Destination, Hearing, Settings, Sink, SocketPool, Supervisor};
use crate::clock::Moment;
use crate::exposition::Format;
use crate::frame;
use crate::frame::wire::Wire;
use crate::interface::Interface;
use crate::interface::follow::Follower;
use crate::known::Known;
use crate::sources::{Limits, Mirror, Snapshot, Sources, Table};
use crate::systemd::Manager;
use crate::vendor::Vendors;
use crate::web::{self, Offer, Site, Traffic};

use page::Metrics;
use process::Process;
use reload::Reloader;
use remember::Diary;
use service::Service;
use site::Pages;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use web_config::WebConfig;

/// What the exporter needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to capture.
    pub capture: Settings,
    /// How much to remember.
    pub limits: Limits,
    /// Path of the metrics page.
    pub telemetry_path: String,
    /// Most metrics requests at a time; 0 for no limit.
    pub max_requests: usize,
    /// Whether a request may ask for a reload.
    pub lifecycle: bool,
    /// Whether counters tell in OpenMetrics since when they count.
    pub openmetrics_created: bool,
    /// Whether scrapers are shown a new source at 0 first.
    pub zero_first: bool,
}

/// What was opened, before the privileges to do so were given up, and how it is used.
#[derive(Debug)]
pub struct Opened {
    /// Sockets to capture with.
    pub sockets: SocketPool,
    /// The interfaces.
    pub follower: Follower,
    /// Sockets to serve on.
    pub listeners: Vec<TcpListener>,
    /// How to serve on them, if a file says so.
    pub web_config: Option<Arc<WebConfig>>,
    /// Who wants to be told how it goes.
    pub manager: Manager,
    /// When to read all files anew.
    pub hangups: Signal,
}

/// Frames become counts.
struct Counting {
    sources: Arc<Sources>,
    known: Arc<Known>,
    hearing: Hearing,
}

impl Destination for Counting {
    type Sink = Counter;

    fn open(&self, interface: &str) -> io::Result<Counter> {
        Ok(match &self.hearing {
            Hearing::All(_) => Counter::Frames(self.sources.open(interface)),
            Hearing::Notices(engine) => {
                let share = Box::new(engine.share()?);
                Counter::Notices(self.sources.open_mirror(interface, share), Arc::clone(engine))
            }
        })
    }

    fn listed(&self, interfaces: &[Interface]) {
        self.known.set_own(interfaces.iter().filter_map(|interface| interface.mac));
    }
}

/// The two engines: here each frame is counted, or the kernel has counted it.
enum Counter {
    Frames(Table),
    Notices(Mirror, Arc<Engine>),
}

impl Sink for Counter {
    fn target(&mut self, index: u32) {
        if let Self::Notices(mirror, _) = self {
            mirror.lock().target(index, Moment::now());
        }
    }

    fn release(&mut self) {
        if let Self::Notices(mirror, _) = self {
            mirror.lock().release(Moment::now());
        }
    }

    #[inline]
    fn frame(&mut self, frame: &[u8], wire: Wire, now: Moment) {
        // A notice says that there is somebody new, no more: upkeep follows.
        if let Self::Frames(table) = self {
            table.count(frame::source(frame), wire, now);
        }
    }

    fn upkeep(&mut self, now: Moment) -> Option<Duration> {
        match self {
            Self::Frames(table) => table.expire(now),
            Self::Notices(mirror, engine) => {
                let mut due = mirror.lock().expire(now);
                while mirror.lock().is_waiting() {
                    // Pages are made meanwhile.
                    engine.grace();
                    let mut table = mirror.lock();
                    table.finish(Moment::now());
                    due = table.expire(Moment::now());
                }
                due
            }
        }
    }
}

/// Captures, counts and serves until `shutdown` completes. Returns when all connections have their answers
/// and all threads have ended.
///
/// # Errors
///
/// Only at the start: if the counters or the listeners cannot be set up.
pub async fn run(
    config: Config,
    opened: Opened,
    known: Arc<Known>,
    reloader: Arc<Reloader>,
    vendors: Arc<Vendors>,
    diary: Option<Arc<Diary>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Opened { sockets, mut follower, listeners, web_config, manager, hangups } = opened;
    let roster = Arc::<Known>::clone(&known);
    let sources = match &diary {
        Some(diary) => Sources::with_memory(config.limits, roster, Arc::<Diary>::clone(diary)),
        None => Sources::new(config.limits, roster),
    };
    let sources = sources.map_err(io::Error::other)?;
    let hearing = sockets.hearing().clone();
    let counting = Counting { sources: Arc::clone(&sources), known: Arc::clone(&known), hearing };
    let mut supervisor = Supervisor::new(config.capture, counting, sockets);
    let board = supervisor.board();
    let listing = follower.list().await?;
    supervisor.reconcile(&listing);

    let port =
        listeners.first().map(TcpListener::local_addr).transpose()?.map_or(0, |address| address.port());
    let pages = Pages {
        sources: Arc::clone(&sources),
        known: Arc::clone(&known),
        vendors: Arc::clone(&vendors),
        board: Arc::clone(&board),
        telemetry_path: config.telemetry_path.clone(),
        port,
        security: web_config.as_ref().map(|web| Arc::clone(web.security())),
    };
    let traffic = Arc::<Traffic>::default();
    let settling = settle(Arc::clone(&known), Arc::clone(&sources));
    let metrics = Arc::new(Metrics {
        sources: Arc::clone(&sources),
        known,
        reloader: Arc::clone(&reloader),
        web_config: web_config.clone(),
        vendors,
        diary: diary.clone(),
        board: Arc::clone(&board),
        traffic: Arc::clone(&traffic),
        process: Process::new(),
    });
    let service = Arc::new(Service::new(manager, Arc::clone(&metrics)));
    let asked = Arc::clone(&service);
    let (ask, requests) = mpsc::channel(reload::MOST_ASKED);
    let formats = [Format::Text, Format::OpenMetrics { created: config.openmetrics_created }];
    let site = Site {
        telemetry_path: config.telemetry_path,
        max_requests: config.max_requests,
        metrics: Box::new(move |wanted, out| {
            let format = formats.get(wanted.offer).copied().unwrap_or(Format::Text);
            metrics.render(format, wanted.received, out)
        }),
        remember_scrapers: config.zero_first,
        offers: formats.iter().map(offer).collect(),
        resources: pages.resources()?,
        ready: Box::new(move || asked.is_ready()),
        reload: config.lifecycle.then_some(ask.clone()),
        security: web_config.as_ref().map(|web| Arc::clone(web.security())),
    };
    let shutdown = async {
        shutdown.await;
        service.stop();
    };
    let roll = supervisor.roll();
    tokio::select! {
        // In this order: it serves before it says that it is ready.
        biased;
        served = web::serve(listeners, site, traffic, shutdown) => served?,
        () = supervisor.follow(follower) => {}
        () = reloader.follow(web_config, requests, hangups, &service) => {}
        () = remember::follow(diary.as_ref(), &sources) => {}
        () = settling => {}
        () = service.attend(roll) => {}
    }
    // Aside, as a disk may take its time: a second signal still ends it.
    let end = move || {
        let books = sources.snapshot();
        // Ends the threads; each hands over what it knew.
        drop(supervisor);
        if let Some(diary) = &diary {
            diary.save(&sources);
        }
        books
    };
    let books = spawn_blocking(end).await.map_err(io::Error::other)?;
    let frames: u64 = books.iter().map(Snapshot::frames).sum();
    let known: usize = books.iter().map(|books| books.sources.len()).sum();
    tracing::info!(frames, sources = known, "stopped");
    Ok(())
}

/// Whether there is something else than metrics at this path.
pub fn is_reserved(path: &str) -> bool {
    site::is_reserved(path)
}

/// A format as the server offers it.
fn offer(format: &Format) -> Offer {
    let content_type = format.content_type();
    match format {
        Format::Text => Offer { media: "text/plain", version: "0.0.4", content_type },
        Format::OpenMetrics { .. } => {
            Offer { media: "application/openmetrics-text", version: "1.0.0", content_type }
        }
    }
}

/// Tells whoever counts at once who has come to be known: a flood may have taken all other room. For good; cancel it
/// to stop.
async fn settle(known: Arc<Known>, sources: Arc<Sources>) {
    loop {
        known.changed().await;
        let sources = Arc::clone(&sources);
        if let Err(error) = spawn_blocking(move || sources.catch_up()).await {
            tracing::error!(%error, "settling who has reserved room ended badly");
        }
    }
}
