//! Keeps the captures to what the machine's interfaces are and what was asked for.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::leaving::Leaving;
use super::missing::{self, Missing};
use super::roll::{Roll, Turn};
use super::watched::Watched;
use super::worker::{Sink, Worker};
use super::{Board, Link, SocketPool, Status};
use crate::interface::follow::{Follower, Listing};
use crate::interface::select::{Selection, Verdict};
use crate::interface::{self, Interface};
use crate::mac::Mac;

/// When something failed that no notice will announce the end of.
const RETRY: Duration = Duration::from_secs(5);

/// For so long, the other interfaces and all that the process does besides wait for threads that are to let go of some.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the frames of each interface go.
pub trait Destination: 'static {
    /// Takes the frames of one interface, on that interface's thread.
    type Sink: Sink;

    /// A sink for this interface. The one before it of the same name has been dropped.
    ///
    /// # Errors
    ///
    /// There is no room for one more interface.
    fn open(&self, interface: &str) -> io::Result<Self::Sink>;

    /// The interfaces that exist, whenever they have been listed, before anything is captured on new ones.
    fn listed(&self, _interfaces: &[Interface]) {}
}

/// What to capture.
#[derive(Clone, Debug)]
pub struct Settings {
    /// On which interfaces.
    pub selection: Selection,
    /// Also frames that are meant for others.
    pub promiscuous: bool,
}

/// See the module's docs.
#[derive(Debug)]
pub struct Supervisor<D: Destination> {
    settings: Settings,
    destination: D,
    sockets: SocketPool,
    board: Arc<Board>,
    watched: BTreeMap<String, Watched<D::Sink>>,
    /// What could not be let go of so far.
    leaving: Vec<Leaving<D::Sink>>,
    missing: Missing,
    /// Something failed that is to be tried again.
    unsettled: bool,
    /// Rung by the threads when a capture begins or ends.
    changed: Arc<Notify>,
    roll: Roll,
    calls: mpsc::Receiver<Turn>,
}

impl<D: Destination> Supervisor<D> {
    /// Watches nothing yet.
    pub fn new(settings: Settings, destination: D, sockets: SocketPool) -> Self {
        let (roll, calls) = Roll::new();
        Self {
            settings,
            destination,
            sockets,
            board: Arc::default(),
            watched: BTreeMap::new(),
            leaving: Vec::new(),
            missing: Missing::default(),
            unsettled: false,
            changed: Arc::default(),
            roll,
            calls,
        }
    }

    /// What is known of each watched interface.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// To find out whether anybody is stuck.
    pub fn roll(&self) -> Roll {
        self.roll.clone()
    }

    /// Follows the interfaces for good; cancel it to stop.
    pub async fn follow(&mut self, mut follower: Follower) {
        loop {
            let failure = match self.follow_until_it_ends(&mut follower).await {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            tracing::error!(error = %failure, retry_in = ?RETRY, "cannot follow the interfaces");
            let again = Instant::now() + RETRY;
            // Who fails and tries again is not stuck.
            while let Ok(Some(turn)) = tokio::time::timeout_at(again, self.calls.recv()).await {
                self.pass_on(turn);
            }
            match Follower::open() {
                Ok(opened) => follower = opened,
                Err(error) => tracing::error!(%error, "cannot open a netlink socket"),
            }
        }
    }

    async fn follow_until_it_ends(
        &mut self,
        follower: &mut Follower,
    ) -> io::Result<std::convert::Infallible> {
        let mut call = None;
        loop {
            let listing = follower.list().await?;
            self.reconcile(&listing);
            // By what is there now: a later notice may have waited as long as what lasted.
            self.tell_what_lasted();
            if let Some(turn) = call.take() {
                self.pass_on(turn);
            }
            let tell_at = self.watched.values().filter_map(|watched| watched.tell_at).min();
            let retry_at = self.unsettled.then(|| Instant::now() + RETRY);
            tokio::select! {
                changed = follower.changed() => changed?,
                () = at(tell_at) => {}
                () = self.changed.notified() => {}
                Some(turn) = self.calls.recv() => call = Some(turn),
                () = at(retry_at) => {}
            }
        }
    }

    /// Makes the captures what they ought to be, given what exists.
    pub fn reconcile(&mut self, listing: &Listing) {
        self.unsettled = false;
        let Listing { interfaces, deleted } = listing;
        self.destination.listed(interfaces);
        let wanted = self.wanted(listing);
        self.rename(&wanted, deleted);
        let gone: Vec<String> =
            self.watched.keys().filter(|name| !wanted.contains_key(name.as_str())).cloned().collect();
        // All at once: each takes some milliseconds to count what is under way.
        let mut leaving = self.give_up(&wanted);
        leaving.extend(gone.iter().filter_map(|name| self.lose(name, interfaces)));
        // Before another captures there: both would count each frame.
        self.wait_for_release(leaving);
        for interface in wanted.values() {
            self.keep(interface, deleted);
        }
        for name in self.settings.selection.clone().literals() {
            if !self.watched.contains_key(name) {
                self.wait_for(name, interfaces);
            }
        }
        self.missing.settle(&self.board, |name| self.watched.contains_key(name));
        self.board.settle();
    }

    /// The interfaces to watch, by name.
    fn wanted<'a>(&self, listing: &'a Listing) -> BTreeMap<&'a str, &'a Interface> {
        let Listing { interfaces, deleted } = listing;
        interfaces
            .iter()
            .filter(|interface| {
                // Whatever its name was: before Linux 6.2 an interface had to be down to be renamed.
                let index = Some(interface.index);
                let watched = !deleted.contains(&interface.index)
                    && self.watched.values().any(|watched| watched.index == index);
                self.settings.selection.verdict(interface, interfaces, watched).is_watched()
            })
            .map(|interface| (interface.name.as_str(), interface))
            .collect()
    }

