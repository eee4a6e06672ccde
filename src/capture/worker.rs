//! The thread that reads one interface's channel.
//!
//! It sleeps until a frame, a command or its own upkeep is due, reads what there is in batches with one look
//! at the clock each, and decides alone what a read error means. It never gives up: an interface that cannot
//! be bound now is bound when netlink reports a change, or after a pause that doubles.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pnet_datalink::{DataLinkReceiver, NetworkInterface};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::leaving::{Released, Ring};
use super::roll::Turn;
use super::{PacketSocket, Status};
use crate::clock::{Moment, until};
use crate::frame::wire::{self, Wire};

/// Frames per look at the clock: the time of a frame is at most this many frames old.
const BATCH: usize = 64;
/// Batches before commands and upkeep get their turn.
const BATCHES: usize = 16;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Where frames go.
pub trait Sink: Send + 'static {
    /// The index of the interface that frames come from, before the first does; the same one again after an error.
    fn target(&mut self, _index: u32) {}

    /// No more frames come, until there is another target.
    fn release(&mut self) {}

    /// One read: a frame, or a super-frame that stands for several on the wire.
    fn frame(&mut self, frame: &[u8], wire: Wire, now: Moment);

    /// Called after each round of reading, and when the time that it returned last has passed; none means
    /// that nothing is due until frames arrive.
    fn upkeep(&mut self, now: Moment) -> Option<Duration>;
}

enum Command<S> {
    /// Capture on this interface from now on.
    Bind(NetworkInterface),
    /// The interface has gone. Dropped once nothing of it is counted any more.
    Release(Sender<Infallible>),
    /// The interface has another name: count for that.
    Rename(Arc<Status>, S),
    /// Somebody wants to know whether the thread comes round.
    Answer(Turn),
}

/// A running thread. Dropping it ends the thread and waits for it, however long that takes.
#[derive(Debug)]
pub(super) struct Worker<S> {
    commands: Option<Sender<Command<S>>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    /// Lasts as long as the thread and all that it owns; taken by who waits for its end.
    running: Option<Receiver<Infallible>>,
}

impl<S: Sink> Worker<S> {
    /// Starts a thread that waits to be bound.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `EAGAIN` and their like: no descriptor or no thread to be had.
    pub(super) fn start(
        socket: Arc<PacketSocket>,
        status: Arc<Status>,
        sink: S,
        promiscuous: bool,
    ) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, inbox) = mpsc::channel();
        let capture = Capture {
            socket,
            status,
            sink,
            promiscuous,
            inbox,
            wake: Arc::clone(&wake),
            target: None,
            channel: None,
            retry: None,
            pause: FIRST_RETRY,
            bound_before: false,
        };
        // The kernel shows the first fifteen bytes of a thread's name.
        let (until_ended, running) = mpsc::channel();
        let ring = Ring(capture.status.changed());
        let thread = thread::Builder::new().name("capture".to_owned()).spawn(move || {
            // Dropped in the other order: all has gone when its end is heard of, and that before anybody is woken for it.
            let _ring = ring;
            let _until_ended: Sender<Infallible> = until_ended;
            let mut capture = capture;
            capture.run();
        })?;
        Ok(Self { commands: Some(commands), wake, thread: Some(thread), running: Some(running) })
    }

    /// Captures on this interface from now on, be it the same as before or not.
    pub(super) fn bind(&self, interface: NetworkInterface) {
        self.send(Command::Bind(interface));
    }

    /// The interface has gone, or is another's: stops reading.
    #[must_use = "two that capture one interface count each frame twice"]
    pub(super) fn release(&self) -> Released {
        let (under_way, released) = mpsc::channel();
        self.send(Command::Release(under_way));
        Released(released)
    }

    /// The interface has another name: what arrives from now on goes to `sink`.
    pub(super) fn rename(&self, status: Arc<Status>, sink: S) {
        self.send(Command::Rename(status, sink));
    }

    /// Answers to the call when its turn comes.
    pub(super) fn answer(&self, turn: Turn) {
        self.send(Command::Answer(turn));
    }

    fn send(&self, command: Command<S>) {
        // It fails only if the thread has ended, and then there is nothing to tell it.
        if let Some(commands) = &self.commands
            && commands.send(command).is_ok()
        {
            ring(&self.wake);
        }
    }
}

