//! Remembering sources across restarts: what the tables tell, and what the file keeps of it.
//!
//! A source's first frame rings; about a second later it is in the file. Otherwise one look a minute finds
//! whether anything has been seen since. Writing happens aside, never on the thread that serves, and a capture
//! thread meets it only when a source comes or goes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{io, mem};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use crate::clock::{LEAST_UNIX_MS, Moment};
use crate::exposition::{Family, Page, Value};
use crate::known::Known;
use crate::mac::Mac;
use crate::sources::{Memory, Remembered, Roster as _, Sources};
use crate::state::file::{InUse, Loaded, StateFile};
use crate::state::pace::Pace;
use crate::state::store::Store;
use crate::state::{Content, Seen, format};

/// A file that was made this much later than now was made by a clock that was wrong.
const AHEAD_MS: u64 = 86_400_000;

/// A clock that is years ahead at the start may be set right soon. Until then nobody is forgotten for having been silent
/// for too long by it.
const CLOCK_PATIENCE: Duration = Duration::from_secs(600);

/// The memory and its file.
#[derive(Debug)]
pub struct Diary {
    /// The file's path, for the log.
    path: String,
    known: Arc<Known>,
    opened: Moment,
    /// Taken for the time of a few look-ups: the threads that capture wait for it when a source appears.
    store: Mutex<Store>,
    /// Taken for as long as the disk takes.
    file: Mutex<StateFile>,
    pace: Mutex<Pace>,
    /// Rung when a source appears, once until the next save.
    bell: Notify,
    rung: AtomicBool,
    /// When the file was first made, Unix time in milliseconds; 0 while the clock has not been set.
    created_unix_ms: AtomicU64,
    /// What it says of that, if it was taken for one from the future, and when.
    future: Mutex<Option<(u64, Moment)>>,
    loaded: AtomicBool,
    written: AtomicBool,
    /// The file has to be written, even if no source has changed.
    unwritten: AtomicBool,
}

impl Diary {
    /// Claims the file and reads it.
    ///
    /// # Errors
    ///
    /// Another process has it. All else costs what would be remembered, not the start.
    pub fn open(path: &Path, known: Arc<Known>) -> Result<Self, InUse> {
        let (file, claimed) = StateFile::claim(path)?;
        let diary = Self {
            path: file.path().display().to_string(),
            known,
            opened: Moment::now(),
            store: Mutex::default(),
            file: Mutex::new(file),
            pace: Mutex::new(Pace::new(Moment::now().steady_ms)),
            bell: Notify::new(),
            rung: AtomicBool::new(false),
            created_unix_ms: AtomicU64::new(0),
            future: Mutex::default(),
            loaded: AtomicBool::new(true),
            written: AtomicBool::new(true),
            unwritten: AtomicBool::new(false),
        };
        let loaded = diary.load(&mut diary.file.lock());
        diary.stamp(Moment::now());
        match loaded {
            Ok(()) => {
                let sources = diary.store.lock().len();
                tracing::info!(file = diary.path, sources, "state opened");
            }
            Err(error) => {
                diary.loaded.store(false, Ordering::Relaxed);
                tracing::error!(
                    file = diary.path,
                    error = explain(&error),
                    "cannot read the state: going on without what it knows; it is left alone, and not written before it \
                     can be read"
                );
            }
        }
        if let Err(error) = claimed {
            diary.tell(&Err(error));
        }
        Ok(diary)
    }

    /// Reads the file, and takes in what it says.
    fn load(&self, file: &mut StateFile) -> io::Result<()> {
        match file.load()? {
            Loaded::Whole(Content { created_unix_ms, entries }) => {
                if !self.loaded.swap(true, Ordering::Relaxed) {
                    tracing::info!(file = self.path, sources = entries.len(), "the state could be read now");
                }
                self.created_unix_ms.store(created_unix_ms, Ordering::Relaxed);
                let mut store = self.store.lock();
                let was_empty = store.is_empty();
                store.merge(entries);
                if was_empty {
                    // What has just been read need not be written.
                    store.take_changed();
                }
                self.unwritten.store(false, Ordering::Relaxed);
            }
            Loaded::Missing => {
                self.loaded.store(true, Ordering::Relaxed);
                self.unwritten.store(true, Ordering::Relaxed);
            }
            Loaded::SetAside(fault, aside) => {
                self.loaded.store(false, Ordering::Relaxed);
                self.unwritten.store(true, Ordering::Relaxed);
                let aside = aside.display().to_string();
                tracing::error!(file = self.path, %fault, aside, "the state could not be used; set aside, starting anew");
            }
        }
        Ok(())
    }