    /// An interface that has a new name keeps its capture, so that no frame is lost between the two; what
    /// arrives from now on counts under the new name. Not if the old name is waited for: its counts stay.
    fn rename(&mut self, wanted: &BTreeMap<&str, &Interface>, deleted: &HashSet<u32>) {
        let renamed: Vec<(String, &Interface)> = self
            .watched
            .iter()
            .filter(|(name, watched)| !watched.named && !wanted.contains_key(name.as_str()))
            .filter_map(|(name, watched)| {
                let index = watched.index.filter(|index| !deleted.contains(index))?;
                let interface = wanted.values().find(|interface| interface.index == index)?;
                (!self.watched.contains_key(&interface.name)).then(|| (name.clone(), *interface))
            })
            .collect();
        for (old, interface) in renamed {
            let Some(mut watched) = self.watched.remove(&old) else {
                continue;
            };
            self.board.remove(&old);
            let sink = match self.destination.open(&interface.name) {
                Ok(sink) => sink,
                Err(error) => {
                    // Started anew with the rest, when there is room.
                    tracing::error!(interface = interface.name, was = old, %error, "cannot go on capturing");
                    continue;
                }
            };
            let status = Arc::new(watched.status.renamed(&interface.name));
            watched.worker.rename(Arc::clone(&status), sink);
            self.board.add(&status);
            watched.status = status;
            watched.named = self.settings.selection.literals().any(|name| name == interface.name);
            tracing::info!(interface = interface.name, was = old, "interface renamed");
            self.watched.insert(interface.name.clone(), watched);
        }
    }

    /// Names that stand for other interfaces now let go of those that they stood for, if these are watched under others.
    fn give_up(&mut self, wanted: &BTreeMap<&str, &Interface>) -> Vec<Leaving<D::Sink>> {
        let mut leaving = Vec::new();
        for (name, watched) in &mut self.watched {
            if let (Some(before), Some(now)) = (watched.index, wanted.get(name.as_str()))
                && now.index != before
                && wanted.values().any(|other| other.index == before)
            {
                leaving.extend(watched.let_go(name));
            }
        }
        leaving
    }

    /// A watched interface is not there any more, or not to be watched. What is to be waited for because of that.
    fn lose(&mut self, name: &str, interfaces: &[Interface]) -> Option<Leaving<D::Sink>> {
        let now = interfaces.iter().find(|interface| interface.name == name);
        let watched = self.watched.get_mut(name)?;
        if watched.named {
            let link = if now.is_some() { Link::Unfit } else { Link::Absent };
            let leaving = watched.let_go(name);
            watched.become_(link, now);
            return leaving;
        }
        let why = now.map_or_else(
            || "it is gone".to_owned(),
            |interface| match self.settings.selection.verdict(interface, interfaces, false) {
                Verdict::Not(why) => why,
                _ => "another took its name".to_owned(),
            },
        );
        tracing::info!(interface = name, why, "no longer capturing");
        self.board.remove(name);
        let deleted = watched.index.is_none_or(|index| interfaces.iter().all(|one| one.index != index));
        self.watched.remove(name)?.end(deleted)
    }

