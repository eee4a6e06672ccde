//! Listening: the exporter's own counting, for a while, with somebody watching.

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::evidence::Evidence;
use super::progress::{Glance, Progress};
use crate::capture::{Board, Destination, Link, Settings, Sink, SocketPool, Supervisor};
use crate::clock::Moment;
use crate::commands::shutdown::Shutdown;
use crate::commands::{Failure, ended};
use crate::frame;
use crate::frame::wire::Wire;
use crate::interface::Interface;
use crate::interface::follow::Follower;
use crate::known::Known;
use crate::sources::{Limits, Snapshot, Sources, Table};
use crate::state::Seen;

/// How often it is looked whether capturing has begun.
const LOOK: Duration = Duration::from_millis(50);
/// Not more often than this, which is two seconds: the interface may not exist yet. A process that is not run meanwhile has
/// not looked.
const MOST_LOOKS: u32 = 40;
/// Time between two lines of progress.
const TICK: Duration = Duration::from_secs(1);
/// What came in the last tenth of the time, and not in more than this, is recent.
const RECENT: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug)]
pub(super) struct Heard {
    /// Who was there.
    pub(super) evidence: Evidence,
    /// For how long it was listened.
    pub(super) listened: Duration,
    /// The interfaces that were captured.
    pub(super) interfaces: Vec<String>,
    /// Frames of sources for which there was no room.
    pub(super) untracked: u64,
    /// Frames that the kernel dropped.
    pub(super) dropped: u64,
    /// Addresses that came at the end of the time, and how long that was.
    pub(super) recent: (usize, Duration),
    /// Some thread did not end in time, and may have had more to count.
    pub(super) stuck: bool,
}

/// What is heard is counted as the exporter counts it, and kept when an interface goes.
struct Learning {
    sources: Arc<Sources>,
    known: Arc<Known>,
    kept: Arc<Mutex<Kept>>,
}

/// What is known of interfaces whose books are closed.
#[derive(Debug, Default)]
struct Kept {
    evidence: Evidence,
    untracked: u64,
}

impl Kept {
    fn take(&mut self, books: &Snapshot) {
        self.untracked += books.untracked_frames;
        for source in &books.sources {
            let (first_unix_ms, last_unix_ms) = (source.first_seen_unix_ms, source.last_seen_unix_ms);
            // A clock that was set back meanwhile must not turn them round.
            let seen = Seen { first_unix_ms, last_unix_ms: last_unix_ms.max(first_unix_ms) };
            self.evidence.heard(&books.interface, source.mac, seen, Some(source.frames));
        }
    }
}

impl Destination for Learning {
    type Sink = Learner;

    fn open(&self, interface: &str) -> io::Result<Learner> {
        Ok(Learner {
            table: self.sources.open(interface),
            interface: interface.to_owned(),
            sources: Arc::clone(&self.sources),
            kept: Arc::clone(&self.kept),
        })
    }

    fn listed(&self, interfaces: &[Interface]) {
        self.known.set_own(interfaces.iter().filter_map(|interface| interface.mac));
        let mut kept = self.kept.lock();
        add_own(&mut kept.evidence, interfaces);
    }
}

/// Notes the addresses of this machine's interfaces.
pub(super) fn add_own(evidence: &mut Evidence, interfaces: &[Interface]) {
    for interface in interfaces {
        if let Some(mac) = interface.mac.filter(|mac| interface.is_own(*mac)) {
            evidence.set_own(mac, &interface.name);
        }
    }
}

struct Learner {
    table: Table,
    interface: String,
    sources: Arc<Sources>,
    kept: Arc<Mutex<Kept>>,
}

impl Sink for Learner {
    #[inline]
    fn frame(&mut self, frame: &[u8], wire: Wire, now: Moment) {
        self.table.count(frame::source(frame), wire, now);
    }

    /// Nothing is forgotten while it listens.
    fn upkeep(&mut self, _: Moment) -> Option<Duration> {
        None
    }
}

/// The table is still open here: its fields go after this.
impl Drop for Learner {
    fn drop(&mut self) {
        let books = self.sources.snapshot();
        if let Some(books) = books.iter().find(|books| *books.interface == *self.interface) {
            self.kept.lock().take(books);
        }
    }
}