impl<S> Worker<S> {
    /// Tells the thread to end, without waiting for it.
    pub(super) fn hang_up(&mut self) {
        self.commands = None;
        ring(&self.wake);
    }

    /// Tells the thread to end: then it has let go of all.
    pub(super) fn end(&mut self) -> Option<Released> {
        self.hang_up();
        self.running.take().map(Released)
    }
}

impl<S> Drop for Worker<S> {
    fn drop(&mut self) {
        self.hang_up();
        if let Some(thread) = self.thread.take() {
            // A panic has been told of already, when it happened.
            drop(thread.join());
        }
    }
}

/// Wakes the thread.
fn ring(wake: &OwnedFd) {
    // It fails only when the counter is full: then the thread is awake anyway.
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
}

/// What the thread owns.
struct Capture<S> {
    socket: Arc<PacketSocket>,
    status: Arc<Status>,
    sink: S,
    promiscuous: bool,
    inbox: Receiver<Command<S>>,
    wake: Arc<OwnedFd>,
    /// What to capture on.
    target: Option<NetworkInterface>,
    /// The channel, while there is one.
    channel: Option<Box<dyn DataLinkReceiver>>,
    /// When to try again to open one.
    retry: Option<Instant>,
    /// How long the next pause will be. Opening alone does not shorten it: a channel that opens and breaks again and
    /// again must not fill the log.
    pause: Duration,
    bound_before: bool,
}

/// Why reading stopped for now.
enum Pause {
    /// Nothing more to read.
    Empty,
    /// There may be more; others get their turn first.
    Turn,
    /// The channel is of no more use.
    Broken(io::Error),
}

/// A thread that has panicked captures nothing, and says so.
impl<S> Drop for Capture<S> {
    fn drop(&mut self) {
        self.status.set_bound(false);
        if thread::panicking() {
            let interface = self.status.interface();
            tracing::error!(interface, "the capture thread panicked: nothing is captured until a restart");
        }
    }
}

impl<S: Sink> Capture<S> {
    fn run(&mut self) {
        let mut due = None;
        loop {
            let (woken, readable) = self.wait(due);
            if woken && !self.obey() {
                return self.release();
            }
            if readable {
                match self.read() {
                    Pause::Broken(error) => self.close(&error),
                    Pause::Empty | Pause::Turn => self.pause = FIRST_RETRY,
                }
            }
            if self.retry.is_some_and(|when| when <= Instant::now()) {
                self.open();
            }
            due = self.sink.upkeep(Moment::now());
        }
    }