    /// Waits until threads have let go of their interfaces; not for long, as one may be stuck in the kernel. Then nobody
    /// else captures there until it has, and all else goes on.
    fn wait_for_release(&mut self, leaving: Vec<Leaving<D::Sink>>) {
        let deadline = Instant::now() + PATIENCE;
        let late = std::mem::take(&mut self.leaving);
        for mut leaving in late.into_iter().chain(leaving) {
            if !leaving.is_over(deadline.saturating_duration_since(Instant::now())) {
                if !std::mem::replace(&mut leaving.is_late, true) {
                    // What /proc says of a thread does not tell the two apart: one that is stuck may spin, and one that
                    // had no turn may have waited for a lock when it was looked at.
                    tracing::error!(
                        interface = leaving.name,
                        waited = ?PATIENCE,
                        retry_in = ?RETRY,
                        "its capture thread is stuck, or had no turn on a busy machine: the interface is not captured \
                         anew until that lets go"
                    );
                }
                self.unsettled = true;
                self.leaving.push(leaving);
            } else if let Some((Watched { worker, status, .. }, deleted)) = leaving.ended {
                // The thread counted what was left in the queue before it ended.
                drop(worker);
                // Bound to an interface that goes on without us, a socket would only cost that one time.
                if let Some(socket) = status.socket().filter(|_| deleted) {
                    self.sockets.give_back(socket);
                }
            }
        }
    }

    /// An interface that is there and is to be watched.
    fn keep(&mut self, interface: &Interface, deleted: &HashSet<u32>) {
        let name = &interface.name;
        let link = if interface.up { Link::Up } else { Link::Down };
        if self.leaving.iter().any(|leaving| leaving.keeps(interface)) {
            if !self.watched.contains_key(name) {
                self.miss((name, link, interface.mac), String::new());
            }
            return;
        }
        if !self.watched.contains_key(name) && !self.start((name, link, interface.mac)) {
            return;
        }
        let Some(watched) = self.watched.get_mut(name) else {
            return;
        };
        let same = watched.index == Some(interface.index) && !deleted.contains(&interface.index);
        if !same {
            watched.index = Some(interface.index);
            watched.status.set_bound(false);
            watched.worker.bind(interface.for_pnet());
            watched.told = Link::Absent;
        }
        watched.become_(link, Some(interface));
    }

    /// An interface that was named and does not exist: its series say so until it does.
    fn wait_for(&mut self, name: &str, interfaces: &[Interface]) {
        let now = interfaces.iter().find(|interface| interface.name == name);
        let link = if now.is_some() { Link::Unfit } else { Link::Absent };
        if self.start((name, link, None))
            && let Some(watched) = self.watched.get_mut(name)
        {
            watched.told = link;
            watched.status.set_link(link, None);
            let exist = interface::names(interfaces);
            match now.and_then(Interface::unfit) {
                Some(why) => tracing::error!(interface = name, why, "cannot be watched"),
                None => tracing::warn!(interface = name, exist, "no such interface yet; waiting for it"),
            }
        }
    }

    /// Starts a thread for an interface that is like this; false if that failed, to be tried again.
    fn start(&mut self, (name, link, mac): (&str, Link, Option<Mac>)) -> bool {
        let started = self.destination.open(name).and_then(|sink| {
            let socket = self.sockets.take()?;
            let status = Arc::new(Status::new(name, Arc::clone(&socket), Arc::clone(&self.changed)));
            let worker = Worker::start(socket, Arc::clone(&status), sink, self.settings.promiscuous)?;
            Ok((worker, status))
        });
        match started {
            Ok((worker, status)) => {
                self.board.add(&status);
                let named = self.settings.selection.literals().any(|literal| literal == name);
                let watched =
                    Watched { worker, status, named, index: None, told: Link::Absent, tell_at: None };
                self.watched.insert(name.to_owned(), watched);
                true
            }
            Err(error) => {
                self.unsettled = true;
                if self.miss((name, link, mac), error.to_string()) {
                    missing::tell(name, &error, RETRY);
                }
                false
            }
        }
    }

    /// Nothing is captured on an interface that is like this, for that reason; true if that is news.
    fn miss(&mut self, like: (&str, Link, Option<Mac>), why: String) -> bool {
        let (engine, changed) = (self.sockets.hearing().engine(), &self.changed);
        self.missing.show(&self.board, like, why, || Status::missing(like.0, engine, Arc::clone(changed)))
    }

    fn pass_on(&mut self, turn: Turn) {
        self.watched.values().for_each(|watched| watched.worker.answer(turn.clone()));
        // A thread that is to end hears no more of it.
        self.leaving.iter_mut().for_each(|leaving| leaving.turn = Some(turn.clone()));
    }

    fn tell_what_lasted(&mut self) {
        let now = Instant::now();
        for watched in self.watched.values_mut() {
            if watched.tell_at.is_some_and(|when| when <= now) {
                watched.tell();
            }
        }
    }
}

/// All threads end at the same time, not one after the other.
impl<D: Destination> Drop for Supervisor<D> {
    fn drop(&mut self) {
        for watched in self.watched.values_mut() {
            watched.worker.hang_up();
        }
    }
}

/// Waits until then; for ever if never.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
