//! What `learn` needs.

use std::path::PathBuf;
use std::time::Duration;

use super::{Invalid, direction, invalid, settings};
use crate::capture::{Direction, Settings};
use crate::cli::LearnArgs;
use crate::sources::Limits;

/// How long `learn` listens if nobody says: most devices say something within it, by ARP or DHCP if by nothing else.
const LEARNING: Duration = Duration::from_secs(600);
/// Longest time that it listens; longer ones are typing errors, and beyond what timers can tell.
const LONGEST_LEARNING: Duration = Duration::from_secs(31 * 86_400);

/// All that `learn` needs.
#[derive(Clone, Debug)]
pub struct Learn {
    /// What to capture; of a state file, which interfaces.
    pub capture: Settings,
    /// Which frames count.
    pub direction: Direction,
    /// How long to listen; none for not at all.
    pub period: Option<Duration>,
    /// Where to write; none for stdout.
    pub output: Option<PathBuf>,
    /// A state file to learn from.
    pub state: Option<PathBuf>,
    /// Leases to learn from.
    pub imports: Vec<PathBuf>,
    /// Most sources; none of them falls idle.
    pub limits: Limits,
}

impl TryFrom<&LearnArgs> for Learn {
    type Error = Invalid;

    fn try_from(args: &LearnArgs) -> Result<Self, Invalid> {
        let default = (args.from_state.is_none() && args.import.is_empty()).then_some(LEARNING);
        Ok(Self {
            capture: settings(&args.interfaces, &args.capture)?,
            direction: direction(&args.capture),
            period: args.period.as_deref().map(period).transpose()?.or(default),
            // As elsewhere, a dash is stdout.
            output: args.output.clone().filter(|file| file.as_os_str() != "-"),
            state: args.from_state.clone(),
            imports: args.import.clone(),
            limits: Limits {
                per_interface: args.most as usize,
                total: args.most_total as usize,
                idle_timeout: Duration::MAX,
            },
        })
    }
}

fn period(text: &str) -> Result<Duration, Invalid> {
    let refuse = |why: &str| invalid("--for <DURATION>", text)(why.to_owned());
    let period = humantime::parse_duration(text)
        .map_err(|error| refuse(&format!("{error}; write it like 10m, 1h or 45s")))?;
    if !(Duration::from_secs(1)..=LONGEST_LEARNING).contains(&period) {
        return Err(refuse("take from 1s to 31d"));
    }
    Ok(period)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn learn(args: &[&str]) -> Result<Learn, Invalid> {
        let cli = Cli::try_parse_from([&["macwatch", "learn"], args].concat()).unwrap();
        let Some(Command::Learn(args)) = cli.command else { panic!("another command") };
        Learn::try_from(&args)
    }

    #[test]
    fn it_listens_unless_there_are_files_to_read() {
        let period = |args: &[&str]| learn(args).unwrap().period.map(|period| period.as_secs());
        assert_eq!(period(&[]), Some(600));
        assert_eq!(period(&["--from-state", "x"]), None);
        assert_eq!(period(&["--import", "x", "--import", "y"]), None);
        assert_eq!(period(&["--import", "x", "--for", "1h"]), Some(3600));
    }

    #[test]
    fn a_dash_is_stdout() {
        assert_eq!(learn(&["-o", "-"]).unwrap().output, None);
        assert_eq!(learn(&["-o", "x"]).unwrap().output, Some(PathBuf::from("x")));
    }
}
