//! `macwatch learn`: who is there, as an inventory.
//!
//! ```text
//! wire ─► listen ──┐
//! state file ──────┼─► Evidence ─► Draft (lines) ─► target: stdout, or behind the lines of a file
//! leases ──────────┘                 ▲
//!                       what the inventory has already
//! ```
//! The lines go to stdout or into the file, all else to stderr.

mod draft;
mod evidence;
mod listen;
mod progress;
mod summary;
mod target;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::shutdown::Shutdown;
use super::{Failure, cannot, drop_privileges, follow, list, prepare};
use crate::capture::Hearing;
use crate::cli::LearnArgs;
use crate::clock::Moment;
use crate::config::Learn;
use crate::interface::select::Selection;
use crate::known::Known;
use crate::leases;
use crate::log;
use crate::privileges::{FILES, NEEDED};
use crate::state::format;
use crate::textfile;
use crate::vendor::Vendors;

use draft::{Existing, date_time, draft};
use evidence::Evidence;
use listen::{Heard, add_own, listen};
use progress::{Progress, say, several};

pub(super) async fn run(args: &LearnArgs) -> Result<(), Failure> {
    // What goes well shows in the progress.
    log::start(log::Level::WARN, log::Format::Logfmt);
    let config = Learn::try_from(args)?;
    let output = config.output.as_deref();
    // All that may be refused is refused before anybody waits for ten minutes.
    let existing = target::read(output)?;
    let mut evidence = Evidence::default();
    read_files(&config, &mut evidence)?;
    let heard = match config.period {
        Some(period) => Some(hear(&config, period, &existing).await?),
        None => {
            target::probe(output)?;
            // Without them it goes on: they are known anyway.
            if let Ok(mut follower) = follow()
                && let Ok(interfaces) = list(&mut follower).await
            {
                add_own(&mut evidence, &interfaces);
            }
            None
        }
    };
    if let Some(heard) = &heard {
        evidence.add(&heard.evidence);
    }

    // A person may have written to the file meanwhile. Where it cannot be read any more, what it was decides.
    let now = target::read(output);
    let warnings = summary::warnings(&evidence, heard.as_ref());
    let heading = |count| heading(&config, heard.as_ref(), count, &warnings);
    let base = now.as_ref().unwrap_or(&existing);
    let draft = draft(&evidence, base, &Vendors::embedded(), &TimeZone::system(), heading);
    for warning in &warnings {
        say(&format!("macwatch: warning: {warning}"));
    }
    target::deliver(output, now.as_ref(), &draft)?;
    for line in summary::summary(&evidence, &draft, output, heard.is_some()) {
        say(&line);
    }
    Ok(())
}

/// Reads the state file and the leases.
fn read_files(config: &Learn, evidence: &mut Evidence) -> Result<(), Failure> {
    if let Some(path) = &config.state {
        let refuse = |why: &dyn Display| {
            Failure::Cannot(format!("cannot learn from the state file {}: {why}", path.display()))
        };
        // An exporter may have it locked. It replaces the file whole, so what is read is whole too.
        let bytes = textfile::read(path).map_err(|why| refuse(&why))?;
        let content = format::read(&bytes).map_err(|fault| refuse(&fault))?;
        let selection: &Selection = &config.capture.selection;
        evidence.add_state(&content, |interface| selection.takes(interface));
    }
    let now = Moment::now().unix_ms / 1000;
    for path in &config.imports {
        let leases = leases::load(path, now).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(|fault| format!("cannot import {fault}")).collect();
            Failure::Cannot(lines.join("\nmacwatch: "))
        })?;
        evidence.add_leases(&leases);
    }
    Ok(())
}

/// Listens on the wire.
async fn hear(config: &Learn, period: Duration, existing: &Existing) -> Result<Heard, Failure> {
    // Days of listening are not lost with a connection.
    let shutdown = Shutdown::listen().and_then(Shutdown::or_hangup).map_err(cannot("handle signals"))?;
    let hearing = Hearing::All(config.direction);
    let opened = prepare(&config.capture.selection, || Ok(hearing)).await?;
    drop_privileges(match config.output {
        // The file is replaced at the end, and its folder may be another user's.
        Some(_) => NEEDED | FILES,
        None => NEEDED,
    })?;
    // With what is left of them.
    target::probe(config.output.as_deref())?;
    let known = Arc::<Known>::default();
    known.set_inventory(existing.inventory.clone());
    listen(config.capture.clone(), period, config.limits, known, opened, shutdown, Progress::new()).await
}

/// What stands above the new lines: when, from where, how many, and what to do with them.
fn heading(config: &Learn, heard: Option<&Heard>, count: usize, warnings: &[String]) -> Vec<String> {
    let mut from = Vec::new();
    if let Some(Heard { interfaces, listened, .. }) = heard {
        let listened = humantime::format_duration(Duration::from_secs(listened.as_secs()));
        let on = if interfaces.is_empty() { "no interface".to_owned() } else { several(interfaces) };
        from.push(format!("from {listened} of listening on {on}"));
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    from.extend(config.state.iter().map(|path| format!("from the state file {}", name(path))));
    from.extend(config.imports.iter().map(|path| format!("from {}", name(path))));
    let date = date_time(Moment::now().unix_ms, &TimeZone::system());
    let plural = if count == 1 { "address" } else { "addresses" };
    let mut lines = vec![
        format!("{date}: {count} {plural} learnt by macwatch {}.", from.join(", ")),
        "Nobody has looked at them yet: take out whom you do not know, and give the others their names."
            .to_owned(),
    ];
    lines.extend(warnings.iter().map(|warning| format!("Warning: {warning}.")));
    lines
}
