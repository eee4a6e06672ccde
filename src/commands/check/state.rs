//! State files: what they hold, or what became of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::super::time::date_time;
use super::{Input, MOST_FAULTS, line, plural};
use crate::clock::Moment;
use crate::inventory::Inventory;
use crate::mac::Mac;
use crate::state::examine::{examine, looks_like_one};
use crate::state::format::{MAGIC, VERSION};
use crate::state::{Content, Entry};
use crate::textfile::{Fault, Faults};

/// The bit of a folder in which all may write, but only remove what is their own.
const STICKY: u32 = 0o1000;
/// Clocks differ.
const FUTURE_MS: u64 = 86_400_000;

/// A state file that was read.
pub(super) struct Checked {
    file: Arc<Path>,
    /// Of nothing that is damaged.
    content: Content,
    pub(super) faults: Vec<Fault>,
}

/// Checks what was read.
pub(super) fn check((file, text): Input) -> Checked {
    let mut faults = Faults::new(&file, MOST_FAULTS);
    let content = match text {
        Err(what) => {
            faults.add(0, what);
            None
        }
        Ok(text) if is_inventory(&text) => {
            faults.add(0, "it is an inventory, no state file; give it to --inventory.file".to_owned());
            None
        }
        Ok(text) => examine(&text, |line, what| faults.add(line, what)),
    };
    Checked { file, content: content.unwrap_or_default(), faults: faults.into_list() }
}

/// Whether the first line that says anything is that of an inventory.
fn is_inventory(text: &[u8]) -> bool {
    let says = |line: &&[u8]| !line.starts_with(b"#") && !line.trim_ascii().is_empty();
    let Some(first) = text.split(|byte| *byte == b'\n').find(says) else { return false };
    let alone = Inventory::of([(Path::new("").into(), Ok(first))], 1);
    !text.starts_with(MAGIC.as_bytes()) && !looks_like_one(text) && alone.is_ok_and(|one| !one.is_empty())
}

impl Checked {
    fn newest(&self) -> Option<u64> {
        self.content.entries.iter().map(|entry| entry.seen.last_unix_ms).max()
    }

    /// A line for all that is odd about it.
    pub(super) fn warn(&self, text: &mut String) {
        let mut odd = Vec::from_iter(strange_owner(&self.file));
        if let Some(newest) = self.newest().filter(|newest| *newest > Moment::now().unix_ms + FUTURE_MS) {
            let newest = date_time(newest, &TimeZone::system());
            odd.push(format!("{newest} has not come yet: a clock was wrong, or is"));
        }
        for why in odd {
            line(text, self.file.display(), format_args!("warning: {why}"));
        }
    }

    /// A line with what it holds, after those with what is odd about it.
    pub(super) fn summarize(&self, text: &mut String) {
        self.warn(text);
        let zone = TimeZone::system();
        let Content { created_unix_ms, entries } = &self.content;
        let oldest = entries.iter().map(|entry| entry.seen.first_unix_ms).min();
        let interfaces: BTreeSet<&str> = entries.iter().map(|entry| &*entry.interface).collect();
        let mut what = format!(
            "version {VERSION}, created {}: {} on {}",
            date_time(*created_unix_ms, &zone),
            plural(entries.len(), "source", "sources"),
            plural(interfaces.len(), "interface", "interfaces"),
        );
        if let (Some(oldest), Some(newest)) = (oldest, self.newest()) {
            what += &format!(", seen {} to {}", date_time(oldest, &zone), date_time(newest, &zone));
        }
        line(text, self.file.display(), what);
    }

    /// Lines with the interfaces that an address was seen on, and when.
    pub(super) fn explain(&self, text: &mut String, mac: Mac) {
        let zone = TimeZone::system();
        let mut found: Vec<&Entry> = self.content.entries.iter().filter(|entry| entry.mac == mac).collect();
        found.sort_by_key(|entry| Arc::clone(&entry.interface));
        for Entry { interface, seen, .. } in &found {
            let (first, last) = (date_time(seen.first_unix_ms, &zone), date_time(seen.last_unix_ms, &zone));
            // The kernel takes nearly all bytes for a name, and so a terminal may act on it.
            let name = interface.escape_debug();
            line(text, "seen", format_args!("on {name} since {first}, last {last}"));
        }
        if found.is_empty() {
            line(text, "seen", "never");
        }
    }
}

/// Why an exporter that owns the folder might not be able to read a file that this process can. It gives up the
/// right to read all files, if it had that.
fn strange_owner(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let (file, folder) = (fs::metadata(&path).ok()?, fs::metadata(path.parent()?).ok()?);
    let private = file.is_file() && file.mode() & 0o044 == 0 && folder.mode() & STICKY == 0;
    (private && file.uid() != folder.uid()).then(|| {
        let (file, folder) = (file.uid(), folder.uid());
        format!("it is user {file}'s, and its folder user {folder}'s: an exporter that runs as that may not read it")
    })
}
