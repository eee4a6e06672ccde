//! What can be asked of the program, and how each job starts and ends.

mod check;
mod hash_password;
mod healthcheck;
mod interfaces;
mod learn;
mod send;
mod serve;
mod shutdown;
mod time;
mod watch;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::capture::{Hearing, PacketSocket, SocketPool};
use crate::cli::{Cli, Command};
use crate::config::Invalid;
use crate::interface::follow::Follower;
use crate::interface::select::Selection;
use crate::interface::{self, Interface, shown};
use crate::privileges::{self, CapabilitySet};

/// Why a job did not get done: one line for a person.
#[derive(Debug)]
pub enum Failure {
    /// What was typed cannot be used: exit code 2.
    Usage(Invalid),
    /// It cannot be done here and now: exit code 1.
    Cannot(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(invalid) => write!(f, "{invalid}; see --help"),
            Self::Cannot(why) => f.write_str(why),
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Usage(invalid)
    }
}

/// What to do where descriptors are lacking.
const MORE_FILES: &str = "; raise the limit on open files (ulimit -n)";

/// Whether that is why it failed.
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// What was tried, for an error that says only why it failed.
fn cannot(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Failure {
    move |error| {
        let remedy = if is_out_of_files(&error) { MORE_FILES } else { "" };
        Failure::Cannot(format!("cannot {what}: {error}{remedy}"))
    }
}

/// Does what was asked for.
///
/// # Errors
///
/// See [`Failure`].
pub fn run(cli: &Cli) -> Result<(), Failure> {
    let job = async {
        match &cli.command {
            None => serve::run(&cli.serve).await,
            Some(Command::Watch(args)) => watch::run(args).await,
            Some(Command::Interfaces(args)) => interfaces::run(args).await,
            Some(Command::Send(args)) => send::run(args).await,
            Some(Command::Learn(args)) => learn::run(args).await,
            Some(Command::Check(args)) => check::run(args).await,
            Some(Command::Healthcheck(args)) => healthcheck::run(args),
            Some(Command::HashPassword(args)) => hash_password::run(args).await,
        }
    };
    // One thread: capabilities are dropped before there is another, and a page now and then needs no more. Who reads
    // files, compares passwords or makes pages does it on a thread that comes and goes, one at a time for each; a limit
    // on all of them together would let a file system that hangs hold up the pages.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(cannot("start the runtime"))?;
    let done = runtime.block_on(job);
    // A page that is being made for nobody need not be waited for.
    runtime.shutdown_background();
    done
}

/// Opens what capturing needs: what takes privileges, and what may be refused. `hearing` is asked once it is sure
/// that packet sockets are not.
async fn prepare(
    selection: &Selection,
    hearing: impl FnOnce() -> Result<Hearing, Failure>,
) -> Result<(Follower, SocketPool), Failure> {
    let mut follower = follow()?;
    let interfaces = list(&mut follower).await?;
    all_fit(selection, &interfaces)?;
    let needed = interfaces
        .iter()
        .filter(|interface| selection.verdict(interface, &interfaces, false).is_watched())
        .count();
    let exist = interface::names(&interfaces);
    for pattern in selection.idle_patterns(&interfaces) {
        tracing::warn!(interface = %pattern, exist, "no interface matches yet; waiting for one");
    }
    if selection.include.is_empty() && needed == 0 {
        tracing::warn!("no interface can be watched yet; `macwatch interfaces` says of each why");
    }
    let explain = |error: io::Error| Failure::Cannot(privileges::explain(&error));
    PacketSocket::allowed().map_err(explain)?;
    let sockets = SocketPool::prepare(hearing()?, needed).map_err(explain)?;
    Ok((follower, sockets))
}

/// Interfaces that are named must be such that can be watched, or not be there yet.
fn all_fit(selection: &Selection, interfaces: &[Interface]) -> Result<(), Failure> {
    for name in selection.literals() {
        let there = interfaces.iter().find(|interface| interface.name == name);
        if let (None, Some(real)) = (there, real_name(name, interfaces)) {
            return Err(Failure::Cannot(format!(
                "cannot watch interface {name}: it is another name of {real}; say --interface {real}"
            )));
        }
        if let Some(why) = there.and_then(Interface::unfit) {
            return Err(Failure::Cannot(format!(
                "cannot watch interface {name}: {why}; `macwatch interfaces` lists those that can be watched"
            )));
        }
    }
    Ok(())
}

/// The name of the interface that this is another name of, as a terminal may show it.
fn real_name<'a>(other: &str, interfaces: &'a [Interface]) -> Option<Cow<'a, str>> {
    let named = |interface: &&Interface| interface.other_names.iter().any(|name| name == other);
    interfaces.iter().find(named).map(|interface| shown(&interface.name))
}

fn follow() -> Result<Follower, Failure> {
    let what = "open a netlink socket to list interfaces";
    Follower::open().map_err(|error| match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => Failure::Cannot(format!(
            "cannot {what}: {error}; a sandbox forbids it (systemd: RestrictAddressFamilies=AF_NETLINK)"
        )),
        _ => cannot(what)(error),
    })
}

async fn list(follower: &mut Follower) -> Result<Vec<Interface>, Failure> {
    Ok(follower.list().await.map_err(cannot("list the interfaces"))?.interfaces)
}

fn drop_privileges(needed: CapabilitySet) -> Result<(), Failure> {
    privileges::drop_all_but(needed).map_err(cannot("give up capabilities that are not needed"))
}

/// How long a thread may take to end: two seconds, in parts, so that a process that is not run meanwhile has not waited for
/// all of them.
const PATIENCE: (u32, Duration) = (40, Duration::from_millis(50));

/// What came of a job on another thread; none if it takes longer than that, and then nobody waits for it any more. It is
/// an error if the job panicked.
async fn ended<T>(mut job: JoinHandle<T>) -> Option<Result<T, Failure>> {
    let (parts, part) = PATIENCE;
    for _ in 0..parts {
        if let Ok(ended) = tokio::time::timeout(part, &mut job).await {
            return Some(ended.map_err(|error| Failure::Cannot(format!("a thread ended badly: {error}"))));
        }
    }
    None
}

/// What became of writing to stdout: whoever read it may have had enough, which is no failure.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(cannot("write to stdout")(error)),
        _ => Ok(()),
    }
}