    /// Notes when the file was first made, as soon as the clock can tell. A clock that was ahead then is told by one
    /// that is not now: a file from the future would never be old enough for anybody to be new.
    fn stamp(&self, now: Moment) {
        if now.unix_ms < LEAST_UNIX_MS {
            return;
        }
        let mut future = self.future.lock();
        // It was this one that was behind, if it has been put forward since.
        if let Some((said_unix_ms, then)) = *future
            && now.unix_ms >= said_unix_ms
            && now.unix_ms > then.unix_ms + AHEAD_MS + now.steady_ms.saturating_sub(then.steady_ms)
        {
            *future = None;
            tracing::info!(file = self.path, "the clock was behind; the state file is as old as it says");
            self.created_unix_ms.store(said_unix_ms, Ordering::Relaxed);
            self.unwritten.store(true, Ordering::Relaxed);
        }
        let created_unix_ms = self.created_unix_ms.load(Ordering::Relaxed);
        let ahead = created_unix_ms > now.unix_ms + AHEAD_MS;
        if ahead {
            *future = Some((created_unix_ms, now));
            tracing::warn!(file = self.path, "the state file is from the future; taken for one of now");
            self.unwritten.store(true, Ordering::Relaxed);
        }
        if created_unix_ms == 0 || ahead {
            self.created_unix_ms.store(now.unix_ms, Ordering::Relaxed);
        }
    }

    /// Writes the file if anything has changed. Blocks for as long as the disk takes.
    pub fn save(&self, sources: &Sources) {
        let mut file = self.file.lock();
        let result = self.try_save(sources, &mut file);
        let now = Moment::now().steady_ms;
        let mut pace = self.pace.lock();
        match &result {
            Ok(bytes) => pace.done(now, *bytes),
            Err(_) => pace.failed(now),
        }
        drop(pace);
        self.tell(&result);
    }

    /// Returns how many bytes were written.
    fn try_save(&self, sources: &Sources, file: &mut StateFile) -> io::Result<u64> {
        let now = Moment::now();
        self.stamp(now);
        // Before looking: who comes meanwhile rings again.
        self.rung.store(false, Ordering::Release);
        for books in sources.snapshot() {
            let mut store = self.store.lock();
            for source in &books.sources {
                store.observe(&books.interface, source.mac, seen(&source.remembered()), LEAST_UNIX_MS);
            }
        }
        self.prune(&mut self.store.lock(), now);
        file.ready()?;
        // Changed by somebody else, or not readable until now.
        if file.is_strange()? {
            self.load(file)?;
        }
        let created_unix_ms = self.created_unix_ms.load(Ordering::Relaxed);
        let mut store = self.store.lock();
        let changed = store.take_changed() | self.unwritten.swap(false, Ordering::Relaxed);
        // Without a clock there is nothing to tell yet.
        if !changed || created_unix_ms == 0 {
            self.unwritten.fetch_or(changed, Ordering::Relaxed);
            return Ok(0);
        }
        let mut entries = store.entries();
        drop(store);
        // In order, for whoever compares two of them.
        entries.sort_unstable_by(|a, b| (&a.interface, a.mac).cmp(&(&b.interface, b.mac)));
        let bytes = format::write(&Content { created_unix_ms, entries });
        match file.save(&bytes) {
            Ok(()) => Ok(bytes.len() as u64),
            Err(error) => {
                self.unwritten.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Says how writing went, when that has changed.
    fn tell(&self, result: &io::Result<u64>) {
        match (result, self.written.load(Ordering::Relaxed)) {
            (Err(error), true) => {
                tracing::error!(
                    file = self.path,
                    error = explain(error),
                    "cannot write the state; a restart would forget what is new; trying again"
                );
            }
            (Ok(_), false) => tracing::info!(file = self.path, "the state can be written again"),
            _ => {}
        }
        // Who looks into the log because of it finds why.
        self.written.store(result.is_ok(), Ordering::Relaxed);
    }

    /// Forgets who has been silent for too long, and of too many some.
    fn prune(&self, store: &mut Store, now: Moment) {
        let is_early = now.since(self.opened.steady_ms) < CLOCK_PATIENCE;
        let now_unix_ms = if is_early { 0 } else { now.unix_ms };
        store.prune(now_unix_ms, |mac| self.known.standing(mac).is_reserved());
    }

    /// Writes the families.
    pub(super) fn write(&self, page: &mut Page<'_>) {
        let created = self.created_unix_ms.load(Ordering::Relaxed);
        if created > 0 {
            page.family(Family::gauge(
                "macwatch_state_created_timestamp_seconds",
                "Unix time when the state file was first made: sources are remembered since then.",
            ))
            .add("", Value::Milliseconds(created));
        }
        page.family(Family::gauge(
            "macwatch_state_last_load_successful",
            "Whether the state file could be read; if not, it was set aside or left alone.",
        ))
        .add("", self.loaded.load(Ordering::Relaxed));
        page.family(Family::gauge(
            "macwatch_state_last_write_successful",
            "Whether the state file could be written when it was last tried.",
        ))
        .add("", self.written.load(Ordering::Relaxed));
    }
}

impl Memory for Diary {
    fn find(&self, interface: &str, mac: Mac) -> Option<Remembered> {
        self.store.lock().find(interface, mac).map(|seen| remembered((mac, seen)))
    }

    fn appeared(&self) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            self.bell.notify_one();
        }
    }

    fn recall(&self, interface: &str) -> Vec<Remembered> {
        self.store.lock().of(interface).map(remembered).collect()
    }

    fn keep(&self, interface: &Arc<str>, source: Remembered, now: Moment) {
        let mut store = self.store.lock();
        store.observe(interface, source.mac, seen(&source), LEAST_UNIX_MS);
        if store.is_overfull() {
            self.prune(&mut store, now);
        }
    }
}

fn remembered((mac, seen): (Mac, Seen)) -> Remembered {
    Remembered { mac, first_seen_unix_ms: seen.first_unix_ms, last_seen_unix_ms: seen.last_unix_ms }
}

fn seen(source: &Remembered) -> Seen {
    let last_unix_ms = source.last_seen_unix_ms;
    Seen { first_unix_ms: source.first_seen_unix_ms.min(last_unix_ms), last_unix_ms }
}

/// What is wrong, and what helps.
fn explain(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "; check the owner and mode of it and its folder",
        io::ErrorKind::NotFound => "; its folder is missing: make it",
        io::ErrorKind::ReadOnlyFilesystem => "; systemd: StateDirectory=macwatch makes a folder to write to",
        io::ErrorKind::ResourceBusy => "; mount its folder, not the file",
        io::ErrorKind::WouldBlock => return "another macwatch has it".to_owned(),
        _ => "",
    };
    format!("{error}{remedy}")
}

