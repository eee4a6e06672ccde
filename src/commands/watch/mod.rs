//! `macwatch watch`: the source MAC of each frame, as it arrives.
//!
//! Lines go to stdout and nothing else does, so that they can be piped; the log and the summary go to stderr.

mod print;
mod summary;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::shutdown::Shutdown;
use super::{Failure, cannot, drop_privileges, ended, prepare, written};
use crate::capture::{Destination, Hearing, Sink, Supervisor};
use crate::cli::WatchArgs;
use crate::clock::Moment;
use crate::config::Watch;
use crate::frame;
use crate::frame::wire::Wire;
use crate::log;
use crate::mac::Mac;
use crate::privileges::NEEDED;

use print::Printer;

/// Sightings that may wait to be printed. When stdout is slower than the wire, frames wait in the kernel's
/// queue, which counts those that it drops.
const WAITING: usize = 4096;

/// One read from an interface.
#[derive(Clone, Debug)]
struct Sighting {
    unix_ms: u64,
    interface: Arc<str>,
    /// None for a runt.
    source: Option<Mac>,
    wire: Wire,
}

/// Frames become lines.
struct Telling(SyncSender<Sighting>);

impl Destination for Telling {
    type Sink = Teller;

    fn open(&self, interface: &str) -> io::Result<Teller> {
        Ok(Teller { interface: interface.into(), lines: self.0.clone() })
    }
}

struct Teller {
    interface: Arc<str>,
    lines: SyncSender<Sighting>,
}

impl Sink for Teller {
    fn frame(&mut self, frame: &[u8], wire: Wire, now: Moment) {
        let sighting = Sighting {
            unix_ms: now.unix_ms,
            interface: Arc::clone(&self.interface),
            source: frame::source(frame),
            wire,
        };
        // It fails when nobody prints any more: the end has come.
        drop(self.lines.send(sighting));
    }

    fn upkeep(&mut self, _: Moment) -> Option<Duration> {
        None
    }
}

pub(super) async fn run(args: &WatchArgs) -> Result<(), Failure> {
    let (level, format) = (&args.log).into();
    log::start(level, format);
    let config = Watch::try_from(args)?;
    let shutdown = Shutdown::listen().map_err(cannot("handle signals"))?;
    let hearing = Hearing::All(config.direction);
    let (follower, sockets) = prepare(&config.capture.selection, || Ok(hearing)).await?;
    drop_privileges(NEEDED)?;

    let (lines, sightings) = sync_channel(WAITING);
    let (done, printed) = oneshot::channel();
    let mut printer = Printer::new(&config);
    let thread = std::thread::Builder::new()
        .name("print".to_owned())
        .spawn(move || {
            let result = printer.print_all(&sightings, &mut io::stdout().lock());
            // Nobody waits any more when a signal came first.
            let _ = done.send(());
            (result, printer.into_summary())
        })
        .map_err(cannot("start a thread"))?;

    let mut supervisor = Supervisor::new(config.capture, Telling(lines), sockets);
    let board = supervisor.board();
    tokio::select! {
        () = supervisor.follow(follower) => {}
        () = shutdown.asked() => {}
        _ = printed => {}
    }
    let dropped = board.list().iter().map(|capture| capture.dropped_frames()).sum();
    // Ends the capture threads, and with the last sender the printer.
    let ending = tokio::task::spawn_blocking(move || {
        drop(supervisor);
        thread.join()
    });
    // A reader who has stopped reading holds up the printer, and that the capture threads; a driver may hold up one of
    // these as well. Either way both are waited for.
    let ended = ended(ending).await.ok_or_else(|| {
        Failure::Cannot(
            "nobody reads stdout, or a capture thread is stuck: ended without the last lines and the summary"
                .to_owned(),
        )
    })?;
    let Ok((result, summary)) = ended? else {
        return Err(Failure::Cannot("the printing thread panicked".to_owned()));
    };
    // Whoever closed the pipe wants no more of it, the summary neither.
    if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return Ok(());
    }
    written(result)?;
    written(summary.write(&mut io::stderr().lock(), dropped))
}
