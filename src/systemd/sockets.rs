//! Socket activation: listening sockets that systemd opened and passes on (sd_listen_fds(3)).

use std::env;
use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// More than these nobody passes; it is a slip.
const MOST: u16 = 1024;

/// What the environment says of sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// None were passed.
    None,
    /// So many, for this process.
    Some(u16),
    /// They are of no use, and this is why.
    Unusable(String),
}

/// What was passed to this process.
pub fn passed() -> Passed {
    let value = |name| env::var(name).ok().filter(|value| !value.is_empty());
    judge(value("LISTEN_FDS").as_deref(), value("LISTEN_PID").as_deref(), std::process::id())
}

fn judge(count: Option<&str>, pid: Option<&str>, own: u32) -> Passed {
    let Some(count) = count else { return Passed::None };
    let count = match count.parse() {
        Ok(0) => return Passed::None,
        Ok(count) if count <= MOST => count,
        _ => return Passed::Unusable(format!("LISTEN_FDS is \"{count}\", which is no number of sockets")),
    };
    match pid.map(str::parse::<u32>) {
        Some(Ok(pid)) if pid == own => Passed::Some(count),
        Some(Ok(pid)) => Passed::Unusable(format!(
            "they are for process {pid} (LISTEN_PID), and this is {own}; a script in between has to exec macwatch"
        )),
        _ => Passed::Unusable("LISTEN_PID does not say for which process they are".to_owned()),
    }
}

/// Takes them all. Each can be taken once.
///
/// # Errors
///
/// A line that says which is none that can be served on, and why.
pub fn take() -> Result<Vec<TcpListener>, String> {
    let mut sockets = ListenFd::from_env();
    (0..sockets.len()).map(|at| one(&mut sockets, at)).collect()
}

fn one(sockets: &mut ListenFd, at: usize) -> Result<TcpListener, String> {
    let (number, all) = (at + 1, sockets.len());
    let why = match sockets.take_tcp_listener(at) {
        Ok(Some(listener)) => match SockRef::from(&listener).is_listener() {
            Ok(true) => return Ok(listener),
            Ok(false) => "it is a connection; the socket unit may not say Accept=yes".to_owned(),
            Err(error) => error.to_string(),
        },
        Ok(None) => "it was taken before".to_owned(),
        Err(_) if matches!(sockets.take_unix_listener(at), Ok(Some(_))) => {
            "it is a Unix socket, and scrapers come by TCP; write ListenStream= with a port".to_owned()
        }
        Err(error) => format!("{error}; write ListenStream= with a port"),
    };
    Err(format!("socket {number} of {all}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_is_for_us_or_not() {
        for (count, pid, expected) in [
            (None, None, Passed::None),
            (None, Some("7"), Passed::None),
            (Some("0"), Some("7"), Passed::None),
            (Some("2"), Some("7"), Passed::Some(2)),
        ] {
            assert_eq!(judge(count, pid, 7), expected, "{count:?} {pid:?}");
        }
        for (count, pid, part) in [
            (Some("2"), Some("8"), "for process 8 (LISTEN_PID), and this is 7"),
            (Some("2"), None, "LISTEN_PID does not say"),
            (Some("2"), Some("me"), "LISTEN_PID does not say"),
            (Some("-1"), Some("7"), "\"-1\""),
            (Some("4000000000"), Some("7"), "\"4000000000\""),
            (Some("two"), Some("7"), "\"two\""),
        ] {
            let Passed::Unusable(why) = judge(count, pid, 7) else { panic!("{count:?} {pid:?}") };
            assert!(why.contains(part), "{why}");
        }
    }
}
