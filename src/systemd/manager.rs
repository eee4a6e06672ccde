//! Telling the service manager how things are: datagrams to a socket that it names (sd_notify(3)).
//!
//! Of our own, because sd-notify knows no abstract sockets, and the crates that do bring much else.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Longest that the first word of being ready waits for a manager whose queue is full; without it the start fails.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longest that any other does. Whoever scrapes waits as long.
const HASTE: Duration = Duration::from_millis(20);

/// Longest line that is told of the service's state; what is behind it is cut off.
const LINE: usize = 300;

/// The service manager.
#[derive(Debug)]
pub struct Manager {
    /// None if there is none, or none that can be told anything.
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    /// The log has been told that it cannot be told.
    silent: AtomicBool,
    /// It knows that the service is ready, or was.
    started: AtomicBool,
    /// It knows that the service ends: all that it wants to hear from then on is that it is alive.
    ending: AtomicBool,
}

impl Manager {
    /// The one that the environment names, if any.
    pub fn from_env() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            open(&name)
                .inspect_err(|error| {
                    let why = match error.raw_os_error() {
                        Some(libc::EAFNOSUPPORT) => {
                            format!(
                                "{error}; a sandbox forbids it (systemd: RestrictAddressFamilies=AF_UNIX)"
                            )
                        }
                        _ => error.to_string(),
                    };
                    tracing::warn!(socket = %name.display(), why, "cannot tell the service manager anything");
                })
                .ok()
        });
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let ours = env::var_os("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(std::process::id().into());
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        let [silent, started, ending] = Default::default();
        Self { socket, watchdog, silent, started, ending }
    }

    /// Whether there is somebody to tell.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Within what time it wants a sign of life, again and again; none if it does not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.is_there())
    }

    /// The service does what it is for, or does again after a reload.
    pub fn ready(&self, line: &str) {
        let patience = if self.started.swap(true, Ordering::Relaxed) { HASTE } else { PATIENCE };
        self.tell_state(patience, &format!("READY=1\n{}", status(line)));
    }

    /// It reads its configuration anew; [`Self::ready`] follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell_state(HASTE, &format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=Reloading"));
    }

    /// How things are, in a line for people.
    pub fn status(&self, line: &str) {
        self.tell_state(HASTE, &status(line));
    }

    /// It is not ready, and not stuck either: it may take so much longer.
    pub fn extend(&self, by: Duration, line: &str) {
        self.tell_state(HASTE, &format!("EXTEND_TIMEOUT_USEC={}\n{}", by.as_micros(), status(line)));
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.tell(HASTE, "WATCHDOG=1");
    }

    /// The service ends; nothing else changes that.
    pub fn stopping(&self) {
        self.tell_state(HASTE, "STOPPING=1\nSTATUS=Stopping");
        self.ending.store(true, Ordering::Relaxed);
    }

    fn tell_state(&self, patience: Duration, words: &str) {
        if !self.ending.load(Ordering::Relaxed) {
            self.tell(patience, words);
        }
    }

    fn tell(&self, patience: Duration, words: &str) {
        let Some((socket, address)) = &self.socket else { return };
        let told = socket
            .set_write_timeout(Some(patience))
            .and_then(|()| socket.send_to_addr(words.as_bytes(), address));
        if let Err(error) = told
            && !self.silent.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "cannot tell the service manager how things are");
        }
    }
}

fn open(name: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor abstract")),
    };
    let socket = UnixDatagram::unbound()?;
    Ok((socket, address))
}

/// A line ends the field, so there is one.
fn status(line: &str) -> String {
    let line: String = line.chars().filter(|c| !c.is_control()).take(LINE).collect();
    format!("STATUS={line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_names_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("macwatch-test-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, text) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let manager = Manager {
                socket: Some(open(&text).unwrap()),
                watchdog: None,
                silent: AtomicBool::default(),
                started: AtomicBool::default(),
                ending: AtomicBool::default(),
            };
            manager.ready("one\ntwo");
            manager.extend(Duration::from_secs(2), "Waiting");
            manager.stopping();
            // Of one that ends, systemd would take it for what it is, and wait for longer.
            manager.extend(Duration::from_secs(2), "Waiting");
            manager.reloading();
            manager.status("Capturing");
            manager.ready("Capturing");
            manager.alive();
            let mut heard = [0; 256];
            for expected in [
                "READY=1\nSTATUS=onetwo",
                "EXTEND_TIMEOUT_USEC=2000000\nSTATUS=Waiting",
                "STOPPING=1\nSTATUS=Stopping",
                "WATCHDOG=1",
            ] {
                let length = socket.recv(&mut heard).unwrap();
                assert_eq!(String::from_utf8_lossy(&heard[..length]), expected);
            }
        }
        let error = open(&"vsock:2:1234".into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
