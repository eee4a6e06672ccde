//! Where the lines go: stdout, or behind those of a file, which is replaced whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;

use super::draft::{Draft, Existing};
use crate::commands::{Failure, written};
use crate::inventory::{Fault, Inventory, write};
use crate::textfile;

/// What is in the file, if there is one. One that is broken is refused: an exporter would not take it, and a line
/// added to it would not be read as it was meant.
pub(super) fn read(output: Option<&Path>) -> Result<Existing, Failure> {
    let Some(path) = output else { return Ok(Existing::default()) };
    let refuse = |why: String| Failure::Cannot(format!("cannot add to {}: {why}", path.display()));
    let text = textfile::read_if_any(path).map_err(refuse)?.unwrap_or_default();
    match Inventory::parse(path, &text) {
        Ok(inventory) => Ok(Existing { text, inventory }),
        Err(faults) => {
            let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
            let why = "it has faults, and stays as it is; mend them first:\nmacwatch: ";
            Err(refuse(format!("{why}{}", lines.join("\nmacwatch: "))))
        }
    }
}

/// Whether the file could be written, as far as can be told before listening for ten minutes.
pub(super) fn probe(output: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = output else { return Ok(()) };
    textfile::probe(path).map_err(|error| {
        Failure::Cannot(format!(
            "cannot write {}: no file can be made in its folder: {error}; choose another with --output",
            path.display()
        ))
    })
}

/// Writes the lines. Where the file cannot be written they go to stdout, so that nothing learnt is lost.
pub(super) fn deliver(
    output: Option<&Path>,
    existing: Result<&Existing, &Failure>,
    draft: &Draft,
) -> Result<(), Failure> {
    if draft.lines.is_empty() {
        return Ok(());
    }
    let Some(path) = output else { return print(draft) };
    let replaced = match existing {
        Ok(existing) => replace(path, existing, draft),
        Err(failure) => Err(failure.to_string()),
    };
    let Err(why) = replaced else { return Ok(()) };
    print(draft)?;
    Err(Failure::Cannot(format!("what was learnt is on stdout: {why}")))
}

fn print(draft: &Draft) -> Result<(), Failure> {
    let text = write::append(b"", &draft.lines);
    let mut out = io::stdout().lock();
    written(out.write_all(&text).and_then(|()| out.flush()))
}

fn replace(path: &Path, existing: &Existing, draft: &Draft) -> Result<(), String> {
    let whole = write::append(&existing.text, &draft.lines);
    let what = |why: String| format!("cannot write {}: {why}", path.display());
    check(path, &whole, existing, draft).map_err(what)?;
    textfile::replace(path, &whole).map_err(|error| what(error.to_string()))
}

/// Reads what is to be written, before it takes the place of what a person has written.
fn check(path: &Path, whole: &[u8], existing: &Existing, draft: &Draft) -> Result<(), String> {
    if whole.len() as u64 > textfile::MOST_BYTES {
        return Err("it would be larger than an exporter reads".to_owned());
    }
    let odd = || "it would not be read as it was meant".to_owned();
    let after = Inventory::parse(path, whole)
        .map_err(|faults| faults.first().map_or_else(odd, |fault| format!("it would be broken: {fault}")))?;
    let names = |(mac, name): &(_, String)| after.find(*mac).is_some_and(|entry| *entry.name == **name);
    let same = after.len() == existing.inventory.len() + draft.new.len() && draft.new.iter().all(names);
    if same { Ok(()) } else { Err(odd()) }
}