/// Listens for that long, or until a signal. Sources that `known` lists have room of their own, as in the exporter.
pub(super) async fn listen(
    settings: Settings,
    period: Duration,
    limits: Limits,
    known: Arc<Known>,
    (follower, sockets): (Follower, SocketPool),
    shutdown: Shutdown,
    mut progress: Progress,
) -> Result<Heard, Failure> {
    let roster = Arc::<Known>::clone(&known);
    let sources = Sources::new(limits, roster)
        .map_err(|error| Failure::Cannot(format!("cannot set up the counters: {error}")))?;
    let kept = Arc::<Mutex<Kept>>::default();
    let learning = Learning { sources: Arc::clone(&sources), known, kept: Arc::clone(&kept) };
    let mut supervisor = Supervisor::new(settings, learning, sockets);
    let board = supervisor.board();

    let mut interfaces = BTreeSet::new();
    let (mut begun, mut looks) = (Instant::now(), 0);
    let mut told = false;
    let mut asked = pin!(shutdown.asked());
    let mut is_asked = false;
    {
        let mut follow = pin!(supervisor.follow(follower));
        loop {
            let pause = if told {
                TICK.min((begun + period).saturating_duration_since(Instant::now()))
            } else {
                LOOK
            };
            tokio::select! {
                () = &mut follow => {}
                () = &mut asked => {
                    is_asked = true;
                    break;
                }
                () = tokio::time::sleep(pause) => {}
            }
            let up = captured(&board);
            let all = board.list().iter().all(|one| one.link() != Link::Up || one.capture_up());
            looks += 1;
            if !told && ((all && !up.is_empty()) || looks >= MOST_LOOKS) {
                told = true;
                // The time counts from when something can be heard.
                begun = Instant::now();
                progress.begin(&up, period);
            }
            interfaces.extend(up);
            if told && begun.elapsed() >= period {
                break;
            }
            progress.show(|| glance(&sources, &kept, period.saturating_sub(begun.elapsed())));
        }
    }
    let dropped = board.list().iter().map(|capture| capture.dropped_frames()).sum();
    let listened = begun.elapsed();
    // Ends the threads; each hands over what it knew. Not here: one that is stuck would hold up the signals too.
    let mut ending = pin!(ended(spawn_blocking(move || drop(supervisor))));
    let stuck = loop {
        tokio::select! {
            ended = &mut ending => break ended.transpose()?.is_none(),
            () = &mut asked, if !is_asked => is_asked = true,
        }
    };
    progress.end();
    let Kept { evidence, untracked } = {
        // A thread that ends after all waits for this with its books open: they are in one of the two.
        let mut kept = kept.lock();
        if stuck {
            sources.snapshot().iter().for_each(|books| kept.take(books));
        }
        std::mem::take(&mut *kept)
    };
    let recent = recent(&evidence, listened, Moment::now().unix_ms);
    Ok(Heard {
        evidence,
        listened,
        interfaces: interfaces.into_iter().collect(),
        untracked,
        dropped,
        recent,
        stuck,
    })
}

/// The interfaces that are being captured.
fn captured(board: &Board) -> Vec<String> {
    let all = board.list();
    all.iter().filter(|one| one.capture_up()).map(|one| one.interface().to_owned()).collect()
}

/// What there is so far.
fn glance(sources: &Sources, kept: &Mutex<Kept>, left: Duration) -> Glance {
    let books = sources.snapshot();
    let mut all: BTreeSet<_> = kept.lock().evidence.iter().map(|(mac, _)| mac).collect();
    all.extend(books.iter().flat_map(|books| books.sources.iter().map(|source| source.mac)));
    let interfaces = books.iter().map(|books| (books.interface.to_string(), books.sources.len())).collect();
    Glance { sources: all.len(), interfaces, left }
}

/// How many addresses were first seen in the last tenth of the time.
fn recent(evidence: &Evidence, listened: Duration, now_unix_ms: u64) -> (usize, Duration) {
    let window = (listened / 10).min(RECENT);
    let since = now_unix_ms.saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX));
    let new = |(_, found): &(_, &super::evidence::Found)| {
        found.seen.is_some_and(|seen| seen.first_unix_ms >= since)
    };
    (evidence.iter().filter(new).count(), window)
}
