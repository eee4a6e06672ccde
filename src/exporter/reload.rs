//! Reading the inventory anew: when its files change, on SIGHUP, or when asked over HTTP. The latter two are for the web
//! configuration too.
//!
//! A broken file costs nothing but its news: the last good list stays, the log says what is wrong, and a
//! metric says that something is.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::clock::Moment;
use crate::inventory::follow::{Seen, Watcher};
use crate::inventory::{Fault, Inventory, Place};
use crate::known::Known;
use crate::web::Reload;

use super::service::Service;
use super::web_config::WebConfig;

/// When watching the files failed, it is tried again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(30);

/// Most who ask over HTTP that are answered by one reading.
pub(super) const MOST_ASKED: usize = 64;

/// Readings that are asked for over HTTP are at least this far apart: each is a line in the log, and takes work.
const REST: Duration = Duration::from_millis(200);

/// How the last reading went.
#[derive(Debug)]
pub struct Outcome {
    successful: AtomicBool,
    success_unix_ms: AtomicU64,
}

impl Outcome {
    /// Whether the last reading succeeded.
    pub fn successful(&self) -> bool {
        self.successful.load(Ordering::Acquire)
    }

    /// Unix time of the last one that did, in milliseconds.
    pub fn success_unix_ms(&self) -> u64 {
        self.success_unix_ms.load(Ordering::Relaxed)
    }
}

/// The inventory's files, and what is made of them.
#[derive(Debug)]
pub struct Reloader {
    files: Vec<PathBuf>,
    known: Arc<Known>,
    outcome: Outcome,
    /// How the files looked just before they were last read.
    seen: Mutex<Seen>,
    /// One reading at a time: of two, the older list could be the one that stays.
    reading: Mutex<()>,
}

impl Reloader {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// All that is wrong: everything unknown would be a storm of alerts, and nobody unknown blindness.
    pub fn start(files: Vec<PathBuf>, known: Arc<Known>) -> Result<Self, Vec<Fault>> {
        let outcome = Outcome { successful: AtomicBool::new(true), success_unix_ms: AtomicU64::new(0) };
        let reloader = Self { files, known, outcome, seen: Mutex::default(), reading: Mutex::default() };
        if !reloader.files.is_empty() {
            let entries = reloader.take(reloader.load()?);
            tracing::info!(entries, "inventory read");
            warn_if_empty(entries);
        }
        Ok(reloader)
    }

    /// How the last reading went; none while no inventory is configured.
    pub fn outcome(&self) -> Option<&Outcome> {
        (!self.files.is_empty()).then_some(&self.outcome)
    }

    /// Reads the files again. All that a full disk, an edit that broke off or a mount that is gone leaves of a file
    /// is an empty one, and every device in it would be a stranger: who means it restarts.
    fn read(&self) -> Result<usize, Vec<Fault>> {
        let inventory = self.load()?;
        let before = self.known.inventory();
        if let Some((file, entries)) = before.as_ref().and_then(|before| inventory.emptied_since(before)) {
            let place = Place { file: Arc::clone(file), line: 0 };
            let what = format!(
                "it lists nobody any more (entries before: {entries}); restart macwatch if that is meant"
            );
            return Err(vec![Fault { place, what }]);
        }
        Ok(self.take(inventory))
    }

    fn load(&self) -> Result<Inventory, Vec<Fault>> {
        *self.seen.lock() = Seen::of(&self.files);
        Inventory::load(&self.files)
    }

    fn take(&self, inventory: Inventory) -> usize {
        let entries = inventory.len();
        self.known.set_inventory(inventory);
        self.outcome.success_unix_ms.store(Moment::now().unix_ms, Ordering::Relaxed);
        entries
    }