/// Writes when it is time, for good; cancel it to stop.
pub(super) async fn follow(diary: Option<&Arc<Diary>>, sources: &Arc<Sources>) {
    let Some(diary) = diary else {
        return std::future::pending().await;
    };
    // A file that is not there yet is made at once: what is wrong with its folder shows now.
    let mut at_once = diary.unwritten.load(Ordering::Relaxed);
    loop {
        while !mem::take(&mut at_once) {
            let now = Moment::now().steady_ms;
            let due = diary.pace.lock().due();
            if due <= now {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(due - now)) => {}
                () = diary.bell.notified() => {
                    diary.pace.lock().fresh(Moment::now().steady_ms);
                }
            }
        }
        let (diary, sources) = (Arc::clone(diary), Arc::clone(sources));
        if let Err(error) = spawn_blocking(move || diary.save(&sources)).await {
            tracing::error!(%error, "writing the state ended badly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_as_old_as_it_says_if_the_clock_was_behind() {
        let now = Moment::now();
        let later = |minutes: u64, forward: u64| Moment {
            unix_ms: now.unix_ms + minutes * 60_000 + forward,
            steady_ms: now.steady_ms + minutes * 60_000,
        };
        let (week, days) = (7 * AHEAD_MS, 10 * 24 * 60);
        let created_unix_ms = now.unix_ms + week;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let content = Content { created_unix_ms, entries: Vec::new() };
        for (at, was_behind) in [
            // Set right, to the day after the file was made.
            (later(1, week + AHEAD_MS), true),
            // Not by enough; and time that goes by sets nothing right.
            (later(1, AHEAD_MS), false),
            (later(days, 0), false),
        ] {
            std::fs::write(&path, format::write(&content)).unwrap();
            let diary = Diary::open(&path, Arc::default()).unwrap();
            let taken = diary.created_unix_ms.load(Ordering::Relaxed);
            assert!((now.unix_ms..now.unix_ms + 60_000).contains(&taken), "from the future");
            diary.stamp(at);
            let created = diary.created_unix_ms.load(Ordering::Relaxed);
            assert_eq!(created, if was_behind { created_unix_ms } else { taken });
        }
    }

    #[test]
    fn a_clock_that_is_years_ahead_at_first_forgets_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let diary = Diary::open(&folder.path().join("state"), Arc::default()).unwrap();
        let now = Moment::now();
        let mac = Mac::new([2; 6]);
        let ahead = |minutes: u64| Moment {
            unix_ms: now.unix_ms + 10_000 * AHEAD_MS,
            steady_ms: now.steady_ms + minutes * 60_000,
        };
        let source = Remembered { mac, first_seen_unix_ms: now.unix_ms, last_seen_unix_ms: now.unix_ms };
        diary.keep(&"eth0".into(), source, now);
        for (at, is_there) in [(ahead(9), true), (ahead(11), false)] {
            diary.prune(&mut diary.store.lock(), at);
            assert_eq!(diary.find("eth0", mac).is_some(), is_there);
        }
    }
}
