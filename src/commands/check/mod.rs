//! `macwatch check`: what is wrong with an inventory, a web configuration or a state file, or what they say of one
//! address.
//!
//! It reads, and changes nothing: no lock is taken, nothing is set aside. Faults are the result, so they go to
//! stdout.

mod explain;
mod inventory;
mod state;

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use super::{Failure, follow, list, written};
use crate::cli::CheckArgs;
use crate::config::Check;
use crate::textfile;
use crate::web::config;

/// Most faults that are listed: a file with more is none that a person would mend line by line.
const MOST_FAULTS: usize = 10_000;

/// A file, and what it holds or why it cannot be read.
type Input = (Arc<Path>, Result<Vec<u8>, String>);

pub(super) async fn run(args: &CheckArgs) -> Result<(), Failure> {
    let check = Check::try_from(args)?;
    let inventories = inventory::Checked::of(check.inventories.iter().map(|path| read(path)).collect());
    let state = check.state.as_deref().map(|path| state::check(read(path)));
    let web = check.web_config.as_deref().map(|path| {
        let (path, text) = read(path);
        config::Read::of(&path, text, MOST_FAULTS, config::pem)
    });
    report(&inventories, state.as_ref(), web.as_ref())?;
    let mut text = String::new();
    if let Some(mac) = check.explain {
        let own = match follow() {
            Ok(mut follower) => list(&mut follower).await,
            Err(failure) => Err(failure),
        };
        let own = own.as_deref().map_err(ToString::to_string);
        let listed = (!check.inventories.is_empty()).then_some(&inventories.together);
        explain::write(&mut text, mac, listed, own, state.as_ref());
    } else {
        inventories.summarize(&mut text);
        if let Some(state) = state {
            state.summarize(&mut text);
        }
        if let Some((path, web)) = check.web_config.as_deref().zip(web) {
            warn(&mut text, &web);
            line(&mut text, path.display(), web.summary);
        }
    }
    written(io::stdout().lock().write_all(text.as_bytes()))
}

/// Reads a file. A shell's process substitution is a pipe too, and one that somebody is about to fill.
fn read(path: &Path) -> Input {
    let text = if path.as_os_str() == "-" {
        textfile::read_pipe(io::stdin().lock())
    } else if path.starts_with("/dev/fd") || path.as_os_str() == "/dev/stdin" {
        match File::open(path) {
            Ok(file) => textfile::read_pipe(file),
            Err(_) => textfile::read(path),
        }
    } else {
        textfile::read(path)
    };
    (path.into(), text)
}

/// Tells all that is wrong, and then all that is odd. Without a fault it says nothing.
fn report(
    inventories: &inventory::Checked,
    state: Option<&state::Checked>,
    web: Option<&config::Read>,
) -> Result<(), Failure> {
    let state_faults = state.map_or(&[][..], |state| &state.faults);
    let web_faults = web.and_then(|web| web.checked().err()).unwrap_or_default();
    let consequences: Vec<_> = [
        (&*inventories.faults, "the inventory has faults; the exporter would not start with it"),
        (state_faults, "the state file has faults; the exporter would start without what it knew"),
        (web_faults, "the web configuration has faults; the exporter would not start with it"),
    ]
    .into_iter()
    .filter(|(faults, _)| !faults.is_empty())
    .collect();
    if consequences.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for fault in consequences.iter().flat_map(|(faults, _)| *faults) {
        line(&mut text, &fault.place, &fault.what);
    }
    inventories.warn(&mut text);
    if let Some(state) = state {
        state.warn(&mut text);
    }
    if let Some(web) = web {
        warn(&mut text, web);
    }
    written(io::stdout().lock().write_all(text.as_bytes()))?;
    let consequences: Vec<_> = consequences.into_iter().map(|(_, consequence)| consequence).collect();
    Err(Failure::Cannot(consequences.join("; ")))
}

fn warn(text: &mut String, web: &config::Read) {
    for warning in &web.warnings {
        line(text, &warning.place, format_args!("warning: {}", warning.what));
    }
}

fn line(text: &mut String, key: impl fmt::Display, value: impl fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{key}: {value}");
}

/// So many of them, in words.
fn plural(n: usize, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}
