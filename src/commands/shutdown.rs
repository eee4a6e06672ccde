//! Ending on a signal.

use std::future::pending;
use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the program.
#[derive(Debug)]
pub(super) struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Shutdown {
    /// From now on the signals do not kill.
    pub(super) fn listen() -> io::Result<Self> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)?, hangup: None })
    }

    /// A terminal that goes away ends it as well; unless whoever started it wants it to go on: nohup(1).
    pub(super) fn or_hangup(mut self) -> io::Result<Self> {
        if !ignores_hangup(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
            self.hangup = Some(signal(SignalKind::hangup())?);
        }
        Ok(self)
    }

    /// Waits for the first signal. A second one ends the program on the spot, for whoever cannot wait.
    pub(super) async fn asked(mut self) {
        let name = self.next().await.0;
        tracing::info!(signal = name, "stopping; a second signal ends at once");
        // The shell and the kernel may both send this one when a terminal goes away.
        self.hangup = None;
        tokio::spawn(async move {
            let (name, number) = self.next().await;
            tracing::warn!(signal = name, "ended by a second signal");
            std::process::exit(128 + number);
        });
    }

    /// The next signal: its name, and its number.
    pub(super) async fn next(&mut self) -> (&'static str, i32) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = hangup => ("SIGHUP", libc::SIGHUP),
            _ = self.interrupt.recv() => ("SIGINT", libc::SIGINT),
            _ = self.terminate.recv() => ("SIGTERM", libc::SIGTERM),
        }
    }
}

/// Whether SIGHUP, the first of the signals, is ignored, by what proc(5) says in hexadecimal digits.
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn who_started_it_may_ignore_a_hangup() {
        for (status, ignored) in [
            ("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n", false),
            ("SigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n", true),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(status), ignored, "{status}");
        }
    }
}