    /// Sleeps until there is something to do: a command, something to read.
    fn wait(&self, due: Option<Duration>) -> (bool, bool) {
        let timeout = match (due, self.retry.map(until)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut descriptors =
            [PollFd::new(&*self.wake, PollFlags::IN), PollFd::new(&*self.socket, PollFlags::IN)];
        let watched = if self.channel.is_some() { 2 } else { 1 };
        match poll(&mut descriptors[..watched], timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => (false, false),
            Ok(_) => {
                (!descriptors[0].revents().is_empty(), watched == 2 && !descriptors[1].revents().is_empty())
            }
            Err(error) => {
                // Out of kernel memory. Frames wait in the queue meanwhile.
                tracing::warn!(%error, "cannot wait for frames; trying again");
                thread::sleep(FIRST_RETRY);
                (true, self.channel.is_some())
            }
        }
    }

    /// Does what it was told; false when it was told to end.
    fn obey(&mut self) -> bool {
        let mut count = [0; 8];
        // Resets the counter; it fails only if it was zero.
        let _ = rustix::io::read(&*self.wake, &mut count);
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Bind(interface)) => {
                    self.target = Some(interface);
                    self.retry = None;
                    self.pause = FIRST_RETRY;
                    self.open();
                }
                Ok(Command::Release(under_way)) => {
                    self.release();
                    drop(under_way);
                }
                Ok(Command::Answer(turn)) => drop(turn),
                Ok(Command::Rename(status, mut sink)) => {
                    status.set_bound(self.channel.is_some());
                    self.status = status;
                    // Before the one that is there lets go: no frame falls between the two.
                    if let Some(target) = &self.target {
                        sink.target(target.index);
                    }
                    self.sink = sink;
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Counts what arrived until now, and nothing from now on.
    fn release(&mut self) {
        if let Some(target) = &self.target
            && let Err(error) = self.socket.mute(target.index)
        {
            let interface = self.status.interface();
            tracing::warn!(interface, %error, "cannot stop hearing an interface that has gone");
        }
        while let Pause::Turn = self.read() {}
        self.sink.release();
        self.target = None;
        self.channel = None;
        self.retry = None;
        self.status.set_bound(false);
    }

    /// Opens a channel on the target; what is still in the queue is not lost with the one before.
    fn open(&mut self) {
        let Some(target) = &self.target else { return };
        self.sink.target(target.index);
        match self.socket.bind(target, self.promiscuous) {
            Ok(channel) => {
                self.channel = Some(channel);
                self.retry = None;
                if self.bound_before {
                    self.status.count_rebind();
                }
                self.bound_before = true;
                self.status.set_bound(true);
            }
            Err(error) => self.close(&error),
        }
    }

    /// The one place that decides what follows a failure: try again, after a pause that doubles.
    fn close(&mut self, error: &io::Error) {
        self.channel = None;
        self.status.set_bound(false);
        let pause = self.pause;
        self.retry = Some(Instant::now() + pause);
        self.pause = (pause * 2).min(LONGEST_RETRY);
        // Gone between netlink's word and ours: netlink will say so.
        if error.raw_os_error() != Some(libc::ENODEV) {
            let interface = self.status.interface();
            tracing::warn!(interface, %error, retry_in = ?pause, "cannot capture");
        }
    }

    /// Reads what there is, a few batches at the most.
    fn read(&mut self) -> Pause {
        let Some(channel) = &mut self.channel else {
            return Pause::Empty;
        };
        for _ in 0..BATCHES {
            let now = Moment::now();
            for _ in 0..BATCH {
                match channel.next() {
                    Ok(read) => {
                        if let Some((offload, frame)) = wire::split(read) {
                            self.sink.frame(frame, offload.wire(frame), now);
                        }
                    }
                    Err(error) => match Self::judge(error, &self.socket) {
                        Verdict::GoOn => {}
                        Verdict::LostFrame => self.status.count_unreadable(),
                        Verdict::Stop(pause) => return pause,
                    },
                }
            }
        }
        Pause::Turn
    }

    /// What a failed read means.
    fn judge(error: io::Error, socket: &PacketSocket) -> Verdict {
        if error.kind() == ErrorKind::TimedOut {
            return Verdict::Stop(Pause::Empty);
        }
        // pnet does not read when poll(2) reports an error alone, and so would report the same one for ever.
        let cause = match error.raw_os_error() {
            Some(_) => error,
            None => match socket.take_error() {
                Ok(Some(cause)) => cause,
                Ok(None) => return Verdict::Stop(Pause::Broken(error)),
                Err(cause) => return Verdict::Stop(Pause::Broken(cause)),
            },
        };
        match cause.raw_os_error() {
            // A super-frame of a kind that the offload header has no name for (UFO from a guest's tap, SCTP):
            // tpacket and packet_recvmsg discard it. One frame is lost, no more.
            Some(libc::EINVAL) => Verdict::LostFrame,
            Some(libc::EINTR) => Verdict::GoOn,
            // The interface went down. The kernel goes on by itself when it is up again; when it was deleted,
            // netlink says what to do.
            Some(libc::ENETDOWN) => Verdict::GoOn,
            Some(libc::EAGAIN) => Verdict::Stop(Pause::Empty),
            _ => Verdict::Stop(Pause::Broken(cause)),
        }
    }
}

enum Verdict {
    GoOn,
    LostFrame,
    Stop(Pause),
}

#[cfg(test)]
mod tests;
