//! Ending on a signal.

use std::future::pending;
use std::time::{Duration, Instant};
use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that comes twice within it was sent once: timeout(1) sends it to the process and to its group. No hand is as
/// fast.
const TWICE: Duration = Duration::from_millis(200);

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
        let first = self.next().await.0;
        let begun = Instant::now();
        tracing::info!(signal = first, "stopping; a second signal ends at once");
        // The shell and the kernel may both send this one when a terminal goes away.
        self.hangup = None;
        tokio::spawn(async move {
            loop {
                let (name, number) = self.next().await;
                if is_second(first, name, begun.elapsed()) {
                    tracing::warn!(signal = name, "ended by a second signal");
                    std::process::exit(128 + number);
                }
            }
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

/// Whether a signal was sent for itself, and not together with the first.
fn is_second(first: &str, next: &str, after: Duration) -> bool {
    next != first || after >= TWICE
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_same_signal_at_once_is_no_second_one() {
        assert!(!is_second("SIGTERM", "SIGTERM", Duration::from_millis(5)));
        assert!(is_second("SIGTERM", "SIGTERM", Duration::from_secs(1)));
        assert!(is_second("SIGTERM", "SIGINT", Duration::ZERO));
    }
}
