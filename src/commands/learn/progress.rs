//! What stderr is told while it listens: a line that is drawn anew for a person, else a line at the start.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::interface::shown;

/// Time between two drawings.
const PAUSE: Duration = Duration::from_secs(1);
/// The width of a terminal that does not tell.
const USUAL_WIDTH: usize = 80;
/// Most interfaces that are told of one by one.
const MOST_INTERFACES: usize = 6;

/// What there is so far.
#[derive(Clone, Debug)]
pub(super) struct Glance {
    /// Addresses on all interfaces.
    pub(super) sources: usize,
    /// Addresses on each.
    pub(super) interfaces: Vec<(String, usize)>,
    /// Time left.
    pub(super) left: Duration,
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    begun: bool,
    drawn: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), begun: false, drawn: None }
    }

    /// Listening has begun on these.
    pub(super) fn begin(&mut self, interfaces: &[String], period: Duration) {
        self.begun = true;
        let period = humantime::format_duration(period);
        let what = match interfaces {
            [] => format!("no interface can be heard yet; waiting for one for {period}"),
            names => format!("listening on {} for {period}", several(names)),
        };
        say(&format!("{what}; Ctrl-C ends early, and what was learnt by then is written"));
    }

    /// Draws the line, if it is time to.
    pub(super) fn show(&mut self, glance: impl FnOnce() -> Glance) {
        let early = self.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE - PAUSE / 10);
        if !self.terminal || !self.begun || early {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = line(&glance(), width());
        // The cursor goes back to the beginning: a line of the log then stands in its place, not behind it.
        put(&format!("\r\x1b[K{line}\r"));
    }

    /// Wipes the line.
    pub(super) fn end(&self) {
        if self.drawn.is_some() {
            put("\r\x1b[K");
        }
    }
}

/// Names, as many as a person reads.
pub(super) fn several(names: &[String]) -> String {
    let told = names.iter().take(MOST_INTERFACES).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_INTERFACES) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

fn line(glance: &Glance, width: usize) -> String {
    let Glance { sources, interfaces, left } = glance;
    let plural = if *sources == 1 { "" } else { "s" };
    let mut line = format!("{sources} source{plural}");
    if interfaces.len() > 1 {
        let mut each: Vec<String> = interfaces
            .iter()
            .take(MOST_INTERFACES)
            .map(|(name, count)| format!("{} {count}", shown(name)))
            .collect();
        if interfaces.len() > MOST_INTERFACES {
            each.push("…".to_owned());
        }
        line.push_str(&format!(" ({})", each.join(", ")));
    }
    let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
    line.push_str(&format!("; {left} left; Ctrl-C ends early"));
    // One that is broken over two lines could not be drawn over.
    line.chars().take(width.saturating_sub(1)).collect()
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0)
        .unwrap_or(USUAL_WIDTH)
}

/// A line on stderr.
pub(super) fn say(line: &str) {
    put(&format!("{line}\n"));
}

fn put(text: &str) {
    // Without stderr there is nobody to tell.
    let mut stderr = io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_all_of_many_names_are_told() {
        let names: Vec<String> = (0..8).map(|n| format!("eth{n}")).collect();
        assert_eq!(several(&names[..2]), "eth0, eth1");
        assert_eq!(several(&names), "eth0, eth1, eth2, eth3, eth4, eth5 and 2 more");
        assert_eq!(several(&[]), "");
        assert_eq!(several(&["e\x1b[31mX".to_owned()]), "e\\u{1b}[31mX");
    }

    #[test]
    fn the_line_tells_of_each_interface_and_fits() {
        let glance = |interfaces: &[(&str, usize)]| Glance {
            sources: interfaces.iter().map(|(_, count)| count).sum(),
            interfaces: interfaces.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            left: Duration::from_millis(570_100),
        };
        assert_eq!(line(&glance(&[("eth0", 1)]), 80), "1 source; 9m 30s left; Ctrl-C ends early");
        let two = glance(&[("eth0", 3), ("eth1", 4)]);
        assert_eq!(line(&two, 80), "7 sources (eth0 3, eth1 4); 9m 30s left; Ctrl-C ends early");
        assert_eq!(line(&two, 20), "7 sources (eth0 3, ");
        assert_eq!(line(&two, 0), "");
    }
}