    /// Reads the files; says in one line what is wrong with them, if anything.
    pub(super) fn reload(&self, cause: &str) -> Result<(), String> {
        if self.files.is_empty() {
            return Ok(());
        }
        let _alone = self.reading.lock();
        let result = match self.read() {
            Ok(entries) => {
                tracing::info!(cause, entries, "inventory reloaded");
                warn_if_empty(entries);
                Ok(())
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!(cause, %fault, "inventory not reloaded; the last good one stays");
                }
                let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
                Err(texts.join("; "))
            }
        };
        // Who looks into the log because of it finds why.
        self.outcome.successful.store(result.is_ok(), Ordering::Release);
        result
    }

    async fn reload_aside(
        self: &Arc<Self>,
        web: Option<&Arc<WebConfig>>,
        cause: &'static str,
    ) -> Result<(), String> {
        let (reloader, web) = (Arc::clone(self), web.cloned());
        let job = move || {
            if reloader.files.is_empty() && web.is_none() {
                tracing::info!(cause, "nothing to reload");
            }
            let results = [reloader.reload(cause), web.map_or(Ok(()), |web| web.reload(cause, true))];
            let faults: Vec<String> = results.into_iter().filter_map(Result::err).collect();
            if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
        };
        spawn_blocking(job).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Reads the files whenever there is a cause, for good; cancel it to stop.
    pub async fn follow(
        self: Arc<Self>,
        web: Option<Arc<WebConfig>>,
        mut requests: mpsc::Receiver<Reload>,
        mut hangups: Signal,
        service: &Service,
    ) {
        let files = async {
            if self.files.is_empty() {
                std::future::pending::<()>().await;
            }
            loop {
                let Err(error) = self.follow_files().await;
                tracing::warn!(%error, retry_in = ?RETRY, "cannot watch the inventory; SIGHUP still reloads it");
                tokio::time::sleep(RETRY).await;
            }
        };
        let web_files = async {
            match &web {
                Some(web) => Arc::clone(web).follow().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(files, web_files);
        let (mut asked, mut rested) = (Vec::new(), Instant::now());
        loop {
            tokio::select! {
                () = &mut files => {}
                () = &mut web_files => {}
                _ = hangups.recv() => {
                    service.reloading();
                    drop(self.reload_aside(web.as_ref(), "SIGHUP").await);
                    service.reloaded();
                }
                1.. = requests.recv_many(&mut asked, MOST_ASKED) => {
                    // One reading for all who asked before it began; who asks again and again waits for it.
                    tokio::time::sleep_until(rested).await;
                    while asked.len() < MOST_ASKED
                        && let Ok(another) = requests.try_recv()
                    {
                        asked.push(another);
                    }
                    service.reloading();
                    let result = self.reload_aside(web.as_ref(), "HTTP").await;
                    service.reloaded();
                    asked.drain(..).for_each(|reload| reload.done(result.clone()));
                    rested = Instant::now() + REST;
                }
            }
        }
    }

    async fn follow_files(self: &Arc<Self>) -> io::Result<Infallible> {
        // What changed since they were read is a change, too: before they were watched, or while they could not be.
        let seen = self.seen.lock().clone();
        let mut watcher = Watcher::since(self.files.clone(), seen)?;
        loop {
            watcher.changed().await?;
            drop(self.reload_aside(None, "change").await);
        }
    }
}

fn warn_if_empty(entries: usize) {
    if entries == 0 {
        tracing::warn!("the inventory is empty: every source but our own is unknown");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tells of a change is set up a moment after the first reading, and anew when it has failed.
    #[tokio::test]
    async fn a_change_between_the_reading_and_the_watching_is_taken() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "02:00:00:00:00:01 printer\n").unwrap();
        let known = Arc::<Known>::default();
        let reloader = Reloader::start(vec![file.path().to_owned()], Arc::clone(&known)).unwrap();
        std::fs::write(file.path(), "02:00:00:00:00:01 printer\n02:00:00:00:00:02 door\n").unwrap();
        let reloader = Arc::new(reloader);
        let entries = || known.inventory().map(|inventory| inventory.len());
        assert_eq!(entries(), Some(1));
        let taken = async {
            while entries() != Some(2) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            ended = reloader.follow_files() => panic!("{ended:?}"),
            taken = tokio::time::timeout(Duration::from_secs(60), taken) => taken.expect("the change to be taken"),
        }
    }
}
