//! The process: parse, run, exit code. Everything else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use macwatch::build;
use macwatch::cli::Cli;
use macwatch::commands::{self, Failure};

fn main() -> ExitCode {
    let cli = match Cli::from_process() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_string());
            match failure {
                Failure::Usage(_) => ExitCode::from(2),
                Failure::Cannot(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Help and version are what was asked for: stdout, success. Anything else is one line.
fn refuse(error: &clap::Error) -> ExitCode {
    // Whoever closed the pipe has read enough.
    match error.kind() {
        ErrorKind::DisplayHelp => {
            drop(error.print());
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayVersion => {
            drop(writeln!(std::io::stdout(), "macwatch, version {}", build::LONG_VERSION));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    // clap spreads an error over several lines: what is wrong, hints, then the usage, which --help prints too.
    let text = error.render().to_string();
    let mut parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .map(|line| line.strip_prefix("error: ").unwrap_or(line))
        .collect();
    match error.kind() {
        ErrorKind::ArgumentConflict => {
            parts.push("options go after the command, like `macwatch watch -i eth0`");
        }
        // And no command is like it: most likely an interface.
        ErrorKind::InvalidSubcommand if parts.len() == 1 => {
            parts.push("an interface is named with -i, like `macwatch -i eth0`");
        }
        _ => {}
    }
    // A line that ends in a colon introduces the next.
    say(&format!("{}; see --help", parts.join("; ").replace(":; ", ": ")));
    ExitCode::from(2)
}

fn say(line: &str) {
    // Without stderr there is nobody to tell.
    drop(writeln!(std::io::stderr(), "macwatch: {line}"));
}
