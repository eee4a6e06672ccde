//! The process: parse, run, exit code. Everything else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use macwatch::cli::Cli;
use macwatch::commands::{self, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
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
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Whoever closed the pipe has read enough.
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    // clap spreads an error over several lines: what is wrong, hints, the usage.
    let text = error.render().to_string();
    let parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && !line.starts_with("Usage:") && !line.starts_with("For more information")
        })
        .map(|line| line.strip_prefix("error: ").unwrap_or(line))
        .collect();
    say(&format!("{}; see --help", parts.join("; ")));
    ExitCode::from(2)
}

fn say(line: &str) {
    // Without stderr there is nobody to tell.
    drop(writeln!(std::io::stderr(), "macwatch: {line}"));
}
